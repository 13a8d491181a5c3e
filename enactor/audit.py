"""Self-repair: what a zone serves is looked at now and then, and what was damaged is made whole. Source: I1, I3, I5.

A zone that a newer plan waits for is healed by installing that; one that is at the latest plan is restored in place.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from enactor.check import Protection
from enactor.hand import ZoneHand
from enactor.tree import (
    Manifest,
    flip_root,
    in_batches,
    manifest_of,
    root_generation,
    root_keys,
    tree_key,
    tree_records,
)
from enactor.view import ZoneView
from fencepost.batch import Change, create, delete, swap
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.events import Events
from fencepost.fence import fence_key
from fencepost.guards import Guard
from fencepost.names import manifest_name, tree_name
from fencepost.plan import Content, Plan, short
from fencepost.records import RecordSet, alias


class Found(NamedTuple):
    """What was found, in words, and when (the clock's monotonic seconds)."""

    what: str
    at_s: float


class Auditor:
    """Knows which zones are to be looked at, and which are damaged as far as is known."""

    def __init__(
        self, api: ControlApi, protection: Protection, clock: Clock, events: Events, guards: frozenset[Guard]
    ) -> None:
        self._api, self._protection, self._clock, self._events = api, protection, clock, events
        self._whole = Guard.WHOLE_TREES in guards
        self._due: set[str] = set()
        self._found: dict[str, Found] = {}

    def call_for(self, zones: Iterable[str]) -> None:
        """Let some zones be looked at when their turn comes."""
        self._due.update(zones)

    def is_damaged(self, zone: str) -> bool:
        """Say whether a zone was found damaged, and is not healed yet."""
        return zone in self._found

    async def look(self, zone: str, view: ZoneView) -> None:
        """Compare what a zone serves with what it should, if it is due; damage is told once.

        Raises: ContentDamaged if nobody can say what it should; it stays due.
        """
        if zone not in self._due:
            return
        what = await self._damage(zone, view)
        if what and await self._moved_since(zone, view):
            return
        self._due.discard(zone)
        if what is None:
            self._found.pop(zone, None)
        elif zone not in self._found or self._found[zone].what != what:
            self._found[zone] = Found(what, self._clock.monotonic())
            generation = view.fence.generation if view.fence else root_generation(zone, view.root)
            self._events.emit("enactor.damage_found", zone=zone, generation=generation, reason=what)

    def healed(self, zone: str, generation: int, how: str) -> None:
        """Tell what was done, if the zone was damaged."""
        found = self._found.pop(zone, None)
        if found is not None:
            took_ms = (self._clock.monotonic() - found.at_s) * 1000
            reason = f"{how} ({found.what})"
            self._events.emit(
                "enactor.endpoint_repaired", zone=zone, generation=generation, reason=reason, took_ms=took_ms
            )

    async def restore(self, hand: ZoneHand, plan: Plan, view: ZoneView) -> bool:
        """Make a zone that is at the latest plan serve exactly that; the lock is held, the view younger than it.

        Returns: True: it does now. Raises: as `ZoneHand.commit`; then look again.
        """
        zone, content = hand.zone, plan.content(hand.zone)
        self._due.add(zone)
        await self.look(zone, view)
        if not self.is_damaged(zone):  # somebody else was first
            return zone not in self._due
        generation, listing = await self._place(zone, plan, view)
        changes = restoring(zone, generation, content, listing)
        size = _size(changes)
        for at in range(0, len(changes), size):
            records = [change for step in changes[at : at + size] for change in step]
            await hand.commit(plan.generation, f"tree {generation} restored", *view.proof(zone), *records)
        manifest = next((r for r in listing if r.name == manifest_name(zone, generation)), None)
        last = swap(manifest, manifest_of(plan, zone).record(zone, generation)) if self._whole else ()
        if set(view.root) != {alias(zone, kind, tree_name(zone, generation)) for kind in content.types}:
            last += flip_root(zone, generation, content, view.root)
        await hand.commit(plan.generation, f"zone restored to {plan.generation}", *view.proof(zone), *last)
        self.healed(zone, plan.generation, f"tree {generation} was restored in place, by {len(changes)} record sets")
        return True

    async def _place(self, zone: str, plan: Plan, view: ZoneView) -> tuple[int, Sequence[RecordSet]]:
        """Return which tree is to be restored, and what is there: the live one, unless that is another content's."""
        for generation in (root_generation(zone, view.root), plan.generation):
            if generation is None:
                continue
            listing = await self._api.listing(zone, tree_key(zone, generation), within=tree_name(zone, generation))
            said = next((Manifest.parse(zone, r) for r in listing if r.name == manifest_name(zone, generation)), None)
            if generation == plan.generation or said is None or said.digest == short(plan.digests[zone]):
                return generation, listing
        raise AssertionError("the plan's own tree always will do")

    async def _damage(self, zone: str, view: ZoneView) -> str | None:
        generation = root_generation(zone, view.root)
        if generation is None:
            return (
                f"there is no root, though the zone was moved to plan {view.fence.generation}" if view.fence else None
            )
        listing = await self._api.listing(zone, tree_key(zone, generation), within=tree_name(zone, generation))
        if not any(r.name == tree_name(zone, generation) for r in listing):
            return f"the root points to plan-{generation:06d}, which is not there"
        if view.fence is None:
            return f"there is no fence: the root was moved to plan-{generation:06d} by who keeps none"
        wanted = self._protection.named(zone, view.fence.digest)
        if wanted is None:
            return None
        return tree_damage(zone, generation, wanted, view.root, listing, whole=self._whole)

    async def _moved_since(self, zone: str, view: ZoneView) -> bool:
        """Say whether the zone was flipped since the view: then what was missing may have been rightly cleaned away."""
        read = await self._api.read(zone, (*root_keys(zone), fence_key(zone)))
        root = tuple(read.records[key] for key in root_keys(zone) if key in read.records)
        fence = read.records.get(fence_key(zone))
        return (root, fence) != (view.root, view.fence.record(zone) if view.fence else None)


def tree_damage(
    zone: str,
    generation: int,
    wanted: Content,
    root: Sequence[RecordSet],
    listing: Sequence[RecordSet],
    *,
    whole: bool = True,
) -> str | None:
    """Return in words how a live tree and its root differ from a content, None if they do not.

    `whole`: a complete manifest belongs to it.
    """
    name = tree_name(zone, generation)
    for kind in wanted.types:
        if alias(zone, kind, name) not in root:
            return f"the root has no {kind} alias to plan-{generation:06d}"
    leaves, whole_tree = tuple([r for r in listing if r.name == name]), tree_records(zone, generation, wanted)
    # Both are in order as a rule: what differs is counted only where anything does.
    if leaves != whole_tree and (words := _differences(leaves, whole_tree)):
        return f"plan-{generation:06d} " + " and ".join(words)
    said_in = manifest_name(zone, generation)
    manifest = next((Manifest.parse(zone, r) for r in listing if r.name == said_in), None)
    if not whole or (manifest is not None and manifest.complete):
        return None
    return f"plan-{generation:06d} has no manifest that calls it complete"


def _differences(existing: Sequence[RecordSet], desired: Sequence[RecordSet]) -> list[str]:
    """Return in words how the record sets of a tree differ from those that it should have, in whatever order."""
    found, should = {r.key: r for r in existing}, {r.key: r for r in desired}
    counts = {
        "lacks": len(should.keys() - found.keys()),
        "differs in": sum(found[key] != should[key] for key in should.keys() & found.keys()),
        "has too many by": len(found.keys() - should.keys()),
    }
    return [f"{how} {count} record sets" for how, count in counts.items() if count]


def restoring(zone: str, generation: int, wanted: Content, listing: Sequence[RecordSet]) -> list[tuple[Change, ...]]:
    """Return what makes a tree exactly a content, record set by record set: what is missing first, surplus last."""
    found = {r.key: r for r in listing if r.name == tree_name(zone, generation)}
    should = {r.key: r for r in tree_records(zone, generation, wanted)}
    missing = [(create(record_set),) for key, record_set in should.items() if key not in found]
    differing = [swap(found[key], should[key]) for key in should if key in found and found[key] != should[key]]
    surplus = [(delete(record_set),) for key, record_set in found.items() if key not in should]
    return [*missing, *differing, *surplus]


def _size(changes: Sequence[tuple[Change, ...]]) -> int:
    """Return how many of these changes fit into a batch for certain: a swap counts as an UPSERT does."""
    parts = in_batches([step[-1].record_set for step in changes])
    return len(parts[0]) if parts else 1
