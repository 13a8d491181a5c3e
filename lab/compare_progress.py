"""What a comparison shows while it runs: where it is, how long it still takes, and what has happened so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fencepost.clock import Clock
from lab.shown import REFRESH_S, Shown


class Phase(StrEnum):
    """Where a mode is."""

    STARTING = "starting"
    RUNNING = "world changing"
    SETTLING = "settling"
    JUDGING = "collecting and checking"
    STOPPING = "stopping"


@dataclass(slots=True)
class Status:
    """A comparison as it goes on.

    Attributes:
        mode, phase: what runs.
        since_s, until_s: of the phase, by the monotonic clock; `until_s` is None where that is not known.
        generation: the last plan that the world has led to.
        changes: made by the world so far.
        probes, empty: answers to the canary so far, and how many of them were empty.
        requests, failed: of the customers so far.
    """

    mode: str = ""
    phase: Phase = Phase.STARTING
    since_s: float = 0.0
    until_s: float | None = None
    generation: int = 0
    changes: int = 0
    probes: int = 0
    empty: int = 0
    requests: int = 0
    failed: int = 0

    def begin(self, mode: str, clock: Clock) -> None:
        """Start a mode afresh."""
        self.mode = mode
        self.generation = self.changes = self.probes = self.empty = self.requests = self.failed = 0
        self.enter(Phase.STARTING, clock)

    def enter(self, phase: Phase, clock: Clock, takes_s: float | None = None) -> None:
        """Go on to a phase that takes so long."""
        self.phase, self.since_s = phase, clock.monotonic()
        self.until_s = None if takes_s is None else self.since_s + takes_s

    def seen(self, canary: Mapping[str, Any], load: Mapping[str, Any]) -> None:
        """Take in what the lab's processes say of themselves on `/state`."""
        tally = load.get("load", {})
        self.probes, self.empty = canary.get("probes", self.probes), canary.get("empty", self.empty)
        self.requests, self.failed = tally.get("sent", self.requests), tally.get("failed", self.failed)

    @property
    def words(self) -> str:
        """What has happened so far."""
        return (
            f"plan {self.generation}, {self.empty} of {self.probes} answers empty, "
            f"{self.failed} of {self.requests} requests failed"
        )

    def line(self, now_s: float) -> str:
        """One line that says all of it."""
        left = "" if self.until_s is None else f" ({max(0.0, self.until_s - now_s):.0f} s left)"
        return f"{self.mode}: {self.phase}{left}; {self.words}"


class Display(Shown):
    """Shows a status until the `async with` ends: a moving bar on a terminal, a line now and then elsewhere."""

    def __init__(self, status: Status, console: Console, clock: Clock) -> None:
        super().__init__(console, clock)
        self._status = status

    @property
    def line(self) -> str:
        """See `Shown.line`."""
        return self._status.line(self._clock.monotonic())

    @property
    def here(self) -> str:
        """The mode and its phase, once there is one."""
        return f"{self._status.mode}: {self._status.phase}" if self._status.mode else ""

    async def _moving(self) -> None:
        columns = (
            TextColumn("[bold]{task.fields[mode]:<5}[/] {task.description:<23}"),
            BarColumn(20),
            TextColumn("{task.fields[left]}  {task.fields[words]}"),
        )
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as progress:
            shown = progress.add_task("", mode="", left="", words="")
            while True:
                status, now_s = self._status, self._clock.monotonic()
                left_s = None if status.until_s is None else max(0.0, status.until_s - now_s)
                progress.update(
                    shown,
                    total=None if status.until_s is None else status.until_s - status.since_s,
                    completed=now_s - status.since_s,
                    description=status.phase.value,
                    mode=status.mode,
                    left="" if left_s is None else f"{left_s:3.0f} s left",
                    words=status.words,
                    refresh=True,
                )
                await self._clock.sleep(REFRESH_S)
