"""`fencepost bench scale`: what the size of a region costs, for every kind of change."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fencepost.clock import Clock
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from fencepost.settings import DEFAULT_PORT_BASE
from lab.bench.figures import SECONDS, Unit
from lab.bench.fine_clock import FineClock
from lab.bench.many import Many
from lab.bench.plot import Curves
from lab.bench.report import Result, run_interruptible, tell
from lab.bench.scale_run import CLEAN, FULL, KEEP, METRICS, REPLAN, START, TURNS, SizeRun, measure_size
from lab.bench.system import OurOptions
from lab.bench.usage import Usage
from lab.compare import Outputs

SIZES: Final = "1000,10000,100000,300000"
MEMBERS: Final = 300
MEGABYTES: Final = Unit("mb", "MB", digits=0)
ABOUT: Final = (
    "A real system of each size, endpoints of 300 records that share one fleet. Changes: from the call that publishes "
    "a plan until the resolver shows it on every endpoint that it changes. Resolver start: a fresh process until it "
    "has every zone. Clean: from two changes of every record until the cleaner has taken the trees that nothing points "
    f"to; enactors keep {KEEP} generation here. An exponent of 1 is a cost that grows as the region does."
)


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """A benchmark of size: `sizes` are records, separated by commas, in endpoints of `members` records."""

    sizes: str = SIZES
    rounds: int = 5
    members: int = MEMBERS
    enactors: int = 3
    port_base: int = DEFAULT_PORT_BASE

    def check(self) -> tuple[int, ...]:
        """Return the sizes in records, each once, the smallest first. Raises: UsageError."""
        try:
            sizes = sorted({int(size) for size in self.sizes.split(",")})
        except ValueError:
            raise UsageError(f"--sizes {self.sizes}: these are no numbers of records, as in {SIZES}") from None
        for value, name in ((sizes[0], "--sizes"), (self.rounds, "--rounds"), (self.members, "--balancers")):
            if value < 1:
                raise UsageError(f"{name} {value}: there is nothing to measure; it is 1 or more")
        return tuple(sizes)

    def many(self, records: int) -> Many:
        """Return the region of a size: whole endpoints, so that it is met as nearly as they allow."""
        return Many(max(1, round(records / self.members)), self.members, TURNS)


@dataclass(slots=True)
class ScaleBench:
    """A benchmark under way."""

    options: ScaleOptions
    outputs: Outputs
    console: Console
    progress: Console
    clock: Clock = field(default_factory=FineClock)
    runs: list[SizeRun] = field(default_factory=list)

    async def run(self) -> int:
        """Measure every size, show and write the result, and return the exit code.

        Raises: BenchFailed, StoreError if a size fails; what smaller ones came to is shown and written before.
        """
        try:
            await self._every_size()
        finally:
            if self.runs:
                tell(result(self.options, self.runs), self.outputs, self.console)
        return EXIT_CHECK_FAILED if any(run.cleaned and run.cleaned.left for run in self.runs) else EXIT_FINE

    async def _every_size(self) -> None:
        options = self.options
        for records in options.check():
            ours = OurOptions(options.many(records), options.enactors, options.port_base, {"FENCEPOST_KEEP": str(KEEP)})
            self.runs.append(await measure_size(ours, options.rounds, self.clock, self._say_of(ours.many)))

    def _say_of(self, many: Many) -> Any:
        def say(words: str) -> None:
            self.progress.print(Text(f"{many.records:,} records: {words}"), soft_wrap=True)

        return say


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the power with which a cost grows with the size, by least squares of the logarithms; None of one size."""
    if len({size for size, _ in points}) <= 1:
        return None
    x, y = ([math.log(point[axis]) for point in points] for axis in (0, 1))
    middle_x, middle_y = fmean(x), fmean(y)
    spread = sum((at - middle_x) ** 2 for at in x)
    return sum((at - middle_x) * (up - middle_y) for at, up in zip(x, y, strict=True)) / spread


def points_of(runs: Sequence[SizeRun], metric: str) -> list[tuple[float, float]]:
    """Return (records, median seconds) of every size at which a metric was measured."""
    found = ((run.many.records, run.median_s(metric)) for run in runs)
    return [(size, median_s) for size, median_s in found if median_s is not None]


def result(options: ScaleOptions, runs: Sequence[SizeRun]) -> Result:
    """Return what all sizes came to."""
    curves = {METRICS[metric]: points for metric in METRICS if (points := points_of(runs, metric))}
    memory = {name: points for name in _processes(runs) if (points := _memory(runs, name))}
    charts = [
        Curves("cost against size", curves, "records", SECONDS, "Medians."),
        Curves("memory against size", memory, "records", MEGABYTES, "Resident, at its highest."),
    ]
    return Result("scale", scale_document(options, runs), _tables(runs), charts, tuple(_said(options, runs)), ABOUT)


def scale_document(options: ScaleOptions, runs: Sequence[SizeRun]) -> dict[str, Any]:
    """Return the result for programs: `ours` is the full install of the largest size, seconds."""
    full_s = runs[-1].median_s(FULL)
    return {
        "bench": "scale",
        "ours": full_s,
        "peers": {},
        "ratios": {},
        "exponents": {metric: _rounded(exponent(points_of(runs, metric))) for metric in METRICS},
        "sizes": [_size_document(run) for run in runs],
        "enactors": options.enactors,
        "rounds": options.rounds,
        "balancers": options.members,
        "keep": KEEP,
    }


def _size_document(run: SizeRun) -> dict[str, Any]:
    return {
        "records": run.many.records,
        "endpoints": run.many.endpoints,
        "medians_s": {metric: _rounded(run.median_s(metric)) for metric in METRICS},
        "runs_s": run.took_s,
        "trees_cleaned": run.cleaned.trees - run.cleaned.left if run.cleaned else 0,
        "trees_left": run.cleaned.left if run.cleaned else None,
        "used_at_full": msgspec.to_builtins(run.full_used),
        "used_at_end": msgspec.to_builtins(run.used),
        "started_resolvers": msgspec.to_builtins(run.started),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _tables(runs: Sequence[SizeRun]) -> list[Table]:
    costs = _table("median seconds by size", runs, "exponent")
    for metric, words in METRICS.items():
        cells = (_text(run.median_s(metric), 3) for run in runs)
        costs.add_row(words, *cells, _text(exponent(points_of(runs, metric)), 2))
    memory = _table("resident memory at its highest, MB", runs, "exponent")
    for name in _processes(runs):
        found = dict(_memory(runs, name))
        cells = (_text(found.get(run.many.records), 0) for run in runs)
        memory.add_row(name, *cells, _text(exponent(list(found.items())), 2))
    return [costs, memory]


def _table(title: str, runs: Sequence[SizeRun], last: str) -> Table:
    shown = Table(title=title, title_justify="left")
    for heading in ("records", *(f"{run.many.records:,}" for run in runs), last):
        shown.add_column(heading, justify="left" if heading == "records" else "right", no_wrap=True)
    return shown


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _processes(runs: Sequence[SizeRun]) -> tuple[str, ...]:
    return (*runs[0].used, METRICS[START])


def _memory(runs: Sequence[SizeRun], name: str) -> list[tuple[float, float]]:
    """Return (records, MB) of a process; that of `METRICS[START]` is a fresh resolver's when it was ready."""
    found: list[tuple[float, float]] = []
    for run in runs:
        looks: Sequence[Usage] = run.started if name == METRICS[START] else [run.used[name]]
        found += [(run.many.records, max(look.highest_mb for look in looks))] if looks else []
    return found


def _said(options: ScaleOptions, runs: Sequence[SizeRun]) -> Iterator[str]:
    yield (
        f"{options.enactors} enactors; small changes and resolver starts are medians of {options.rounds}, "
        f"{METRICS[REPLAN]} is of 2; {METRICS[FULL]} and {METRICS[CLEAN]} were measured once"
    )
    for metric, words in METRICS.items():
        points = points_of(runs, metric)
        if (power := exponent(points)) is not None:
            size, took_s = points[-1]
            yield f"{words}: grows with the {power:.2f}th power of the size; {took_s:.3f} s at {size:,} records"
    for run in runs:
        if run.cleaned is None:
            continue
        trees, clean_s, left = run.cleaned
        if clean_s is None:
            yield f"{run.many.records:,} records: the cleaner did not keep up; {left} of {trees} trees were left"
        elif trees:
            yield f"{run.many.records:,} records: {trees} trees to clean were gone {clean_s:.1f} s after the last plan"


def run_scale_bench(options: ScaleOptions, outputs: Outputs) -> int:
    """Do what `fencepost bench scale` does, and return its exit code. Progress goes to standard error.

    Raises: StartupError before anything is measured; BenchFailed naming what did not come to be in its time.
    """
    options.check()
    outputs.check()
    bench = ScaleBench(options, outputs, Console(), Console(stderr=True))
    return run_interruptible(bench.run(), bench.progress, bench.runs)
