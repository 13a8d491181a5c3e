"""The garbage collector looks at what is new, and at everything once in a while."""

import gc

import pytest

from resolver.collector import ALL_S, COUNT_S, ROOM, Collector


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
def collector(clock):
    """A collector that is at work."""
    found = Collector(clock)
    found.start()
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
def test_young_collection_leaves_nothing_for_the_next_one_either():
    """Each looks at what is new since the one before, so that none takes long."""
    before = gc.get_freeze_count()
    kept = [[] for _ in range(50)]

    gc.collect(0)

    assert gc.get_freeze_count() >= before + len(kept)
    assert len(gc.get_objects(1)) + len(gc.get_objects(2)) < len(kept)


@pytest.mark.usefixtures("collector")
def test_circle_that_was_set_aside_is_freed_when_all_is_looked_at_again(clock):
    """It stays until then, and no longer."""
    ring = Ring()
    gc.collect()
    del ring
    before = Ring.freed

    gc.collect()
    assert Ring.freed == before

    clock.now_s = ALL_S
    gc.collect()
    gc.collect()
    assert Ring.freed == before + 1


@pytest.mark.usefixtures("collector")
def test_much_more_than_there_was_is_looked_at_before_its_time(clock):
    """Circles that pile up among what was set aside are not kept for an hour."""
    rings = [Ring() for _ in range(gc.get_freeze_count() // 2 + 2 * ROOM)]
    gc.collect()
    count, before = len(rings), Ring.freed
    del rings

    clock.now_s = COUNT_S
    gc.collect()
    gc.collect()

    assert Ring.freed == before + count


def test_stopped_collector_leaves_no_trace(clock):
    """Nothing is set aside any more, and nobody is told of collections."""
    callbacks, thresholds = list(gc.callbacks), gc.get_threshold()
    collector = Collector(clock)
    collector.start()

    collector.stop()

    assert gc.callbacks == callbacks
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0
