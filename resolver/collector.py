"""Keeping Python's garbage collector from standing in the way of answers.

A full collection looks at every object that there is: 60 to 110 ms with the prepared answers of a thousand endpoints,
several times while a region is re-planned. What two collections have looked at is set aside (`gc.freeze`), so that no
collection looks at more than what is new, and they come so often that this is little: each takes less than 0.1 ms. They
come between two pieces of work, where they are asked for (`collect_new`): within one they would make it longer by that.
Reference counts free what is set aside all the same; only what is in a circle by then stays, so all is looked at again
once in a while, and when there is much more than there was. The youngest are not set aside: many are in use only now.
"""

import gc
from collections.abc import Callable
from typing import Any, Final

from fencepost.clock import Clock

NEW: Final = 80
"""How many new objects are a collection. With 700 one takes up to 1 ms, as what is new is in no cache."""
YOUNG: Final = 2
"""After so many collections of the new alone comes one of what they have left, too."""
THRESHOLDS: Final = (3 * NEW, YOUNG, YOUNG)
"""When collections come by themselves, where nobody asks for them; see `gc.set_threshold`."""
ALL_S: Final = 3600.0
"""How often everything is looked at again; that takes as long as it does."""
COUNT_S: Final = 60.0
COUNT_EACH: Final = 1024
"""After what time, and how many times of setting aside, it is counted, about 1 ms for 300,000 objects."""
YOUNGEST: Final = 0
"""The generation that was looked at once."""
GROWTH: Final = 1.25
ROOM: Final = 50_000
"""If there is so much more than after the last look at all, then all is looked at again."""


class Collector:
    """Sets aside what collections leave, from `start` to `stop`. One for the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._soon: Callable[[Callable[[], object]], object] | None = None
        self._looked_s = self._counted_s = 0.0
        self._most = self._uncounted = 0
        self._is_wanted = False
        self._before = gc.get_threshold()

    def start(self, soon: Callable[[Callable[[], object]], object]) -> None:
        """Collect everything, set the rest aside, and go on so.

        Args:
            soon: has something done, but not at once: no collection can be made within another. From any thread.
        """
        self._before = gc.get_threshold()
        self._soon = soon
        self._look_at_all()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._collected)

    def collect_new(self) -> bool:
        """Collect what is new if there is enough of it; say whether there was. Nothing unless it is started."""
        new, collections, _ = gc.get_count()
        if new < NEW or self._soon is None:
            return False
        gc.collect(YOUNGEST + (collections >= YOUNG))
        return True

    def stop(self) -> None:
        """Leave the collector as it was before."""
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)
            gc.set_threshold(*self._before)
            gc.unfreeze()
        self._soon = None

    def _look_at_all(self) -> None:
        """Collect what is set aside, too; nothing once it is stopped."""
        if self._soon is None:
            return
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._looked_s = self._counted_s = self._clock.monotonic()
        self._uncounted, self._is_wanted = 0, False
        self._most = round(gc.get_freeze_count() * GROWTH) + ROOM

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase != "stop" or info["generation"] == YOUNGEST or self._soon is None:
            return
        gc.freeze()
        self._uncounted += 1
        now_s = self._clock.monotonic()
        if self._uncounted < COUNT_EACH and now_s < self._counted_s + COUNT_S:
            return
        self._counted_s, self._uncounted = now_s, 0
        if not self._is_wanted and (now_s >= self._looked_s + ALL_S or gc.get_freeze_count() > self._most):
            self._is_wanted = True
            self._soon(self._look_at_all)
