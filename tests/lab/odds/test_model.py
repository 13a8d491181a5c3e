"""Runs in virtual time: deterministic, broken by delays alone, and never with the fixed protocol."""

import itertools

import msgspec
import pytest

from lab.odds.model import Region, Setting

SEEDS = (4, 6, 7, 8)
LASTS_S = 60.0
BASE = Setting()


@pytest.fixture(scope="module")
def at_base():
    """What becomes of the base setting's runs."""
    region = Region(BASE)
    return [region.run(seed, LASTS_S) for seed in SEEDS]


def runs_for_as_long(setting, at_base):
    """Return a setting's runs, each for as long as the base's run of the same seed lasted."""
    region = Region(setting)
    return [region.run(seed, run.lasted_s) for seed, run in zip(SEEDS, at_base, strict=True)]


def test_buggy_enactors_at_the_base_rate_empty_endpoints_by_delays_alone(at_base):
    """Nothing is scripted, and most of these runs end with an endpoint that has no address, within a minute."""
    emptied = [run for run in at_base if run.emptied]

    assert len(emptied) >= 2
    assert all(run.stale_flips > 0 and run.deepest > BASE.keep for run in emptied)
    assert all(run.lasted_s < LASTS_S for run in emptied)


def test_buggy_enactors_at_a_tenth_of_the_plan_rate_empty_nothing_in_the_same_time(at_base):
    """Throttling: enactors are as late as before, but by fewer plans than the cleaner keeps."""
    runs = runs_for_as_long(msgspec.structs.replace(BASE, plans_per_s=1.0), at_base)

    assert [run.emptied for run in runs] == [False] * len(runs)
    assert sum(run.plans for run in runs) > 40
    assert sum(run.stale_flips for run in runs) > 0, "the race is still there, only its margin is wider"


def test_fixed_enactors_in_the_same_worlds_empty_nothing_and_take_nothing_back(at_base):
    """The same seeds, links, plans and rates: with the fixed protocol no stale flip is committed at all."""
    runs = runs_for_as_long(msgspec.structs.replace(BASE, mode="fixed"), at_base)

    assert [run.emptied for run in runs] == [False] * len(runs)
    assert [run.stale_flips for run in runs] == [0] * len(runs)
    assert sum(run.plans for run in runs) == pytest.approx(sum(run.plans for run in at_base), rel=0.2)


def test_run_of_one_seed_is_the_same_again_whatever_ran_before(at_base):
    """A run follows from setting and seed alone: another region object, another order, the same figures."""
    region = Region(BASE)

    again = [region.run(seed, LASTS_S) for seed in reversed(SEEDS[-2:])]

    assert again == at_base[:-3:-1]


def test_run_that_is_stopped_says_how_far_it_got():
    """An interrupted run counts for the time that it had, without an outage."""
    asked = itertools.count(1)

    run = Region(BASE).run(1, LASTS_S, lambda: next(asked) == 2)

    assert not run.emptied
    assert 0 < run.lasted_s < LASTS_S
    assert next(asked) == 3


@pytest.mark.parametrize(("median_s", "patience_s"), [(0.0005, 0.03), (BASE.median_s, 0.0)])
def test_patience_with_other_enactors_is_what_it_is_over_such_a_link(median_s, patience_s):
    """The rule is the setting's own, whatever the median is."""
    assert msgspec.structs.replace(BASE, median_s=median_s).scenario.patience_s == patience_s
