"""Which trees are old enough to go, and the batches that delete them."""

from collections.abc import Iterable, Sequence

from enactor.tree import in_batches
from fencepost.batch import Change, delete
from fencepost.names import generation_of, manifest_name, rollback_name
from fencepost.records import RecordSet


def older_trees(zone: str, listing: Iterable[RecordSet], before: int) -> list[int]:
    """Return the generations below `before` that have any record in a listing of the zone, oldest first."""
    found = {generation_of(record_set.name, zone) for record_set in listing}
    return sorted(generation for generation in found if generation is not None and generation < before)


def referenced_trees(zone: str, listing: Iterable[RecordSet]) -> set[int]:
    """Return the generations that root or rollback point to."""
    names = (zone, rollback_name(zone))
    found = {generation_of(r.alias, zone) for r in listing if r.name in names and r.alias is not None}
    return {generation for generation in found if generation is not None}


def deletions(zone: str, listing: Sequence[RecordSet], generations: Sequence[int]) -> tuple[tuple[Change, ...], ...]:
    """Return the batches (without lock and proof) that delete whole trees, in order.

    The first change on each tree deletes its manifest: a tree that is half deleted can never be taken for whole.
    """
    doomed: list[RecordSet] = []
    for generation in generations:
        tree = [r for r in listing if generation_of(r.name, zone) == generation]
        name = manifest_name(zone, generation)
        manifest = [r for r in tree if r.name == name]
        doomed += manifest + [r for r in tree if r not in manifest]
    return tuple(tuple(map(delete, part)) for part in in_batches(doomed))


def trees_in(zone: str, batch: Iterable[Change]) -> list[int]:
    """Return the generations whose trees a batch deletes from, oldest first."""
    found = {generation_of(change.record_set.name, zone) for change in batch}
    return sorted(generation for generation in found if generation is not None)
