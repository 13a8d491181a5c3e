"""The floor of the next generation: what the zones' fences know and the plan store may have forgotten.

A plan store that fails over can lose its last plans. A zone whose fence names one of them refuses every plan that is
not newer, and a plan with a lost one's number but other content must never be taken for it. So the planner reads the
fences, and when one is ahead of the store it publishes the whole region again, numbered above all of them.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fencepost.errors import NoSuchHostedZone
from fencepost.names import fence_name
from fencepost.plan import Plan, short
from fencepost.records import RecordKey
from fencepost.stores import ZoneStore

FENCE: Final = re.compile(r"^([0-9]{1,15}) ([0-9a-f]{8})(?: |$)")
"""Fifteen digits are exact in every script and program that has to compare them."""


class Fence(NamedTuple):
    """What a zone's `_generation` record says: the generation that it has and its content's short digest."""

    zone: str
    generation: int
    digest: str


def parse_fence(zone: str, text: str) -> Fence | None:
    """Return the fence of a record's text, `"<generation> <digest> <flip id>"`; None if it is none."""
    match = FENCE.match(text)
    return Fence(zone, int(match[1]), match[2]) if match else None


async def read_fences(zones: ZoneStore, names: Sequence[str]) -> tuple[Fence, ...]:
    """Return the fences of these zones; zones that do not exist, or have no fence, are left out. Raises: StoreError."""
    found = await asyncio.gather(*(_read_fence(zones, name) for name in names))
    return tuple(fence for fence in found if fence)


async def _read_fence(zones: ZoneStore, zone: str) -> Fence | None:
    key = RecordKey(fence_name(zone), "TXT")
    try:
        record = (await zones.read(zone, [key])).records.get(key)
    except NoSuchHostedZone:
        return None
    return parse_fence(zone, record.values[0].strip('"')) if record and record.values else None


def find_lost(fences: Iterable[Fence], latest: Plan | None) -> str | None:
    """Say, in one sentence, which fence names a plan that the store does not have; None if it has them all.

    Args:
        fences: read before `latest`, so that a plan published in between is not taken for a lost one.
        latest: the latest plan, None if there is none.
    Source: docs/invariants.md, I2 and I5.
    """
    generation = latest.generation if latest else 0
    for fence in sorted(fences, key=lambda fence: (-fence.generation, fence.zone)):
        name = f"{fence.zone} has plan {fence.generation} ({fence.digest})"
        if fence.generation > generation:
            return f"{name}, but the plan store's latest is {generation}"
        if latest and fence.generation == generation and short(latest.digests.get(fence.zone, "")) != fence.digest:
            return f"{name}, but the plan store's plan {generation} has another content there"
    return None
