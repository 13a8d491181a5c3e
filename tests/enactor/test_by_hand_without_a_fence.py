"""Zones that have no fence yet, while somebody moves them by hand, who makes none where there is none.

Each of these schedules was found by exploring enactors and an operator together, and broke an invariant.
"""

import asyncio

from enactor.tree import tree_records
from fencepost.batch import create
from fencepost.names import tree_name
from fencepost.records import alias

ZONE = "b.test."


async def test_zone_without_a_fence_that_a_hand_moves_before_the_first_flip_is_not_taken_back(world):
    """By hand no fence is made where there is none, so the fence alone would let the older plan in: CREATE succeeds."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(weight=1))
    flip = enactor.store.hold("flip_committed 1", ZONE)
    late = asyncio.create_task(enactor.tick())
    await flip.arrived.wait()
    await world.publish(b=world.targets(weight=2))
    await move_by_hand(world, 2)

    flip.opened.set()
    await late
    await world.install(enactor)

    assert enactor.saw("enactor.flip_refused", ZONE)
    assert await world.root(ZONE) == tree_name(ZONE, 2)
    assert await world.fenced(ZONE) == 2
    assert await world.violations() == ()


async def test_zone_without_a_fence_that_a_hand_moves_past_the_plan_is_not_taken_back(world, monkeypatch):
    """The zone is read after the plan: what it has by then may be newer."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(weight=1))
    really, reads = enactor.store.read, []

    async def read(zone, keys):
        reads.append(zone)
        if len(reads) == 1:  # nothing but this read stands between the look at the plan and the tree
            await world.publish(b=world.targets(weight=2))
            await move_by_hand(world, 2)
        return await really(zone, keys)

    monkeypatch.setattr(enactor.store, "read", read)

    await world.install(enactor)

    assert enactor.saw("enactor.plan_superseded", ZONE)
    assert await world.root(ZONE) == tree_name(ZONE, 2)
    assert await world.violations() == ()


async def move_by_hand(world, generation):
    """Move a zone to the latest plan as a person does where there is no fence: tree and root, and nothing else."""
    desired = (await world.plans.latest()).content(ZONE)
    tree = [*map(create, tree_records(ZONE, generation, desired))]
    await world.operate(ZONE, *tree, create(alias(ZONE, "A", tree_name(ZONE, generation))))


async def test_tree_that_a_hand_is_building_is_completed_and_not_cleared_away(world):
    """Without a fence nothing refuses the deletes, should the tree go live between the look and the batch."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(3))
    first, *others = tree_records(ZONE, 1, world.targets(3))
    await world.operate(ZONE, create(first))
    settling = enactor.store.hold("tree 1 c", ZONE)
    late = asyncio.create_task(enactor.tick())
    await settling.arrived.wait()
    await world.operate(ZONE, *map(create, others), create(alias(ZONE, "A", tree_name(ZONE, 1))))

    settling.opened.set()
    await late
    await world.install(enactor)

    assert await world.root(ZONE) == tree_name(ZONE, 1)
    assert await world.fenced(ZONE) == 1
    assert not [comment for comment in await world.comments(ZONE) if comment.endswith("cleared")]
    assert await world.violations() == ()
