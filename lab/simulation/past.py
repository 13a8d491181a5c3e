"""What the slots of a store held before their last writes, so that a failover can forget those."""

from collections import deque
from typing import Final

from lab.simulation.server import Snapshot

MOST: Final = 6
"""So many writes of a slot are forgotten at most."""


class Past:
    """What each slot held before each of its last writes."""

    def __init__(self) -> None:
        self._before: dict[str, deque[Snapshot]] = {}

    def note(self, slot: str, before: Snapshot) -> None:
        """Take note of a write."""
        self._before.setdefault(slot, deque(maxlen=MOST)).append(before)

    def writes(self, slot: str) -> int:
        """Return how many writes of a slot can be forgotten."""
        return len(self._before.get(slot, ()))

    @property
    def slots(self) -> list[str]:
        """The slots of which something can be forgotten, in the order of their first writes."""
        return [slot for slot, before in self._before.items() if before]

    def back(self, slot: str, writes: int) -> Snapshot:
        """Return what there was before a slot's last so many writes, and forget them."""
        before = self._before[slot]
        for _ in range(writes - 1):
            before.pop()
        return before.pop()
