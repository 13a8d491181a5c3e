"""From counts to rates: intervals against published values, and what is told where nothing happened."""

import math

import pytest

from lab.odds.estimate import Tally, at_most, poisson_interval, rate_of
from lab.odds.model import Run


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        (1, 0.0253, 5.572),
        (2, 0.2422, 7.225),
        (3, 0.6187, 8.767),
        (5, 1.623, 11.668),
        (10, 4.795, 18.390),
        (20, 12.217, 30.888),
        (50, 37.111, 65.919),
        (100, 81.364, 121.627),
    ],
)
def test_interval_of_a_count_is_garwoods(count, low, high):
    """The exact 95 % limits of a Poisson mean, as tables print them (Garwood 1936; Pearson and Hartley, table 40)."""
    found = poisson_interval(count)

    assert found == pytest.approx((low, high), rel=1e-3)


@pytest.mark.parametrize("count", [1, 7, 40, 300])
def test_interval_leaves_two_and_a_half_percent_at_each_end(count):
    """That is what exact means: at either end, a count this far off has a probability of 2.5 %."""
    low, high = poisson_interval(count)

    assert 1 - at_most(count - 1, low) == pytest.approx(0.025, rel=1e-6)
    assert at_most(count, high) == pytest.approx(0.025, rel=1e-6)


def test_interval_without_any_event_is_the_rule_of_three():
    """No outage in 2 hours: fewer than 1.5 an hour, and not "never"."""
    rate = rate_of(Tally(runs=24, hours=2.0))

    assert rate == pytest.approx((0.0, 0.0, 2.9957 / 2), rel=1e-4)


def test_rate_of_nothing_run_is_unknown():
    """Without exposure nothing is said: any rate is possible, any probability."""
    rate = rate_of(Tally())

    assert rate == (0.0, 0.0, math.inf)
    assert rate.probability == (0.0, 0.0, 1.0)


def test_rate_counts_the_hours_of_runs_that_ended_early():
    """Two outages after 900 s each, one run of 1,800 s without: 2 in an hour, and a probability of 1 - e^-2."""
    lengths = ((900.0, 3, 4), (900.0, 2, 7), (1800.0, 0, 0))
    runs = [
        Run(lasted_s, emptied=lasted_s < 1000, plans=10, stale_flips=flips, deepest=deepest, steps=99)
        for lasted_s, flips, deepest in lengths
    ]

    tally = Tally.of(runs)
    rate = rate_of(tally)

    assert tally == Tally(runs=3, outages=2, hours=1.0, plans=30, stale_flips=5, deepest=7)
    assert rate == pytest.approx((2.0, 0.2422, 7.225), rel=1e-3)
    assert rate.probability.per_hour == pytest.approx(1 - math.exp(-2))
