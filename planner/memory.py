"""What capacity each endpoint had lately, by the plans that the planner has seen: velocity control's other half.

The zones keep their own record of it, which is moved when a plan is installed. This one is moved when a plan is
published, so that many plans in a row take no more than one, before any of them is installed.
"""

from collections.abc import Mapping

from fencepost.capacity import NOTHING, Capacity, CapacityHistory, capacity_of
from fencepost.plan import Forced, Plan
from planner.floor import NOTHING_SEEN, ZoneSeen


class Memory:
    """Capacity histories by endpoint, on the planner's own clock that never jumps.

    Invariant: as long as this process lives, the highest capacity that an endpoint had in any plan it has seen within
    the window is never understated; but a plan by force begins the endpoint's history anew.

    Args:
        window_s: how far back it remembers, seconds; 0 remembers nothing.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._digests: dict[str, str] = {}
        self._forced: dict[str, Forced] = {}
        self._histories: dict[str, CapacityHistory] = {}

    def note(self, latest: Plan | None, now_s: float) -> None:
        """Take note of the latest plan, whoever made it; one that is known already changes nothing."""
        for name, digest in latest.digests.items() if latest else ():
            assert latest is not None, "there are no digests without a plan"
            forced = latest.forced.get(name)
            if forced and forced != self._forced.get(name):
                self._forced[name] = forced
                self._histories.pop(name, None)
            elif digest == self._digests.get(name):
                continue
            existing = self._histories.get(name, CapacityHistory())
            self._histories[name] = existing.noted(now_s, capacity_of(latest.content(name)), self._window_s)
            self._digests[name] = digest

    def highest(
        self, latest: Plan | None, zones: Mapping[str, ZoneSeen], *, now_s: float, epoch_s: float
    ) -> dict[str, Capacity]:
        """Return the most that each endpoint had within the window, by plans or in its zone; nothing without a window.

        A zone that is behind an operator's plan by force does not count: the operator has said that it may lose that.

        Args:
            latest: the latest plan, whose marks of force count; None if there is none.
            zones: what each zone says of itself.
            now_s: by the clock that `note` is told.
            epoch_s: by the wall clock, which zones keep their histories by.
        """
        if not self._window_s:
            return {}
        found = {}
        for name in sorted({*self._histories, *zones}):
            planned = self._histories.get(name, CapacityHistory()).highest(now_s, self._window_s)
            live = _live(zones.get(name, NOTHING_SEEN), latest.forced.get(name) if latest else None)
            zone = live.highest(epoch_s, self._window_s)
            found[name] = (max(planned[0], zone[0]), max(planned[1], zone[1]))
        return {name: most for name, most in found.items() if most != NOTHING}


def _live(zone: ZoneSeen, forced: Forced | None) -> CapacityHistory:
    behind = forced and (zone.fence is None or zone.fence.generation < forced.generation)
    return CapacityHistory() if behind else zone.capacity
