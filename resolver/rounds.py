"""Looking at all zones again and again, a few at a time, so that no look takes long. No I/O and no clock."""

from collections.abc import Sequence
from typing import Final

CHECK_S: Final = 1.0
"""How often every zone's last commit is compared with the store's, in case a hint was lost or the store went back."""
PART: Final = 50
"""How many zones are compared at once, which takes about 0.1 ms."""
MAX_PARTS: Final = 40
"""How many parts a round of `CHECK_S` has at most: beyond 2,000 zones rounds take longer, rather than more time."""


class Rounds:
    """Which zones are to be looked at when. Instants are seconds on one clock."""

    def __init__(self, zones: Sequence[str]) -> None:
        self._parts = [tuple(zones[at : at + PART]) for at in range(0, len(zones), PART)] or [()]
        self._pause_s = CHECK_S / min(len(self._parts), MAX_PARTS)
        self._next, self._due_s = 0, 0.0

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds the next part is due."""
        return max(0.0, self._due_s - now_s)

    def take(self, now_s: float) -> tuple[str, ...]:
        """Return the part that is due, and go on to the next; empty if none is due.

        Who comes late has later parts late as well: they are not made up for in a hurry.
        """
        if now_s < self._due_s:
            return ()
        part = self._parts[self._next]
        self._next = (self._next + 1) % len(self._parts)
        self._due_s = now_s + self._pause_s
        return part

    def all(self) -> Sequence[tuple[str, ...]]:
        """Return every part."""
        return self._parts
