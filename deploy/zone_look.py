"""One endpoint's zone as a status shows it: aliases, what they point to, control records, and who broke what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from enactor.lock import lock_key
from enactor.tree import rollback_keys, root_generation, root_keys, tree_records
from fencepost.batch import Action
from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.errors import ControlRecordInvalid
from fencepost.facts import FenceFacts, LockFacts, Loss, Pointer
from fencepost.fence import Fence, fence_key
from fencepost.notice import Notice, frozen_key
from fencepost.plan import Content
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet
from fencepost.stores import Commit, ZoneRead, ZoneStore

TRIES: Final = 3
USUAL_TREE: Final = 64
"""Record sets that are asked for at once where the plan does not say how many a tree has."""
HISTORY_PAGE: Final = 250
HISTORY_PAGES: Final = 40


class ZoneLook(NamedTuple):
    """One zone, as far as a status needs it.

    Attributes:
        serial: at which it was read.
        root, rollback: the aliases, each with whether its target was there.
        live: the generation of the tree that root points to, None without a root.
        leaves: the live tree's record sets; of a very large tree the first ones only.
        whole: whether `leaves` are all of them.
        records: the control records that there are.
    """

    serial: int
    root: tuple[Pointer, ...]
    rollback: tuple[Pointer, ...]
    live: int | None
    leaves: tuple[RecordSet, ...]
    whole: bool
    records: Mapping[RecordKey, RecordSet]

    @property
    def addresses(self) -> dict[str, int]:
        """How many addresses the root gives, by type."""
        targets = {pointer.type: pointer.target for pointer in self.root}
        return {kind: sum(r.type == kind and r.name == targets[kind] for r in self.leaves) for kind in targets}


async def look_at_zone(zones: ZoneStore, zone: str, expected: int | None) -> ZoneLook:
    """Read a zone; `expected` is how many record sets its tree should have, None if that is not known.

    What is missing was missing while the root was as it says: if the root moves meanwhile, it looks again.
    Raises: NoSuchHostedZone, Throttling, StoreError.
    """
    keys = (*root_keys(zone), *rollback_keys(zone), lock_key(zone), fence_key(zone), frozen_key(zone))
    keys += (capacity_key(zone),)
    for attempt in range(1, TRIES + 1):
        read = await zones.read(zone, keys)
        look = await _followed(zones, zone, read, min(300, (expected or USUAL_TREE) + 1))
        again = await zones.read(zone, (*root_keys(zone), *rollback_keys(zone)))
        if again.serial == read.serial or _aliases(again, zone) == _aliases(read, zone):
            return look._replace(serial=again.serial)  # what is missing may have gone by the last commit before this
        if attempt == TRIES:  # a zone that moves all the time is alive: nothing is said to be missing
            return look._replace(root=_there(look.root), rollback=_there(look.rollback), whole=False)
    raise AssertionError("the last attempt returns")


def _aliases(read: ZoneRead, zone: str) -> list[RecordSet | None]:
    return [read.records.get(key) for key in (*root_keys(zone), *rollback_keys(zone))]


def _there(pointers: Sequence[Pointer]) -> tuple[Pointer, ...]:
    return tuple(Pointer(pointer.type, pointer.target) for pointer in pointers)


async def _followed(zones: ZoneStore, zone: str, read: ZoneRead, limit: int) -> ZoneLook:
    root = tuple(read.records[key] for key in root_keys(zone) if key in read.records)
    rollback = tuple(read.records[key] for key in rollback_keys(zone) if key in read.records)
    leaves: list[RecordSet] = []
    whole = True
    for target in sorted({r.alias for r in root if r.alias is not None}):
        page = await zones.page(zone, RecordKey(target, ADDRESS_TYPES[0]), limit)
        found = [r for r in page.record_sets if r.name == target and r.type in ADDRESS_TYPES]
        whole = whole and len(found) < limit
        leaves += found
    present = {(r.name, r.type) for r in leaves}
    for key in {RecordKey(r.alias, r.type) for r in (*root, *rollback) if r.alias is not None}:
        if (key.name, key.type) not in present:
            page = await zones.page(zone, key, 1)
            present |= {(r.name, r.type) for r in page.record_sets}
    return ZoneLook(
        read.serial,
        tuple(_pointers(root, present)),
        tuple(_pointers(rollback, present)),
        root_generation(zone, root),
        tuple(leaves),
        whole,
        read.records,
    )


def _pointers(aliases: Sequence[RecordSet], present: set[tuple[str, str]]) -> Iterator[Pointer]:
    for entry in aliases:
        if entry.alias is not None:
            yield Pointer(entry.type, entry.alias, (entry.alias, entry.type) in present)


class Control(NamedTuple):
    """What a zone's control records say; `invalid` holds the words of those that say nothing."""

    fence: FenceFacts | None
    lock: LockFacts | None
    frozen: Notice | None
    invalid: tuple[str, ...]


def read_control(zone: str, records: Mapping[RecordKey, RecordSet], now_s: float) -> Control:
    """Read the control records, each by itself: one that cannot be read hides no other."""
    invalid: list[str] = []
    fence = None
    if (record := records.get(fence_key(zone))) is not None:
        try:
            parsed = Fence.parse(zone, record)
            fence = FenceFacts(parsed.generation, parsed.digest)
        except ControlRecordInvalid as error:
            invalid.append(error.message)
    if (record := records.get(capacity_key(zone))) is not None:
        try:
            CapacityHistory.parse(zone, record)
        except ControlRecordInvalid as error:
            invalid.append(error.message)
    lock = None
    if (record := records.get(lock_key(zone))) is not None:
        lock = _lock(record, now_s)
        if lock is None:
            invalid.append(ControlRecordInvalid(zone, record.name, " ".join(record.values)).message)
    frozen = records.get(frozen_key(zone))
    notice = Notice.parse(" ".join(frozen.values).strip('"')) if frozen else None
    return Control(fence, lock, notice, tuple(invalid))


def _lock(record: RecordSet, now_s: float) -> LockFacts | None:
    holder, _, expires = " ".join(record.values).strip('"').rpartition(" ")
    try:
        return LockFacts(holder, round(float(expires) - now_s, 1)) if holder else None
    except ValueError:
        return None


def damage(zone: str, look: ZoneLook, content: Content) -> int:
    """Return how many record sets of the live tree, root's aliases included, are not as a content has them.

    0 as well if the tree is too large to be read at once.
    """
    if look.live is None or not look.whole:
        return 0
    wanted, found = set(tree_records(zone, look.live, content)), set(look.leaves)
    names = {record.key for record in wanted ^ found}
    return len(names) + len(set(content.types) ^ {pointer.type for pointer in look.root})


async def find_loss(zones: ZoneStore, zone: str, target: str, serial: int) -> Loss:
    """Return who deleted from a tree last, and who had pointed the root to it, from the zone's kept history."""
    loss = Loss()
    for page in range(HISTORY_PAGES):
        upto = serial - page * HISTORY_PAGE
        if upto <= 0:
            break
        commits = await zones.commits(zone, max(0, upto - HISTORY_PAGE), min(HISTORY_PAGE, upto))
        for commit in reversed(commits):
            loss = _seen(loss, zone, target, commit)
        if (loss.by and loss.flipped_by) or not commits or commits[0].serial > upto:
            break
    return loss


def _seen(loss: Loss, zone: str, target: str, commit: Commit) -> Loss:
    kept = {change.record_set.key for change in commit.changes if change.action is not Action.DELETE}
    deletes = [c.record_set for c in commit.changes if c.action is Action.DELETE and c.record_set.key not in kept]
    at_s = commit.at_us / 1e6
    if not loss.by and any(r.name == target and r.type in ADDRESS_TYPES for r in deletes):
        loss = Loss(commit.actor.name, at_s, commit.comment, loss.flipped_by, loss.flipped_at_s)
    pointed = (c.record_set for c in commit.changes if c.action is not Action.DELETE)
    if not loss.flipped_by and any(r.name == zone and r.alias == target for r in pointed):
        loss = Loss(loss.by, loss.at_s, loss.comment, commit.actor.name, at_s)
    return loss
