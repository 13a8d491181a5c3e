"""One consistent read of what decides about a flip."""

from functools import lru_cache
from typing import NamedTuple

from enactor.lock import lock_key
from enactor.tree import Manifest, rollback_keys, root_keys
from fencepost.batch import Change, swap
from fencepost.capacity import capacity_key
from fencepost.fence import Fence, fence_key
from fencepost.names import generation_of, manifest_name
from fencepost.notice import frozen_key
from fencepost.records import RecordKey, RecordSet
from fencepost.stores import ZoneRead


@lru_cache(maxsize=4_096)
def view_keys(zone: str, generation: int) -> tuple[RecordKey, ...]:
    """Return which records a `ZoneView` for a plan is made of."""
    manifest = RecordKey(manifest_name(zone, generation), "TXT")
    control = (lock_key(zone), fence_key(zone), capacity_key(zone), frozen_key(zone), manifest)
    return (*root_keys(zone), *rollback_keys(zone), *control)


class ZoneView(NamedTuple):
    """A zone's control records at one serial.

    Attributes:
        root, rollback: their aliases, one for each address type that they have.
        lock: the lock record, None if nobody has it.
        fence: the fence, None in a zone that no fixed enactor has flipped yet.
        manifest: the manifest of the tree of the plan that was asked for, None if there is none.
        capacity: how much capacity the zone had lately, None where nothing has noted it yet.
        frozen: what keeps everybody but operators from writing, None if nothing does.
    """

    root: tuple[RecordSet, ...]
    rollback: tuple[RecordSet, ...]
    lock: RecordSet | None
    fence: Fence | None
    manifest: Manifest | None
    capacity: RecordSet | None
    frozen: RecordSet | None

    @classmethod
    def of(cls, zone: str, generation: int, read: ZoneRead) -> "ZoneView":
        """Return the view that was read with `view_keys`."""
        found = read.records
        fence = found.get(fence_key(zone))
        manifest = found.get(RecordKey(manifest_name(zone, generation), "TXT"))
        return cls(
            tuple(found[key] for key in root_keys(zone) if key in found),
            tuple(found[key] for key in rollback_keys(zone) if key in found),
            found.get(lock_key(zone)),
            Fence.parse(zone, fence) if fence else None,
            Manifest.parse(zone, manifest) if manifest else None,
            found.get(capacity_key(zone)),
            found.get(frozen_key(zone)),
        )

    def proof(self, zone: str) -> tuple[Change, ...]:
        """Return changes that fail if anything was flipped since the view was read; none in a zone without a fence."""
        return swap(self.fence.record(zone), self.fence.record(zone)) if self.fence else ()

    def refers_to(self, zone: str, generation: int) -> bool:
        """Say whether root or rollback points to a plan's tree."""
        aliases = (record_set.alias for record_set in (*self.root, *self.rollback))
        return any(alias is not None and generation_of(alias, zone) == generation for alias in aliases)
