"""When a process that died is started again, and when that is given up. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fencepost.errors import FencepostError


class ChildAbandoned(FencepostError):
    """A process died too often; the system is stopped rather than left running without it."""

    def __init__(self, name: str, *, deaths: int, window_s: float, last_words: str, log: str) -> None:
        super().__init__(
            f"{name} died {deaths} times within {window_s:g} s, so everything is stopped; "
            f"its last words: {last_words or 'none'}; its logs: {log}"
        )
        self.name, self.deaths, self.window_s, self.last_words = name, deaths, window_s, last_words


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Exponential backoff with jitter, and a limit.

    Invariant: a process that dies as soon as it is started is started `limit` times at most in `window_s`.
    The default waits add up to about 15 s, so that a store that goes away for 10 s costs nobody its life.

    Attributes:
        limit: how many deaths within `window_s` are answered by a restart.
        window_s: deaths longer ago than this are forgiven.
        first_wait_s, factor, longest_wait_s: the wait after the nth recent death is `first_wait_s * factor**(n-1)`, at
            most `longest_wait_s`, shortened by up to a half at random so that processes do not return in step.
    """

    limit: int = 5
    window_s: float = 60.0
    first_wait_s: float = 0.2
    factor: float = 3.0
    longest_wait_s: float = 10.0

    def recent(self, deaths: Sequence[float], now_s: float) -> tuple[float, ...]:
        """Return the deaths that count."""
        return tuple(at_s for at_s in deaths if now_s - at_s < self.window_s)

    def wait_s(self, recent_deaths: int, rng: random.Random) -> float | None:
        """Return how long to wait before the next start, None if there is none. `recent_deaths` is >= 1."""
        assert recent_deaths >= 1, recent_deaths
        if recent_deaths > self.limit:
            return None
        longest = min(self.longest_wait_s, self.first_wait_s * self.factor ** (recent_deaths - 1))
        return longest * rng.uniform(0.5, 1.0)
