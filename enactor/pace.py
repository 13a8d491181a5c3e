"""How fast the cleaner and the sweep may go, and in whose turn: never so that an install waits long for either."""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable
from typing import Final

from enactor.starts import share
from fencepost.throttle import TokenBucket

SLICE: Final = 8
"""So many zones are swept, or cleaned, between two looks for a plan."""
SWEEP_ZONE_S: Final = 0.05
"""A sweep takes at least this long for each zone that there is: looking at all of a large region takes its time."""
HELP_CALLS: Final = 5
"""So many calls cleaning a zone of one tree takes: ask, read what points to it, list it, ask again, delete."""


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
    stream of plans nor a short rate lets old trees pile up in any one zone. What others have flipped is put off as long
    as a plan waits, or the control API would have to be waited for: a sweep calls for it in any case.

    Args:
        name: the enactor's; those that help with a zone each come at a time of their own.
        head_start_s: for how long, and up to twice that, a zone is left to who flipped it.
    """

    def __init__(self, bucket: TokenBucket, name: str, head_start_s: float) -> None:
        self._bucket, self._name, self._head_start_s = bucket, name, head_start_s
        self._called: dict[str, bool] = {}
        self._helped: set[str] = set()  # those of them that others have flipped
        self._later: dict[str, float] = {}
        self._in_order: list[tuple[float, str]] = []  # the same, who is called for first is first
        self._put_off: set[str] = set()
        self._turns, self._came_to_something = 0, False

    def turn_to(self, zones: Collection[str]) -> None:
        """Take note of the zones that there are: the others are not called for any more."""
        for zone in [zone for zone in (*self._called, *self._later) if zone not in zones]:
            self.done(zone)
            self._not_later(zone)

    def call_for(self, zones: Iterable[str], *, thorough: bool = False) -> None:
        """Let zones be looked at for old trees; `thorough`: in all that they have, not only where the oldest are."""
        for zone in zones:
            self._not_later(zone)
            self._helped.discard(zone)
            self._called[zone] = thorough or self._called.get(zone, False)

    def call_after(self, zone: str, now_s: float) -> None:
        """Let a zone be looked at that somebody else has flipped, once that one has had time to clean it."""
        if zone not in self._called and zone not in self._later:
            self._later[zone] = at_s = now_s + self._head_start_s * (1 + share(self._name, zone))
            insort(self._in_order, (at_s, zone))

    def _not_later(self, zone: str) -> None:
        if (at_s := self._later.pop(zone, None)) is not None:
            del self._in_order[bisect_left(self._in_order, (at_s, zone))]

    def call_for_late(self, now_s: float) -> None:
        """Call for the zones that those who flipped them have had the time to clean."""
        while self._in_order and self._in_order[0][0] <= now_s:
            zone = self._in_order[0][1]
            self.call_for([zone])
            self._helped.add(zone)

    def cleaned(self, zone: str, *, more: bool) -> None:
        """Note that a zone's turn came to something; `more`: there is more to delete."""
        self._came_to_something = True
        if not more:
            self.done(zone)

    def done(self, zone: str) -> None:
        """Note that a zone is not to be looked at any more, until it is called for again."""
        self._called.pop(zone, None)
        self._helped.discard(zone)
        self._put_off.discard(zone)

    def unused(self, zone: str) -> None:
        """Note that a zone's turn came to nothing: it has nothing to clean, or not now, or somebody else was first."""
        self.done(zone)
        self._bucket.give_back()

    def is_thorough(self, zone: str) -> bool:
        """Say whether all of a zone is to be looked through."""
        return self._called.get(zone, False)

    @property
    def called(self) -> Collection[str]:
        """The zones that may have something to clean, who is next first."""
        return self._called.keys()

    @property
    def goes_on(self) -> bool:
        """Whether the next turns follow at once: the last were as many as can be, and did not come to nothing."""
        return self._turns == SLICE and self._came_to_something and bool(self._called)

    def turns(self, may: Callable[[str], bool], *, hurry: bool, calls: float) -> list[str]:
        """Return those zones that are cleaned now.

        Args:
            may: says which of them may be.
            hurry: a plan waits.
            calls: how many calls to the control API there are without a wait.
        """
        found: list[str] = []
        for zone in filter(may, self._called):
            if zone in self._helped and (hurry or calls < HELP_CALLS * (len(found) + 1)):
                continue
            if hurry and zone not in self._put_off:
                self._put_off.add(zone)
            elif len(found) == SLICE or not self._bucket.try_take():
                break
            else:
                found.append(zone)
        self._turns, self._came_to_something = len(found), False
        self._put_off.difference_update(found)
        for zone in found:
            self._called[zone] = self._called.pop(zone)
        return found
