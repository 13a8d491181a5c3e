"""Calls that go out together: each has its own outcome, on a real server and on one that is a script of the test's."""

import asyncio

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, DataError, NoScriptError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import TimeoutError as LateAnswer

from fencepost.batch import ChangeBatch, create
from fencepost.errors import InvalidChangeBatch, OutcomeUnknown, StoreUnavailable
from fencepost.records import ns, soa, txt
from fencepost.redis_client import ANSWER_TIMEOUT_S, open_client
from fencepost.redis_pipe import MAX_PIPELINES, BusyLoadingError, NotSent, PipedRedis
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor

ACTOR = Actor("use1-az1-enactor")
WAITING = 6


async def batches_read(client):
    """Return how often the server has read from its sockets: a pipeline of small calls is one read."""
    return (await client.info("stats"))["total_reads_processed"]


async def test_calls_of_one_turn_are_one_write(client):
    """A hundred calls that are made at once reach the server in a few reads, and each gets its own answer."""
    await client.hset("h", mapping={str(number): number for number in range(100)})
    before = await batches_read(client)

    found = await asyncio.gather(*(client.hget("h", str(number)) for number in range(100)))

    assert found == [b"%d" % number for number in range(100)]
    assert await batches_read(client) - before < 10


async def test_error_of_one_call_is_its_callers_alone(client):
    """What the server refuses, what it does not know and what cannot be sent: the calls beside it are answered."""
    await client.hset("h", mapping={"f": "v"})
    await client.set("text", "t")

    found = await asyncio.gather(
        client.hget("h", "f"),
        client.hget("text", "f"),
        client.evalsha("0" * 40, 1, "h"),
        client.hget("h", None),
        client.hgetall("h"),
        return_exceptions=True,
    )

    assert found[0] == b"v"
    assert found[4] == {b"f": b"v"}
    assert [type(error) for error in found[1:4]] == [ResponseError, NoScriptError, DataError]


async def test_caller_who_is_cancelled_leaves_the_others_their_answers(client):
    """A cancelled call may be carried out or not; its neighbours' answers stay theirs."""
    await client.hset("h", mapping={str(number): number for number in range(10)})
    calls = [asyncio.create_task(client.hget("h", str(number))) for number in range(10)]
    await asyncio.sleep(0)
    calls[3].cancel()
    await asyncio.sleep(0)
    calls[4].cancel()

    found = await asyncio.gather(*calls, return_exceptions=True)

    assert [index for index, reply in enumerate(found) if isinstance(reply, asyncio.CancelledError)] == [3, 4]
    assert [reply for reply in found if isinstance(reply, bytes)] == [b"%d" % n for n in range(10) if n not in (3, 4)]
    assert await client.hget("h", "7") == b"7"


async def test_batches_at_once_are_each_committed_or_refused_by_themselves(redis_url):
    """A batch refused in the middle of a pipeline takes no other with it; a forgotten script is loaded again."""
    zones = RedisZoneStore(open_client(redis_url), ACTOR)
    names = [f"z{number}.test." for number in range(20)]
    await asyncio.gather(*(zones.create_zone(name, (soa(name, ttl=9, minimum=9), ns(name))) for name in names))
    await zones.change(ChangeBatch(names[5], (create(txt(f"x.{names[5]}", "t")),)))
    probe = open_client(redis_url)
    await probe.script_flush()
    await probe.aclose()

    found = await asyncio.gather(
        *(zones.change(ChangeBatch(name, (create(txt(f"x.{name}", "t")),))) for name in names), return_exceptions=True
    )

    await zones.close()
    assert isinstance(found[5], InvalidChangeBatch)
    assert [commit.serial for index, commit in enumerate(found) if index != 5] == [2] * 19


def answering(*replies, then_close=False):
    """Return a talk that gives replies to HGETs in turn, and OK to all else."""

    async def talk(commands, writer):
        left = list(replies)
        async for words in commands:
            if words[0] not in (b"HGET", b"EVALSHA"):
                writer.write(b"+OK\r\n")
            elif left:
                writer.write(left.pop(0))
            elif then_close:
                return

    return talk


async def test_refusal_by_a_server_that_loads_or_takes_no_writes_is_one_calls_alone(scripted):
    """To be certainly not executed is said of the call that was refused so, never of those behind it."""
    talk = answering(b"$1\r\na\r\n", b"-LOADING loading\r\n", b"-READONLY replica\r\n", b"$1\r\nd\r\n")
    async with scripted(talk) as url:
        client = open_client(url)
        found = await asyncio.gather(*(client.hget("h", name) for name in "abcd"), return_exceptions=True)
        await client.aclose()

    assert found[0] == b"a"
    assert found[3] == b"d"
    assert [type(error) for error in found[1:3]] == [BusyLoadingError, ReadOnlyError]


async def test_connection_lost_in_mid_pipeline_fails_what_was_not_answered(scripted):
    """Who has an answer keeps it; of every other call nobody can say whether it was executed."""
    async with scripted(answering(b"$1\r\na\r\n", b"$1\r\nb\r\n", then_close=True)) as url:
        client = open_client(url)
        found = await asyncio.gather(*(client.hget("h", name) for name in "abcd"), return_exceptions=True)
        await client.aclose()

    assert found[:2] == [b"a", b"b"]
    assert [type(error) for error in found[2:]] == [LostConnection] * 2


async def test_server_that_gives_up_the_connection_fails_what_was_not_answered_with_its_reason(scripted):
    """That answer is of the connection, not of the call that it comes for: what comes behind it is nobody's."""
    refused = b"-NOAUTH Authentication required.\r\n$1\r\nc\r\n"
    async with scripted(answering(b"$1\r\na\r\n", refused)) as url:
        client = open_client(url)
        found = await asyncio.gather(*(client.hget("h", name) for name in "abc"), return_exceptions=True)
        await client.aclose()

    assert found[0] == b"a"
    assert [type(error) for error in found[1:]] == [AuthenticationError] * 2


async def test_writes_under_way_on_a_lost_connection_are_unknown(scripted):
    """The store's three outcomes hold for each call of a pipeline."""
    committed = b"*3\r\n$9\r\ncommitted\r\n:2\r\n$1\r\n7\r\n"
    async with scripted(answering(committed, then_close=True)) as url:
        zones = RedisZoneStore(open_client(url), ACTOR)
        changes = (zones.change(ChangeBatch(f"{n}.test.", (create(txt(f"x.{n}.test.", "t")),))) for n in range(3))
        found = await asyncio.gather(*changes, zones.read("0.test.", []), return_exceptions=True)
        await zones.close()

    assert found[0].serial == 2
    assert [type(error) for error in found[1:]] == [OutcomeUnknown, OutcomeUnknown, StoreUnavailable]


async def test_pipelines_under_way_are_few_and_later_calls_wait_for_one_to_end(scripted):
    """Calls of many turns share a few connections; all are answered."""
    talking, most, full, go_on = 0, 0, asyncio.Event(), asyncio.Event()

    async def talk(commands, writer):
        nonlocal talking, most
        async for words in commands:
            if words[0] != b"HGET":
                writer.write(b"+OK\r\n")
                continue
            talking += 1
            most = max(most, talking)
            if talking == MAX_PIPELINES:
                full.set()
            await go_on.wait()
            talking -= 1
            writer.write(b"$1\r\nx\r\n")

    async with scripted(talk) as url:
        client = open_client(url)
        calls = []
        for _ in range(20):
            calls.append(asyncio.create_task(client.hget("h", "f")))
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await full.wait()
        go_on.set()
        assert await asyncio.gather(*calls) == [b"x"] * 20
        await client.aclose()

    assert most == MAX_PIPELINES


@pytest.fixture
async def held(redis_url, client):
    """A store, changes of ten zones of which the server holds back the first ones, and the zones' names."""
    zones = RedisZoneStore(open_client(redis_url), ACTOR)
    names = [f"z{number}.test." for number in range(MAX_PIPELINES + WAITING)]
    await asyncio.gather(*(zones.create_zone(name, (soa(name, ttl=9, minimum=9), ns(name))) for name in names))
    await client.client_pause(60_000, all=False)
    calls = []
    piped = zones._client
    async with asyncio.timeout(5):
        for number, name in enumerate(names, 1):  # the first ones have a pipeline each, and the others wait for those
            calls.append(asyncio.create_task(zones.change(ChangeBatch(name, (create(txt(f"x.{name}", "t")),)))))
            under_way = min(number, MAX_PIPELINES)
            while (len(piped._busy), len(piped._waiting)) != (under_way, number - under_way):  # noqa: ASYNC110  -- no event tells
                await asyncio.sleep(0)
    yield zones, calls, names
    await client.client_unpause()
    await zones.close()


async def test_calls_that_waited_beyond_the_time_out_are_never_sent(held, client):
    """The store stood still for too long: what still waits when it goes on was decided long ago, and is dropped."""
    zones, calls, names = held
    for call in zones._client._waiting:
        call.made_s -= ANSWER_TIMEOUT_S

    await client.client_unpause()
    found = await asyncio.gather(*calls, return_exceptions=True)

    assert [commit.serial for commit in found[:MAX_PIPELINES]] == [2] * MAX_PIPELINES
    assert [type(error) for error in found[MAX_PIPELINES:]] == [StoreUnavailable] * WAITING
    assert "and was not sent any more" in str(found[-1])
    assert [len(await zones.commits(name)) for name in names[MAX_PIPELINES:]] == [1] * WAITING


async def test_calls_that_waited_within_the_time_out_are_sent(held, client):
    """A pause that ends in time loses nothing."""
    _, calls, _ = held

    await client.client_unpause()

    assert [commit.serial for commit in await asyncio.gather(*calls)] == [2] * len(calls)


async def test_close_sends_nothing_more_and_leaves_nobody_waiting(held, client):
    """What waits is certainly not sent, what is under way is unknown, and a later call is told why it is refused."""
    zones, calls, names = held

    await zones.close()
    found = await asyncio.gather(*calls, return_exceptions=True)
    await client.client_unpause()

    assert [type(error) for error in found] == [OutcomeUnknown] * MAX_PIPELINES + [StoreUnavailable] * WAITING
    assert [await client.xlen(f"{{{name}}}:stream") for name in names[MAX_PIPELINES:]] == [1] * WAITING
    with pytest.raises(StoreUnavailable, match="this client was closed; open another one"):
        await zones.read(names[0], [])


async def test_close_in_the_turn_of_a_call_fails_it(client):
    """Even a call whose pipeline has not begun yet has its end."""
    calls = [asyncio.create_task(client.hget("h", "f")) for _ in range(3)]
    await asyncio.sleep(0)  # they are made
    client._send_waiting()

    await client.aclose()

    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in found] == [NotSent] * 3
    with pytest.raises(NotSent):
        await client.get("a command that goes by itself")


async def test_connection_that_the_server_closes_while_it_is_idle_is_replaced(scripted):
    """No call is lost by it: the next one goes over another connection."""
    connections = 0

    async def talk(commands, writer):
        nonlocal connections
        connections += 1
        async for words in commands:
            writer.write(b"$1\r\na\r\n" if words[0] == b"HGET" else b"+OK\r\n")
            if words[0] == b"HGET" and connections == 1:
                break

    async with scripted(talk) as url:
        client = open_client(url)
        first = await client.hget("h", "f")
        async with asyncio.timeout(5):
            await client._idle[0].closed()
        second = await client.hget("h", "f")
        await client.aclose()

    assert (first, second, connections) == (b"a", b"a", 2)


async def test_server_that_is_silent_for_too_long_loses_its_connection_and_the_calls_on_it(scripted):
    """What was answered before stays answered, and a later call goes over another connection."""
    url_kwargs = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 0.1, "protocol": 2}
    silent = [True]

    async def talk(commands, writer):
        async for words in commands:
            if words[0] != b"HGET":
                writer.write(b"+OK\r\n")
            elif words[2] != b"never" or not silent[0]:
                writer.write(b"$1\r\na\r\n")

    async with scripted(talk) as url:
        client = PipedRedis.from_url(url, **url_kwargs)
        found = await asyncio.gather(*(client.hget("h", f) for f in ("a", "never")), return_exceptions=True)
        silent[0] = False
        later = await client.hget("h", "never")
        await client.aclose()

    assert found[0] == b"a"
    assert isinstance(found[1], LateAnswer)
    assert later == b"a"


@pytest.mark.parametrize("junk", [b"$1\r\nx\r\n", b"what?\r\n"])
async def test_answer_that_nobody_asked_for_ends_the_connection(scripted, junk):
    """It would be taken for the next call's; that one goes over another connection."""
    connections = 0

    async def talk(commands, writer):
        nonlocal connections
        connections += 1
        async for words in commands:
            if words[0] != b"HGET":
                writer.write(b"+OK\r\n")
                continue
            writer.write(b"$1\r\na\r\n" + (junk if connections == 1 else b""))

    async with scripted(talk) as url:
        client = open_client(url)
        first = await asyncio.gather(client.hget("h", "f"), return_exceptions=True)
        async with asyncio.timeout(5):
            await asyncio.gather(*(line.closed() for line in client._idle))
        second = await client.hget("h", "f")
        await client.aclose()

    assert (first, second, connections) == ([b"a"], b"a", 2)


async def test_script_that_the_server_does_not_know_is_loaded_once(client, redis_url):
    """By whomever it was forgotten: the call is made again, and only that one."""
    script = client.register_script("return redis.call('HINCRBY', KEYS[1], 'n', ARGV[1])")

    first = await script(keys=["h"], args=[2])
    await client.script_flush()
    second = await script(keys=["h"], args=[3])

    assert (first, second) == (2, 5)
