"""Time and chance are injected: nothing else in fencepost reads a clock or draws a number of its own."""

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """What a process knows of time."""

    def monotonic(self) -> float:
        """Return seconds since some start; never goes back."""

    def epoch_s(self) -> float:
        """Return seconds since 1970 by the wall clock, which may be wrong and may jump."""

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 lets others run."""


class SystemClock:
    """The real clock; `skew_s` seconds are added to the wall clock to play a wrong one."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self._skew_s = skew_s

    def monotonic(self) -> float:
        """Return the running loop's time."""
        return asyncio.get_running_loop().time()

    def epoch_s(self) -> float:
        """Return the wall clock plus the skew."""
        return time.time() + self._skew_s

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(seconds)


def stream(seed: int, *names: str) -> random.Random:
    """Return the random stream of one purpose: the same seed and names always give the same draws.

    Naming the process and the link keeps streams apart, so that one more draw in one does not shift another.
    """
    return random.Random("/".join((str(seed), *names)))
