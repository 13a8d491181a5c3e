"""The checker over arbitrary legal histories: it never fails, and agrees with a plain reading of the zone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost import records
from fencepost.batch import Action, Change
from fencepost.names import fence_name, lock_name, manifest_name, rollback_name, tree_name
from lab.invariants import check
from lab.invariants.replay import ZoneState, replay
from lab.invariants.timeline import timeline
from lab.measures import measure

ZONE = "dynamodb.us-east-1.fencepost.test."
ACTORS = ("use1-az1-enactor", "use1-az2-enactor", "alice")
TREES = tuple(tree_name(ZONE, generation) for generation in (1, 2, 3))


def record_sets():
    """Every kind of record set that a zone holds, and some that it should not."""
    kinds = st.sampled_from(("A", "AAAA"))
    aliases = st.builds(
        records.alias,
        st.sampled_from((ZONE, rollback_name(ZONE), *TREES)),
        kinds,
        st.sampled_from((ZONE, *TREES, f"elsewhere.{ZONE}")),
    )
    leaves = st.builds(
        lambda name, weight: records.address(
            name, "A", "127.1.0.1", ttl=5, set_identifier=f"lb-{weight}", weight=weight
        ),
        st.sampled_from((ZONE, *TREES)),
        st.integers(0, 2),
    )
    names = (lock_name(ZONE), fence_name(ZONE), manifest_name(ZONE, 1))
    words = st.sampled_from(("", "x", "use1-az1-enactor 5", "alice never", "7 0a1b2c3d f", "-1"))
    return st.one_of(aliases, leaves, st.builds(records.txt, st.sampled_from(names), words))


def batches():
    changes = st.lists(st.builds(Change, st.sampled_from(Action), record_sets()), min_size=1, max_size=6)
    return st.lists(st.tuples(st.sampled_from(ACTORS), changes), max_size=12)


@given(wanted=batches(), lenient=st.booleans())
def test_check_any_history_gives_a_deterministic_answer(kit, wanted, lenient):
    """Whatever was committed, and even what no zone would commit, is judged and not stumbled over."""
    zone = kit.ZoneScript()
    for actor, changes in wanted:
        try:
            zone.commit(actor, *changes, operator=actor == "alice", lenient=lenient)
        except kit.Refused:
            continue
    history = kit.history_of(zone, wanted=kit.contents())

    found = check(history, convergence_bound_s=1.0)
    result = measure(history, found)
    line = timeline(zone.zone, replay(zone.zone, zone.commits))

    assert found == check(history, convergence_bound_s=1.0)
    assert result.stale_flips == sum(violation.invariant == "I2" for violation in found)
    assert any(point.is_empty for point in line.points) == any(v.invariant == "I1" for v in found)


@given(wanted=batches())
def test_replay_of_legal_batches_ends_in_the_zone(kit, wanted):
    """Replaying the history gives exactly the record sets that the zone has."""
    zone = kit.ZoneScript()
    for actor, changes in wanted:
        try:
            zone.commit(actor, *changes)
        except kit.Refused:
            continue
    state = ZoneState(zone.zone)

    for commit in zone.commits:
        before = set(state.records)
        removed = state.apply(commit.changes)
        assert set(removed) == before - set(state.records)

    assert state.records == zone.records


@given(doomed=st.lists(st.integers(1, 6), max_size=4, unique=True), last=st.integers(2, 6))
def test_check_cleaning_in_use_or_not_is_told_apart(kit, doomed, last):
    """Deleting any set of trees breaks I4 exactly when root's or rollback's is among them."""
    zone = kit.ZoneScript()
    for generation in range(1, last + 1):
        zone.install("use1-az1-enactor", generation, kit.contents())
    zone.clean("use1-az1-enactor", *doomed)

    found = {violation.invariant for violation in check(kit.history_of(zone), convergence_bound_s=1.0)}

    assert ("I4" in found) == bool({last, last - 1} & set(doomed))
    assert ("I1" in found) == (last in doomed)


@pytest.mark.parametrize("weird", ["", "x", "a b c", '"'])
def test_fence_and_lock_in_any_words_are_read(kit, weird):
    """A record that somebody wrote by hand is no reason to give up."""
    zone = kit.ZoneScript()
    for name in (lock_name(ZONE), fence_name(ZONE)):
        zone.commit("alice", Change(Action.UPSERT, records.RecordSet(name, "TXT", 1, (weird,))), operator=True)

    assert check(kit.history_of(zone), convergence_bound_s=1.0) == ()
