"""With which endpoints an enactor begins, and with how many at a time.

Enactors that all begin with the same endpoint build each tree as often as there are enactors, and all but one in vain:
each has an order of its own. And who reads all zones, then builds all trees, then reads all of them back leaves store
and resolver idle meanwhile: so a few are begun at a time, and the next when one of them has its tree.
"""

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final

AT_ONCE: Final = 8
"""So many endpoints are between their first look and their tree at a time; waits behind that are not counted."""


class Starts:
    """Lets endpoints begin; `name` is the enactor's, whose order it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._room = asyncio.Semaphore(AT_ONCE)
        self._inside: set[str] = set()

    def order(self, zones: Iterable[str]) -> list[str]:
        """Return some zones in this enactor's order."""
        return sorted(zones, key=lambda zone: _place(self._name, zone))

    async def enter(self, zone: str) -> None:
        """Wait for a zone's turn to begin."""
        await self._room.acquire()
        self._inside.add(zone)

    def leave(self, zone: str) -> None:
        """Let the next one begin, if a zone has not done so already."""
        if zone in self._inside:
            self._inside.discard(zone)
            self._room.release()


def share(name: str, zone: str) -> float:
    """Return an enactor's own share of a span that all have at a zone, from 0 up to 1: so they do not meet there."""
    return int.from_bytes(_place(name, zone)) / 2**64


@lru_cache(maxsize=4_096)
def _place(name: str, zone: str) -> bytes:
    return blake2b(f"{name} {zone}".encode(), digest_size=8).digest()
