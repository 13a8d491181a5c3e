"""A clock for benchmarks: uvloop's own time goes by whole milliseconds, and stands still within a turn of the loop."""

import time

from fencepost.clock import SystemClock


class FineClock(SystemClock):
    """The real clock, to the microsecond."""

    def monotonic(self) -> float:
        """Return seconds since some start; never goes back."""
        return time.perf_counter()
