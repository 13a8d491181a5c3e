"""A plan's tree in a zone: its records, how they fit into batches, its manifest, and the aliases that make it live."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from fencepost.batch import LIMITS, Change, Limits, create, delete, upsert
from fencepost.errors import ControlRecordInvalid
from fencepost.names import generation_of, manifest_name, rollback_name, tree_name
from fencepost.plan import Content, Plan, short
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet, alias, txt

RESERVED_ELEMENTS: Final = 8
"""Of a batch's limit, kept for lock, fence and manifest, each a DELETE and a CREATE."""

RESERVED_CHARACTERS: Final = 2_000
"""The same for the values of those records."""


@lru_cache(maxsize=128)
def tree_records(zone: str, generation: int, content: Content) -> tuple[RecordSet, ...]:
    """Return a tree: one weighted record set per target, in the order of the content."""
    name, ttl = tree_name(zone, generation), content.ttl
    return tuple([RecordSet(name, t.type, ttl, (t.address,), t.identifier, t.weight) for t in content.targets])


def tree_parts(zone: str, generation: int, content: Content) -> tuple[tuple[RecordSet, ...], ...]:
    """Return a tree as it is built, batch by batch, within the limits that are in force."""
    return _tree_parts(zone, generation, content, LIMITS.get())


@lru_cache(maxsize=128)
def _tree_parts(zone: str, generation: int, content: Content, _: Limits) -> tuple[tuple[RecordSet, ...], ...]:
    return in_batches(tree_records(zone, generation, content))


def in_batches(record_sets: Sequence[RecordSet]) -> tuple[tuple[RecordSet, ...], ...]:
    """Cut record sets into parts that fit into one batch each, as UPSERT (counted twice), with room for control."""
    return tuple(_parts(record_sets))


def _parts(record_sets: Sequence[RecordSet]) -> Iterator[tuple[RecordSet, ...]]:
    left, size = iter(record_sets), _fitting(record_sets)
    while part := tuple(islice(left, size)):
        yield part


def _fitting(record_sets: Sequence[RecordSet]) -> int:
    """Return how many record sets fit for certain, by the largest of them."""
    values = [record_set.values for record_set in record_sets]
    elements, characters = max(map(len, values), default=1), max(map(len, map("".join, values)), default=1)
    limits = LIMITS.get()
    by_elements = (limits.elements - RESERVED_ELEMENTS) // (2 * max(1, elements))
    by_characters = (limits.characters - RESERVED_CHARACTERS) // (2 * max(1, characters))
    return max(1, min(by_elements, by_characters))


MANIFEST: Final = re.compile(r"^([0-9]+)/([0-9]+) ([0-9a-f]{8})$", re.ASCII)


class Manifest(NamedTuple):
    """How far a tree is built: `done` of `total` batches, and the content's digest (8 hex)."""

    done: int
    total: int
    digest: str

    @property
    def complete(self) -> bool:
        """Whether every batch is in the zone."""
        return self.done == self.total

    def record(self, zone: str, generation: int) -> RecordSet:
        """Return the TXT record that says it."""
        return txt(manifest_name(zone, generation), self.text)

    @property
    def text(self) -> str:
        """What the TXT record says."""
        return f"{self.done}/{self.total} {self.digest}"

    @classmethod
    def parse(cls, zone: str, record_set: RecordSet) -> "Manifest":
        """Read the TXT record. Raises: ControlRecordInvalid if it is no manifest."""
        match = MANIFEST.match(" ".join(record_set.values).strip('"'))
        if match is None:
            raise ControlRecordInvalid(zone, record_set.name, " ".join(record_set.values))
        return cls(int(match[1]), int(match[2]), match[3])


def manifest_of(plan: Plan, zone: str) -> Manifest:
    """Return the complete manifest of a plan's tree."""
    total = _batches(zone, plan.generation, plan.content(zone), LIMITS.get())
    return Manifest(total, total, short(plan.digests[zone]))


@lru_cache(maxsize=1_024)
def _batches(zone: str, generation: int, content: Content, _: Limits) -> int:
    """Return how many batches a tree takes, within the limits that are in force."""
    return len(tree_parts(zone, generation, content))


@lru_cache(maxsize=4_096)
def root_keys(zone: str) -> tuple[RecordKey, ...]:
    """Return where a zone's root can be found."""
    return tuple(RecordKey(zone, kind) for kind in ADDRESS_TYPES)


@lru_cache(maxsize=4_096)
def rollback_keys(zone: str) -> tuple[RecordKey, ...]:
    """Return where a zone's rollback can be found."""
    return tuple(RecordKey(rollback_name(zone), kind) for kind in ADDRESS_TYPES)


def root_generation(zone: str, root: Sequence[RecordSet]) -> int | None:
    """Return the generation that the root points to, the highest if its types differ; None if there is none."""
    found = [generation_of(record_set.alias, zone) for record_set in root if record_set.alias]
    return max((generation for generation in found if generation is not None), default=None)


def flip_root(
    zone: str, generation: int, content: Content, root: Sequence[RecordSet], *, exactly: bool = False
) -> tuple[Change, ...]:
    """Return the changes that point the root at a tree, for each address type; a type that is gone loses its alias.

    `exactly`: they fail unless the root is what was seen, or missing as it was.
    """
    target = tree_name(zone, generation)
    gone = [delete(record_set) for record_set in root if exactly or record_set.type not in content.types]
    points = create if exactly else upsert
    return (*gone, *(points(alias(zone, kind, target)) for kind in content.types))


def flip_rollback(zone: str, root: Sequence[RecordSet]) -> tuple[Change, ...]:
    """Return the changes that point rollback at what the root points to now."""
    return tuple(upsert(alias(rollback_name(zone), r.type, r.alias)) for r in root if r.alias is not None)


def tree_key(zone: str, generation: int) -> RecordKey:
    """Return where a plan's tree begins in a listing."""
    return RecordKey(tree_name(zone, generation), ADDRESS_TYPES[0])
