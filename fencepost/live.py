"""What a zone says of itself now, for operators' tools: a control record that nobody can read stops none of them."""

from collections.abc import Iterable
from typing import NamedTuple

from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.control import ControlApi
from fencepost.errors import ControlRecordInvalid, NoSuchHostedZone
from fencepost.fence import Fence, fence_key
from fencepost.notice import Notice, frozen_key
from fencepost.plan import Content, Target, content
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet


class LiveZone(NamedTuple):
    """What counts when a plan is judged; all None or empty for a zone that there is not.

    Attributes:
        content: what the endpoint answers, None if nothing.
        fence: None if there is none that can be read.
        capacity: what it had lately; nothing if nobody can say.
        frozen: by whom, since when and why; None if it is not.
    """

    content: Content | None = None
    fence: Fence | None = None
    capacity: CapacityHistory = CapacityHistory()
    frozen: Notice | None = None


async def live_zone(api: ControlApi, zone: str) -> LiveZone:
    """Read what a zone answers, and its control records. Raises: Throttling, StoreError."""
    roots = [RecordKey(zone, kind) for kind in ADDRESS_TYPES]
    try:
        found = (await api.read(zone, [*roots, fence_key(zone), capacity_key(zone), frozen_key(zone)])).records
        leaves: dict[RecordSet, None] = {}
        for target in sorted({found[key].alias or "" for key in roots if key in found}):
            listing = await api.listing(zone, RecordKey(target, ADDRESS_TYPES[0]))
            leaves |= {r: None for r in listing if r.name == target and RecordKey(zone, r.type) in found}
    except NoSuchHostedZone:
        return LiveZone()
    return LiveZone(
        content_of(leaves),
        read_fence(zone, found.get(fence_key(zone))),
        read_capacity(zone, found.get(capacity_key(zone))),
        read_notice(found.get(frozen_key(zone))),
    )


def content_of(leaves: Iterable[RecordSet]) -> Content | None:
    """Return what a tree's records say, None if there are none."""
    found = list(leaves)
    targets = [Target(r.set_identifier or "", r.type, r.values[0], r.weight or 0) for r in found if r.values]
    return content(found[0].ttl or 0, targets) if targets else None


def read_fence(zone: str, record_set: RecordSet | None) -> Fence | None:
    """Return a fence, None if there is none that can be read."""
    try:
        return Fence.parse(zone, record_set) if record_set else None
    except ControlRecordInvalid:
        return None


def read_capacity(zone: str, record_set: RecordSet | None) -> CapacityHistory:
    """Return a history of capacity; an empty one if there is none that can be read."""
    try:
        return CapacityHistory.parse(zone, record_set) if record_set else CapacityHistory()
    except ControlRecordInvalid:
        return CapacityHistory()


def read_notice(record_set: RecordSet | None) -> Notice | None:
    """Return who has frozen a zone, when and why; None for None."""
    return Notice.parse(" ".join(value.strip('"') for value in record_set.values)) if record_set else None
