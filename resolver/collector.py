"""Keeping Python's garbage collector from standing in the way of answers.

A full collection looks at every object that there is: 60 to 110 ms with the prepared answers of a thousand endpoints,
several times while a region is re-planned. What has been looked at is set aside (`gc.freeze`), so that no collection
looks at more than what is new, and they come so often that this is little: each takes less than 0.1 ms. Reference
counts free what is set aside all the same; only what is in a circle by then stays, so all is looked at again once in a
while, and when there is much more than there was.
"""

import gc
from typing import Any, Final

from fencepost.clock import Clock

THRESHOLDS: Final = (100, 3, 3)
"""So often collections come, see `gc.set_threshold`. With 700 one takes up to 1 ms, as what is new is in no cache."""
ALL_S: Final = 3600.0
"""How often everything is looked at again; that takes as long as it does."""
COUNT_S: Final = 60.0
"""How often it is counted what was set aside, about 1 ms for 300,000 objects."""
FULL: Final = 2
"""The oldest generation."""
GROWTH: Final = 1.25
ROOM: Final = 50_000
"""If there is so much more than after the last look at all, then all is looked at again."""


class Collector:
    """Sets aside what collections leave, from `start` to `stop`. One for the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_s = self._counted_s = 0.0
        self._most = 0
        self._all = False
        self._before = gc.get_threshold()

    def start(self) -> None:
        """Collect everything, set the rest aside, and go on so."""
        self._before = gc.get_threshold()
        gc.collect()
        self._looked_at_all()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._collected)

    def stop(self) -> None:
        """Leave the collector as it was before."""
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)
            gc.set_threshold(*self._before)
            gc.unfreeze()

    def _looked_at_all(self) -> None:
        gc.freeze()
        self._all = False
        self._looked_s = self._counted_s = self._clock.monotonic()
        self._most = round(gc.get_freeze_count() * GROWTH) + ROOM

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase != "stop":
            return
        if self._all:
            if info["generation"] == FULL:
                self._looked_at_all()
            return
        gc.freeze()
        now_s = self._clock.monotonic()
        if now_s < self._counted_s + COUNT_S:
            return
        self._counted_s = now_s
        if now_s >= self._looked_s + ALL_S or gc.get_freeze_count() > self._most:
            # No collection can be made within one: the next full one is of everything.
            gc.unfreeze()
            self._all = True
