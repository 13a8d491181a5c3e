"""Which runs count: by their number, whoever was quick."""

import pytest

from lab.odds.model import Run, Setting
from lab.odds.schedule import Effort, Runs

EFFORT = Effort(outages=2, hours=1.0, lasts_s=1200.0)
OUTAGE = Run(100.0, emptied=True, plans=9, stale_flips=1, deepest=12, steps=5)
NONE = OUTAGE._replace(lasted_s=1200.0, emptied=False, stale_flips=0)
STOPPED = NONE._replace(lasted_s=30.0)


def ordered(count):
    """Return runs of which so many are ordered."""
    runs = Runs(Setting(), 1, EFFORT)
    for _ in range(count):
        runs.order()
    return runs


def test_runs_that_come_in_another_order_count_the_same():
    """A quick run with an outage must not count instead of a slow one that was ordered before it."""
    first, other = ordered(4), ordered(4)
    made = (OUTAGE, NONE, OUTAGE, OUTAGE)

    for number in (0, 1, 2, 3):
        first.take(number, made[number])
    for number in (3, 2, 0, 1):
        other.take(number, made[number])

    assert first.counted == other.counted == list(made[:3])
    assert first.enough


def test_runs_are_not_enough_while_an_earlier_one_is_under_way():
    """Two outages are there, but the run before them may still change where the count ends."""
    runs = ordered(3)

    runs.take(1, OUTAGE)
    runs.take(2, OUTAGE)

    assert not runs.enough
    runs.take(0, NONE)
    assert runs.enough
    assert runs.tally.outages == 2


def test_runs_without_outages_are_enough_after_their_hours():
    """Three runs of 1,200 s are an hour; nobody orders a fourth while the third is under way."""
    runs = ordered(3)
    runs.take(0, NONE)
    runs.take(1, NONE)

    assert not runs.enough
    assert not runs.wants_more
    runs.take(2, NONE)
    assert runs.enough
    assert runs.tally.hours == pytest.approx(1.0)


def test_runs_that_are_cut_short_all_count():
    """After an interruption every run counts as far as it got, also the ones under way."""
    runs = ordered(3)

    runs.take(2, OUTAGE)
    runs.take(0, STOPPED)

    assert sorted(runs.counted) == sorted([OUTAGE, STOPPED])


def test_orders_have_seeds_of_their_own():
    """No two runs of a setting are the same, nor do seeds of the command share any."""
    one, two = Runs(Setting(), 1, EFFORT), Runs(Setting(), 2, EFFORT)

    seeds = [runs.order()[1].seed for runs in (one, two) for _ in range(3)]

    assert len(set(seeds)) == 6
