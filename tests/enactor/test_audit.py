"""Self-repair: what a zone serves is compared with what it should, and made whole; what was found and done is told."""

import asyncio

import msgspec
import pytest

from fencepost.batch import create, delete, swap
from fencepost.fence import fence_key
from fencepost.names import frozen_name, manifest_name, rollback_name, tree_name
from fencepost.plan import digest, short
from fencepost.records import RecordKey, alias, txt

ZONE = "b.test."


def leaf(found, generation: int, number: int = 2):
    """Return one record set of a tree."""
    return found[RecordKey(tree_name(ZONE, generation), "A", f"lb-{number:04d}")]


def all_of(found, generation: int):
    return [r for r in found.values() if r.name.endswith(tree_name(ZONE, generation))]


def cut_whole(found):
    return [delete(r) for r in all_of(found, 1)]


def cut_one(found):
    return [delete(leaf(found, 1))]


def change_one(found):
    return swap(leaf(found, 1), msgspec.structs.replace(leaf(found, 1), weight=77))


def add_one(found):
    return [create(msgspec.structs.replace(leaf(found, 1), set_identifier="lb-9999"))]


def cut_manifest(found):
    return [delete(found[RecordKey(manifest_name(ZONE, 1), "TXT")])]


def cut_root(found):
    return [delete(found[RecordKey(ZONE, "A")])]


DAMAGES = {
    "the root points to plan-000001, which is not there": cut_whole,
    "plan-000001 lacks 1 record sets": cut_one,
    "plan-000001 differs in 1 record sets": change_one,
    "plan-000001 has too many by 1 record sets": add_one,
    "plan-000001 has no manifest that calls it complete": cut_manifest,
    "there is no root, though the zone was moved to plan 1": cut_root,
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_damage_in_a_zone_that_is_at_the_latest_plan_is_repaired_in_place(world, what):
    """No newer plan is needed: the next sweep finds it, says what it is, and says what was done."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(5))
    await world.install(enactor)
    before = await world.records(ZONE)
    await world.operate(ZONE, *DAMAGES[what](before))

    await world.clock.sleep(6)
    await enactor.tick()

    assert [(event.generation, event.reason) for event in enactor.saw("enactor.damage_found", ZONE)] == [(1, what)]
    (repaired,) = enactor.saw("enactor.endpoint_repaired", ZONE)
    assert what in repaired.reason
    assert repaired.reason.startswith("tree 1 was restored in place")
    assert repaired.took_ms is not None
    assert await world.records(ZONE) == before


@pytest.mark.parametrize("what", DAMAGES)
async def test_damage_without_self_repair_stays_until_a_newer_plan(world, what):
    """What the guard is worth."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without="self-repair")
    await world.publish(b=world.targets(5))
    await world.install(enactor)
    await world.operate(ZONE, *DAMAGES[what](await world.records(ZONE)))
    damaged = await world.records(ZONE)

    await world.clock.sleep(6)
    await enactor.tick()

    assert await world.records(ZONE) == damaged
    await world.publish(b=world.targets(5, weight=2))
    await world.install(enactor)
    assert len(await world.leaves(ZONE, 2)) == 5


async def test_large_tree_that_is_gone_is_restored_in_batches_that_carry_the_fence(world):
    """Each batch proves that nothing was flipped; the root is moved last."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(1200))
    await world.install(enactor)
    before = await world.records(ZONE)
    doomed = [delete(r) for r in all_of(before, 1)]
    for at in range(0, len(doomed), 900):
        await world.operate(ZONE, *doomed[at : at + 900])

    await world.clock.sleep(6)
    await enactor.tick()

    assert await world.records(ZONE) == before
    comments = await world.comments(ZONE)
    assert comments.count("tree 1 restored") == 3
    assert comments.count("zone restored to 1") == 1
    repair = [c for c in await world.operator.commits(ZONE) if "restored" in c.comment]
    assert all(fence_key(ZONE) in {change.record_set.key for change in commit.changes} for commit in repair)


async def test_zone_whose_root_was_moved_to_another_tree_by_hand_is_moved_back_and_that_tree_is_left_alone(world):
    """The fence says what the zone should serve; the other tree is whole, and somebody else's."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    for weight in (1, 2):
        await world.publish(b=world.targets(5, weight=weight))
        await world.install(enactor)
    before = await world.records(ZONE)
    root = before[RecordKey(ZONE, "A")]
    await world.operate(ZONE, *swap(root, alias(ZONE, "A", tree_name(ZONE, 1))))

    await world.clock.sleep(6)
    await enactor.tick()

    assert await world.records(ZONE) == before
    assert "plan-000001 differs in 5 record sets" in enactor.saw("enactor.damage_found", ZONE)[0].reason


async def test_damage_that_two_enactors_find_is_repaired_by_one(world):
    """Who gets the lock second looks again, and finds nothing to do."""
    await world.add_zones(ZONE)
    one, two = world.enactor("fixed", "one"), world.enactor("fixed", "two")
    await world.publish(b=world.targets(5))
    await world.install(one)
    await two.tick()
    before = await world.records(ZONE)
    await world.operate(ZONE, *cut_one(before))
    await world.clock.sleep(6)
    late = two.store.hold("lock taken", ZONE)
    waiting = asyncio.create_task(two.tick())
    await late.arrived.wait()

    await one.tick()
    late.opened.set()
    await waiting

    assert await world.records(ZONE) == before
    assert one.saw("enactor.endpoint_repaired", ZONE)
    assert two.saw("enactor.damage_found", ZONE)
    assert not two.saw("enactor.endpoint_repaired", ZONE)
    assert (await world.comments(ZONE)).count("zone restored to 1") == 1


async def test_damage_with_a_newer_plan_waiting_is_healed_by_installing_that(world):
    """Even where that plan leaves the endpoint's content as it is: then a fence alone would heal nothing."""
    await world.add_zones("a.test.", ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(a=world.targets(), b=world.targets(5))
    await world.install(enactor)
    await world.operate(ZONE, *cut_whole(await world.records(ZONE)))
    await world.publish(a=world.targets(weight=2))

    await world.clock.sleep(6)
    await world.install(enactor, most=1)

    assert await world.root(ZONE) == tree_name(ZONE, 2)
    assert len(await world.leaves(ZONE, 2)) == 5
    (repaired,) = enactor.saw("enactor.endpoint_repaired", ZONE)
    assert repaired.reason == "plan 2 was installed (the root points to plan-000001, which is not there)"


async def test_damage_in_a_frozen_zone_is_told_after_the_thaw_and_then_repaired(world):
    """Nothing is written to a frozen zone, whatever it looks like."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(5))
    await world.install(enactor)
    before = await world.records(ZONE)
    frozen = txt(frozen_name(ZONE), "anna 1792000000 looking")
    await world.operate(ZONE, *cut_one(before), create(frozen))
    await world.clock.sleep(6)
    await enactor.tick()
    assert not enactor.saw("enactor.damage_found")

    await world.operate(ZONE, delete(frozen))
    await world.clock.sleep(6)
    await enactor.tick()

    assert await world.records(ZONE) == before


async def test_zone_that_was_flipped_while_it_was_looked_at_is_not_called_damaged(world):
    """A live tree of a moment ago may rightly be gone: the zone is read again before anything is said."""
    await world.add_zones(ZONE)
    one = world.enactor("fixed", "one", keep=1, clean_batches_per_s=1000)
    two = world.enactor("fixed", "two")
    await world.publish(b=world.targets(5, weight=1))
    await world.install(one)
    page = two.store.page

    async def slow_page(*arguments, **options):
        if not passed.is_set():
            passed.set()
            for weight in range(2, 7):
                await world.publish(b=world.targets(5, weight=weight))
                await world.install(one)
            assert await world.leaves(ZONE, 1) == {}
        return await page(*arguments, **options)

    passed = asyncio.Event()
    two.store.page = slow_page
    await two.tick()

    assert passed.is_set()
    assert not two.saw("enactor.damage_found")


@pytest.mark.parametrize("newer", [False, True])
async def test_fixed_started_on_what_a_buggy_run_left_behind_heals_the_endpoint_by_itself(world, newer):
    """Root at a cleaned tree, no fence, trees without manifests: with or without a newer plan than the last one."""
    await world.add_zones(ZONE)
    buggy = world.enactor("buggy", "old")
    for weight in (1, 2, 3):
        await world.publish(b=world.targets(5, weight=weight))
        await buggy.tick()
    live = 1 if newer else 3
    found = await world.records(ZONE)
    await world.operate(
        ZONE,
        *swap(found[RecordKey(ZONE, "A")], alias(ZONE, "A", tree_name(ZONE, live))),
        *(delete(r) for r in found.values() if r.name == tree_name(ZONE, live)),
    )
    fixed = world.enactor("fixed", "new")

    await world.install(fixed, most=1)

    assert await world.root(ZONE) == tree_name(ZONE, 3)
    assert len(await world.leaves(ZONE, 3)) == 5
    what = f"the root points to plan-00000{live}, which is not there"
    assert [event.reason for event in fixed.saw("enactor.damage_found", ZONE)] == [what]
    assert [event.reason for event in fixed.saw("enactor.endpoint_repaired", ZONE)] == [
        f"plan 3 was installed ({what})"
    ]
    assert await world.root(ZONE, at="rollback.") in (None, tree_name(ZONE, 2))


async def test_live_tree_that_buggy_left_in_halves_is_completed_and_adopted(world):
    """The root is at the very latest plan, whose tree has lost records: what is missing is created, nothing else."""
    await world.add_zones(ZONE)
    await world.publish(b=world.targets(5))
    await world.enactor("buggy", "old").tick()
    await world.operate(ZONE, *cut_one(await world.records(ZONE)))

    await world.install(world.enactor("fixed", "new"), most=1)

    assert len(await world.leaves(ZONE, 1)) == 5
    assert await world.text(manifest_name(ZONE, 1), ZONE) == f"1/1 {short(digest(world.targets(5)))}"
    assert rollback_name(ZONE) not in {r.name for r in (await world.records(ZONE)).values()}


async def test_sound_zone_without_manifests_is_left_alone_and_a_damaged_one_is_repaired_without_them(world):
    """Without the guard no tree has a manifest, so none is missed, and none is made."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without="whole-trees")
    await world.publish(b=world.targets(5))
    await world.install(enactor)
    before = await world.records(ZONE)

    for _ in range(2):
        await world.clock.sleep(6)
        await enactor.tick()
    assert not enactor.saw("enactor.damage_found")

    await world.operate(ZONE, *cut_one(before))
    await world.clock.sleep(6)
    await enactor.tick()
    assert enactor.saw("enactor.endpoint_repaired", ZONE)
    assert await world.records(ZONE) == before


async def test_tree_that_loses_a_record_before_it_is_read_back_is_built_again_without_manifests(world):
    """What the tree check finds is cleared away without a manifest that would have to be there."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without="whole-trees")
    await world.publish(b=world.targets(1200))
    last = enactor.store.hold("tree 1", ZONE, skip=2)
    installing = asyncio.create_task(world.install(enactor, most=1))
    await last.arrived.wait()
    await world.operate(ZONE, delete(leaf(await world.records(ZONE), 1)))

    last.opened.set()
    await installing

    assert enactor.saw("enactor.tree_rejected", ZONE)
    assert not enactor.saw("enactor.step_refused")
    assert len(await world.leaves(ZONE, 1)) == 1200
