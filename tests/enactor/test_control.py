"""How patient an enactor is with the control API: its pauses grow, from what it is told, to a bound."""

import pytest

from fencepost.errors import PriorRequestNotComplete, Throttling

ZONE = "b.test."


async def pauses_of(world, error, **settings) -> list[float]:
    """Return the pauses between eight tries of a read, seven of which end in this error."""
    enactor = world.enactor("fixed", "one", **settings)
    enactor.tools.rng.uniform = lambda low, high: low + high  # the longest that may be drawn
    enactor.store.errors = [error] * 7
    pauses, sleep = [], world.clock.sleep

    async def noting(seconds):
        pauses.append(seconds)
        await sleep(seconds)

    world.clock.sleep = noting
    await enactor.tools.api.read(ZONE, [])
    return pauses


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (PriorRequestNotComplete(ZONE), [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]),
        (Throttling(ZONE, wait_s=0.1), [0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (Throttling(ZONE, wait_s=0.0), [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]),
    ],
)
async def test_pause_doubles_from_what_the_account_asks_for_up_to_the_enactor_s_longest(world, error, longest):
    """A wait of minutes helps nobody: the lock is gone by then, and the plan is superseded."""
    await world.add_zones(ZONE)

    pauses = await pauses_of(world, error, backoff_base_s=0.01, backoff_cap_s=0.5)

    assert pauses == pytest.approx(longest)
