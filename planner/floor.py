"""The floor of the next generation: what the zones' fences know and the plan store may have forgotten.

A plan store that fails over can lose its last plans. A zone whose fence names one of them refuses every plan that is
not newer, and a plan with a lost one's number but other content must never be taken for it. So the planner reads the
fences, and when one names a plan that the store does not have, or the planner itself knew one, it publishes the whole
region again, numbered above all of them. What capacity each zone had lately is read with its fence.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.errors import ControlRecordInvalid, NoSuchHostedZone, StoreError
from fencepost.fence import Fence, fence_key
from fencepost.plan import Plan, PlanSummary, short
from fencepost.records import RecordSet
from fencepost.stores import PlanStore, ZoneStore


class ZoneSeen(NamedTuple):
    """A zone's fence, None if it has none, and the capacity that it had lately, by its own record."""

    fence: Fence | None
    capacity: CapacityHistory


NOTHING_SEEN: Final = ZoneSeen(None, CapacityHistory())


async def read_zones(
    zones: ZoneStore, names: Sequence[str], known: Mapping[str, ZoneSeen] = MappingProxyType({})
) -> dict[str, ZoneSeen]:
    """Return what each zone says of itself; nothing for one that does not exist.

    One that cannot be read just now counts as it was `known` last: it does not stop the others.
    Raises: StoreError if none can be read.
    """
    results = await asyncio.gather(*(_read_zone(zones, name) for name in names), return_exceptions=True)
    found = {name: result for name, result in zip(names, results, strict=True) if isinstance(result, ZoneSeen)}
    for result in results:
        if isinstance(result, BaseException) and not (found and isinstance(result, StoreError)):
            raise result
    return {name: found.get(name) or known.get(name, NOTHING_SEEN) for name in names}


async def _read_zone(zones: ZoneStore, zone: str) -> ZoneSeen:
    keys = (fence_key(zone), capacity_key(zone))
    try:
        records = (await zones.read(zone, keys)).records
    except NoSuchHostedZone:
        return NOTHING_SEEN
    fence, capacity = (records.get(key) for key in keys)
    return ZoneSeen(_fence(zone, fence), _capacity(zone, capacity))


def _fence(zone: str, record: RecordSet | None) -> Fence | None:
    try:
        return Fence.parse(zone, record) if record else None
    except ControlRecordInvalid:
        return None


def _capacity(zone: str, record: RecordSet | None) -> CapacityHistory:
    # One that cannot be read protects nothing any more, but the last plan and what the planner remembers still do.
    try:
        return CapacityHistory.parse(zone, record) if record else CapacityHistory()
    except ControlRecordInvalid:
        return CapacityHistory()


def fences_of(seen: Mapping[str, ZoneSeen]) -> dict[str, Fence]:
    """Return the fence of each zone that has one."""
    return {name: zone.fence for name, zone in seen.items() if zone.fence}


def find_lost(fences: Mapping[str, Fence], latest: Plan | None) -> str | None:
    """Say, in one sentence, which fence names a plan that the store does not have; None if it has them all.

    Args:
        fences: read before `latest`, so that a plan published in between is not taken for a lost one.
        latest: the latest plan, None if there is none.
    Source: docs/invariants.md, I2 and I5.
    """
    generation = latest.generation if latest else 0
    for zone, fence in sorted(fences.items(), key=lambda item: (-item[1].generation, item[0])):
        name = f"{zone} has plan {fence.generation} ({fence.digest})"
        if fence.generation > generation:
            return f"{name}, but the plan store's latest is {generation}"
        # From the plan that last spoke of an endpoint on there is one content: another was lost, whatever its number.
        since = latest.unchanged_since(zone) if latest else generation + 1
        if latest and fence.generation >= since and short(latest.digests.get(zone, "")) != fence.digest:
            return f"{name}, but the plan store's plan {fence.generation} has another content there"
    return None


async def forgot(plans: PlanStore, known: Plan | None, latest: Plan | None) -> str | None:
    """Say, in one sentence, that the store has lost a plan that was the latest before; None if it has it.

    Raises: StoreError.

    Args:
        plans: the store, which is asked only where `latest` does not tell.
        known: what `latest` was read with.
        latest: what the store answered.
    """
    if known is None or await _has(plans, known, latest):
        return None
    return f"the plan store has lost plan {known.generation}, which others may know as well"


async def _has(plans: PlanStore, known: Plan, latest: Plan | None) -> bool:
    if latest is None or latest.generation <= known.generation:
        return latest is not None and _id(latest) == _id(known)
    if any(since < latest.generation for since in latest.since.values()):
        return True
    # All is new: a plan for the whole region, or there was another past, as `PlanStore.latest` tells who knew it.
    before = await plans.history(limit=1, before=known.generation + 1)
    return not before or _id(before[0]) == _id(known)


def _id(plan: Plan | PlanSummary) -> tuple[int, int]:
    return plan.generation, plan.published_ms
