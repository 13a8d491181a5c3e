"""The floor of the next generation: what the zones' fences know and the plan store may have forgotten.

A plan store that fails over can lose its last plans. A zone whose fence names one of them refuses every plan that is
not newer, and a plan with a lost one's number but other content must never be taken for it. So the planner reads the
fences, and when one is ahead of the store it publishes the whole region again, numbered above all of them.
"""

import asyncio
from collections.abc import Mapping, Sequence

from fencepost.errors import ControlRecordInvalid, NoSuchHostedZone
from fencepost.fence import Fence, fence_key
from fencepost.plan import Plan, short
from fencepost.stores import ZoneStore


async def read_fences(zones: ZoneStore, names: Sequence[str]) -> dict[str, Fence]:
    """Return the fence of each zone; one that does not exist, or has none, is left out. Raises: StoreError."""
    found = await asyncio.gather(*(_read_fence(zones, name) for name in names))
    return {name: fence for name, fence in zip(names, found, strict=True) if fence}


async def _read_fence(zones: ZoneStore, zone: str) -> Fence | None:
    key = fence_key(zone)
    try:
        record = (await zones.read(zone, [key])).records.get(key)
        return Fence.parse(zone, record) if record else None
    except (NoSuchHostedZone, ControlRecordInvalid):
        return None


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
        if latest and fence.generation == generation and short(latest.digests.get(zone, "")) != fence.digest:
            return f"{name}, but the plan store's plan {generation} has another content there"
    return None
