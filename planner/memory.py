"""What capacity each endpoint had lately, by the plans that the planner has seen: velocity control's other half.

The zones keep their own record of it, which is moved when a plan is installed. This one is moved when a plan is
published, so that many plans in a row take no more than one, before any of them is installed.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fencepost.capacity import NOTHING, Capacity, CapacityHistory, Sample, capacity_of
from fencepost.plan import Content, Forced, Plan
from planner.floor import ZoneSeen
from planner.mend import mended


class Memory:
    """Capacity histories by endpoint, on the planner's own clock that never jumps.

    Invariant: as long as this process lives, the highest capacity that an endpoint had in any plan it has seen within
    the window is never understated; but what a plan by force takes, the endpoint never had.

    Args:
        window_s: how far back it remembers, seconds; 0 remembers nothing.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._noted: Plan | None = None
        self._digests: dict[str, str] = {}
        self._forced: dict[str, Forced] = {}
        self._histories: dict[str, CapacityHistory] = {}

    def note(self, latest: Plan | None, now_s: float) -> None:
        """Take note of the latest plan, whoever made it; one that is known already changes nothing."""
        if latest is None or latest is self._noted:
            return
        self._noted = latest
        for name, digest in latest.digests.items():
            forced = latest.forced.get(name)
            by_force = forced is not None and forced != self._forced.get(name)
            if digest == self._digests.get(name) and not by_force:
                continue
            if (content := latest.readable(name)) is None:  # it is damaged: the zone's own record has to do
                continue
            existing = self._histories.get(name, CapacityHistory())
            capacity = capacity_of(mended(content))
            if forced and by_force:
                self._forced[name] = forced
                # Where another plan is the latest already, what force took is not known, and counts like all the rest.
                existing = _lowered(existing, capacity) if forced.digest == digest else existing
            self._histories[name] = existing.noted(now_s, capacity, self._window_s)
            self._digests[name] = digest

    def highest(self, live: Mapping[str, Capacity], *, now_s: float) -> dict[str, Capacity]:
        """Return the most that each endpoint had within the window, by plans or in its zone; nothing without a window.

        Args:
            live: what `live` returned.
            now_s: by the clock that `note` is told.
        """
        if not self._window_s:
            return {}
        found = dict(live)
        for name, history in self._histories.items():
            planned, zone = history.highest(now_s, self._window_s), live.get(name, NOTHING)
            found[name] = (max(planned[0], zone[0]), max(planned[1], zone[1]))
        return {name: most for name, most in found.items() if most != NOTHING}

    def live(
        self,
        latest: Plan | None,
        zones: Mapping[str, ZoneSeen],
        meant: Mapping[str, Content] = MappingProxyType({}),
        *,
        epoch_s: float,
    ) -> dict[str, Capacity]:
        """Return the most that each endpoint had in its zone within the window; without a window, has now.

        A zone that is behind an operator's plan by force counts with what that has: it may lose all the rest.

        Args:
            latest: the latest plan, whose marks of force count; None if there is none.
            zones: what each zone says of itself.
            meant: digest -> content, of plans by force that are not the latest any more.
            epoch_s: by the wall clock, which zones keep their histories by.
        """
        awaited = awaited_force(latest, zones)
        found = {
            name: _live(zone, awaited.get(name), latest, meant).highest(epoch_s, self._window_s)
            for name, zone in zones.items()
        }
        return {name: most for name, most in found.items() if most != NOTHING}


def _lowered(history: CapacityHistory, left: Capacity) -> CapacityHistory:
    """Return a history without what an operator's force has taken from its last capacity, to leave so much."""
    last = history.samples[-1].capacity if history.samples else left
    taken = max(0, last[0] - left[0]), max(0, last[1] - left[1])
    return CapacityHistory(
        tuple(
            Sample(since_s, (max(0, a - taken[0]), max(0, aaaa - taken[1]))) for since_s, (a, aaaa) in history.samples
        )
    )


def awaited_force(latest: Plan | None, zones: Mapping[str, ZoneSeen]) -> dict[str, Forced]:
    """Return the plans by force that are not in their zones yet: what a later plan is compared with there."""
    found = {}
    for name, forced in latest.forced.items() if latest else ():
        zone = zones.get(name)
        if (zone.fence.generation if zone and zone.fence else 0) < forced.generation:
            found[name] = forced
    return found


def _live(zone: ZoneSeen, forced: Forced | None, latest: Plan | None, meant: Mapping[str, Content]) -> CapacityHistory:
    """Return what an endpoint's zone had, as enactors see it: behind a plan by force, what that plan has instead."""
    if latest is None or forced is None:
        return zone.capacity
    left = latest.contents.readable(forced.digest) or meant.get(forced.digest)
    return CapacityHistory((Sample(0, capacity_of(mended(left))),)) if left else zone.capacity
