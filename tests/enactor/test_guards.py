"""What each guard of the fixed protocol is worth: the same trouble with it and without it.

The other guards' tests stand with their rooms: test_protection.py (protective-checks, velocity), test_verify.py
(tree-check), test_audit.py (self-repair), test_cleaning.py (throttling), test_incident_october_2025.py.
"""

import asyncio

import pytest

from enactor.settings import EnactorSettings
from fencepost.batch import create, delete, swap
from fencepost.fence import Fence, fence_key
from fencepost.guards import Guard
from fencepost.names import tree_name
from fencepost.records import RecordKey, alias

ZONE = "b.test."
OTHER = "a.test."


@pytest.mark.parametrize(("without", "live"), [("", 1), ("fence", 2)])
async def test_flip_after_an_operator_has_moved_the_zone_on_is_refused_unless_the_fence_is_off(world, without, live):
    """An operator needs no lock. Without the fence an enactor flips over the rollback that was just made by hand."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without=without)
    await world.publish(b=world.targets(weight=1))
    await world.install(enactor)
    await world.publish(b=world.targets(weight=2))
    flip = enactor.store.hold("flip_committed 2", ZONE)
    passing = asyncio.create_task(enactor.tick())
    await flip.arrived.wait()
    found = await world.records(ZONE)
    moved = Fence(3, Fence.parse(ZONE, found[fence_key(ZONE)]).digest, "operator-1-1")
    await world.operate(ZONE, *swap(found[fence_key(ZONE)], moved.record(ZONE)))
    await world.publish(number=3, b=world.targets(weight=1))

    flip.opened.set()
    await passing

    assert enactor.saw("enactor.flip_committed", ZONE)[-1].generation == live
    assert await world.fenced(ZONE) == (3 if live == 1 else 2)
    assert [e.fields["stale"] for e in enactor.saw("enactor.flip_refused", ZONE)] == ([True] if live == 1 else [])


@pytest.mark.parametrize(("without", "whole"), [("", True), ("whole-trees", False)])
async def test_tree_that_loses_a_part_before_the_flip_goes_live_only_without_manifests(world, without, whole):
    """The manifest goes first where a tree is deleted, and the flip carries it; without it half of a tree goes live."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without=without)
    await world.publish(b=world.targets(3))
    flip = enactor.store.hold("flip_committed 1", ZONE)
    installing = asyncio.create_task(world.install(enactor))
    await flip.arrived.wait()
    found = await world.records(ZONE)
    manifests = [r for r in found.values() if r.name.startswith("_tree.")]
    lost = found[RecordKey(tree_name(ZONE, 1), "A", "lb-0002")]
    await world.operate(ZONE, *map(delete, [*manifests, lost]))

    flip.opened.set()
    await installing

    assert len(await world.leaves(ZONE, 1)) == (3 if whole else 2)


@pytest.mark.parametrize(("without", "built"), [("", False), ("plan-recheck", True)])
async def test_plan_superseded_while_its_tree_is_built_goes_live_all_the_same_without_the_recheck(
    world, without, built
):
    """The call took a while, and the plan is not the latest any more."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without=without)
    await world.publish(b=world.targets(weight=1))
    building = enactor.store.hold("tree 1", ZONE)
    passing = asyncio.create_task(enactor.tick())
    await building.arrived.wait()
    await world.publish(b=world.targets(weight=2))

    building.opened.set()
    await passing

    assert await world.root(ZONE) == tree_name(ZONE, 1 if built else 2)
    assert ("flip_committed 1" in await world.comments(ZONE)) is built


@pytest.mark.parametrize(("without", "kept"), [("", True), ("cleaner-check", False)])
async def test_live_tree_that_is_old_by_number_is_cleaned_away_without_the_cleaner_s_check(world, without, kept):
    """An endpoint that did not change for many plans loses its addresses to a cleaner that goes by age alone."""
    await world.add_zones(OTHER, ZONE)
    given = {"without": f"{without},self-repair", "keep": 2, "clean_batches_per_s": 1000}
    enactor = world.enactor("fixed", "one", **given)
    await world.publish(a=world.targets(), b=world.targets())
    await world.install(enactor)

    for weight in range(2, 7):
        await world.publish(a=world.targets(weight=weight), b=world.targets())
        await world.install(enactor)

    assert await world.root(ZONE) == tree_name(ZONE, 1)
    assert bool(await world.leaves(ZONE, 1)) is kept
    assert {v.invariant for v in await world.violations()} >= (set() if kept else {"I1", "I3", "I4"})
    assert bool(await world.violations()) is not kept


@pytest.mark.parametrize(("without", "healed"), [("", True), ("rollback-tolerance", False)])
async def test_dangling_root_stops_every_later_plan_without_rollback_tolerance(world, without, healed):
    """Rollback would have to point to what is gone, and the zone refuses that, plan after plan."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without=without, max_tries=2)
    await world.publish(b=world.targets(weight=1))
    await world.install(enactor)
    gone = [r for r in (await world.records(ZONE)).values() if r.name == tree_name(ZONE, 1)]
    await world.operate(ZONE, *map(delete, gone))

    for weight in (2, 3, 4):
        await world.publish(b=world.targets(weight=weight))
        await world.clock.sleep(6)
        outcome = await enactor.tick()

    assert await world.root(ZONE) == tree_name(ZONE, 4 if healed else 1)
    assert ("but that target was not found" in outcome.held.get(ZONE, "")) is not healed


@pytest.mark.parametrize(("without", "tries", "reached"), [("", 8, True), ("fairness", 50, False)])
async def test_lock_that_is_never_free_keeps_the_other_endpoint_waiting_without_fairness(
    world, without, tries, reached
):
    """Somebody has the first endpoint's lock for good: with fairness the other one is moved, and this one is held."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one", without=without)
    await world.publish(a=world.targets(), b=world.targets())
    lock = await world.foreign_lock(OTHER, 1e6)
    await world.operate(OTHER, create(lock))

    lost_often, done = asyncio.Event(), asyncio.Event()

    async def until_done() -> None:
        while not done.is_set():
            await enactor.tick()
            await world.clock.sleep(1)

    enactor.tools.events.add(lambda event: event.fields.get("streak") == tries and lost_often.set())
    passing = asyncio.create_task(until_done())
    await lost_often.wait()

    assert await world.root(ZONE) == (tree_name(ZONE, 1) if reached else None)
    await world.operate(OTHER, delete(lock))
    done.set()
    await passing
    assert await world.root(ZONE) == tree_name(ZONE, 1)


@pytest.mark.parametrize(("without", "took_s"), [("", 4.9), ("throttling", 0.0)])
async def test_calls_go_at_the_enactor_s_own_rate_unless_throttling_is_off(world, without, took_s):
    """Two a second: the first two at once, and each of the others in its turn; so nobody has to be told to wait."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without=without, api_requests_per_s=2, keep=1)
    for weight in (1, 2, 3):
        await world.publish(b=world.targets(weight=weight))
        await enactor.tick()

    assert world.clock.now_s >= took_s
    assert bool(world.clock.now_s) is bool(took_s)


async def test_zone_that_refuses_every_flip_is_given_up_after_bounded_tries_without_fairness(world):
    """Only a lost lock is waited for without end: a refusal comes back at once, and would be asked for for ever."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without="fairness,rollback-tolerance,self-repair", max_tries=3)
    await world.publish(b=world.targets(weight=1))
    await world.install(enactor)
    gone = [r for r in (await world.records(ZONE)).values() if r.name == tree_name(ZONE, 1)]
    await world.operate(ZONE, *map(delete, gone))
    await world.publish(b=world.targets(weight=2))

    async with asyncio.timeout(10):
        outcome = await enactor.tick()

    assert len(enactor.saw("enactor.step_refused", ZONE)) == 3
    assert "but that target was not found" in outcome.held[ZONE]


def test_rate_of_calls_is_a_third_of_the_account_s():
    """Three enactors share it; where there is no bound, there is none."""
    rates = {profile: EnactorSettings(profile=profile).api_rate for profile in ("none", "lan", "region")}

    assert rates == {"none": 0.0, "lan": 0.0, "region": 5 / 3}
    assert EnactorSettings(profile="region", without="throttling").api_rate == 0.0


async def test_fixed_without_any_guard_still_installs_plans(world):
    """No guard needs another one to be there: the lab takes them in every combination."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one", without=",".join(Guard))
    for weight in (1, 2, 3):
        await world.publish(a=world.targets(weight=weight), b=world.targets(weight=weight))
        await enactor.tick()

    assert await world.root(ZONE) == tree_name(ZONE, 3)
    assert await world.root(OTHER, at="rollback.") == tree_name(OTHER, 2)
    assert alias(ZONE, "A", tree_name(ZONE, 3)) in (await world.records(ZONE)).values()
