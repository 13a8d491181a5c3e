"""Something long as it goes on, for a person who waits: moving on a terminal, a line now and then elsewhere."""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from fencepost.clock import Clock

REFRESH_S: Final = 0.5
PLAIN_EVERY_S: Final = 10.0
"""How often a line is written where nobody sees a moving one: in a file, in a build's log."""


class Shown(ABC):
    """Shown until the `async with` ends."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console, self._clock = console, clock
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._moving() if self._console.is_terminal else self._plain())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    @property
    @abstractmethod
    def line(self) -> str:
        """One line that says all of it."""

    @property
    @abstractmethod
    def here(self) -> str:
        """Where it is, which is told at once when it changes; "" while there is nothing to tell."""

    @abstractmethod
    async def _moving(self) -> None:
        """Show it on a terminal until cancelled."""

    async def _plain(self) -> None:
        said, next_s = "", 0.0
        while True:
            now_s, here = self._clock.monotonic(), self.here
            if here and (here != said or now_s >= next_s):
                self._console.print(self.line, highlight=False, markup=False, soft_wrap=True)
                said, next_s = here, now_s + PLAIN_EVERY_S
            await self._clock.sleep(REFRESH_S)
