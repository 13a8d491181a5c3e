"""What a drill shows while it runs: the phase, the time that it still takes, and what has happened so far."""

from rich.console import Console

from fencepost.clock import Clock
from lab.shown import REFRESH_S, Shown


class Progress(Shown):
    """A drill as it goes on."""

    def __init__(self, drill: str, console: Console, clock: Clock) -> None:
        super().__init__(console, clock)
        self._drill = drill
        self.phase = "starting"
        self.words = ""
        self._until_s: float | None = None

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

    @property
    def here(self) -> str:
        """The phase."""
        return self.phase

    async def _moving(self) -> None:
        with self._console.status(self.line) as status:
            while True:
                status.update(self.line)
                await self._clock.sleep(REFRESH_S)
