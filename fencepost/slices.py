"""Long work in short slices, between which others on the loop have their turn."""

import asyncio
from collections.abc import Callable

Look = Callable[[], None]
"""Called between two pieces of work, for others that cannot wait until the loop comes to them."""


def no_look() -> None:
    """Look for nobody."""


class Slices:
    """Counts what work costs, and pauses after so much of it. `most` is what a slice may cost, about."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    async def spend(self, cost: int) -> None:
        """Count some work that was done; give others their turn if it was enough for now."""
        self._left -= cost
        if self._left <= 0:
            self._left = self._most
            await asyncio.sleep(0)
