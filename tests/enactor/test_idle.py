"""A round with nothing to do costs what is due, not what there is; and it is what a plain recount would say."""

import random
import sys

import pytest

from enactor.held import Held
from enactor.pace import SLICE
from fencepost.fence import Fence
from fencepost.plan import short

ZONES = tuple(f"{letter}.test." for letter in "abcdef")
STUCK_S = 3.0


async def calls_of_an_idle_round(world, count: int) -> int:
    """Return how many functions a round calls in a region of so many zones, all of which have the latest plan."""
    zones = [f"z{number:03d}.test." for number in range(count)]
    await world.add_zones(*zones)
    await world.publish(**world.contents(zones))
    enactor = world.enactor("fixed", f"of-{count}", patience_s=0)
    await world.install(enactor)
    for _ in range(2 * count // SLICE + 3):  # each zone is swept once, and nothing is called for
        await enactor.tick()
    calls = 0

    def count_call(_frame, event, _arg):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count_call)
    try:
        await enactor.tick()
    finally:
        sys.setprofile(None)
    return calls


async def test_idle_round_calls_no_more_functions_where_there_are_more_zones(world):
    """Four times the zones: no function is called for each of them."""
    few = await calls_of_an_idle_round(world, 20)
    many = await calls_of_an_idle_round(world, 80)

    assert many - few < 30


def installed(held, known, plan) -> int:
    """Return what `Held.installed` says, counted anew from what was done."""
    waiting = [zone for zone in plan.digests if zone not in known.stands]
    moved = [zone for zone in waiting if not held._is_stuck(zone)]
    return min([plan.generation, *(held._seen.get(zone, 0) for zone in moved or waiting)])


class Known:
    """Which zones wait for a person."""

    def __init__(self) -> None:
        self.stands: set[str] = set()


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_due_and_installed_is_what_a_recount_says_whatever_happens(world, seed):
    """Plans, arrivals, holds, glances and waits in any order, contents that change back and plans that are lost."""
    await world.add_zones(*ZONES)
    rng, plans = random.Random(seed), []
    for _ in range(5):
        changed = rng.sample(ZONES, 3)
        await world.publish(**world.contents(changed if plans else ZONES, weight=rng.randint(1, 2)))
        plans.append(await world.plans.latest())
    held, known = Held(world.clock, world.enactor("fixed", "one").tools.events, STUCK_S), Known()
    held.turn_to(plan := plans[0])

    for _ in range(200):
        zone, deed = rng.choice(ZONES), rng.randrange(6)
        if deed == 0:
            held.turn_to(plan := rng.choice(plans))
        elif deed == 1:
            held.arrived(zone, rng.choice(plans))
            known.stands.discard(zone)
        elif deed == 2:
            stands = rng.random() < 0.5
            held.hold(zone, "why", stands=stands)
            (known.stands.add if stands else known.stands.discard)(zone)
        elif deed == 3:
            fence = Fence(plan.generation, short(plan.digests[zone]), "somebody-1-1")
            held.glance(zone, rng.choice([None, fence]))
        elif deed == 4:
            held.wait(zone, 2.0, rng.choice([None, plan.generation]))
        else:
            world.clock.now_s += rng.random() * 2

        assert held.due() == [each for each in ZONES if held.is_due(each, plan)]
        assert held.installed() == installed(held, known, plan)
