"""Contents that the plan store has damaged: they stand in the way of who needs them, and of nobody else."""

import pytest

from enactor.opening import common_order
from enactor.reader import PlanReader
from enactor.tree import manifest_of
from fencepost.batch import create, delete
from fencepost.names import lock_name, tree_name
from fencepost.plan import encode_content

ZONES = ("a.test.", "b.test.", "c.test.")
B = ZONES[1]
PATIENCE_S = 1.0


@pytest.fixture
def damage_zones(world, damage):
    """Do that to what the latest plan has for some endpoints."""

    async def put(*zones, text=b"[5,[[\xff"):
        plan = await world.plans.latest()
        for zone in zones:
            await damage(plan.digests[zone], text)

    return put


async def test_damaged_content_holds_up_its_own_endpoint_until_a_plan_replaces_it(world, damage_zones):
    """The reason names the content and the remedy; the others are installed, and no round ends by it."""
    await world.add_zones(*ZONES)
    await world.publish(a=world.targets(2), b=world.targets(3), c=world.targets(4))
    await damage_zones(B)
    enactor = world.enactor("fixed", "one")

    outcome = await enactor.tick()

    damaged = (await world.plans.latest()).digests[B]
    assert outcome.held.keys() == {B}
    assert f"content {damaged} is damaged in the plan store" in outcome.held[B]
    assert outcome.held[B].endswith(f"`fencepost plan publish`, or an earlier one with `fencepost rollback {B}`")
    assert [await world.fenced(zone) for zone in ZONES] == [1, None, 1]
    await world.publish(b=world.targets(2))
    await world.install(enactor)
    assert await world.root(B) == tree_name(B, 2)


async def test_damaged_content_that_is_live_does_not_keep_the_next_plan_from_being_compared_with_it(
    world, damage_zones
):
    """What it was is read from the zone: half of it is not taken away, and a third is."""
    await world.add_zones(B)
    await world.publish(b=world.targets(10))
    await world.install(world.enactor("fixed", "one"))
    await damage_zones(B)
    enactor = world.enactor("fixed", "two")
    await enactor.tick()

    await world.publish(b=world.targets(5))
    refused = await enactor.tick()
    await world.publish(b=world.targets(7))
    await world.install(enactor)

    assert "takes away 5 of 10" in refused.held[B]
    assert await world.root(B) == tree_name(B, 3)


async def test_enactor_that_leaves_a_plan_to_another_needs_none_of_its_contents(world, damage_zones):
    """Whether others come on is told by digests: by a tree that is begun as well as by fences."""
    await world.add_zones(*ZONES)
    await world.publish(a=world.targets(2), b=world.targets(3), c=world.targets(4))
    plan, (opening, *_, last) = await PlanReader(world.plans).latest(), common_order(1, ZONES)
    await world.operate(opening, create(await world.foreign_lock(opening, 30)))
    await world.operate(last, create(manifest_of(plan, last)._replace(done=0).record(last, 1)))
    await damage_zones(*ZONES)
    enactor = world.enactor("fixed", "one", patience_s=PATIENCE_S)

    await enactor.tick()
    world.clock.now_s += PATIENCE_S
    outcome = await enactor.tick()

    assert outcome.text.startswith("plan 1 is left")
    assert outcome.held == {}


async def test_enactor_that_finds_a_plan_installed_needs_none_of_its_contents(world, damage_zones):
    """Fences tell that all have it; only self-repair wants to know more."""
    await world.add_zones(*ZONES)
    await world.publish(a=world.targets(2), b=world.targets(3), c=world.targets(4))
    await world.install(world.enactor("fixed", "one"))
    await damage_zones(*ZONES)

    outcome = await world.enactor("fixed", "two", patience_s=0.0, without="self-repair").tick()

    assert (outcome.installed, outcome.held) == (1, {})


@pytest.mark.parametrize("without", ["", "fairness"])
async def test_damaged_content_that_alone_is_due_ends_no_round_and_is_told_once(world, damage_zones, without):
    """It is held with its reason, keeps the planner back from nothing, and costs no lock."""
    await world.add_zones(*ZONES)
    await world.publish(a=world.targets(2), b=world.targets(3), c=world.targets(4))
    await damage_zones(B)
    enactor = world.enactor("fixed", "one", without=without)

    outcomes = []
    for _ in range(10):
        outcomes.append(await enactor.tick())
        world.clock.now_s += enactor.settings.pauses.backoff_cap_s

    assert [outcome.held.keys() for outcome in outcomes] == [{B}] * 10
    assert outcomes[-1].installed == 1
    assert [await world.fenced(zone) for zone in ZONES] == [1, None, 1]
    (told,) = enactor.saw("enactor.endpoint_skipped")
    assert told.zone == B
    assert lock_name(B) not in {record.name for record in (await world.records(B)).values()}


async def test_damaged_content_that_is_repaired_in_the_store_is_installed(world, damage_zones):
    """By who has met it damaged, and without another plan."""
    await world.add_zones(*ZONES)
    desired = world.targets(3)
    await world.publish(a=world.targets(2), b=desired, c=world.targets(4))
    await damage_zones(B)
    enactor = world.enactor("fixed", "one")
    await enactor.tick()

    await damage_zones(B, text=encode_content(desired))
    world.clock.now_s += enactor.settings.pauses.backoff_cap_s
    outcome = await enactor.tick()

    assert outcome.held == {}
    assert await world.fenced(B) == 1


@pytest.mark.parametrize("lost", [1, 3])
async def test_live_tree_whose_content_is_damaged_is_held_as_nobody_can_say_whether_it_is_whole(
    world, damage_zones, lost
):
    """Half a tree and no tree at all: self-repair tells once that it cannot repair, and does so when it can."""
    await world.add_zones(B)
    desired = world.targets(3)
    await world.publish(b=desired)
    await world.install(world.enactor("fixed", "one"))
    await damage_zones(B)
    leaves = [record for record in (await world.records(B)).values() if record.name == tree_name(B, 1)]
    await world.operate(B, *map(delete, leaves[:lost]))
    enactor = world.enactor("fixed", "two")

    for _ in range(5):
        outcome = await enactor.tick()
        world.clock.now_s += enactor.settings.pauses.backoff_cap_s
    told, locked = enactor.saw("enactor.endpoint_skipped"), enactor.saw("enactor.lock_acquired")
    await damage_zones(B, text=encode_content(desired))
    await world.install(enactor)

    assert "is damaged in the plan store" in outcome.held[B]
    assert (len(told), len(locked)) == (1, 0)
    assert len(await world.leaves(B, 1)) == 3
