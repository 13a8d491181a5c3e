"""The garbage collector looks at what is new, and at everything once in a while."""

import asyncio
import gc
import socket
import struct

import pytest

from resolver.collector import ALL_S, COUNT_EACH, COUNT_S, NEW, ROOM, YOUNG, Collector


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        """Return the time."""
        return self.now_s


class Ring:
    """Something that only a collector frees."""

    freed = 0

    def __init__(self):
        self.itself = self

    def __del__(self):
        Ring.freed += 1


@pytest.fixture
def clock():
    """A clock at 0."""
    return Clock()


@pytest.fixture
def soon():
    """What a collector has had put off, to be done by hand."""
    return []


@pytest.fixture
def collector(clock, soon):
    """A collector that is at work."""
    found = Collector(clock)
    found.start(soon.append)
    yield found
    found.stop()


@pytest.mark.usefixtures("collector")
def test_collection_leaves_nothing_for_the_next_one_to_look_at_again():
    """What survives a full collection is set aside."""
    before = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]

    gc.collect()

    assert gc.get_freeze_count() >= before + len(kept)


@pytest.mark.usefixtures("collector")
def test_what_was_looked_at_twice_is_set_aside(soon):
    """Each collection looks at little, so that none takes long; what is only in use just now has gone by then."""
    gc.collect()
    before = gc.get_freeze_count()
    kept, ring = [[] for _ in range(50)], Ring()
    freed = Ring.freed

    gc.collect(0)
    assert gc.get_freeze_count() == before
    del ring
    gc.collect(1)

    assert gc.get_freeze_count() >= before + len(kept)
    assert Ring.freed == freed + 1
    assert len(gc.get_objects(1)) + len(gc.get_objects(2)) < len(kept)
    assert not soon


def test_what_is_new_is_collected_when_asked_for_and_enough(collector):
    """Between two pieces of work: the new alone at first, then what that has left as well, which is set aside."""
    gc.collect()
    before = gc.get_freeze_count()
    assert not collector.collect_new()
    kept = []

    for _ in range(YOUNG + 1):
        assert gc.get_freeze_count() == before
        kept += [[] for _ in range(NEW)]
        assert collector.collect_new()

    assert gc.get_freeze_count() >= before + len(kept)


def test_collector_that_is_not_started_collects_nothing(clock):
    """Then what is new is the interpreter's matter."""
    gc.collect()
    kept = [[] for _ in range(NEW)]

    assert not Collector(clock).collect_new()
    assert len(kept) == NEW


@pytest.mark.usefixtures("collector")
def test_circle_that_was_set_aside_is_freed_when_all_is_looked_at_again(clock, soon):
    """It stays until then, and no longer; that is put off once, however many collections come meanwhile."""
    ring = Ring()
    gc.collect()
    del ring
    before = Ring.freed

    gc.collect()
    assert Ring.freed == before

    clock.now_s = ALL_S
    gc.collect()
    clock.now_s += COUNT_S
    gc.collect()
    (look,) = soon
    look()
    assert Ring.freed == before + 1
    gc.collect()
    assert len(soon) == 1


@pytest.mark.parametrize("by", ["time", "collections"])
@pytest.mark.usefixtures("collector")
def test_much_more_than_there_was_is_looked_at_before_its_time(clock, soon, by):
    """Circles that pile up among what was set aside are not kept for an hour, nor for a minute if that is long."""
    rings = [Ring() for _ in range(gc.get_freeze_count() // 2 + 2 * ROOM)]
    gc.collect()
    count, before = len(rings), Ring.freed
    del rings

    if by == "time":
        clock.now_s = COUNT_S
        gc.collect()
    else:
        for _ in range(COUNT_EACH):
            gc.collect(1)
    (look,) = soon
    look()

    assert Ring.freed == before + count


def test_stopped_collector_does_not_look_any_more(clock, soon):
    """Not even if that was put off."""
    collector = Collector(clock)
    collector.start(soon.append)
    clock.now_s = ALL_S
    gc.collect()
    collector.stop()
    (look,) = soon

    look()

    assert gc.get_freeze_count() == 0


async def reset_a_connection(server, eventually):
    """Send a part of a message, and end rudely."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.send(b"\1\0abc")
        await eventually(lambda: server._connections)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await eventually(lambda: not server._connections)


@pytest.mark.usefixtures("collector")
async def test_connections_that_are_reset_leave_little_set_aside(serve, eventually):
    """Nobody can fill the memory by them."""
    server, count = await serve(), 100
    gc.collect()
    before = gc.get_freeze_count()

    for _ in range(count):
        await reset_a_connection(server, eventually)

    assert gc.get_freeze_count() - before <= 2 * count


async def test_connection_that_is_reset_leaves_nothing_that_was_read(serve, eventually):
    """What it was read into, and the frames that were reading, go at once, without any collection."""
    server = await serve()
    gc.collect()
    gc.disable()
    try:
        await reset_a_connection(server, eventually)

        readers = [one for one in gc.get_objects() if isinstance(one, asyncio.StreamReader)]
    finally:
        gc.enable()

    assert not readers


def test_stopped_collector_leaves_no_trace(clock):
    """Nothing is set aside any more, and nobody is told of collections."""
    callbacks, thresholds = list(gc.callbacks), gc.get_threshold()
    collector = Collector(clock)
    collector.start([].append)

    collector.stop()

    assert gc.callbacks == callbacks
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0
