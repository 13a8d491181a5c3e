"""How fast the cleaner and the sweep may go, and in whose turn: never so that an install waits long for either."""

from collections.abc import Iterable
from typing import Final

from fencepost.throttle import TokenBucket

SLICE: Final = 8
"""So many zones are swept, or cleaned, between two looks for a plan."""
SWEEP_ZONE_S: Final = 0.05
"""A sweep takes at least this long for each zone that there is: looking at all of a large region takes its time."""


def sweep_span_s(zones: int, sweep_s: float) -> float:
    """Return within how long each of so many zones is swept, seconds."""
    return max(sweep_s, SWEEP_ZONE_S * zones)


class SweepPace:
    """Says which zones are to be looked at though no plan changes them: each within `sweep_span_s`, a few at a time."""

    def __init__(self, sweep_s: float) -> None:
        self._sweep_s = sweep_s
        self._swept_s: dict[str, float] = {}

    def turns(self, zones: Iterable[str], now_s: float) -> list[str]:
        """Return the zones whose turn it is now."""
        all_of_them = list(zones)
        span_s = sweep_span_s(len(all_of_them), self._sweep_s)
        late = [zone for zone in all_of_them if now_s >= self._swept_s.get(zone, float("-inf")) + span_s][:SLICE]
        self._swept_s |= dict.fromkeys(late, now_s)
        return late


class CleanPace:
    """Gives each endpoint that may have something to clean its turn, one batch a round, within the bucket's rate.

    Invariant: a plan that waits puts an endpoint's turn off once, never twice in a row, so that neither a steady
    stream of plans nor a short rate lets old trees pile up in any one zone.
    """

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket
        self._called: dict[str, bool] = {}
        self._turns: dict[str, int] = {}
        self._put_off: set[str] = set()
        self._count = 0

    def call_for(self, zones: Iterable[str], *, thorough: bool = False) -> None:
        """Let zones be looked at for old trees; `thorough`: in all that they have, not only where the oldest are."""
        for zone in zones:
            self._called[zone] = thorough or self._called.get(zone, False)

    def done(self, zone: str) -> None:
        """Note that a zone is not to be looked at any more, until it is called for again."""
        self._called.pop(zone, None)

    def unused(self, zone: str) -> None:
        """Note that a zone's turn came to nothing, since it has nothing to clean, or not now; no batch was sent."""
        self.done(zone)
        self._bucket.give_back()

    def is_thorough(self, zone: str) -> bool:
        """Say whether all of a zone is to be looked through."""
        return self._called.get(zone, False)

    @property
    def called(self) -> list[str]:
        """The zones that may have something to clean, whose turn was longest ago first."""
        return sorted(self._called, key=lambda zone: (self._turns.get(zone, 0), zone))

    def turns(self, zones: Iterable[str], *, hurry: bool) -> list[str]:
        """Return those of some zones that may be cleaned now; `hurry`: a plan waits."""
        found: list[str] = []
        for zone in zones:
            if len(found) < SLICE and self._has_turn(zone, hurry=hurry):
                found.append(zone)
        return found

    def _has_turn(self, zone: str, *, hurry: bool) -> bool:
        if hurry and zone not in self._put_off:
            self._put_off.add(zone)
            return False
        if not self._bucket.try_take():
            return False
        self._put_off.discard(zone)
        self._count += 1
        self._turns[zone] = self._count
        return True
