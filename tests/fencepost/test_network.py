"""Links: draws follow the seed and the profile, and a lost call has an unknown outcome."""

import math
import statistics

import msgspec
import pytest

from fencepost.clock import stream
from fencepost.errors import OutcomeUnknown
from fencepost.network import PROFILES, Link, LinkSpec


class FakeClock:
    """A clock on which time passes by sleeping only."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        return self.now_s

    def epoch_s(self):
        return self.now_s

    async def sleep(self, seconds):
        self.now_s += seconds


def test_draws_are_the_same_for_a_seed_and_others_for_another():
    """One seed fixes all draws; process and link have streams of their own."""
    spec = PROFILES["region"].control_api

    def draws(*names, seed=1):
        rng = stream(seed, *names)
        return [spec.draw_s(rng) for _ in range(50)]

    assert draws("az1", "control") == draws("az1", "control")
    assert len({tuple(draws(*names, seed=seed)) for seed in (1, 2) for names in (("az1", "c"), ("az2", "c"))}) == 4


@pytest.mark.parametrize("profile", ["lan", "region", "accelerated", "rough"])
@pytest.mark.parametrize("kind", ["same_zone", "across_zones", "control_api", "propagation"])
def test_draws_have_the_profiles_median_and_p99(profile, kind):
    """The body of 20,000 draws is what the profile says, stalls aside."""
    spec = msgspec.structs.replace(getattr(PROFILES[profile], kind), stall=0.0)
    rng = stream(1, profile, kind)
    draws = sorted(spec.draw_s(rng) for _ in range(20_000))

    assert math.isclose(statistics.median(draws), spec.median_s, rel_tol=0.05)
    assert math.isclose(draws[19_800], spec.p99_s, rel_tol=0.12)


def test_stalls_come_as_often_and_last_as_long_as_the_spec_says():
    """A stall adds its length to a round trip."""
    spec = LinkSpec(stall=0.1, stall_min_s=5.0, stall_max_s=30.0)
    rng = stream(1, "stalls")
    stalls = [draw for draw in (spec.draw_s(rng) for _ in range(20_000)) if draw > 0]

    assert 1800 < len(stalls) < 2200
    assert 5.0 <= min(stalls) < 5.2
    assert 29.8 < max(stalls) <= 30.0


async def test_link_delays_half_before_and_half_after_the_call():
    """A call is executed in the middle of its round trip."""
    clock = FakeClock()
    link = Link(LinkSpec(median_s=0.2, p99_s=0.2), clock, stream(1))

    async def execute():
        return clock.now_s

    assert await link.call(execute) == pytest.approx(0.1)
    assert clock.now_s == pytest.approx(0.2)


async def test_link_that_loses_calls_leaves_the_outcome_unknown_before_or_after():
    """Half of the lost calls were executed, half were not; the caller waits its time-out and cannot tell."""
    clock, executed = FakeClock(), []
    link = Link(LinkSpec(loss=0.5, timeout_s=6.0), clock, stream(1, "loss"))
    outcomes = {"answered": 0, "lost before": 0, "lost after": 0}
    for number in range(2000):

        async def execute(number=number):
            executed.append(number)

        began_s = clock.now_s
        try:
            await link.call(execute)
            outcomes["answered"] += 1
        except OutcomeUnknown:
            outcomes["lost after" if number in executed[-1:] else "lost before"] += 1
            assert clock.now_s - began_s == pytest.approx(6.0)

    assert 900 < outcomes["answered"] < 1100
    assert 400 < outcomes["lost before"] < 600
    assert 400 < outcomes["lost after"] < 600


async def test_link_without_delay_never_waits():
    """Profile `none` adds nothing."""
    clock = FakeClock()
    link = Link(PROFILES["none"].control_api, clock, stream(1))

    async def execute():
        return "done"

    assert await link.call(execute) == "done"
    assert clock.now_s == 0.0
