"""What an exploration came to: for people, for programs, and while it goes on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from lab.invariants.violation import Violation, counted
from lab.shown import PLAIN_EVERY_S, REFRESH_S
from lab.simulation.coverage import ALL, IN_A_SEARCH, never, paths
from lab.simulation.exhaustive import Extent
from lab.simulation.explore import Options, Tally

HOUR_S: Final = 3600.0


class Result(NamedTuple):
    """What an exploration came to.

    Attributes:
        options: what was explored.
        tally: what the schedules came to; of an exhaustive search the ends that it healed.
        complete: whether there is nothing left that was not run.
        wall_s: how long it took.
        interrupted: whether Ctrl-C ended it.
        heal_bound_s: within how long a world must heal (I5).
        extent: how much an exhaustive search has searched; None of others.
        shrunk: what the failure breaks in as few choices as possible; None where nobody has shrunk it.
    """

    options: Options
    tally: Tally
    complete: bool
    wall_s: float
    interrupted: bool
    heal_bound_s: float
    extent: Extent | None = None
    shrunk: tuple[Violation, ...] | None = None

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What the failure broke, empty if there is none."""
        if self.shrunk is not None:
            return self.shrunk
        return self.tally.worst.violations if self.tally.worst else ()

    @property
    def document(self) -> Mapping[str, Any]:
        """The result for programs: docs/exploration.md has the keys."""
        options, tally, failure = self.options, self.tally, self.tally.worst
        where = {"seed": options.seed, "schedule": failure.schedule if failure else None}
        return {
            "mode": options.scenario.mode,
            "strategy": options.by,
            "seed": options.seed,
            "schedules": tally.schedules,
            "complete": self.complete,
            "violations": [
                {"invariant": v.invariant, "endpoint": v.endpoint, "detail": v.detail, **where} for v in self.violations
            ],
            "rare_paths": {path.name: path.times for path in paths(tally.paths)},
            "simulated_s": tally.simulated_s,
            "wall_s": self.wall_s,
            "cpu_s": tally.cpu_s,
            "steps": tally.steps,
            "healed_s": tally.healed_s,
            "heal_bound_s": self.heal_bound_s,
            "broken": dict(sorted(tally.broken.items())),
            "interrupted": self.interrupted,
            "extent": self.extent._asdict() if self.extent else None,
            "scenario": options.scenario,
            "choices": failure.trace if failure else (),
        }


def lines(result: Result) -> Iterator[str]:
    """Yield what an exploration came to, in words."""
    tally, extent = result.tally, result.extent
    if extent is not None:
        yield (
            f"{extent.states:,} states, {extent.moves:,} moves between them, {extent.ends:,} ends that were healed; "
            f"the longest schedule has {extent.depth} moves"
        )
        yield f"the longest healing took {tally.healed_s:g} s of its world, of {result.heal_bound_s:g} s allowed (I5)"
        yield from _path_lines(result, IN_A_SEARCH)
    else:
        yield f"{tally.schedules:,} schedules, {tally.steps:,} steps, in {result.wall_s:.1f} s: {rates(result)}"
        yield f"the longest healing took {tally.healed_s:g} s of its world, of {result.heal_bound_s:g} s allowed (I5)"
        yield from _path_lines(result)
    if result.complete:
        yield "complete: there is no other schedule within these bounds"
    elif result.options.by in {"bounded", "exhaustive"}:
        yield f"not complete: {'ended by Ctrl-C' if result.interrupted else 'ended before all was searched'}"
    yield from _broken_lines(result)


def rates(result: Result) -> str:
    """Return how fast it went, in words."""
    tally = result.tally
    per_s = tally.schedules / result.wall_s if result.wall_s else 0.0
    simulated = tally.simulated_s / tally.cpu_s if tally.cpu_s else 0.0
    return (
        f"{per_s:,.0f} schedules a second, {tally.simulated_s / HOUR_S:,.1f} simulated hours, "
        f"{simulated:,.0f} of them in an hour of CPU time"
    )


def _path_lines(result: Result, among: Sequence[str] = ALL) -> Iterator[str]:
    tally = result.tally
    yield "rare paths:" if result.extent is None else "rare paths, in so many different ways:"
    for path in paths(tally.paths):
        if path.times:
            yield f"  {path.times:>10,}  {path.name}"
    # Where something is broken, what was not reached is no comfort and no concern.
    if tally.failure is None and (missed := never(tally.paths, among)):
        yield f"never reached: {', '.join(missed)}; this run says nothing about them"


def _broken_lines(result: Result) -> Iterator[str]:
    tally = result.tally
    if tally.broken:
        told = ", ".join(f"{invariant} in {counted(n, 'schedule')}" for invariant, n in sorted(tally.broken.items()))
        yield f"broken: {told}"
    elif result.tally.schedules or result.extent is not None:
        yield "no invariant was broken" + (" so far" if result.interrupted else "")


class Watched:
    """Shows how far an exploration is: on a terminal in one moving line, elsewhere by a line now and then.

    Args:
        schedules: how many there are, at most; 0: nobody knows.
        began_s: now, monotonic seconds.
    """

    def __init__(self, console: Console, schedules: int, began_s: float) -> None:
        self._console, self._began_s, self._next_s = console, began_s, began_s + PLAIN_EVERY_S
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._schedules = schedules

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (BarColumn(20), TextColumn("{task.description}"))
            # It draws only when it is told to: a thread of its own must not be there when processes fork.
            self._progress = Progress(*columns, console=self._console, transient=True, auto_refresh=False)
            self._task = self._progress.add_task("starting", total=self._schedules or None)
            self._progress.start()
            self._next_s = self._began_s
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def tell(self, done: int, line: str, now_s: float) -> None:
        """Show how far it is, if it is time for that."""
        if now_s < self._next_s:
            return
        if self._progress is None:
            self._next_s = now_s + PLAIN_EVERY_S
            self._console.print(Text(line), soft_wrap=True)
            return
        self._next_s = now_s + REFRESH_S
        self._progress.update(self._task, completed=done, description=line, refresh=True)


def progress_line(options: Options, tally: Tally, wall_s: float) -> str:
    """Return how far an exploration of schedules is, in words."""
    per_s = tally.schedules / wall_s if wall_s else 0.0
    of = f" of {options.schedules:,}" if options.schedules else ""
    reached = len(paths(tally.paths)) - len(never(tally.paths))
    return (
        f"{tally.schedules:,}{of} schedules, {per_s:,.0f} a second, {tally.simulated_s / HOUR_S:,.1f} simulated hours, "
        f"{reached} of {len(paths({}))} rare paths"
    )


def search_line(extent: Extent) -> str:
    """Return how far an exhaustive search is, in words."""
    return f"{extent.states:,} states, {extent.moves:,} moves, {extent.ends:,} ends, depth {extent.depth}"
