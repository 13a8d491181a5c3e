"""`fencepost odds`: runs of every setting on all CPUs, then table, words, JSON and page."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from fencepost.clock import Clock, SystemClock
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from lab.compare import Outputs, interruptible
from lab.load_command import write_json
from lab.odds.estimate import Tally, rate_of
from lab.odds.findings import findings
from lab.odds.model import Setting
from lab.odds.page import page
from lab.odds.pool import make_runs
from lab.odds.schedule import Effort, Runs
from lab.odds.sweep import Sweep, points, settings
from lab.odds.table import table

PLAIN_EVERY_S: Final = 10.0
"""How often a line is written where nobody sees a moving one."""
WIDTH: Final = 130
"""Of the tables where they go to a file."""


@dataclass(frozen=True, slots=True)
class OddsOptions:
    """What is to be found out.

    Attributes:
        base: the setting around which one parameter at a time is changed.
        sweeps: which parameters.
        effort: when a setting has been run for long enough.
        minutes: of wall time at most; runs under way count as far as they got.
        jobs: workers.
        command: what to type to see the same again.
    """

    base: Setting
    sweeps: tuple[Sweep, ...]
    effort: Effort
    seed: int
    minutes: float
    jobs: int
    command: str

    def check(self) -> None:
        """Refuse what cannot be run. Raises: UsageError naming the option."""
        spent = {"--hours": self.effort.hours, "--minutes": self.minutes, "--plan-rate": self.base.plans_per_s}
        for flag, value in spent.items():
            if not value > 0:
                raise UsageError(f"{flag} {value:g}: it has to be above 0")
        if self.base.p99_s < self.base.median_s or self.base.median_s <= 0:
            raise UsageError(
                f"--median {self.base.median_s:g} --p99 {self.base.p99_s:g}: the median has to be above 0, "
                "and not above the 99th percentile"
            )


@dataclass(slots=True)
class Odds:
    """A sweep under way."""

    options: OddsOptions
    outputs: Outputs
    console: Console
    progress: Console
    clock: Clock = field(default_factory=SystemClock)
    todo: dict[Setting, Runs] = field(default_factory=dict)
    cut: str = ""
    took_s: float = 0.0

    async def run(self) -> int:
        """Make the runs, show what they come to, and return the exit code."""
        options = self.options
        self.todo = {one: Runs(one, options.seed, options.effort) for one in settings(options.sweeps, options.base)}
        began_s, shown = self.clock.monotonic(), asyncio.create_task(self._show())
        try:
            async with asyncio.timeout(60 * options.minutes):
                await make_runs(tuple(self.todo.values()), jobs=options.jobs, note=lambda: None)
        except TimeoutError:
            self.cut = f"cut short after --minutes {options.minutes:g}: another machine gets further"
        except asyncio.CancelledError:
            self.cut = "interrupted"
        except BaseExceptionGroup as group:
            raise _first_of(group) from None
        finally:
            shown.cancel()
            await asyncio.wait({shown})
            self.took_s = self.clock.monotonic() - began_s
        self.report()
        return EXIT_INTERRUPTED if self.cut == "interrupted" else self.exit_code

    async def _show(self) -> None:
        columns = (BarColumn(30), TextColumn("{task.percentage:.0f} %  {task.fields[words]}"))
        terminal, next_s = self.progress.is_terminal, 0.0
        with Progress(*columns, console=self.progress, transient=True, disable=not terminal) as bar:
            task = bar.add_task("", total=1.0, words=self.words)
            while True:
                bar.update(task, completed=self.share, words=self.words)
                if not terminal and self.share > 0 and self.clock.monotonic() >= next_s:
                    self.progress.print(f"{self.share:.0%}: {self.words}", highlight=False, soft_wrap=True)
                    next_s = self.clock.monotonic() + PLAIN_EVERY_S
                await self.clock.sleep(0.5)

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return sum(runs.share for runs in self.todo.values()) / len(self.todo)

    @property
    def words(self) -> str:
        """What is done, in words."""
        tallies = self.tallies.values()
        outages, hours = sum(tally.outages for tally in tallies), sum(tally.hours for tally in tallies)
        done = sum(runs.enough for runs in self.todo.values())
        return f"{done} of {len(self.todo)} settings, {outages} outages in {hours:.2f} simulated hours"

    @property
    def tallies(self) -> dict[Setting, Tally]:
        """What every setting's runs came to so far."""
        return {one: runs.tally for one, runs in self.todo.items()}

    @property
    def exit_code(self) -> int:
        """1 if the fixed protocol emptied an endpoint, or took a root back; else 0."""
        broken = (tally.outages + tally.stale_flips for one, tally in self.tallies.items() if one.mode == "fixed")
        failed = any(broken)
        return EXIT_CHECK_FAILED if failed else EXIT_FINE

    def report(self) -> None:
        """Show everything, and write it where it is wanted."""
        options, tallies = self.options, self.tallies
        self.console.print(table(options.sweeps, options.base, tallies))
        for words in self.closing():
            self.console.print(Text(words), soft_wrap=True)
        if self.outputs.json_path is not None:
            write_json(self.outputs.json_path, self.document())
            self.console.print(Text(f"figures: {self.outputs.json_path}"), soft_wrap=True)
        if self.outputs.html_path is not None:
            html = page(options.sweeps, options.base, tallies, said=tuple(self.closing()), command=options.command)
            self.outputs.html_path.write_text(html, "utf-8")
            self.console.print(Text(f"page: {self.outputs.html_path}"), soft_wrap=True)

    def closing(self) -> Iterator[str]:
        """Yield what the figures say, and what they cost."""
        yield from findings(self.options.sweeps, self.options.base, self.tallies)
        hours = sum(tally.hours for tally in self.tallies.values())
        steps = sum(run.steps for runs in self.todo.values() for run in runs.counted)
        yield (
            f"{hours:.1f} simulated hours, {steps / 1e6:.1f} million steps of the shipped code, in {self.took_s:.0f} s "
            f"on {self.options.jobs} workers (seed {self.options.seed})" + (f"; {self.cut}" if self.cut else "")
        )

    def document(self) -> dict[str, Any]:
        """Return the results for programs."""
        options, tallies = self.options, self.tallies
        return {
            "seed": options.seed,
            "complete": not self.cut,
            "wall_s": round(self.took_s, 1),
            "base": msgspec.to_builtins(options.base),
            "base_result": figures(tallies[options.base]),
            "sweeps": {
                sweep.name: [
                    {"value": point.value, **figures(tallies[point.setting])} for point in points(sweep, options.base)
                ]
                for sweep in options.sweeps
            },
            "findings": list(findings(options.sweeps, options.base, tallies)),
        }


def figures(tally: Tally) -> dict[str, Any]:
    """Return one setting's figures for programs; the interval's upper end is None if nothing was run."""
    rate = rate_of(tally)
    odds = rate.probability
    return {
        **tally._asdict(),
        "outages_per_hour": rate.per_hour,
        "outages_per_hour_95": [rate.low, rate.high if tally.hours else None],
        "probability_per_hour": odds.per_hour,
        "probability_per_hour_95": [odds.low, odds.high],
        "stale_flips_per_hour": tally.stale_flips / tally.hours if tally.hours else None,
    }


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def run_odds(options: OddsOptions, outputs: Outputs) -> int:
    """Find the odds out and return the exit code: 0, 1, or 130 after Ctrl-C. Progress goes to standard error.

    Raises: UsageError, before anything is run, or if a worker fails.
    """
    options.check()
    outputs.check()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    odds = Odds(options, outputs, console, Console(stderr=True))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(interruptible(odds.run()))
