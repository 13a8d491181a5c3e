"""A round with nothing to do costs what is due, not what there is; and it is what a plain recount would say."""

import random
import sys

import pytest

from enactor.held import Held
from enactor.pace import SLICE
from enactor.view import ZoneView
from fencepost.errors import ZoneFrozen
from fencepost.fence import Fence
from fencepost.plan import Contents, Lane, Plan, Target, content, digest, short
from fencepost.records import txt

ZONES = tuple(f"{letter}.test." for letter in "abcdef")
CONTENTS = {digest(each): each for each in (content(5, [Target("lb", "A", "10.0.0.1", n)]) for n in (1, 2))}
STUCK_S = 3.0


async def steps_of_an_idle_round(world, count: int) -> int:
    """Return how many opcodes a round takes in a region of so many zones, all of which have the latest plan."""
    zones = [f"z{number:03d}.test." for number in range(count)]
    await world.add_zones(*zones)
    await world.publish(**world.contents(zones))
    enactor = world.enactor("fixed", f"of-{count}", patience_s=0)
    await world.install(enactor)
    for _ in range(2 * count // SLICE + 3):  # each zone is swept once, and nothing is called for
        await enactor.tick()
    steps, before = 0, sys.gettrace()

    def count(frame, event, _arg):
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return count

    sys.settrace(count)
    try:
        await enactor.tick()
    finally:
        sys.settrace(before)
    return steps


async def test_idle_round_takes_no_more_steps_where_there_are_more_zones(world):
    """Five times the zones: no step is done for each of them, be it in a function, a loop or a comprehension."""
    few = await steps_of_an_idle_round(world, 20)
    many = await steps_of_an_idle_round(world, 100)

    assert few > 100
    assert many - few < 80


async def swept(world, count: int):
    """Return an enactor of a region of so many zones all of which it has just swept, and what it reads from now on."""
    zones = [f"z{number:03d}.test." for number in range(count)]
    await world.add_zones(*zones)
    await world.publish(**world.contents(zones))
    enactor = world.enactor("fixed", "one", patience_s=0)
    await world.install(enactor)
    for _ in range(2 * count // SLICE + 3):
        await enactor.tick()
    read, zones_read = enactor.store.read, []

    async def noted(zone, keys):
        zones_read.append(zone)
        return await read(zone, keys)

    enactor.store.read = noted
    return enactor, zones_read


async def test_rounds_without_a_plan_take_no_zone_s_turn_to_be_swept(world):
    """The plan store is empty for a moment, when all zones are due to be swept: they are when the plan is back."""
    enactor, read = await swept(world, 12)
    kept = await world.kept_plans()
    await world.clock.sleep(enactor.settings.pauses.sweep_s + 1)
    await world.forget_plans()
    for _ in range(3):
        await enactor.tick()
    assert read == []

    await world.forget_plans(kept)
    for _ in range(2):
        await enactor.tick()

    assert len(set(read)) == 12


async def test_rounds_without_a_plan_glance_at_no_zone_of_the_plan_before(world):
    """Nothing says which zones there are."""
    enactor, read = await swept(world, 120)  # so many that glances are sooner than sweeps
    await world.forget_plans()

    for _ in range(10):
        await world.clock.sleep(1)
        await enactor.tick()

    assert read == []


def due(held, plan) -> set[str]:
    """Return what `Held.due` says, counted anew from what is known of each zone."""
    fences, waits, now_s = held._at, held._waits, held._clock.monotonic()

    def waits_for_this_plan(zone) -> bool:
        return zone in waits and now_s < waits[zone].until_s and waits[zone].generation in {None, plan.generation}

    lacking = {zone for zone in plan.digests if zone not in fences or not fences[zone].has(plan, zone)}
    return {zone for zone in lacking if not waits_for_this_plan(zone)}


def installed(held, known, plan) -> int:
    """Return what `Held.installed` says, counted anew from what was done."""
    waiting = [zone for zone in plan.digests if zone not in known.stands]
    moved = [zone for zone in waiting if not held._is_stuck(zone)]
    return min([plan.generation, *(held._seen.get(zone, 0) for zone in moved or waiting)])


class Known:
    """Which zones wait for a person, and which are frozen."""

    def __init__(self) -> None:
        self.stands: set[str] = set()
        self.frozen: set[str] = set()


def some_plan(rng) -> Plan:
    """Return a plan that lacks zones, or changes contents back, of whatever number; some have the same number."""
    generation, published_ms = rng.randint(1, 6), rng.randint(1, 3)
    zones = [zone for zone in ZONES if rng.random() < 0.8] or [ZONES[0]]
    digests = {zone: rng.choice(list(CONTENTS)) for zone in zones}
    since = {zone: rng.randint(1, generation) for zone in zones if rng.random() < 0.7}
    return Plan(generation, published_ms, Lane.SLOW, "test", digests, Contents.of(CONTENTS), {}, since)


def some_fence(rng) -> Fence | None:
    digest = short(rng.choice(list(CONTENTS)))
    return Fence(rng.randint(1, 6), digest, "somebody-1-1") if rng.random() < 0.8 else None


def look(held, known, zone: str, rng) -> None:
    """Let a zone be looked at that may be frozen, and has whatever fence."""
    frozen = txt(f"_frozen.{zone}", "ops 1792000000 why") if rng.random() < 0.3 else None
    try:
        held.look(zone, ZoneView((), (), None, some_fence(rng), None, None, frozen))
    except ZoneFrozen as error:
        held.freeze(error)
        known.frozen.add(zone)
        known.stands.add(zone)
    else:
        if zone in known.frozen:
            known.frozen.discard(zone)
            known.stands.discard(zone)


def do(held, known, plan: Plan, zone: str, rng) -> None:
    """Let something happen to a zone, drawn by chance."""
    deed = rng.randrange(7)
    if deed == 0:
        there = some_plan(rng)
        if zone in there.digests:
            if rng.random() < 0.5:
                held.moved(zone, there)
            held.arrived(zone, there)
            known.stands.discard(zone)
    elif deed == 1:
        stands = rng.random() < 0.5
        held.hold(zone, "why", stands=stands)
        (known.stands.add if stands else known.stands.discard)(zone)
    elif deed == 2:
        held.glance(zone, some_fence(rng))
    elif deed == 3:
        held.wait(zone, 2.0, rng.choice([None, plan.generation, 3]))
    elif deed == 4:
        held.begin(zone)
    else:
        look(held, known, zone, rng)


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_due_and_installed_is_what_a_recount_says_whatever_happens(world, seed):
    """Plans that lack zones or bring them back, arrivals, looks, freezes, holds, glances and waits in any order."""
    rng = random.Random(seed)
    held, known = Held(world.clock, world.enactor("fixed", "one").tools.events, STUCK_S), Known()
    plans: dict[tuple[int, int], Plan] = {}  # one plan of a number and time

    for step in range(300):
        if step == 0 or rng.random() < 0.15:
            drawn = some_plan(rng)
            plan = plans.setdefault((drawn.generation, drawn.published_ms), drawn)
            held.turn_to(plan)
        do(held, known, plan, rng.choice(ZONES), rng)
        world.clock.now_s += rng.random()

        assert held.due() == due(held, plan)
        assert {zone for zone in ZONES if held.is_due(zone)} == held.due()
        assert held.installed() == installed(held, known, plan)
