"""A zone as an operator's tool sees it: one listing, and what it says about root, tree, fence and capacity. Pure."""

from typing import NamedTuple

from enactor.lock import LOCK, lock_key
from enactor.tree import root_generation, root_keys, tree_records
from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.fence import Fence, fence_key
from fencepost.live import content_of, read_capacity, read_fence
from fencepost.names import rollback_name, tree_name
from fencepost.plan import Content
from fencepost.records import RecordKey, RecordSet


class SeenZone(NamedTuple):
    """Every record set of a zone, as listed. Its pages may be of different serials: prove, then act."""

    zone: str
    record_sets: tuple[RecordSet, ...]

    def find(self, key: RecordKey) -> RecordSet | None:
        """Return one record set, None if it is not there."""
        return next((r for r in self.record_sets if r.key == key), None)

    def named(self, name: str) -> tuple[RecordSet, ...]:
        """Return the record sets of a name: a tree's leaves, say."""
        return tuple(r for r in self.record_sets if r.name == name)

    def exists(self, pointer: RecordSet) -> bool:
        """Say whether what an alias points to is there."""
        return any((r.name, r.type) == (pointer.alias, pointer.type) for r in self.record_sets)

    @property
    def root(self) -> tuple[RecordSet, ...]:
        """The root's aliases, one for each address type that it has."""
        return tuple(r for r in self.record_sets if r.key in root_keys(self.zone))

    @property
    def rollback(self) -> tuple[RecordSet, ...]:
        """The rollback aliases, likewise."""
        return self.named(rollback_name(self.zone))

    @property
    def generation(self) -> int | None:
        """The generation that the root points to, None if there is no root."""
        return root_generation(self.zone, self.root)

    @property
    def dangling(self) -> bool:
        """Whether the root, or a part of it, points to nothing."""
        return not all(map(self.exists, self.root))

    @property
    def live(self) -> Content | None:
        """What the endpoint answers now, None if nothing."""
        return content_of(r for entry in self.root for r in self.named(entry.alias or "") if r.type == entry.type)

    @property
    def fence_record(self) -> RecordSet | None:
        """The fence as it is in the zone, which may be unreadable."""
        return self.find(fence_key(self.zone))

    @property
    def fence(self) -> Fence | None:
        """The fence, None if there is none that can be read."""
        return read_fence(self.zone, self.fence_record)

    @property
    def capacity_record(self) -> RecordSet | None:
        """The history of the capacity as it is in the zone."""
        return self.find(capacity_key(self.zone))

    @property
    def capacity(self) -> CapacityHistory:
        """The history of the capacity; nothing is known if there is none that can be read."""
        return read_capacity(self.zone, self.capacity_record)

    @property
    def litter(self) -> tuple[RecordSet, ...]:
        """What stops automation, or helps nobody: rollback to nothing, a lock or a history that cannot be read."""
        lock = self.find(lock_key(self.zone))
        broken = [lock] if lock is not None and not LOCK.match(" ".join(lock.values).strip('"')) else []
        if self.capacity_record is not None and not self.capacity.samples:
            broken.append(self.capacity_record)
        return (*(r for r in self.rollback if not self.exists(r)), *broken)

    def serves(self, desired: Content) -> bool:
        """Say whether the root points to one tree, and that is exactly this content, whatever its generation."""
        generation = self.generation
        if generation is None or tuple(r.type for r in self.root) != desired.types:
            return False
        name = tree_name(self.zone, generation)
        leaves = {r for entry in self.root for r in self.named(entry.alias or "")}
        return {r.alias for r in self.root} == {name} and leaves == set(tree_records(self.zone, generation, desired))
