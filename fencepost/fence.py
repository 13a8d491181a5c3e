"""A zone's fence: the generation that the zone has, its content's digest, and the one flip that put it there.

A flip carries the fence by compare-and-swap, so a stale plan is refused by the zone, whoever holds the lock and
whatever the clocks say. The flip id makes each fence unique, so that a proof never holds again after a failover has
put an earlier state back. Source: docs/invariants.md, I2 and I4.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from fencepost.errors import ControlRecordInvalid
from fencepost.names import fence_name
from fencepost.plan import Plan, short
from fencepost.records import RecordKey, RecordSet, txt

TEXT: Final = re.compile(r"^([0-9]{1,15}) ([0-9a-f]{8}) (\S+)$", re.ASCII)
"""Fifteen digits are exact in every script and program that has to compare them."""


class Fence(NamedTuple):
    """`generation`, `digest` (8 hex) and `flip_id` (holder, start of its process, counter)."""

    generation: int
    digest: str
    flip_id: str

    def has(self, plan: Plan, zone: str) -> bool:
        """Say whether a zone with this fence has what a plan wants there, and refuses every plan that wants otherwise.

        Every plan from the one that last spoke of the endpoint on has one content there. So a fence from then on
        refuses all that is older, and who is late with a plan in between finds nothing to do either. An older fence
        with the same digest does not: the content may have changed and changed back, and the plan between may still be
        on its way. Source: docs/invariants.md, I5, "Who has the latest plan".
        """
        since = plan.unchanged_since(zone)
        return since <= self.generation <= plan.generation and self.digest == short(plan.digests[zone])

    def record(self, zone: str) -> RecordSet:
        """Return the TXT record that says it."""
        return txt(fence_name(zone), f"{self.generation} {self.digest} {self.flip_id}")

    @classmethod
    def parse(cls, zone: str, record_set: RecordSet) -> "Fence":
        """Read the TXT record. Raises: ControlRecordInvalid if it is no fence."""
        match = TEXT.match(" ".join(record_set.values).strip('"'))
        if match is None:
            raise ControlRecordInvalid(zone, record_set.name, " ".join(record_set.values))
        return cls(int(match[1]), match[2], match[3])


@lru_cache(maxsize=4_096)
def fence_key(zone: str) -> RecordKey:
    """Return where a zone's fence is found."""
    return RecordKey(fence_name(zone), "TXT")
