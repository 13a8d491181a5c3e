"""Contents that the plan store has damaged: they stand in the way of who needs them, and of nobody else."""

import redis.asyncio

from enactor.opening import common_order
from enactor.reader import PlanReader
from enactor.tree import manifest_of
from fencepost.batch import create
from fencepost.names import tree_name

ZONES = ("a.test.", "b.test.", "c.test.")
B = ZONES[1]
PATIENCE_S = 1.0


async def damage(world, *zones):
    """Put what is no content in place of what the latest plan has for some endpoints."""
    plan, client = await world.plans.latest(), redis.asyncio.Redis.from_url(world.url)
    for zone in zones:
        assert await client.hset("{plans}:contents", plan.digests[zone], b"[5,[[\xff") == 0, "it was there"
    await client.aclose()


async def test_damaged_content_holds_up_its_own_endpoint_until_a_plan_replaces_it(world):
    """The reason names the content and the remedy; the others are installed, and no round ends by it."""
    await world.add_zones(*ZONES)
    await world.publish(a=world.targets(2), b=world.targets(3), c=world.targets(4))
    await damage(world, B)
    enactor = world.enactor("fixed", "one")

    outcome = await enactor.tick()

    damaged = (await world.plans.latest()).digests[B]
    assert outcome.held.keys() == {B}
    assert f"content {damaged} is damaged in the plan store" in outcome.held[B]
    assert outcome.held[B].endswith("publish another for its endpoints")
    assert [await world.fenced(zone) for zone in ZONES] == [1, None, 1]
    await world.publish(b=world.targets(2))
    await world.install(enactor)
    assert await world.root(B) == tree_name(B, 2)


async def test_damaged_content_that_is_live_does_not_keep_the_next_plan_from_being_compared_with_it(world):
    """What it was is read from the zone: half of it is not taken away, and a third is."""
    await world.add_zones(B)
    await world.publish(b=world.targets(10))
    await world.install(world.enactor("fixed", "one"))
    await damage(world, B)
    enactor = world.enactor("fixed", "two")
    await enactor.tick()

    await world.publish(b=world.targets(5))
    refused = await enactor.tick()
    await world.publish(b=world.targets(7))
    await world.install(enactor)

    assert "takes away 5 of 10" in refused.held[B]
    assert await world.root(B) == tree_name(B, 3)


async def test_enactor_that_leaves_a_plan_to_another_needs_none_of_its_contents(world):
    """Whether others come on is told by digests: by a tree that is begun as well as by fences."""
    await world.add_zones(*ZONES)
    await world.publish(a=world.targets(2), b=world.targets(3), c=world.targets(4))
    plan, (opening, *_, last) = await PlanReader(world.plans).latest(), common_order(1, ZONES)
    await world.operate(opening, create(await world.foreign_lock(opening, 30)))
    await world.operate(last, create(manifest_of(plan, last)._replace(done=0).record(last, 1)))
    await damage(world, *ZONES)
    enactor = world.enactor("fixed", "one", patience_s=PATIENCE_S)

    await enactor.tick()
    world.clock.now_s += PATIENCE_S
    outcome = await enactor.tick()

    assert outcome.text.startswith("plan 1 is left")
    assert outcome.held == {}


async def test_enactor_that_finds_a_plan_installed_needs_none_of_its_contents(world):
    """Fences tell that all have it."""
    await world.add_zones(*ZONES)
    await world.publish(a=world.targets(2), b=world.targets(3), c=world.targets(4))
    await world.install(world.enactor("fixed", "one"))
    await damage(world, *ZONES)

    outcome = await world.enactor("fixed", "two", patience_s=0.0).tick()

    assert (outcome.installed, outcome.held) == (1, {})
