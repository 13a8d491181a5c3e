"""How many endpoints an enactor begins with at a time.

Who reads all zones, then builds all trees, then reads all of them back leaves store and resolver idle meanwhile: so a
few are begun at a time, and the next when one of them has its tree.
"""

import asyncio
from typing import Final

AT_ONCE: Final = 8
"""So many endpoints are between their first look and their tree at a time; waits behind that are not counted."""


class Starts:
    """Lets endpoints begin."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)
        self._inside: set[str] = set()

    async def enter(self, zone: str) -> None:
        """Wait for a zone's turn to begin."""
        await self._room.acquire()
        self._inside.add(zone)

    def leave(self, zone: str) -> None:
        """Let the next one begin, if a zone has not done so already."""
        if zone in self._inside:
            self._inside.discard(zone)
            self._room.release()
