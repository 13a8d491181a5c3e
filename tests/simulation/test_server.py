"""The small server: each command as the real one does it, declared keys, and versions of its contents."""

import re
from importlib.resources import files

import pytest

from lab.simulation.server import Access, Server, ServerError, Undeclared

SETTING = (
    ("HSET", "h", "f", "1", "g", "word", "n", "-5", "padded", "007"),
    *(("ZADD", "z", "0", member) for member in ("b", "a", "a\tA", "a b", "c")),
    ("SET", "t", "text"),
    *(("XADD", "s", f"{n}-0", "field", str(n), "other", "x") for n in (1, 2, 3, 7)),
)

CASES = {
    "HGET": ["HGET h f", "HGET h none", "HGET none f", "HGET t f", "HGET h", "HGET h f g"],
    "HMGET": ["HMGET h f none g", "HMGET none f", "HMGET z f", "HMGET h"],
    "HSET": ["HSET h f 2 new 3", "HSET h f 1", "HSET other a b", "HSET t a b", "HSET h a", "HSET h a b c"],
    "HSETNX": ["HSETNX h f 9", "HSETNX h new 9", "HSETNX other a 1", "HSETNX s a 1"],
    "HDEL": ["HDEL h f none", "HDEL h f g n padded", "HDEL none f", "HDEL s f", "HDEL h f f"],
    "HGETALL": ["HGETALL none", "HGETALL t", "HGETALL h f"],
    "HINCRBY": [
        *("HINCRBY h f 5", "HINCRBY h f -1", "HINCRBY h new 3", "HINCRBY other a -1", "HINCRBY h g 1"),
        *("HINCRBY h padded 1", "HINCRBY h f one", "HINCRBY h f 1.5", "HINCRBY t f 1", "HINCRBY none f x"),
    ],
    "GET": ["GET t", "GET none", "GET h"],
    "SET": ["SET t other", "SET new x", "SET h x", "SET t"],
    "DEL": ["DEL t", "DEL none", "DEL h", "DEL"],
    "EXISTS": ["EXISTS t", "EXISTS none", "EXISTS"],
    "ZADD": ["ZADD z 0 d", "ZADD z 0 a", "ZADD z 0 e 0 f", "ZADD z x a", "ZADD t 0 a", "ZADD z 0", "ZADD z 0 a 0"],
    "ZREM": ["ZREM z a none", "ZREM none a", "ZREM h a", "ZREM z a b c"],
    "ZRANGEBYLEX": [
        *("ZRANGEBYLEX z - +", "ZRANGEBYLEX z [a +", "ZRANGEBYLEX z (a +", "ZRANGEBYLEX z - [b", "ZRANGEBYLEX z - (b"),
        *("ZRANGEBYLEX z - + LIMIT 1 2", "ZRANGEBYLEX z [a + limit 0 0", "ZRANGEBYLEX z [aa + LIMIT 0 -1"),
        *("ZRANGEBYLEX z + -", "ZRANGEBYLEX z a +", "ZRANGEBYLEX z - + LIMIT 0", "ZRANGEBYLEX z - + LIMIT x 1"),
        *("ZRANGEBYLEX z - + LIMIT 9 1", "ZRANGEBYLEX z - + LIMIT -1 1", "ZRANGEBYLEX none - +", "ZRANGEBYLEX h - +"),
        *("ZRANGEBYLEX z [b [a", "ZRANGEBYLEX z [ (", "ZRANGEBYLEX z - + AND 0 1"),
    ],
    "XADD": [
        *("XADD s 8-0 f v", "XADD s 7-1 f v", "XADD s 7-0 f v", "XADD s 6-0 f v", "XADD s 0-0 f v", "XADD s x f v"),
        *("XADD s 9 f v", "XADD new 0-1 f v", "XADD new 0 f v", "XADD s MAXLEN 2 8-0 f v", "XADD s MAXLEN = 0 8-0 f v"),
        *("XADD s MAXLEN ~ 1 8-0 f v", "XADD h 8-0 f v", "XADD s 8-0 f", "XADD s 8-0 f v g", "XADD s MAXLEN x 8-0 f v"),
        *("XADD s MAXLEN -1 8-0 f v", "XADD new 1-0 f v f w"),
    ],
    "XLEN": ["XLEN s", "XLEN none", "XLEN h"],
    "XRANGE": [
        *("XRANGE s - +", "XRANGE s 2 3", "XRANGE s 2-0 2-0", "XRANGE s (2-0 +", "XRANGE s - (3-0", "XRANGE s (2 (7"),
        *("XRANGE s - + COUNT 2", "XRANGE s 2-1 + COUNT 1", "XRANGE s - + COUNT 0", "XRANGE s - + COUNT -1"),
        *("XRANGE s + -", "XRANGE s 5 4", "XRANGE s x +", "XRANGE s - x", "XRANGE none x +", "XRANGE none - +"),
        *(
            "XRANGE h - +",
            "XRANGE s -",
            "XRANGE s - + COUNT",
            "XRANGE s - + LIMIT 1",
            "XRANGE s 1-2-3 +",
            "XRANGE s (- +",
        ),
        *("XRANGE s (- +", "XRANGE s 7 7", "XRANGE s 8 +", "XRANGE s - 0", "XRANGE s - + COUNT x"),
    ],
    "PUBLISH": ["PUBLISH c text", "PUBLISH c"],
    "XREVRANGE": [
        *("XREVRANGE s + -", "XREVRANGE s + - COUNT 2", "XREVRANGE s (7-0 -", "XREVRANGE s 3 2", "XREVRANGE s + (2-0"),
        *("XREVRANGE s - +", "XREVRANGE none + -", "XREVRANGE t + -", "XREVRANGE s (3-0 - COUNT 1", "XREVRANGE s x -"),
    ],
    "XDEL": ["XDEL s 1-0", "XDEL s 2-0", "XDEL s 7-0", "XDEL s 4-0", "XDEL s 3 1 9", "XDEL none 1-0", "XDEL h 1-0"],
    "XREAD": [
        *("XREAD COUNT 2 STREAMS s 1-0", "XREAD STREAMS s 7-0", "XREAD STREAMS s none 2 0", "XREAD STREAMS none 0"),
        *("XREAD COUNT 1 STREAMS s t 0 0", "XREAD STREAMS s", "XREAD COUNT x STREAMS s 0", "XREAD WHAT 1 STREAMS s 0"),
    ],
}


SCRIPTS = {
    "integers": "return {1, -1, 2.9, -2.9, 1e15, 0}",
    "texts": "return {'a', '', 'b\0c'}",
    "truths": "return {true, false, 'end'}",
    "hole": "return {1, nil, 3}",
    "nested": "return {{'a', {}}, {{1}, false}, {ok = 'fine'}}",
    "nothing": "return",
    "true": "return true",
    "false": "return false",
    "status": "return redis.status_reply('fine')",
    "failure": "return redis.error_reply('WORSE than that')",
    "command's status": "return redis.call('SET', KEYS[1], 'x')",
    "status as a table": "return redis.call('SET', KEYS[1], 'x').ok",
    "missing is false": "return tostring(redis.call('HGET', KEYS[1], 'f'))",
    "missing list is empty": "return #redis.call('XRANGE', KEYS[1], '-', '+')",
    "type of an integer": "return type(redis.call('XLEN', KEYS[1]))",
    "numbers become texts": "redis.call('HSET', KEYS[1], 1, 2, 'half', 0.5, 'big', 1e15, 'third', 1/3, 'less', -0.1) "
    "return redis.call('HMGET', KEYS[1], 1, 'half', 'big', 'third', 'less')",
    "caught error": "local reply = redis.pcall('HINCRBY', KEYS[1], 'f', 'x') return reply.err",
    "lower case": "return redis.call('hset', KEYS[1], 'f', 'v')",
    "keeps what it wrote": "redis.call('SET', KEYS[1], 'x') redis.call('HGET', KEYS[1], 'f')",
    "half a set": "redis.call('HSET', KEYS[1], 'f', 1) return redis.call('HSET', KEYS[1], 'f', 2, 'g', true)",
    "keys and arguments": "return {#KEYS, #ARGV, ARGV[1], ARGV[2]}",
    "many results": "local t = {} for n = 1, 1000 do t[n] = 'x' .. n end return t",
    "many nested results": "local t = {} for n = 1, 300 do t[n] = {n, 'x'} end return t",
    "concatenated number": "return (2 + 3) .. '-0'",
}


@pytest.mark.parametrize("line", [line for lines in CASES.values() for line in lines])
def test_command_in_a_script_does_what_the_real_server_does(both, line):
    """Each command gives the real server's answer or its error, and leaves the same behind."""
    for command in SETTING:
        small, real = both.call(*command)
        assert small == real

    small, real = both.call(*line.split(" "))

    assert small == real
    small_contents, real_contents = both.contents()
    assert small_contents == real_contents


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script_answers_what_it_does_on_the_real_server(both, text):
    """Lua's values become the same answers, commands' answers the same Lua values, and errors undo nothing."""
    small, real = both.script(text, ("k",), "one", "")

    assert small == real
    small_contents, real_contents = both.contents()
    assert small_contents == real_contents


def test_script_with_very_many_arguments_gets_them_all(both):
    """A batch of a thousand changes has thousands of arguments."""
    arguments = [str(number) for number in range(6000)]

    small, real = both.script("return {#KEYS, #ARGV, ARGV[1], ARGV[#ARGV]}", ("a", "b"), *arguments)

    assert small == real == [2, 6000, b"0", b"5999"]


def test_commands_of_the_shipped_scripts_are_all_compared():
    """No script that ships calls a command that the cases above leave out; TIME alone cannot be compared."""
    texts = [path.read_text("utf-8") for path in (files("fencepost") / "lua").iterdir()]
    called = {name for text in texts for name in re.findall(r"redis\.p?call\('(\w+)'", text)}

    assert called - CASES.keys() == {"TIME"}


@pytest.fixture
def server():
    """A small server that stands at a given instant."""
    server = Server()
    server.now_us = 1_790_000_000_123_456
    return server


def run(server, text, *args, reads=(), writes=("k",)):
    return server.run(server.script(text), ["k"], args, Access(frozenset(reads), frozenset(writes)))


def test_time_is_the_clock_that_was_set(server):
    """TIME has seconds and microseconds, as texts."""
    assert run(server, "return redis.call('TIME')") == [b"1790000000", b"123456"]


def test_command_that_is_not_there_is_named(server):
    """Who uses a new command in a script is told where to add it."""
    with pytest.raises(ServerError, match=r"INCR: lab/simulation/commands\.lua does not have this command; add it"):
        run(server, "return redis.call('INCR', KEYS[1])")


@pytest.mark.parametrize("command", ["redis.call", "redis.pcall"])
def test_script_that_reads_an_undeclared_key_is_stopped(server, command):
    """An undeclared read would make the explorer's reduction unsound, so that no pcall hides it."""
    with pytest.raises(Undeclared, match="read other"):
        run(server, f"return {command}('HGET', 'other', 'f')")


def test_script_that_writes_what_it_declared_to_read_is_stopped(server):
    """To read is not to write, even where nothing would change; and nothing has changed."""
    with pytest.raises(Undeclared, match="wrote k"):
        run(server, "return redis.call('HDEL', KEYS[1], 'f')", reads=("k",), writes=())

    with pytest.raises(Undeclared, match="wrote k"):
        run(server, "return redis.call('HSET', KEYS[1], 'f', 'v')", reads=("k",), writes=())

    assert server.contents() == {}


def test_command_on_an_undeclared_key_is_stopped(server):
    """Direct commands are held to what they declare as scripts are."""
    with pytest.raises(Undeclared, match="read k"):
        server.command("HGETALL", "k", access=Access(frozenset({"l"}), frozenset()))


def test_undeclared_key_does_not_haunt_the_next_script(server):
    """The next call is judged by itself."""
    with pytest.raises(Undeclared):
        run(server, "return redis.call('GET', 'other')")

    assert run(server, "return redis.call('GET', KEYS[1])") is None


def test_command_gives_raw_answers(server):
    """A direct command's answer is as the protocol has it: lists stay flat."""
    access = Access(frozenset(), frozenset({"k", "s"}))

    assert server.command("HSET", "k", "b", 1, b"a", "x", access=access) == 2
    assert server.command("HGETALL", "k", access=access) == [b"a", b"x", b"b", b"1"]
    assert server.command("XADD", "s", "1-0", "f", "v", access=access) == b"1-0"
    assert server.command("XREAD", "STREAMS", "s", "0-0", access=access) == [[b"s", [[b"1-0", [b"f", b"v"]]]]]
    assert server.command("XREAD", "STREAMS", "s", "1-0", access=access) is None


@pytest.mark.parametrize("text", ["leaked = 1", "string.leaked = 1", "redis.call = nil", "_G = 1", "table.insert = 1"])
def test_script_cannot_leave_anything_behind(server, text):
    """What a script could keep in a global would be a memory that no real server has."""
    with pytest.raises(ServerError, match="Attempt to modify a readonly table"):
        run(server, text)


@pytest.mark.parametrize("name", ["os", "io", "math.random", "require", "python", "nonsense", "loadstring"])
def test_script_reaches_nothing_outside(server, name):
    """Neither clock nor chance nor files nor this process."""
    with pytest.raises(ServerError, match=r"nonexistent global variable|a nil value"):
        run(server, f"return {name}()")


def test_script_that_does_not_compile_says_why(server):
    """The error is the compiler's, with the line."""
    with pytest.raises(ServerError, match=r"Error compiling script .*user_script:2"):
        server.script("local x = 1\nx =")


WRITES = {
    "HSET": ["HSET h f 2", "HSET h f 2 new 1"],
    "HDEL": ["HDEL h f", "HDEL h f g n padded"],
    "HINCRBY": ["HINCRBY h f 1"],
    "ZADD": ["ZADD z 0 new"],
    "ZREM": ["ZREM z b", "ZREM z a b c"],
    "SET": ["SET t other"],
    "DEL": ["DEL h"],
    "XADD": ["XADD s 9-0 f v", "XADD s MAXLEN 2 9-0 f v"],
    "XDEL": ["XDEL s 1-0", "XDEL s 3-0", "XDEL s 7-0"],
}


H = Access(frozenset(), frozenset({"h"}))


def do(server, line):
    access = Access(frozenset(), frozenset({"h", "z", "t", "s"}))
    return server.command(*line.split(" "), access=access)


@pytest.fixture
def filled(server):
    """A small server with something of each type."""
    for command in SETTING:
        do(server, " ".join(command).replace("a b", "a_b"))
    return server


@pytest.mark.parametrize("line", [line for lines in WRITES.values() for line in lines])
def test_snapshot_is_untouched_by_later_writes(filled, line):
    """What was read before a snapshot is read again after it was restored, twice, whatever was written in between."""
    before, mark, snapshot = filled.contents(), filled.fingerprint(), filled.snapshot()

    for _ in range(2):
        do(filled, line)
        after = filled.contents()
        assert after != before
        assert filled.fingerprint() != mark

        filled.restore(snapshot)
        assert filled.contents() == before
        assert filled.fingerprint() == mark


def test_snapshot_outlives_others_and_forks(filled):
    """Versions form a tree: two ways on from one snapshot, one entry each in the same stream, are both kept."""
    root = filled.snapshot()
    do(filled, "XADD s 8-0 f left")
    left, left_contents = filled.snapshot(), filled.contents()
    filled.restore(root)
    do(filled, "XADD s 8-0 f right")
    do(filled, "XADD s 9-0 f right")
    right, right_contents = filled.snapshot(), filled.contents()

    filled.restore(left)
    assert filled.contents() == left_contents
    filled.restore(right)
    assert filled.contents() == right_contents
    filled.flush()
    assert filled.contents() == {}
    filled.restore(left)
    assert filled.contents() == left_contents


def test_fingerprint_says_the_same_of_the_same_contents_by_another_way(filled):
    """How the contents came about does not show: order of writes, what was undone, another server."""
    other = Server()
    do(other, "HSET h gone 1 f 1")
    for command in reversed(SETTING[:-4]):
        do(other, " ".join(command).replace("a b", "a_b"))
    for command in SETTING[-4:]:
        other.fingerprint()
        do(other, " ".join(command))
    do(other, "HDEL h gone")

    assert other.contents() == filled.contents()
    assert other.fingerprint() == filled.fingerprint()


def test_fingerprint_leaves_out_what_it_is_told_to(filled):
    """A change of a skipped key alone does not show."""
    before = filled.fingerprint(skip=("h",))

    do(filled, "HSET h f 2")
    assert filled.fingerprint(skip=("h",)) == before

    do(filled, "SET t other")
    assert filled.fingerprint(skip=("h",)) != before


def test_fingerprint_tells_where_one_text_ends():
    """Two hashes that read alike when written in a row are not the same."""
    left, right = Server(), Server()

    left.command("HSET", "h", "a", "b", "c", "d", access=H)
    right.command("HSET", "h", "a", "b 1:c 1:d", access=H)

    assert left.fingerprint() != right.fingerprint()


def test_reading_makes_no_new_version(filled):
    """The order of names that a read works out, is no part of the contents."""
    mark = filled.fingerprint()

    do(filled, "HGETALL h")
    do(filled, "ZRANGEBYLEX z - +")
    do(filled, "XRANGE s - +")

    assert filled.fingerprint() == mark
