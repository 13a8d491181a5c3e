"""The law through the rates: found where there is one, refused where there is none."""

import math

import pytest

from lab.odds.fit import Observed, chi_squared_above, law

TIMES_S = (0.5, 1.0, 2.0, 3.0, 5.0)


def test_law_through_counts_that_follow_it_is_found_and_extrapolated():
    """Counts as e^(7 - t / 0.8) has them give back 7 and 0.8, and the rate at 8 s, where nothing was run."""
    observed = [Observed(t, round(20 * math.exp(7 - t / 0.8)), 20.0) for t in TIMES_S]

    found = law(observed)

    assert found is not None
    assert found.holds
    assert (found.at_once, found.tau_s) == pytest.approx((7.0, 0.8), rel=0.01)
    at_8_s = found.rate(8.0)
    assert at_8_s.low < math.exp(7 - 8 / 0.8) < at_8_s.high


def test_law_through_counts_that_fall_off_steeply_is_found():
    """From 10,000 to nothing within a second: the search for the law must not run away."""
    found = law([Observed(t, round(10_000 * math.exp(-9 * t)), 1.0) for t in (0.01, 0.2, 0.5, 1.0, 60.0)])

    assert found is not None
    assert found.tau_s == pytest.approx(1 / 9, rel=0.02)
    assert found.rate(1e6).per_hour == 0.0


def test_law_through_counts_that_do_not_follow_it_does_not_hold():
    """Rates that level off speak against an exponential: then nothing may be extrapolated."""
    observed = [Observed(t, count, 10.0) for t, count in zip(TIMES_S, (900, 300, 100, 90, 85), strict=True)]

    found = law(observed)

    assert found is not None
    assert not found.holds


def test_law_of_rates_that_rise_does_not_hold():
    """More outages the longer a plan takes to get old: that is another law than the one that is asked for."""
    found = law([Observed(t, round(10 * math.exp(t)), 10.0) for t in TIMES_S])

    assert found is not None
    assert not found.holds


@pytest.mark.parametrize("counts", [(0, 0, 0, 0, 0), (40, 12, 0, 0, 0), (40, 12, 3)])
def test_law_of_too_few_outages_is_none(counts):
    """Any line goes through two points, and a test of three has next to nothing to test by."""
    assert law([Observed(t, count, 1.0) for t, count in zip(TIMES_S, counts, strict=False)]) is None


@pytest.mark.parametrize(("value", "freedom"), [(3.841, 1), (5.991, 2), (7.815, 3), (9.488, 4), (11.070, 5)])
def test_chi_squared_at_its_tabled_value_leaves_five_percent(value, freedom):
    """The 95th percentiles that every table of the distribution begins with."""
    assert chi_squared_above(value, freedom) == pytest.approx(0.05, rel=1e-3)
