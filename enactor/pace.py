"""How fast the cleaner and the sweep may go, and in whose turn: never so that an install waits long for either."""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from fencepost.throttle import TokenBucket

SLICE: Final = 8
"""So many zones are swept, or cleaned, between two looks for a plan."""
SWEEP_ZONE_S: Final = 0.05
"""A sweep takes at least this long for each zone that there is: looking at all of a large region takes its time."""
HEAD_START: Final = 10
"""Who finds a zone flipped leaves its cleaning to who flipped it for so many pauses between two looks for a plan."""


def sweep_span_s(zones: int, sweep_s: float) -> float:
    """Return within how long each of so many zones is swept, seconds."""
    return max(sweep_s, SWEEP_ZONE_S * zones)


class SweepPace:
    """Says which zones are to be looked at though no plan changes them: each within `sweep_span_s`, a few at a time.

    Zones are kept in the order of their last turns, so that asking costs what has its turn.
    """

    def __init__(self, sweep_s: float) -> None:
        self._sweep_s = sweep_s
        self._swept_s: dict[str, float] = {}
        self.zones: tuple[str, ...] = ()

    def turn_to(self, zones: Collection[str]) -> None:
        """Take note of the zones that there are; those that were not there before are first."""
        if (all_of_them := tuple(zones)) == self.zones:
            return
        self.zones = all_of_them
        known = {zone: swept_s for zone, swept_s in self._swept_s.items() if zone in zones}
        self._swept_s = {zone: float("-inf") for zone in zones if zone not in known} | known

    def turns(self, now_s: float, *, but: Collection[str] = ()) -> list[str]:
        """Return the zones whose turn it is now; `but`: some of them, that are left alone."""
        span_s = sweep_span_s(len(self._swept_s) - len(but), self._sweep_s)
        late: list[str] = []
        for zone, swept_s in self._swept_s.items():
            if len(late) == SLICE or now_s < swept_s + span_s:
                break
            if zone not in but:
                late.append(zone)
        for zone in late:
            del self._swept_s[zone]
            self._swept_s[zone] = now_s
        return late


class CleanPace:
    """Gives each endpoint that may have something to clean its turn, one batch a round, within the bucket's rate.

    Who has waited longest is next; who has had a turn and is still called for waits behind all others.

    Invariant: a plan that waits puts an endpoint's turn off once, never twice in a row, so that neither a steady
    stream of plans nor a short rate lets old trees pile up in any one zone.
    """

    def __init__(self, bucket: TokenBucket, poll_s: float) -> None:
        self._bucket, self._head_start_s = bucket, HEAD_START * poll_s
        self._called: dict[str, bool] = {}
        self._others: dict[str, float] = {}
        self._put_off: set[str] = set()

    def call_for(self, zones: Iterable[str], *, thorough: bool = False) -> None:
        """Let zones be looked at for old trees; `thorough`: in all that they have, not only where the oldest are."""
        for zone in zones:
            self._others.pop(zone, None)
            self._called[zone] = thorough or self._called.get(zone, False)

    def call_after(self, zone: str, now_s: float) -> None:
        """Let a zone be looked at that somebody else has flipped, once that one has had time to clean it."""
        if zone not in self._called:
            self._others.setdefault(zone, now_s + self._head_start_s)

    def is_called(self, now_s: float) -> bool:
        """Say whether any zone is called for; those are as well with which others have had their time."""
        while self._others and self._others[zone := next(iter(self._others))] <= now_s:
            self.call_for([zone])
        return bool(self._called)

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
    def called(self) -> Collection[str]:
        """The zones that may have something to clean, who is next first."""
        return self._called.keys()

    def turns(self, may: Callable[[str], bool], *, hurry: bool) -> list[str]:
        """Return those zones that are cleaned now, of those that `may` be; `hurry`: a plan waits."""
        found: list[str] = []
        for zone in filter(may, self._called):
            if hurry and zone not in self._put_off:
                self._put_off.add(zone)
            elif len(found) == SLICE or not self._bucket.try_take():
                break
            else:
                found.append(zone)
        self._put_off.difference_update(found)
        for zone in found:
            self._called[zone] = self._called.pop(zone)
        return found
