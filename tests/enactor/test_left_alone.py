"""How long a plan is left to another enactor: as long as glances show that it comes on."""

import asyncio

import pytest

from enactor.opening import common_order
from enactor.reader import PlanReader
from enactor.tree import manifest_of
from fencepost.batch import create
from fencepost.names import manifest_name
from fencepost.records import txt

ZONES = tuple(f"{name}.test." for name in "abcdefghijkl")
ORDER = common_order(1, ZONES)
PATIENCE_S = 1.0
"""The longest; of virtual time, and so long of real time that no test depends on it."""


async def who_finds_another(world, *, patience_s=PATIENCE_S):
    """Publish a first plan; return an enactor for it that will find the opening locked by somebody who does no more."""
    await world.add_zones(*ZONES)
    two = world.enactor("fixed", "two", patience_s=patience_s)
    await world.publish(**world.contents(ZONES))
    await world.operate(ORDER[0], create(await world.foreign_lock(ORDER[0], 30)))
    return two


async def test_trees_of_a_lost_plan_of_the_same_number_show_nobody_who_comes_on(world):
    """Their manifests have another digest than this plan's; nor does one that cannot be read show anything."""
    two = await who_finds_another(world)
    for zone, text in zip(ORDER[1:], ["0/1 deadbeef", "1/1 deadbeef", "0/1 0", *["1/1 deadbeef"] * 8], strict=True):
        await world.operate(zone, create(txt(manifest_name(zone, 1), text)))
    await two.tick()
    world.clock.now_s += PATIENCE_S

    outcome = await two.tick()

    assert not outcome.text.startswith("plan 1 is left")


@pytest.mark.timeout(10)
async def test_zone_that_does_not_answer_a_glance_holds_up_a_round_for_one_patience(world):
    """It counts for nothing; the others are looked at, and installed, while it does not answer."""
    two = await who_finds_another(world, patience_s=0.05)
    await two.tick()
    read, answers = two.store.read, asyncio.Event()

    async def stalling(zone, keys):
        if zone == ORDER[4]:
            await answers.wait()
        return await read(zone, keys)

    two.store.read = stalling
    world.clock.now_s += 0.05

    ticking = asyncio.create_task(two.tick())
    others = [zone for zone in ORDER[1:] if zone != ORDER[4]]
    while [await world.fenced(zone) for zone in others] != [1] * len(others):
        pass

    assert not ticking.done()
    answers.set()
    await ticking


@pytest.mark.parametrize(("done", "patiences"), [(1, 1), (4, 1), (5, 2), (8, 2), (11, 2), (12, 2)])
async def test_trail_of_an_enactor_that_is_gone_costs_two_patiences_at_most(world, done, patiences):
    """Its trees are all found in the first glance, so that the next one shows nothing that is not known."""
    two = await who_finds_another(world)
    plan = await PlanReader(world.plans).latest()
    for zone in ORDER[:done]:
        await world.operate(zone, create(manifest_of(plan, zone)._replace(done=0).record(zone, 1)))
    await two.tick()

    waited = 0
    while await world.fenced(ORDER[1]) is None:
        waited += 1
        world.clock.now_s += PATIENCE_S
        await two.tick()

    assert waited == patiences


async def test_enactor_that_comes_on_by_a_few_endpoints_is_seen_wherever_it_is(world):
    """From the tenth to the twelfth, which are far from the places that the first glance looked at."""
    zones = tuple(f"{name}.test." for name in "abcdefghijklmnopqrstuvwx")
    order = common_order(1, zones)
    await world.add_zones(*zones)
    two = world.enactor("fixed", "two", patience_s=PATIENCE_S)
    await world.publish(**world.contents(zones))
    await world.operate(order[0], create(await world.foreign_lock(order[0], 30)))
    plan = await PlanReader(world.plans).latest()
    await two.tick()
    texts = []

    for begun in (order[:10], order[10:12], ()):
        for zone in begun:
            await world.operate(zone, create(manifest_of(plan, zone).record(zone, 1)))
        world.clock.now_s += PATIENCE_S
        texts.append((await two.tick()).text.startswith("plan 1 is left"))

    assert texts == [True, True, False]


async def test_plan_whose_first_enactor_comes_on_no_more_is_everybody_s_after_one_patience(world):
    """The opening is locked by somebody who is gone: all others are installed in the next round, that one later."""
    await world.add_zones(*ZONES)
    two = world.enactor("fixed", "two", patience_s=PATIENCE_S)
    await world.publish(**world.contents(ZONES))
    await world.operate(ORDER[0], create(await world.foreign_lock(ORDER[0], 2 * PATIENCE_S)))
    await two.tick()
    assert [await world.fenced(zone) for zone in ZONES] == [None] * len(ZONES)

    world.clock.now_s += PATIENCE_S
    await two.tick()

    assert [await world.fenced(zone) for zone in ORDER[1:]] == [1] * (len(ZONES) - 1)
    await world.clock.sleep(2 * PATIENCE_S)
    await world.install(two, most=1)


async def test_newer_plan_has_an_opening_of_its_own(world):
    """What another was at before is no reason to wait: nobody is at this plan yet."""
    two = await who_finds_another(world)
    await two.tick()
    await world.publish(**world.contents(ZONES, weight=2))
    assert common_order(2, ZONES)[0] != ORDER[0]

    await two.tick()

    assert [await world.fenced(zone) for zone in ORDER[1:]] == [2] * (len(ZONES) - 1)


async def test_plans_in_a_row_whose_openings_are_lost_use_up_one_patience_together(world):
    """Else a stream of plans, each left to somebody who is gone, would keep an enactor from work for ever."""
    await world.add_zones(*ZONES)
    two = world.enactor("fixed", "two", patience_s=PATIENCE_S)
    openings = {common_order(generation, ZONES)[0] for generation in (1, 2, 3)}
    for zone in openings:
        await world.operate(zone, create(await world.foreign_lock(zone, 10 * PATIENCE_S)))
    installed = []

    for weight in (1, 2, 3):
        await world.publish(**world.contents(ZONES, weight=weight))
        await two.tick()
        installed.append({await world.fenced(zone) for zone in set(ZONES) - openings})
        world.clock.now_s += 0.6 * PATIENCE_S
    await two.tick()

    assert installed == [{None}, {None}, {None}]
    assert {await world.fenced(zone) for zone in set(ZONES) - openings} == {3}
