"""Two plans of one number: the plan store has lost its last plans, and their numbers are given away again."""

import asyncio

from fencepost.batch import swap
from fencepost.fence import Fence, fence_key
from fencepost.names import tree_name
from fencepost.records import RecordKey, alias

ZONE = "b.test."


async def leave_a_lost_tree(world) -> None:
    """Have plan 1 live and a whole tree of a plan 2 that was lost before it went live; there is another plan 2 now."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(3, weight=1))
    await world.install(enactor)
    await world.publish(b=world.targets(3, weight=9))
    flip = enactor.store.hold("flip_committed 2", ZONE)
    lost = asyncio.create_task(enactor.tick())
    await flip.arrived.wait()
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    await world.forget_plans()
    await world.publish(number=2, b=world.targets(3, weight=2))


async def weights(world, generation: int) -> list[int]:
    """Return the weights of a tree's record sets."""
    name = tree_name(ZONE, generation)
    return [r.weight for r in (await world.records(ZONE)).values() if r.name == name]


async def test_fence_of_a_lost_plan_is_not_taken_for_another_plan_of_its_number(world):
    """The zone has the lost plan's content: it is told as held, and moved by the next plan above both."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    for weight in (1, 2):
        await world.publish(b=world.targets(weight=weight))
        await world.install(enactor)
    await world.forget_plans()
    await world.publish(number=2, b=world.targets(weight=7))
    after = world.enactor("fixed", "two")

    outcome = await after.tick()

    assert "which the plan store (at 2) does not know" in after.saw("enactor.endpoint_skipped", ZONE)[0].reason
    assert list(outcome.held) == [ZONE]
    assert await weights(world, 2) == [2, 2]
    await world.publish(b=world.targets(weight=7))
    await world.install(after, most=1)
    assert await weights(world, 3) == [7, 7]
    assert await world.violations() == ()


async def test_flip_of_a_lost_plan_is_refused_once_a_plan_above_a_floor_is_installed(world):
    """Plans that do not name the endpoint leave it as it is; not so the planner's, which knows that one was lost."""
    await world.add_zones("a.test.", ZONE)
    late, other = world.enactor("fixed", "one"), world.enactor("fixed", "two")
    await world.publish(a=world.targets(), b=world.targets())
    await world.install(late)
    await world.install(other)
    kept = await world.kept_plans()
    await world.publish(b=world.targets(weight=9))
    flip = late.store.hold("flip_committed 2", ZONE)
    passing = asyncio.create_task(late.tick())
    await flip.arrived.wait()
    await world.forget_plans(kept)
    for weight in (3, 4):
        await world.publish(a=world.targets(weight=weight))
    await world.publish(number=5, a=world.targets(weight=5))
    await world.clock.sleep(3)  # the late one's lock expires
    await world.install(other)

    flip.opened.set()
    await passing

    assert await world.fenced(ZONE) == 5
    assert await world.root(ZONE) == tree_name(ZONE, 1)
    assert late.saw("enactor.flip_refused", ZONE)
    assert await world.violations() == ()


async def test_whole_tree_of_a_lost_plan_is_not_taken_for_another_plan_s_of_its_number(world):
    """Its manifest names another content: that alone is enough, though nobody reads the tree back."""
    await leave_a_lost_tree(world)

    await world.install(world.enactor("fixed", "two", without="tree-check"))

    assert await weights(world, 2) == [2, 2, 2]
    assert "tree 2 cleared" in await world.comments(ZONE)
    assert await world.violations() == ()


async def test_lost_tree_that_an_operator_makes_live_while_it_is_cleared_is_left_alone(world):
    """Each batch that clears carries the proof that nothing was flipped since the tree was found not to be live."""
    await leave_a_lost_tree(world)
    enactor = world.enactor("fixed", "two")
    clearing = enactor.store.hold("tree 2 cleared", ZONE)
    passing = asyncio.create_task(enactor.tick())
    await clearing.arrived.wait()
    found = await world.records(ZONE)
    fence = Fence.parse(ZONE, found[fence_key(ZONE)])
    flipped = fence._replace(flip_id="operator-1-1").record(ZONE)
    root = found[RecordKey(ZONE, "A")]
    await world.operate(ZONE, *swap(found[fence_key(ZONE)], flipped), *swap(root, alias(ZONE, "A", tree_name(ZONE, 2))))

    clearing.opened.set()
    await passing

    assert await weights(world, 2) == [9, 9, 9]
    assert "serves a tree 2 that is not plan 2's" in enactor.saw("enactor.endpoint_skipped", ZONE)[0].reason
