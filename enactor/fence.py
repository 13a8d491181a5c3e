"""A zone's fence: the generation that the zone has, its content's digest, and the one flip that put it there.

A flip carries the fence by compare-and-swap, so a stale plan is refused by the zone, whoever holds the lock and
whatever the clocks say. The flip id makes each fence unique, so that a proof never holds again after a failover has
put an earlier state back. Source: docs/invariants.md, I2 and I4.
"""

from typing import NamedTuple

from fencepost.names import fence_name
from fencepost.records import RecordKey, RecordSet, txt


class Fence(NamedTuple):
    """`generation`, `digest` (8 hex) and `flip_id` (holder, start of its process, counter)."""

    generation: int
    digest: str
    flip_id: str

    def record(self, zone: str) -> RecordSet:
        """Return the TXT record that says it."""
        return txt(fence_name(zone), f"{self.generation} {self.digest} {self.flip_id}")

    @classmethod
    def parse(cls, record_set: RecordSet) -> "Fence":
        """Read the TXT record."""
        generation, digest, flip_id = record_set.text.split(" ")
        return cls(int(generation), digest, flip_id)


def fence_key(zone: str) -> RecordKey:
    """Return where a zone's fence is found."""
    return RecordKey(fence_name(zone), "TXT")
