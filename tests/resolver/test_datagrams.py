"""Batches of datagrams on real sockets, by `recvmmsg` and without it."""

import asyncio
import random
import socket
import sys
from collections import Counter

import dns.edns
import dns.message
import dns.rcode
import pytest

from fencepost import records
from fencepost.batch import upsert
from fencepost.stores import Actor, Commit
from resolver import datagrams
from resolver.answer import reply
from resolver.datagrams import Datagrams
from resolver.hot import HotTable
from resolver.message import Transport
from resolver.mmsg import MAX_DATAGRAM, SLOTS, PortableBatch, SystemBatch, batch
from resolver.outcome import Outcome
from resolver.trouble import Trouble

ZONE = "dynamodb.us-east-1.fencepost.test."
ADDRESSES = {f"127.1.0.{n}" for n in range(1, 6)}


class Serving:
    """A UDP listener, the zones behind it, and a socket that asks it."""

    def __init__(self, zones, make_batch) -> None:
        self.zones, self.slow = zones, Counter()
        self.failed: list[Exception] = []
        self.unsent: Counter[str] = Counter()
        self.trouble = Trouble(lambda _, error: self.failed.append(error), self._count_unsent)
        self.table = HotTable(zones, random.Random(1))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.settimeout(0)
        self.udp.bind(("127.0.0.1", 0))
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for one in (self.udp, self.client):  # several batches must fit in: none may be lost on the way
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.client.connect(self.udp.getsockname())
        self.client.settimeout(0)
        self.listener = Datagrams(self.udp, self.table, self._other, self.trouble, make_batch)

    def _count_unsent(self, reason: str, times: int) -> None:
        self.unsent[reason] += times

    def _other(self, message: bytes, send) -> None:
        self.slow[message] += 1
        if (answer := reply(self.zones, message, Transport.UDP, random.Random(2))) is not None:
            send(answer.wire)

    async def ask(self, *messages: bytes, answers: int) -> list[bytes]:
        """Send datagrams all at once, and return the answers in order; fail if they are fewer or more."""
        for message in messages:
            self.client.send(message)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            found = [await loop.sock_recv(self.client, 4096) for _ in range(answers)]
        with pytest.raises(BlockingIOError):
            self.client.recv(4096)
        return found

    def close(self) -> None:
        if self.udp.fileno() >= 0:
            self.listener.close()
        self.client.close()


@pytest.fixture(params=[SystemBatch, PortableBatch], ids=["recvmmsg", "recvfrom"])
def make_batch(request: pytest.FixtureRequest):
    return request.param


@pytest.fixture
async def serving(image, make_batch):
    opened = Serving({ZONE: image()}, make_batch)
    yield opened
    opened.close()


def query(number: int, name: str = ZONE, record_type: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, record_type, id=number, **options).to_wire()


def address_of(wire: bytes) -> str:
    return dns.message.from_wire(wire).answer[0][0].address


async def test_queries_sent_at_once_are_all_answered_once(serving) -> None:
    """More than a batch holds, of four shapes: each has one answer, its own, with an address of the tree."""
    shapes = ({}, {"flags": 0}, {"use_edns": 0}, {"use_edns": 0, "want_dnssec": True})
    sent = {n: dns.message.make_query(ZONE, "A", id=n, **shapes[n % 4]) for n in range(2 * SLOTS + 30)}

    answers = await serving.ask(*(message.to_wire() for message in sent.values()), answers=len(sent))

    parsed = [dns.message.from_wire(answer) for answer in answers]
    assert Counter(message.id for message in parsed) == Counter(range(len(sent)))
    assert all(sent[message.id].is_response(message) for message in parsed)
    assert {message.answer[0][0].address for message in parsed} == ADDRESSES
    assert not serving.slow
    assert serving.table.take_counts() == {Outcome(dns.rcode.NOERROR): len(sent)}


async def test_garbage_within_a_batch_harms_no_other_query(serving) -> None:
    """Prepared, not prepared and no queries at all, mixed: what deserves an answer has one, in any slot."""
    rng = random.Random(20251020)
    await serving.ask(query(0), answers=1)
    good = [query(n) for n in range(1, 60)]
    slow = [query(n, ZONE, "ANY") for n in range(100, 110)]
    nothing = [b"", b"x", rng.randbytes(11), *(good[0][:2] + b"\x80" + rng.randbytes(40) for _ in range(20))]
    mixed = [*good, *slow, *nothing]
    rng.shuffle(mixed)

    answers = await serving.ask(*mixed, answers=len(good) + len(slow))
    await serving.ask(last := query(110, ZONE, "ANY"), answers=1)  # nothing that came before it waits any more

    assert Counter(int.from_bytes(answer[:2]) for answer in answers) == Counter([*range(1, 60), *range(100, 110)])
    assert serving.slow == Counter([*slow, *nothing, last])


async def test_cut_datagram_is_malformed(serving) -> None:
    """What is too long to be looked at gets FORMERR, and leaves the slot as it was."""
    (answer,) = await serving.ask(query(7) + bytes(6000), answers=1)
    (after,) = await serving.ask(query(8), answers=1)

    assert dns.message.from_wire(answer).rcode() == dns.rcode.FORMERR
    assert address_of(after) in ADDRESSES


@pytest.mark.parametrize("junk", [0, 1, 3000])
async def test_largest_datagram_is_looked_at_and_nothing_larger(serving, junk: int) -> None:
    """A query that fills the largest datagram is answered; with anything behind it, it is malformed."""
    bare = len(query(7, use_edns=0, options=[dns.edns.GenericOption(12, b"")]))
    padding = dns.edns.GenericOption(12, bytes(MAX_DATAGRAM - bare))
    largest = dns.message.make_query(ZONE, "A", id=7, use_edns=0, options=[padding]).to_wire(max_size=MAX_DATAGRAM)
    assert len(largest) == MAX_DATAGRAM

    (answer,) = await serving.ask(largest + bytes(junk), answers=1)

    assert dns.message.from_wire(answer).rcode() == (dns.rcode.FORMERR if junk else dns.rcode.NOERROR)


async def test_change_between_two_batches_is_seen_by_the_second(serving) -> None:
    """After the commit no query is answered from before it."""
    tree = f"plan-000146.{ZONE}"
    await serving.ask(*(query(n) for n in range(50)), answers=50)
    changes = (
        upsert(records.address(tree, "A", "127.1.9.9", ttl=5, set_identifier="lb-9", weight=1)),
        upsert(records.alias(ZONE, "A", tree)),
    )
    commit = Commit(ZONE, 8, 8, Actor("test"), 146, "", changes)

    serving.zones[ZONE] = serving.zones[ZONE].apply(commit)
    serving.table.changed(ZONE, serving.zones[ZONE], [commit])
    answers = await serving.ask(*(query(n) for n in range(50)), answers=50)

    assert {address_of(answer) for answer in answers} == {"127.1.9.9"}


async def test_empty_answers_are_counted_by_zone_and_type(serving) -> None:
    """The alarm counts them, so none may be lost: NODATA by zone and type, and what is not there."""
    messages = [query(1, ZONE, "AAAA"), query(2, f"no.{ZONE}"), query(3, ZONE, "AAAA"), query(4)]

    await serving.ask(*messages, answers=4)
    await serving.ask(*messages, answers=4)

    counts = {
        Outcome(dns.rcode.NOERROR): 2,
        Outcome(dns.rcode.NOERROR, (ZONE, "AAAA")): 4,
        Outcome(dns.rcode.NXDOMAIN): 2,
    }
    assert serving.table.take_counts() == counts
    assert not serving.slow
    assert serving.table.take_counts().total() == 0


async def test_others_have_their_turn_while_queries_keep_coming(serving, monkeypatch) -> None:
    """One turn of the loop answers a bounded number of queries, whatever is waiting."""
    monkeypatch.setattr(datagrams, "TURN", SLOTS)
    waiting = 3 * SLOTS
    await serving.ask(query(0), query(0), answers=2)
    serving.table.take_counts()
    for number in range(waiting):
        serving.client.send(query(number))

    serving.listener._read()

    assert serving.table.take_counts().total() == SLOTS
    assert len(await serving.ask(answers=waiting)) == waiting


async def test_look_answers_what_is_known_and_leaves_the_rest_to_its_turn(serving) -> None:
    """Between two pieces of other work nobody who is known waits longer, and a stranger no shorter."""
    await serving.ask(query(0), query(0), answers=2)
    serving.client.send(query(1, f"no.{ZONE}"))
    serving.client.send(query(2))

    serving.listener.look()

    assert int.from_bytes(serving.client.recv(4096)[:2]) == 2
    with pytest.raises(BlockingIOError):
        serving.client.recv(4096)
    assert [int.from_bytes(answer[:2]) for answer in await serving.ask(answers=1)] == [1]


async def test_turn_of_the_loop_reads_a_bounded_number_whoever_looks(serving, monkeypatch) -> None:
    """Work that looks at the socket between its pieces has no share of its own: others wait for one share, not many."""
    monkeypatch.setattr(datagrams, "TURN", 2 * SLOTS)
    monkeypatch.setattr(datagrams, "WORK", 4)
    await serving.ask(query(0), query(0), answers=2)
    serving.table.take_counts()
    known, strangers = 3 * SLOTS, 10
    for number in range(strangers):
        serving.client.send(query(number, f"no-{number}.{ZONE}"))
    for number in range(known):
        serving.client.send(query(number))

    serving.listener._read()  # what it leaves, the looks between its pieces of work must leave, too
    serving.listener.look()
    serving.listener._read()
    of_turn = serving.table.take_counts().total()
    await asyncio.sleep(0)
    serving.listener.look()

    assert of_turn == 2 * SLOTS - strangers + 4
    assert serving.table.take_counts()[Outcome(dns.rcode.NOERROR)] > 0
    assert len(await serving.ask(answers=known + strangers)) == known + strangers


async def test_known_query_that_comes_during_work_is_answered_before_the_next_stranger(serving, monkeypatch) -> None:
    """Whoever waits is looked past before each piece of work."""
    await serving.ask(query(0), query(0), answers=2)
    answer = serving.listener._answer

    def answer_slowly(message: bytes, sender) -> int:
        if message[:2] == b"\0\1":
            serving.client.send(query(100))
        return answer(message, sender)

    monkeypatch.setattr(serving.listener, "_answer", answer_slowly)
    for number in (1, 2):
        serving.client.send(query(number, f"no-{number}.{ZONE}"))

    answers = await serving.ask(answers=3)

    assert [int.from_bytes(answer[:2]) for answer in answers] == [1, 100, 2]


@pytest.mark.parametrize("begin", ["look", "_read"])
async def test_work_is_done_once_in_a_turn_of_the_loop(serving, monkeypatch, eventually, begin: str) -> None:
    """However often somebody looks, in work itself as well, what waits has one part of each turn."""
    monkeypatch.setattr(datagrams, "WORK", 2)
    work, answer, turns = serving.listener._work, serving.listener._answer, []

    def count_work() -> None:
        turns.append(serving.table.take_counts().total())
        work()

    def answer_while_more_come(message: bytes, sender) -> int:
        serving.client.send(query(0, f"more-{message[1]}.{ZONE}"))
        return answer(message, sender)

    monkeypatch.setattr(serving.listener, "_work", count_work)
    monkeypatch.setattr(serving.listener, "_answer", answer_while_more_come)
    for _ in range(2):
        for number in range(1, 5):
            serving.client.send(query(number, f"no-{number}.{ZONE}"))
        getattr(serving.listener, begin)()
    begun = len(turns)
    await asyncio.sleep(0)

    assert len(turns) == begun + 1
    await asyncio.sleep(0)
    assert len(turns) == begun + 2
    monkeypatch.setattr(serving.listener, "_answer", answer)
    await eventually(lambda: not serving.listener._is_working)


async def test_look_at_a_closed_socket_reads_nothing(serving) -> None:
    """Its number may be another socket's by then."""
    serving.client.send(query(1))
    serving.listener.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(0)
        other.bind(("127.0.0.1", 0))
        serving.client.connect(other.getsockname())
        serving.client.send(b"kept")

        serving.listener.look()

        assert other.recv(100) == b"kept"


async def test_queries_that_are_not_known_hold_up_no_known_one(serving, monkeypatch) -> None:
    """Strangers' names wait, one for each turn here; a known query behind them is answered at once."""
    monkeypatch.setattr(datagrams, "WORK", 1)
    await serving.ask(query(0), query(0), answers=2)
    serving.table.take_counts()
    for number in range(1, 100):
        serving.client.send(query(number, f"no-{number}.{ZONE}"))
    serving.client.send(query(100))

    serving.listener._read()

    assert [int.from_bytes(serving.client.recv(4096)[:2]) for _ in range(2)] == [100, 1]
    assert serving.table.take_counts() == {Outcome(dns.rcode.NOERROR): 1, Outcome(dns.rcode.NXDOMAIN): 1}
    assert len(await serving.ask(answers=98)) == 98


async def test_name_prepared_while_its_queries_wait_is_prepared_once(serving, monkeypatch) -> None:
    """After a flip all ask for the same name at once: who waited gets what was prepared for the first of them."""
    monkeypatch.setattr(datagrams, "WORK", 51 + datagrams.MADE_COST)
    for number in range(51):
        serving.client.send(query(number))

    serving.listener._read()

    assert len([serving.client.recv(4096) for _ in range(51)]) == 51
    assert serving.table.take_counts().total() == 51
    assert not serving.slow


async def test_turn_ends_after_what_was_prepared(serving, monkeypatch) -> None:
    """To prepare all answers costs more than one answer: a turn does less of that."""
    monkeypatch.setattr(datagrams, "WORK", 1 + datagrams.MADE_COST)
    names = (ZONE, f"plan-000145.{ZONE}")
    await serving.ask(*(query(0, name) for name in names), answers=2)
    serving.table.take_counts()
    for name in names:
        serving.client.send(query(1, name))

    serving.listener._read()

    assert serving.table.take_counts().total() == 1
    assert len(await serving.ask(answers=2)) == 2


async def test_name_that_was_asked_before_goes_before_strangers(serving, monkeypatch) -> None:
    """A commit drops a popular name's answers while strangers wait, and fill their queue: its next query is first."""
    monkeypatch.setattr(datagrams, "WORK", 1)
    monkeypatch.setattr(datagrams, "MAX_WAITING", 50)
    await serving.ask(query(0), query(0), answers=2)
    serving.table.changed(ZONE, serving.zones[ZONE], ())
    for number in range(1, 61):
        serving.client.send(query(number, f"no-{number}.example.com."))
    serving.client.send(query(100))

    serving.listener._read()

    assert int.from_bytes(serving.client.recv(4096)[:2]) == 100
    assert serving.unsent == {"overloaded": 10}
    assert len(await serving.ask(answers=50)) == 50
    assert not serving.slow


async def test_queries_beyond_those_that_may_wait_are_dropped_and_counted(serving, monkeypatch) -> None:
    """A flood of names neither fills the memory nor goes unseen."""
    monkeypatch.setattr(datagrams, "MAX_WAITING", 3)
    for number in range(10):
        serving.client.send(query(number, f"no-{number}.{ZONE}"))

    answers = await serving.ask(answers=3)

    assert [int.from_bytes(answer[:2]) for answer in answers] == [0, 1, 2]
    assert serving.unsent == {"overloaded": 7}


async def test_error_with_one_query_is_told_and_harms_no_other(serving, monkeypatch) -> None:
    """Whatever one query sets off, the others of its batch have their answers."""
    bad = query(7, ZONE, "ANY")

    def other(message: bytes, send) -> None:
        if message == bad:
            raise ArithmeticError
        Serving._other(serving, message, send)

    monkeypatch.setattr(serving.listener, "_other", other)

    answers = await serving.ask(query(6, ZONE, "ANY"), bad, query(8, ZONE, "ANY"), query(9), answers=3)

    assert [int.from_bytes(answer[:2]) for answer in answers] == [6, 8, 9]
    assert [type(error) for error in serving.failed] == [ArithmeticError]


@pytest.mark.parametrize("broken", ["known", "is_awaited", "reply", "answer", "_whole"])
async def test_error_of_the_table_leaves_queries_to_the_slow_path(serving, monkeypatch, broken: str) -> None:
    """Prepared answers may be lost, answers are not."""

    def fail(*_: object) -> None:
        raise ArithmeticError

    tree = f"plan-000145.{ZONE}"
    await serving.ask(query(0), query(0), answers=2)
    monkeypatch.setattr(serving.table, broken, fail)

    answers = await serving.ask(query(1), query(2, tree), query(3, tree), answers=3)

    assert {address_of(answer) for answer in answers} <= ADDRESSES
    assert {type(error) for error in serving.failed} == {ArithmeticError}


async def test_answers_that_the_system_does_not_take_are_counted(serving, make_batch) -> None:
    """Sending fails, on a real socket that was closed meanwhile: as many are lost as there were answers."""
    await serving.ask(query(0), query(1), answers=2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(0)
        for number in range(3):
            serving.client.sendto(query(number), udp.getsockname())
        lossy = make_batch(udp)
        found = [serving.table.prepared(message) for message in lossy.receive()]

    assert len(found) == 3
    assert serving.table.answer(lossy, found, ()) == 3


async def test_listener_counts_what_its_batch_could_not_send(serving, monkeypatch) -> None:
    """It says so beside the answers, of which the table has counted each."""
    await serving.ask(query(0), query(1), answers=2)
    monkeypatch.setattr(serving.listener._batch, "send", lambda first, end: end - first)

    await serving.ask(query(2), query(3), answers=0)
    serving.listener._read()

    assert serving.unsent == {"not-taken": 2}


async def test_asker_that_is_gone_does_not_stop_the_others(serving) -> None:
    """An answer to a closed port is lost alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.connect(serving.udp.getsockname())
        gone.send(query(1))

    answers = await serving.ask(query(2), query(3), answers=2)

    assert [int.from_bytes(answer[:2]) for answer in answers] == [2, 3]


async def test_listener_closes_its_socket(serving) -> None:
    """After `close` the port is free, and a late answer goes nowhere."""
    late = asyncio.get_running_loop().create_future()
    serving.listener._other = lambda _message, send: late.set_result(send)
    serving.client.send(query(1, ZONE, "ANY"))
    send = await late

    port = serving.udp.getsockname()
    serving.listener.close()
    send(b"too late")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(port)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is known to have it")
def test_batch_is_the_best_that_the_system_has() -> None:
    """Linux has `recvmmsg`, so that is what is tested by the rest of the suite as well."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        assert isinstance(batch(udp), SystemBatch)
