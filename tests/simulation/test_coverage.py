"""Rare paths are counted when they are taken, and only then."""

import pytest

from fencepost.batch import ChangeBatch, create, delete
from fencepost.change_script import arguments
from fencepost.events import Event
from fencepost.records import txt
from fencepost.stores import Actor
from lab.simulation.choice import Fault
from lab.simulation.client import Call, access_of
from lab.simulation.coverage import ALL, Coverage, never, paths

KEY = "{a.test.}:records"
LOST = Event("enactor.lock_lost", "a.test.", 3, "", None, {})


def batch(comment, *changes, by="enactor-1"):
    """Return a parked change batch."""
    asked = ChangeBatch("a.test.", changes, comment=comment)
    args = tuple(arguments(asked, {}, Actor(by), processing_us=0, stream_limit=100, creating=False))
    access = access_of((KEY,), (KEY,))
    return Call(by, "change_batch", (KEY,), args, access=access, script=None, convert=None, future=None)


def lock(holder):
    """Return a lock record."""
    return txt("_lock.a.test.", f"{holder} 1792000020")


@pytest.fixture
def coverage():
    """A count of nothing."""
    found = Coverage()
    found.begin()
    return found


@pytest.mark.parametrize(
    ("comment", "path"),
    [
        ("tree 3, batch 1 of 2", "lock lost in mid-build"),
        ("flip_committed 3", "lock lost at a flip"),
        ("clean 1 to 1", "lock lost before a delete batch"),
        ("lock released", "lock lost before its release"),
    ],
)
def test_lost_lock_counts_for_the_batch_that_was_refused(coverage, comment, path):
    """Where the lock was lost is what matters: each place is a path of its own."""
    call = batch(comment)

    coverage.meet(call)
    coverage.hear("enactor-1", LOST)
    coverage.note(call, Fault.NONE, committed=False)

    assert +coverage.counts == {path: 1}


def test_lost_lock_without_a_call_counts_for_nothing(coverage):
    """What is said when no batch was refused is another matter."""
    coverage.hear("enactor-1", LOST)

    assert not +coverage.counts


@pytest.mark.parametrize(("holder", "times"), [("enactor-2", 1), ("enactor-1", 0)])
def test_lock_taken_over_counts_only_if_it_was_anothers(coverage, holder, times):
    """One's own lock is taken again after a lost reply; that is no take-over."""
    call = batch("lock taken", delete(lock(holder)), create(lock("enactor-1")))

    coverage.note(call, Fault.NONE, committed=True)

    assert coverage.counts["expired lock taken over"] == times


def test_crash_after_a_flip_counts_until_the_pass_is_over(coverage):
    """Between flip and clean is where a crash leaves old trees; later it does not."""
    coverage.note(batch("flip_committed 3"), Fault.NONE, committed=True)
    coverage.note(batch("clean 1 to 1"), Fault.CRASH, committed=False)
    assert coverage.counts["crash between flip and clean"] == 1

    coverage.note(batch("flip_committed 4"), Fault.NONE, committed=True)
    coverage.hear("enactor-1", Event("enactor.pass_completed", None, 4, "", None, {}))
    coverage.note(batch("lock taken"), Fault.CRASH, committed=False)

    assert coverage.counts["crash between flip and clean"] == 1
    assert coverage.counts["crash before taking a lock"] == 1


def test_tree_built_by_two_counts_within_one_world(coverage):
    """Two enactors that build one tree meet in one world; those of two worlds do not."""
    coverage.note(batch("tree 3, batch 1 of 2", by="enactor-1"), Fault.NONE, committed=True)
    coverage.begin()
    coverage.note(batch("tree 3, batch 1 of 2", by="enactor-2"), Fault.NONE, committed=True)
    assert coverage.counts["one tree built by two enactors"] == 0

    coverage.note(batch("tree 3, batch 2 of 2", by="enactor-1"), Fault.NONE, committed=True)

    assert coverage.counts["one tree built by two enactors"] == 1


def test_zone_counts_as_cleaned_by_another_if_somebody_else_flipped_it_last(coverage):
    """Who cleans what it flipped itself is no rare path."""
    coverage.note(batch("flip_committed 3", by="enactor-1"), Fault.NONE, committed=True)
    coverage.note(batch("clean 1 to 1", by="enactor-1"), Fault.NONE, committed=True)
    assert coverage.counts["cleaned by another than who flipped"] == 0

    coverage.note(batch("clean 2 to 2", by="enactor-2"), Fault.NONE, committed=True)

    assert coverage.counts["cleaned by another than who flipped"] == 1


def test_paths_that_were_not_taken_are_told(coverage):
    """A run that never reached a path has to say so."""
    coverage.note(batch("tree 3, batch 1 of 1"), Fault.LOST, committed=True)

    assert {path.name: path.times for path in paths(coverage.counts)} == {
        name: int(name == "reply lost on a tree batch") for name in ALL
    }
    assert set(never(coverage.counts)) == set(ALL) - {"reply lost on a tree batch"}
