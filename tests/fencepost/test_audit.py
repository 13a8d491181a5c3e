"""The audit trail: what commits did, read from their changes, and why, from the plans."""

import pytest

from fencepost.audit import deeds, explained, span
from fencepost.batch import create, delete, swap, upsert
from fencepost.fence import Fence
from fencepost.names import lock_name, manifest_name, rollback_name, tree_name
from fencepost.notice import Notice
from fencepost.plan import Lane, PlanSummary
from fencepost.records import address, alias, ns, soa, txt
from fencepost.stores import Actor, Commit

ZONE = "a.test."
ADA = Actor("ada", operator=True)
ENACTOR = Actor("use1-az1-enactor")
LOCK = txt(lock_name(ZONE), "use1-az1-enactor 1792000000")


def leaf(generation, number=1):
    """Return one record set of a tree."""
    return address(tree_name(ZONE, generation), "A", f"10.0.0.{number}", ttl=5, set_identifier=f"lb-{number}", weight=1)


def root(generation, kind="A"):
    """Return the root's alias to a tree."""
    return alias(ZONE, kind, tree_name(ZONE, generation))


def back(generation):
    """Return rollback's alias to a tree."""
    return alias(rollback_name(ZONE), "A", tree_name(ZONE, generation))


def fence(generation, flip_id="x-1-1"):
    """Return a fence's record."""
    return Fence(generation, "0badcafe", flip_id).record(ZONE)


def manifest(generation, done=1):
    """Return a manifest's record."""
    return txt(manifest_name(ZONE, generation), f"{done}/2 0badcafe")


def told(*batches, first=1, **options):
    """Return the deeds of batches, each (actor, changes...) or (actor, comment, changes...)."""
    commits = []
    for serial, (actor, *rest) in enumerate(batches, first):
        comment, changes = (rest[0], rest[1:]) if rest and isinstance(rest[0], str) else ("whatever", rest)
        commits.append(Commit(ZONE, serial, serial * 1_000_000, actor, None, comment, tuple(changes)))
    return deeds(ZONE, commits, **options)


INSTALL_1 = (
    (ENACTOR, create(LOCK)),
    (ENACTOR, *swap(LOCK, LOCK), create(manifest(1, 1)), create(leaf(1, 1))),
    (ENACTOR, *swap(LOCK, LOCK), *swap(manifest(1, 1), manifest(1, 2)), create(leaf(1, 2))),
    (ENACTOR, *swap(LOCK, LOCK), create(fence(1)), *swap(manifest(1, 2), manifest(1, 2)), upsert(root(1))),
    (ENACTOR, delete(LOCK)),
)
CREATED = (ADA, create(soa(ZONE, ttl=9, minimum=9)), create(ns(ZONE)))


def test_install_is_told_in_two_lines_without_locks():
    """Batches of one tree are one line, the flip is another; locks are left out."""
    found = told(CREATED, *INSTALL_1)

    assert [deed.text for deed in found] == ["created the zone", "built tree 1, 2 record sets", "-> plan 1"]
    assert [deed.serial for deed in found] == [1, 4, 5]


def test_everything_has_a_line_for_each_commit():
    """Locks, and each batch by itself."""
    found = told(CREATED, *INSTALL_1, everything=True)

    assert [deed.kind for deed in found] == ["created", "locked", "built", "built", "flipped", "locked"]
    assert found[1].text == "took or kept the lock"
    assert found[-1].text == "gave the lock back"


def test_flip_says_from_where_to_where():
    """From the commits before it."""
    (flip,) = told(*INSTALL_1, (ENACTOR, *swap(fence(1), fence(3)), upsert(root(3)), upsert(back(1))))[2:]

    assert (flip.text, flip.existing, flip.desired) == ("plan 1 -> 3", 1, 3)
    assert not flip.stands_out


@pytest.mark.parametrize("changes", [(upsert(root(3)), upsert(back(2))), (delete(root(2)), create(root(3)))])
def test_flip_says_from_where_though_earlier_commits_are_not_kept(changes):
    """The stream is trimmed: rollback, or the root's own DELETE, says what there was."""
    (flip,) = told((ENACTOR, *changes), first=700)

    assert (flip.text, flip.existing) == ("plan 2 -> 3", 2)


def test_builds_that_nobody_flips_to_do_not_push_the_cause_away():
    """After the outage enactors go on building trees: one line, whoever and however many; a person's is another."""
    other = Actor("use1-az2-enactor")
    lost = (other, delete(leaf(1, 1)))
    found = told(*INSTALL_1, lost, (ENACTOR, create(leaf(5))), (other, create(leaf(6))), (ADA, create(leaf(7))))[2:]

    assert [(deed.actor, deed.text) for deed in found] == [
        ("use1-az2-enactor", "DELETED 1 record set of tree 1, WHICH IS LIVE"),
        ("use1-az1-enactor, use1-az2-enactor", "built 2 trees, 5 to 6, 2 record sets"),
        ("ada", "built tree 7, 1 record set"),
    ]


def test_flip_back_to_an_older_plan_stands_out():
    """The stale flip of the incident."""
    found = told(*INSTALL_1, (ENACTOR, upsert(root(5))), (ENACTOR, "flip to 2", upsert(root(2))))

    assert (found[-1].text, found[-1].stands_out) == ("plan 5 -> 2, BACK to an older plan", True)


def test_flip_by_hand_stands_out_and_says_what_it_was():
    """A rollback, a repair."""
    found = told(*INSTALL_1, (ADA, "rollback to plan 1: flip to 4", delete(root(1)), create(root(4))))

    assert found[-1].text == "plan 1 -> 4, by hand (rollback to plan 1)"
    assert (found[-1].stands_out, found[-1].actor, found[-1].operator) == (True, "ada", True)


def test_root_that_goes_away_stands_out():
    """Nobody of ours does that."""
    (*_, last) = told(*INSTALL_1, (ENACTOR, delete(root(1))))

    assert (last.kind, last.text, last.stands_out) == ("unrooted", "TOOK AWAY the root (A)", True)


def test_deletion_from_the_live_tree_stands_out_and_from_others_does_not():
    """The second step of the incident, told from a cleaner's ordinary work; whose batches are one line."""
    flip_3 = (ENACTOR, create(leaf(3)), upsert(root(3)), upsert(back(1)))
    clean_1 = (ENACTOR, *swap(fence(1), fence(1)), delete(manifest(1)), delete(leaf(1)))
    clean_2 = (ENACTOR, *swap(fence(1), fence(1)), delete(leaf(2)))
    lost = (ENACTOR, "clean 3 to 3", delete(leaf(3)))
    found = told(*INSTALL_1, flip_3, clean_1, clean_2, lost)[-2:]

    assert [(deed.kind, deed.text, deed.stands_out) for deed in found] == [
        ("cleaned", "cleaned away 2 trees, 1 to 2, 2 record sets", False),
        ("damaged", "DELETED 1 record set of tree 3, WHICH IS LIVE", True),
    ]


def test_freeze_and_thaw_stand_out_with_who_and_why():
    """From the record itself."""
    notice = Notice("ada", 1_792_000_000, "health checks lie")
    record = notice.freezing(ZONE)
    froze, thawed = told((ADA, create(record)), (Actor("grace", operator=True), delete(record)))

    assert (froze.kind, froze.text, froze.why) == (
        "frozen",
        "froze it",
        "health checks lie",
    )
    assert (thawed.kind, thawed.actor) == ("thawed", "grace")
    assert thawed.text == "thawed it; it was frozen by ada since 2026-10-14 17:46:40 UTC: health checks lie"
    assert froze.stands_out
    assert thawed.stands_out


def test_fence_alone_is_routine_and_a_proof_is_no_change():
    """An unchanged content moves the fence; the cleaner's DELETE and CREATE of it moves nothing."""
    moved = (ENACTOR, *swap(LOCK, LOCK), *swap(fence(1), fence(2)))
    proof = (ENACTOR, *swap(LOCK, LOCK), *swap(fence(2), fence(2)), delete(leaf(9)))

    assert [deed.kind for deed in told(moved, proof)] == ["cleaned"]
    assert told(moved, everything=True)[0].text == "moved the fence to 2, the content stays"


def test_what_nobody_knows_is_named():
    """Records that are none of ours."""
    (found,) = told((ADA, create(txt(f"x.{ZONE}", "y")), upsert(txt(ZONE, "z"))))

    assert (found.kind, found.text) == ("changed", f"changed {ZONE}, x")


def plan(generation, *changed, by="planner", force=False, reason=None):
    """Return a plan's summary."""
    why = reason or f"reason {generation}"
    return PlanSummary(
        generation, 0, Lane.SLOW, why, dict.fromkeys(changed, ("x", "y")), by, operator=by != "planner", force=force
    )


def test_flip_is_explained_by_the_last_plan_that_changed_the_endpoint():
    """Plan 5 was installed, but it changed another endpoint; the change came with plan 4, after plan 3's."""
    found = told((ENACTOR, upsert(root(5)), upsert(back(2))))
    plans = [plan(5, "b.test."), plan(4, ZONE), plan(3, ZONE), plan(2, ZONE)]

    (flip,) = explained(ZONE, found, plans)

    assert span(found) == (2, 5)
    assert (flip.plan, flip.why) == (4, "reason 4, and 1 before it")


def test_flip_is_explained_by_whom_and_whether_by_force():
    """An operator's plan."""
    found = told((ADA, upsert(root(5)), upsert(back(4))))

    (flip,) = explained(ZONE, found, [plan(5, ZONE, by="ada", force=True)])

    assert flip.why == "reason 5 (by ada, by force)"


def test_flip_whose_reason_says_who_forced_it_does_not_say_so_twice():
    """The planner writes that into its reason for what an operator asked it for."""
    found = told((ADA, upsert(root(5)), upsert(back(4))))
    reason = "drain lb-1 (forced by operator)"

    (done,) = explained(ZONE, found, [plan(5, ZONE, by="operator", force=True, reason=reason)])

    assert done.why == reason


def test_flip_whose_plan_is_not_kept_has_no_reason():
    """Nothing is made up."""
    found = told((ENACTOR, upsert(root(5)), upsert(back(4))))

    assert [(deed.plan, deed.why) for deed in explained(ZONE, found, [])] == [(None, "")]
