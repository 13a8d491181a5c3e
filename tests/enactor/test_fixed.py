"""What the fixed protocol promises, one guard at a time, over the real rules of a zone."""

import asyncio

import pytest

from enactor.tree import tree_records
from fencepost.batch import Action, create, delete, swap
from fencepost.fence import Fence, fence_key
from fencepost.names import fence_name, frozen_name, lock_name, manifest_name, rollback_name, tree_name
from fencepost.plan import digest, short
from fencepost.records import RecordKey, alias, ns, soa, txt

ZONE = "b.test."
OTHER = "a.test."


async def test_flip_of_a_plan_carries_the_fence_and_the_whole_tree_s_manifest(world):
    """Fence and manifest are swapped in the batch that moves the root, so either one's change refuses it."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    for weight in (1, 2):
        await world.publish(b=world.targets(weight=weight))
        await world.install(enactor)

    flip = next(c for c in await world.operator.commits(ZONE) if c.comment == "flip_committed 2")

    carried = [(change.action, change.record_set.name) for change in flip.changes]
    for name in (fence_name(ZONE), manifest_name(ZONE, 2)):
        at = carried.index((Action.DELETE, name))
        assert carried[at + 1] == (Action.CREATE, name)
    assert carried[0] == (Action.DELETE, lock_name(ZONE))  # it proves that the lock was ours, and gives it back
    assert (Action.UPSERT, ZONE) in carried
    assert (Action.UPSERT, rollback_name(ZONE)) in carried
    assert await world.violations() == ()


async def test_plan_that_changes_another_endpoint_only_costs_this_one_not_one_call(world, monkeypatch):
    """Its fence refuses every plan of another content already: neither a write nor a look is needed."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(a=world.targets(), b=world.targets())
    await world.install(enactor)
    really, reads = enactor.store.read, []

    async def read(zone, keys):
        reads.append(zone)
        return await really(zone, keys)

    monkeypatch.setattr(enactor.store, "read", read)
    written = dict(enactor.store.writes)

    await world.publish(a=world.targets(weight=2))
    outcome = await enactor.tick()

    assert ZONE not in reads
    assert enactor.store.writes[ZONE] == written[ZONE]
    assert await world.root(OTHER) == tree_name(OTHER, 2)
    assert (await world.root(ZONE), await world.fenced(ZONE)) == (tree_name(ZONE, 1), 1)
    assert outcome.installed == 2
    assert await world.violations() == ()


async def test_enactor_that_knows_nothing_yet_writes_nothing_to_a_zone_whose_content_is_as_old_as_its_fence(world):
    """After a restart one look at each zone says that it has the latest plan."""
    await world.add_zones(OTHER, ZONE)
    await world.publish(a=world.targets(), b=world.targets())
    await world.install(world.enactor("fixed", "one"))
    await world.publish(a=world.targets(weight=2))
    another = world.enactor("fixed", "another")

    outcome = await another.tick()

    assert ZONE not in another.store.writes
    assert outcome.installed == 2


async def test_content_that_changes_and_changes_back_moves_the_fence_past_the_plan_between(world):
    """A, B, A: who is late with B has a newer plan than the fence at the first A, so that one does not do."""
    await world.add_zones(ZONE)
    one, late = world.enactor("fixed", "one"), world.enactor("fixed", "late")
    await world.publish(b=world.targets(weight=1))
    await world.install(late)
    await world.publish(b=world.targets(weight=2))
    held = late.store.hold("tree 2", ZONE)
    passing = asyncio.create_task(late.tick())
    await held.arrived.wait()
    await world.publish(b=world.targets(weight=1))

    await world.install(one)
    held.opened.set()
    await passing

    assert one.saw("enactor.fence_advanced", ZONE)[-1].generation == 3
    assert (await world.root(ZONE), await world.fenced(ZONE)) == (tree_name(ZONE, 1), 3)
    assert [fence_name(ZONE) in event.reason for event in late.saw("enactor.tree_refused", ZONE)] == [True]
    assert await world.leaves(ZONE, 2) == {}
    assert await world.violations() == ()


async def test_tree_of_three_batches_built_by_two_enactors_is_gone_on_with_from_each_other_s_manifest(world):
    """Each batch is committed once, by whoever is first; who is refused looks again; the root moves at the end."""
    await world.add_zones(ZONE)
    one, two = world.enactor("fixed", "one"), world.enactor("fixed", "two")
    await world.publish(b=world.targets())
    await world.install(one)
    await world.publish(b=world.targets(1200))
    first = one.store.hold("tree 2, batch 2 of 3", ZONE)
    second = two.store.hold("tree 2, batch 3 of 3", ZONE)

    building = asyncio.create_task(world.install(one))
    await first.arrived.wait()
    taking_over = asyncio.create_task(world.install(two))
    await second.arrived.wait()
    assert await world.text(manifest_name(ZONE, 2), ZONE) == f"2/3 {short(digest(world.targets(1200)))}"
    assert await world.root(ZONE) == tree_name(ZONE, 1)
    first.opened.set()
    await building
    second.opened.set()
    await taking_over

    built = [c for c in await world.operator.commits(ZONE) if c.comment.startswith("tree 2")]
    assert [(c.actor.name, c.comment) for c in built] == [
        ("one", "tree 2, batch 1 of 3"),
        ("two", "tree 2, batch 2 of 3"),
        ("one", "tree 2, batch 3 of 3"),
    ]
    assert one.saw("enactor.tree_refused", ZONE)
    assert two.saw("enactor.tree_refused", ZONE)
    assert len(await world.leaves(ZONE, 2)) == 1200
    assert await world.root(ZONE) == tree_name(ZONE, 2)
    assert await world.violations() == ()


async def test_tree_that_loses_its_manifest_before_the_flip_does_not_go_live_until_it_is_whole_again(world):
    """Half of a tree never goes live: the flip carries the manifest, and what is lacking is built before the next."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(3))
    flip = enactor.store.hold("flip_committed 1", ZONE)
    installing = asyncio.create_task(world.install(enactor))
    await flip.arrived.wait()
    found = await world.records(ZONE)
    await world.operate(
        ZONE,
        delete(found[RecordKey(manifest_name(ZONE, 1), "TXT")]),
        delete(found[RecordKey(tree_name(ZONE, 1), "A", "lb-0002")]),
    )

    flip.opened.set()
    await installing

    assert [event.fields["stale"] for event in enactor.saw("enactor.flip_refused", ZONE)] == [False]
    assert len(await world.leaves(ZONE, 1)) == 3
    assert "tree 1 completed" in await world.comments(ZONE)
    assert await world.violations() == ()


async def test_plan_superseded_during_a_wait_for_the_lock_is_dropped(world):
    """After each wait the latest plan is read again: the one before is never built."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(weight=1))
    await world.operate(ZONE, create(await world.foreign_lock(ZONE, 0.05)))
    world.clock.at_next_sleep = lambda: world.publish(b=world.targets(weight=2))

    await world.install(enactor)

    assert enactor.saw("enactor.lock_missed", ZONE)
    assert await world.root(ZONE) == tree_name(ZONE, 2)
    assert not [comment for comment in await world.comments(ZONE) if comment.startswith("tree 1")]


async def test_plan_superseded_while_its_flip_is_refused_is_dropped(world):
    """The lock is still held, so nothing was waited for: the next step looks at the plan again all the same."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(weight=1))
    flip = enactor.store.hold("flip_committed 1", ZONE)
    passing = asyncio.create_task(enactor.tick())
    await flip.arrived.wait()
    manifest = (await world.records(ZONE))[RecordKey(manifest_name(ZONE, 1), "TXT")]
    await world.operate(ZONE, delete(manifest))
    await world.publish(b=world.targets(weight=2))

    flip.opened.set()
    await passing

    assert [event.generation for event in enactor.saw("enactor.flip_committed", ZONE)] == [2]
    assert "tree 1 adopted" not in await world.comments(ZONE)  # nothing more was done for it


async def test_builder_whose_tree_somebody_else_has_built_meanwhile_goes_on_from_that(world):
    """Manifest and records are refused together: no room has to be made, one more look is all."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(3))
    build = enactor.store.hold("tree 1, batch 1", ZONE)
    passing = asyncio.create_task(enactor.tick())
    await build.arrived.wait()
    manifest = txt(manifest_name(ZONE, 1), f"1/1 {short(digest(world.targets(3)))}")
    await world.operate(ZONE, create(manifest), *map(create, tree_records(ZONE, 1, world.targets(3))))

    build.opened.set()
    await passing

    assert len(enactor.saw("enactor.tree_refused", ZONE)) == 1
    assert not enactor.saw("enactor.step_refused", ZONE)
    assert await world.root(ZONE) == tree_name(ZONE, 1)
    assert await world.violations() == ()


async def test_flips_of_one_enactor_have_ids_of_their_own(world):
    """Else the fence could be the same again after a failover, and a proof hold that is none."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    for weight in (1, 2, 3):
        await world.publish(b=world.targets(weight=weight))
        await world.install(enactor)

    created = [
        c.record_set for commit in await world.operator.commits(ZONE) for c in commit.changes if c.action == "CREATE"
    ]
    flips = {Fence.parse(ZONE, r).flip_id for r in created if r.key == fence_key(ZONE)}

    assert len(flips) == 3


async def test_lock_lost_again_and_again_is_given_up_after_bounded_tries_and_the_other_endpoint_is_installed(world):
    """The streak is told with each loss; the pass goes on, and the next pass takes the lock that has expired."""
    await world.add_zones(ZONE, "c.test.")
    enactor = world.enactor("fixed", "one", max_tries=4, patience_s=0)  # else the lock's holder could be at the plan
    await world.publish(b=world.targets(), c=world.targets())
    await world.operate(ZONE, create(await world.foreign_lock(ZONE, 30)))

    for _ in range(4):
        outcome = await enactor.tick()
        assert await world.root("c.test.") == tree_name("c.test.", 1)
        await world.clock.sleep(1)

    assert outcome.text == f"held up: {ZONE}"
    assert (outcome.installed, *outcome.held) == (0, ZONE)
    assert [event.fields["streak"] for event in enactor.saw("enactor.lock_missed", ZONE)] == [1, 2, 3, 4]
    assert [event.fields["streak"] for event in enactor.saw("enactor.lock_exhausted", ZONE)] == [4]
    await world.clock.sleep(31)
    await world.install(enactor, most=1)


@pytest.mark.parametrize("trouble", ["no zone", "frozen", "bad fence"])
async def test_endpoint_in_trouble_holds_up_no_other(world, trouble):
    """It is skipped with its reason, which is told once, and tried again in the next pass."""
    await world.add_zones("c.test.")
    if trouble != "no zone":
        await world.operator.create_zone(ZONE, (soa(ZONE, ttl=9, minimum=9), ns(ZONE)))
        record = txt(frozen_name(ZONE), "by hand") if trouble == "frozen" else txt(fence_name(ZONE), "not a fence")
        await world.operate(ZONE, create(record))
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(), c=world.targets())

    for _ in range(2):
        outcome = await enactor.tick()
        assert outcome.text == f"held up: {ZONE}"
        await world.clock.sleep(1)
    told = enactor.saw("enactor.zone_frozen" if trouble == "frozen" else "enactor.endpoint_skipped", ZONE)
    assert len(told) == 1
    assert told[0].reason.removeprefix("ZoneFrozen: ") in outcome.held[ZONE]
    assert (outcome.installed, await world.fenced("c.test.")) == (1, 1)

    if trouble == "no zone":
        await world.add_zones(ZONE)
    else:
        await world.operate(ZONE, delete(record))
    await world.install(enactor, most=1)
    assert await world.root(ZONE) == tree_name(ZONE, 1)


async def test_endpoint_whose_types_grow_and_shrink_has_no_alias_of_a_type_that_is_gone(world):
    """From A to A and AAAA and back: root and rollback follow, and none of them dangles at any time."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1, without="protective-checks")
    kinds = [("A",), ("A", "AAAA"), ("A",), ("A",), ("A",)]
    seen = []
    for weight, found in enumerate(kinds, 1):
        await world.publish(b=world.targets(kinds=found, weight=weight))
        await world.install(enactor)
        records = await world.records(ZONE)
        seen.append(
            tuple(
                "".join(kind[0] * (len(kind) // 3 + 1) for kind in ("A", "AAAA") if RecordKey(name, kind) in records)
                for name in (ZONE, rollback_name(ZONE))
            )
        )

    assert seen == [("A", ""), ("AAA", "A"), ("A", "AAA"), ("A", "A"), ("A", "A")]
    # A type that a plan takes away is an emptied endpoint to I1, which does not know what was wanted.
    assert {v.invariant for v in await world.violations()} == {"I1"}


async def test_root_whose_tree_an_operator_deleted_is_healed_by_the_next_plan_without_rollback(world):
    """Nothing to roll back to stops no plan, and the plan after that has a rollback again."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(weight=1))
    await world.install(enactor)
    await world.operate(
        ZONE, *(delete(r) for r in (await world.records(ZONE)).values() if r.name == tree_name(ZONE, 1))
    )

    await world.publish(b=world.targets(weight=2))
    await world.install(enactor, most=1)

    assert await world.root(ZONE) == tree_name(ZONE, 2)
    assert await world.root(ZONE, at="rollback.") is None
    assert enactor.saw("enactor.rollback_left_out", ZONE)
    await world.publish(b=world.targets(weight=3))
    await world.install(enactor, most=1)
    assert await world.root(ZONE, at="rollback.") == tree_name(ZONE, 2)


@pytest.mark.parametrize("newer", [False, True])
async def test_zone_that_buggy_left_behind_is_taken_over(world, newer):
    """It has no fence; where its root is at the very latest plan already, that tree is adopted."""
    await world.add_zones(ZONE)
    buggy, fixed = world.enactor("buggy", "old"), world.enactor("fixed", "new")
    for weight in (1, 2):
        await world.publish(b=world.targets(weight=weight))
        await buggy.tick()
    if newer:
        await world.publish(b=world.targets(weight=3))

    await world.install(fixed, most=1)

    latest = 3 if newer else 2
    assert await world.root(ZONE) == tree_name(ZONE, latest)
    assert await world.root(ZONE, at="rollback.") == tree_name(ZONE, latest - 1)
    assert ("tree 2 adopted" in await world.comments(ZONE)) is not newer
    assert await world.violations() == ()


async def test_leftovers_under_the_plan_s_tree_name_are_cleared_before_it_is_built(world):
    """A plan store that lost plan 2 gave the number away again: another content's tree may stand there, not live."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(weight=1))
    await world.install(enactor)
    await world.publish(b=world.targets(700, weight=9))
    flip = enactor.store.hold("flip_committed 2", ZONE)
    lost = asyncio.create_task(enactor.tick())
    await flip.arrived.wait()
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    await world.forget_plans()
    await world.publish(number=2, b=world.targets(weight=2))

    await world.install(world.enactor("fixed", "two"))

    assert len(await world.leaves(ZONE, 2)) == 2
    assert (await world.comments(ZONE)).count("tree 2 cleared") == 2
    assert await world.root(ZONE) == tree_name(ZONE, 2)
    assert await world.violations() == ()


async def test_tree_of_another_content_that_is_live_is_left_alone_until_a_newer_plan(world):
    """Buggy went live with a plan 2 that the store lost: the new plan 2 is skipped, plan 3 replaces it."""
    await world.add_zones(ZONE)
    await world.publish(number=2, b=world.targets(3, weight=9))
    await world.enactor("buggy", "old").tick()
    await world.forget_plans()
    await world.publish(number=2, b=world.targets(weight=1))
    fixed = world.enactor("fixed", "new")

    await fixed.tick()

    assert "serves a tree 2 that is not plan 2's" in fixed.saw("enactor.endpoint_skipped", ZONE)[0].reason
    assert len(await world.leaves(ZONE, 2)) == 3
    await world.publish(b=world.targets(weight=1, ttl=6))
    await world.install(fixed, most=1)
    assert await world.root(ZONE) == tree_name(ZONE, 3)
    assert await world.violations() == ()


async def test_zone_whose_fence_is_ahead_of_the_plan_store_is_left_alone_until_a_plan_above_it(world):
    """After the store has lost plans 2 to 5 its next plan is numbered 2 again: it is not installed over plan 5."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    for weight in range(1, 6):
        await world.publish(b=world.targets(weight=weight))
    await world.install(enactor)
    await world.forget_plans()
    await world.publish(number=2, b=world.targets(weight=7))
    after = world.enactor("fixed", "two")

    await after.tick()

    assert "which the plan store (at 2) does not know" in after.saw("enactor.endpoint_skipped", ZONE)[0].reason
    assert await world.root(ZONE) == tree_name(ZONE, 5)
    await world.publish(number=6, b=world.targets(weight=7))
    await world.install(after, most=1)
    assert await world.root(ZONE) == tree_name(ZONE, 6)
    assert await world.violations() == ()


async def test_cleaner_whose_zone_was_flipped_since_it_chose_is_refused(world):
    """Its proof is the fence as it was in the listing: an operator's rollback to an old tree is not cut off."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1)
    for weight in range(1, 5):
        await world.publish(b=world.targets(weight=weight))
        cleaning = enactor.store.hold("clean", ZONE) if weight == 4 else None
        passing = asyncio.create_task(world.install(enactor, most=1))
        await (cleaning.arrived.wait() if cleaning else passing)
    old = sorted({int(r.name[5:11]) for r in (await world.records(ZONE)).values() if r.name.startswith("plan-")})
    found = await world.records(ZONE)
    fence = Fence.parse(ZONE, found[fence_key(ZONE)])
    moved = Fence(fence.generation, fence.digest, "operator-1-1").record(ZONE)
    await world.operate(
        ZONE,
        *swap(fence.record(ZONE), moved),
        delete(found[RecordKey(ZONE, "A")]),
        create(alias(ZONE, "A", tree_name(ZONE, old[0]))),
    )

    cleaning.opened.set()
    await passing

    assert enactor.saw("enactor.clean_refused", ZONE)
    assert await world.leaves(ZONE, old[0])
    # The operator has taken the zone off the latest plan on purpose: I5 alone says so.
    assert {v.invariant for v in await world.violations()} == {"I5"}


async def test_cleaner_deletes_what_is_old_manifest_first_and_never_root_s_or_rollback_s_tree(world):
    """Fences that advance make live trees old by number alone: they stay."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one", keep=2, clean_batches_per_s=1000)
    for weight in (1, 2, 3):
        await world.publish(a=world.targets(weight=weight), b=world.targets(weight=weight))
        await world.install(enactor)
    for weight in range(4, 12):
        await world.publish(a=world.targets(weight=weight), b=world.targets(weight=3))
        await world.install(enactor)

    assert await world.leaves(ZONE, 1) == {}
    assert len(await world.leaves(ZONE, 2)) == len(await world.leaves(ZONE, 3)) == 2
    assert enactor.saw("enactor.trees_cleaned", ZONE)[-1].fields["trees"] == [1]
    cleaned = [c for c in await world.operator.commits(ZONE) if c.comment.startswith("clean")]
    control = (lock_name(ZONE), fence_name(ZONE))
    deleted = [c.record_set.name for c in cleaned[0].changes if c.record_set.name not in control]
    assert deleted == [manifest_name(ZONE, 1), tree_name(ZONE, 1), tree_name(ZONE, 1)]
    assert await world.violations() == ()


@pytest.mark.parametrize("executed", [True, False])
async def test_install_that_loses_the_answer_to_any_one_write_ends_with_the_plan_and_a_free_lock(world, executed):
    """Both batches of a tree, flip, cleaning: each write in turn is lost before or after it happened."""
    longest = 0
    for lost in range(1, 20):
        zone, name = f"z{lost}.test.", f"z{lost}"
        await world.add_zones(zone)
        enactor = world.enactor("fixed", f"one-{lost}", keep=1)
        for weight in (1, 2, 3):
            await world.publish(**{name: world.targets(weight=weight)})
            await world.install(enactor)
        latest = await world.publish(**{name: world.targets(600)})
        sent = enactor.store.writes[zone]
        enactor.store.lose_write = (zone, sent + lost, executed)

        await world.install(enactor, most=2)

        assert await world.root(zone) == tree_name(zone, latest)
        assert len(await world.leaves(zone, latest)) == 600
        await world.clock.sleep(10)
        await world.publish(**{name: world.targets(600, weight=5)})
        await world.install(world.enactor("fixed", "another"), most=1)
        longest = enactor.store.writes[zone] - sent
        if lost > longest:
            break
        unknown = enactor.saw("enactor.outcome_unknown", zone) + enactor.saw("enactor.clean_refused", zone)
        assert unknown, f"write {lost} was not lost"
    assert longest >= 4
    assert await world.violations() == ()
