"""The latest plan, read once for all who ask at the same time."""

import asyncio

from fencepost.errors import StoreError
from fencepost.plan import Plan
from fencepost.stores import PlanStore


class PlanReader:
    """Reads one at a time, so that no older reply replaces a newer one, and new contents come over the wire once.

    Invariant: who asks gets the answer to a read that began after that, never that of one under way.
    """

    def __init__(self, plans: PlanStore) -> None:
        self._plans, self._turn = plans, asyncio.Lock()
        self._plan: Plan | None = None
        self._error: StoreError | None = None
        self._asked = self._answered = 0

    async def latest(self) -> Plan | None:
        """Return the latest plan, None if there is none. Raises: StoreError."""
        self._asked += 1
        mine = self._asked
        try:
            async with self._turn:
                if self._answered < mine:
                    await self._read()
                if self._error is not None:
                    raise self._error
                return self._plan
        finally:
            # Turns are first come, first served: who asked last and has the answer leaves nobody behind.
            if self._asked == mine and not self._turn.locked():
                self._asked = self._answered = 0

    async def _read(self) -> None:
        answers = self._asked
        try:
            self._plan, self._error = await self._plans.latest(self._plan), None
        except StoreError as error:
            self._error = error
        self._answered = answers
