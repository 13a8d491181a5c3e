"""How trees are cut into batches, and in which order they are deleted."""

from contextvars import copy_context

from hypothesis import given
from hypothesis import strategies as st

from enactor.cleaner import deletions, older_trees, referenced_trees
from enactor.tree import RESERVED_CHARACTERS, RESERVED_ELEMENTS, Manifest, in_batches
from fencepost.batch import (
    LIMITS,
    MAX_RECORD_ELEMENTS,
    MAX_VALUE_CHARACTERS,
    Action,
    Limits,
    size_of,
    upsert,
)
from fencepost.names import generation_of, manifest_name, rollback_name, tree_name
from fencepost.records import RecordSet, address, alias

ZONE = "a.test."

value_lists = st.lists(st.text("0123456789abcdef:", min_size=1, max_size=300), min_size=1, max_size=4)
record_lists = st.lists(value_lists, max_size=1500).map(
    lambda values: [RecordSet(f"r{n}.{ZONE}", "A", 5, tuple(found)) for n, found in enumerate(values)]
)


@given(values=value_lists, count=st.integers(0, 2500))
def test_in_batches_of_many_alike_keeps_order_and_stays_within_the_limits(values, count):
    """Even as UPSERT, which counts twice, and with the control records' share, no batch is too large."""
    record_sets = [RecordSet(f"r{n}.{ZONE}", "A", 5, tuple(values)) for n in range(count)]

    check_batches(record_sets)


def test_in_batches_where_a_zone_takes_less_are_as_small_as_that():
    """So that a tree of a few records takes several batches, where every order of them is to be tried."""
    record_sets = [address(f"r{n}.{ZONE}", "A", "10.0.0.1", ttl=5) for n in range(5)]

    def limited():
        LIMITS.set(Limits(characters=RESERVED_CHARACTERS + 2 * 2 * len("10.0.0.1")))
        return [len(part) for part in in_batches(record_sets)]

    assert copy_context().run(limited) == [2, 2, 1]
    assert len(in_batches(record_sets)) == 1


@given(record_sets=record_lists)
def test_in_batches_of_any_record_sets_keeps_order_and_stays_within_the_limits(record_sets):
    """The same for record sets of different sizes."""
    check_batches(record_sets)


def check_batches(record_sets):
    parts = in_batches(record_sets)

    assert [found for part in parts for found in part] == record_sets
    for part in parts:
        assert part
        size = size_of([*map(upsert, part)])
        assert size.elements + RESERVED_ELEMENTS <= MAX_RECORD_ELEMENTS
        assert size.characters + RESERVED_CHARACTERS <= MAX_VALUE_CHARACTERS


trees = st.dictionaries(st.integers(1, 2_000_000), st.tuples(st.integers(0, 600), st.booleans()), max_size=5)


def listing_of(found: dict[int, tuple[int, bool]]) -> list[RecordSet]:
    """Return the record sets of trees: generation -> (leaves, whether there is a manifest), manifests last."""
    leaves = [
        address(tree_name(ZONE, generation), "A", "10.0.0.1", ttl=5, set_identifier=str(n), weight=1)
        for generation, (count, _) in found.items()
        for n in range(count)
    ]
    manifests = [Manifest(1, 1, "00000000").record(ZONE, generation) for generation, (_, has) in found.items() if has]
    return leaves + manifests


@given(found=trees, before=st.integers(0, 2_000_001))
def test_deletions_of_old_trees_delete_each_manifest_first_and_everything_of_these_trees_once(found, before):
    """Nothing else is touched; of each tree the manifest goes first; the batches stay within the limits."""
    listing = listing_of(found)

    old = older_trees(ZONE, listing, before)
    batches = deletions(ZONE, listing, old)

    assert old == sorted(g for g, (count, has) in found.items() if g < before and (count or has))
    doomed = [change.record_set for batch in batches for change in batch]
    assert {change.action for batch in batches for change in batch} <= {Action.DELETE}
    assert sorted(r.order for r in doomed) == sorted(r.order for r in listing if generation_of(r.name, ZONE) in old)
    for generation in old:
        names = [r.name for r in doomed if generation_of(r.name, ZONE) == generation]
        assert manifest_name(ZONE, generation) not in names[1:]
    for batch in batches:
        assert size_of(batch).elements + RESERVED_ELEMENTS <= MAX_RECORD_ELEMENTS


def test_older_trees_leave_the_oldest_that_is_to_be_kept():
    """`before` itself is not below it; names that are no tree's do not count."""
    names = [ZONE, *(tree_name(ZONE, generation) for generation in (7, 5, 4, 6, 5))]
    listing = [address(name, "A", "10.0.0.1", ttl=5, set_identifier="lb", weight=1) for name in names]

    assert older_trees(ZONE, listing, 6) == [4, 5]
    assert older_trees(ZONE, listing, 4) == []


def test_referenced_trees_of_a_listing_are_those_of_root_and_rollback():
    """Each type counts by itself: while types change, root and rollback may name four trees."""
    listing = [
        alias(ZONE, "A", tree_name(ZONE, 4)),
        alias(ZONE, "AAAA", tree_name(ZONE, 3)),
        alias(rollback_name(ZONE), "A", tree_name(ZONE, 2)),
        alias(f"www.{ZONE}", "A", tree_name(ZONE, 1)),
    ]

    assert referenced_trees(ZONE, listing) == {4, 3, 2}
