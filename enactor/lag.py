"""How long a server that follows its zones takes to know a tree, while many wait for it: who asks earlier asks in vain.

A question about what is not there yet takes the server's time from what it is asked for, and ours. Pure.
"""

from types import TracebackType
from typing import Final

MEMORY: Final = 4
"""About so many trees back reaches what is known of the lag."""
MOST_S: Final = 0.05
"""A lag counts as no longer than this: half of it is the longest that a tree is waited for before it is asked for."""
FEW: Final = 4
"""Up to so many trees that are waited for are no load: the server knows each within a moment."""


class Lag:
    """The lag as the last trees showed it, and how many are waited for (`with lag:`)."""

    def __init__(self) -> None:
        self._lag_s, self._inside = 0.0, 0

    def __enter__(self) -> None:
        """Count one tree more that is waited for."""
        self._inside += 1

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Count one tree less."""
        self._inside -= 1

    @property
    def first_s(self) -> float:
        """How long to wait before a tree that was just built is asked for, seconds; 0 where few are waited for.

        Half of the lag: asked for too late a tree goes live late, asked for too early it costs one question.
        """
        return self._lag_s / 2 if self._inside > FEW else 0.0

    def note(self, unknown_s: float, known_s: float) -> None:
        """Take note that a tree was not known so many seconds after it was built, and was known so many after that.

        `unknown_s`: 0 if it was known when it was asked for first.
        """
        self._lag_s += (min((unknown_s + known_s) / 2, MOST_S) - self._lag_s) / MEMORY
