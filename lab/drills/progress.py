"""What a drill shows while it runs: the phase, the time that it still takes, and what has happened so far."""

import asyncio
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from fencepost.clock import Clock

REFRESH_S: Final = 0.5
PLAIN_EVERY_S: Final = 10.0
"""How often a line is written where nobody sees a moving one."""


class Progress:
    """A drill as it goes on. Shown while used as `async with`: moving on a terminal, a line now and then elsewhere."""

    def __init__(self, drill: str, console: Console, clock: Clock) -> None:
        self._drill, self._console, self._clock = drill, console, clock
        self.phase = "starting"
        self.words = ""
        self._until_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    def enter(self, phase: str, takes_s: float | None = None) -> None:
        """Go on to another phase, which takes so long; None: nobody knows."""
        self.phase, self.words = phase, ""
        self.expect(takes_s)

    def expect(self, takes_s: float | None) -> None:
        """Say how long the phase takes from now on."""
        self._until_s = None if takes_s is None else self._clock.monotonic() + takes_s

    @property
    def line(self) -> str:
        """One line that says all of it."""
        left = "" if self._until_s is None else f" ({max(0.0, self._until_s - self._clock.monotonic()):.0f} s left)"
        return f"{self._drill}: {self.phase}{left}" + (f"; {self.words}" if self.words else "")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._moving() if self._console.is_terminal else self._plain())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _moving(self) -> None:
        with self._console.status(self.line) as status:
            while True:
                status.update(self.line)
                await self._clock.sleep(REFRESH_S)

    async def _plain(self) -> None:
        said, next_s = "", 0.0
        while True:
            now_s = self._clock.monotonic()
            if self.phase != said or now_s >= next_s:
                self._console.print(self.line, highlight=False, markup=False, soft_wrap=True)
                said, next_s = self.phase, now_s + PLAIN_EVERY_S
            await self._clock.sleep(REFRESH_S)
