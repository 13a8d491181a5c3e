"""Whose turn it is to be cleaned, and to be swept."""

from math import inf

from enactor.pace import HELP_CALLS, SLICE, SWEEP_ZONE_S, CleanPace, SweepPace
from enactor.starts import share
from fencepost.throttle import TokenBucket

HEAD_START_S = 0.2


def test_pace_gives_each_zone_its_turn_and_puts_it_off_once_for_a_plan_that_waits(world):
    """One token a second: the zone that waited longest is next; hurry costs it one turn, never two."""
    pace = CleanPace(TokenBucket(1.0, 1.0, world.clock), "one", 0.2)
    pace.call_for(["a", "b"])

    turns = []
    for hurry in (False, False, True, True, True, True):
        turns.append(pace.turns(bool, hurry=hurry, calls=inf))
        world.clock.now_s += 1.0

    assert turns == [["a"], ["b"], [], ["a"], ["b"], ["a"]]


def test_pace_takes_nothing_for_a_turn_that_came_to_nothing(world):
    """A sweep calls for many zones that have nothing to clean: they use up no other zone's rate."""
    pace = CleanPace(TokenBucket(1.0, 1.0, world.clock), "one", 0.2)
    pace.call_for(["a", "b"])

    first = pace.turns(bool, hurry=False, calls=inf)
    pace.unused("a")

    assert first == ["a"]
    assert pace.turns(bool, hurry=False, calls=inf) == ["b"]


def test_pace_calls_for_what_others_flipped_later_and_for_what_one_flipped_at_once(world):
    """A zone that is called for in the meantime does not have a second turn because of the others."""
    pace = CleanPace(TokenBucket(0.0, 1.0, world.clock), "one", 0.2)
    pace.call_after("a", 0.0)
    pace.call_after("b", 0.1)
    pace.call_after("a", 0.1)
    due_s = HEAD_START_S * (1 + share("one", "a"))

    pace.call_for_late(due_s - 0.001)
    assert not pace.called
    pace.call_for_late(due_s)
    assert pace.turns(bool, hurry=False, calls=inf) == ["a"]
    pace.unused("a")
    pace.call_for(["b"])
    assert pace.turns(bool, hurry=False, calls=inf) == ["b"]
    pace.done("b")
    pace.call_for_late(9.0)
    assert not pace.called


def test_pace_puts_a_zone_off_again_once_it_has_had_its_turn(world):
    """A steady stream of plans: every second turn is the plan's."""
    pace = CleanPace(TokenBucket(0.0, 1.0, world.clock), "one", 0.2)
    pace.call_for(["a"])

    assert [pace.turns(bool, hurry=True, calls=inf) for _ in range(4)] == [[], ["a"], [], ["a"]]


def test_pace_helps_where_no_plan_waits_and_there_are_calls_for_it(world):
    """What others have flipped is taken as far as calls go, after a plan; what a sweep calls for waits for neither."""
    pace = CleanPace(TokenBucket(0.0, 1.0, world.clock), "one", 0.2)
    pace.call_after("a", 0.0)
    pace.call_after("b", 0.0)
    pace.call_for_late(2 * HEAD_START_S)
    first, second = pace.called

    assert [pace.turns(bool, hurry=True, calls=inf) for _ in range(3)] == [[], [], []]
    assert pace.turns(bool, hurry=False, calls=HELP_CALLS - 1) == []
    assert pace.turns(bool, hurry=False, calls=2 * HELP_CALLS - 1) == [first]
    pace.call_for([second], thorough=True)
    assert pace.turns(bool, hurry=False, calls=0) == [second]


def test_pace_forgets_zones_that_the_plan_does_not_have_any_more(world):
    """Those that are called for, and those that are left to others for a while."""
    pace = CleanPace(TokenBucket(0.0, 1.0, world.clock), "one", 0.2)
    pace.call_for(["a", "b"])
    pace.call_after("c", 0.0)
    pace.call_after("d", 0.0)

    pace.turn_to({"b": "", "d": ""})
    pace.call_for_late(9.0)

    assert list(pace.called) == ["b", "d"]


def test_sweep_takes_its_time_where_there_are_many_zones_and_leaves_none_out(world):
    """A few at a time, so that no plan waits for it, and each of them once in a while that grows with their number."""
    pace, zones, found = SweepPace(5.0), [f"{n:04d}" for n in range(1000)], []
    pace.turn_to(zones)

    while len(found) < 2 * len(zones):
        swept = pace.turns(world.clock.now_s)
        assert len(swept) <= SLICE
        found += [(zone, world.clock.now_s) for zone in swept]
        world.clock.now_s += 0.02

    first, again = dict(found[:1000]), dict(found[1000:])
    assert sorted(first) == sorted(again) == zones
    assert min(again[zone] - first[zone] for zone in zones) >= 1000 * SWEEP_ZONE_S


def test_sweep_of_zones_of_which_some_are_left_alone_takes_others_and_counts_without_them(world):
    """Those that are left alone use up no turn, and are swept as soon as they are not."""
    pace, zones = SweepPace(5.0), [f"{n:03d}" for n in range(120)]
    pace.turn_to(zones)
    alone = set(zones[:60])

    found = [zone for _ in range(8) for zone in pace.turns(0.0, but=alone)]

    assert found == zones[60:]
    assert pace.turns(5.0 - 0.001, but=alone) == []
    assert pace.turns(5.0, but=alone) == zones[60 : 60 + SLICE]
    assert pace.turns(5.0) == zones[:SLICE]


def test_sweep_forgets_zones_that_left_and_takes_new_ones_first(world):
    """One that comes back is new: nobody has looked at it meanwhile."""
    pace = SweepPace(5.0)
    pace.turn_to(["a", "b", "c"])
    assert pace.turns(0.0) == ["a", "b", "c"]

    pace.turn_to(["b", "c"])
    assert pace.turns(5.0) == ["b", "c"]
    pace.turn_to(["a", "b", "c"])

    assert pace.turns(5.0) == ["a"]
    assert pace.zones == ("a", "b", "c")
