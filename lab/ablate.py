"""`fencepost ablate`: each guard off in turn, and each alone, on real systems; then a table of what goes wrong.

Each run is a process of its own, so that two at a time share nothing but the machine. Seeds go round by round: what an
interrupted ablation has is whole rounds, and its table is worth reading.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from deploy.tether import tethered
from fencepost.clock import Clock, SystemClock
from fencepost.errors import StartupError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED, EXIT_NOT_STARTED
from fencepost.guards import Guard
from lab.ablate_cases import RunSpec, cases
from lab.ablate_expected import expectations
from lab.ablate_figures import FAILED, RunFigures
from lab.ablate_run import figures_path
from lab.ablate_table import broken_with_all_on, notes, table
from lab.ablate_verdicts import verdicts
from lab.compare import Outputs, interruptible
from lab.drills.result import promise_line
from lab.load_command import write_json

PORTS_EACH: Final = 60
"""How far apart the ports of two runs at a time are."""
MAX_JOBS: Final = 8
START_AND_JUDGE_S: Final = 15.0
"""What a run takes besides its scenario, as long as none has been measured."""
PLAIN_WIDTH: Final = 180
HANGS_AFTER_S: Final = 120.0
STOP_S: Final = 12.0


@dataclass(frozen=True, slots=True)
class AblateOptions:
    """An ablation.

    Attributes:
        run_dir: where what a run leaves goes while it runs; kept for runs with every guard on that broke an invariant.
        guards: which ones are looked at.
        seeds: from 1 on, so many.
        duration_s: for how long each scenario plays.
        bound_s: within how many seconds after its last change a system has to have the last plan everywhere (I5).
        jobs: runs at a time.
        port_base: the first of the ports; each job has `PORTS_EACH` of them.
        keep: whether every run's history and logs are kept.
    """

    run_dir: Path
    guards: tuple[Guard, ...] = tuple(Guard)
    seeds: int = 5
    duration_s: float = 12.0
    bound_s: float = 15.0
    jobs: int = 2
    port_base: int = 5300
    keep: bool = False

    def check(self) -> None:
        """Refuse what cannot be run. Raises: StartupError naming the option."""
        if not self.guards:
            raise StartupError(f"--guards names none; there are {', '.join(Guard)}")
        if self.seeds < 1 or self.duration_s <= 0 or not 1 <= self.jobs <= MAX_JOBS:
            raise StartupError(
                f"--seeds {self.seeds}, --duration {self.duration_s:g}, --jobs {self.jobs}: at least one seed, a "
                f"duration above 0, and 1 to {MAX_JOBS} runs at a time"
            )

    def specs(self) -> tuple[RunSpec, ...]:
        """Return every run, seed by seed; ports are given out when a run is made."""
        return tuple(
            RunSpec(
                case=case,
                seed=seed,
                duration_s=self.duration_s,
                bound_s=self.bound_s,
                port_base=self.port_base,
                run_dir=str(self.run_dir / f"{case.scenario}-{number:02d}-seed-{seed}"),
                keep=self.keep,
            )
            for seed in range(1, self.seeds + 1)
            for number, case in enumerate(cases(self.guards), 1)
        )


@dataclass(slots=True)
class Ablation:
    """An ablation under way."""

    options: AblateOptions
    outputs: Outputs
    console: Console
    progress: Console
    clock: Clock = field(default_factory=SystemClock)
    done: list[RunFigures] = field(default_factory=list)
    began_s: float = 0.0

    async def run(self) -> int:
        """Make every run, show and write what came of it, and return the exit code."""
        specs = self.options.specs()
        waiting = deque(specs)
        self.began_s = self.clock.monotonic()
        with self._bar() as bar:
            shown = bar.add_task("", total=len(specs), words=self.words(len(specs)))
            async with asyncio.TaskGroup() as group:
                for slot in range(min(self.options.jobs, len(specs))):
                    group.create_task(self._work(slot, waiting, bar, shown))
        self.report()
        return self.exit_code

    async def _work(self, slot: int, waiting: deque[RunSpec], bar: Progress, shown: TaskID) -> None:
        total = len(self.options.specs())
        while waiting:
            spec = waiting.popleft()
            port_base = self.options.port_base + slot * PORTS_EACH
            figures = await make(msgspec.structs.replace(spec, port_base=port_base), self.clock)
            self.done.append(figures)
            left = total - len(self.done)
            bar.update(shown, completed=len(self.done), words=self.words(left))
            if not self.progress.is_terminal:
                self.progress.print(Text(f"{line(figures)}  [{self.words(left)}]"), soft_wrap=True)

    def _bar(self) -> Progress:
        columns = (BarColumn(30), TextColumn("{task.completed}/{task.total} runs, {task.fields[words]}"))
        return Progress(*columns, console=self.progress, transient=True, disable=not self.progress.is_terminal)

    def words(self, left: int) -> str:
        """Return what is left to do, and how long that will take."""
        took_s = [run.wall_s for run in self.done]
        each_s = sum(took_s) / len(took_s) if took_s else self.options.duration_s + START_AND_JUDGE_S
        return f"{left} runs and about {left * each_s / self.options.jobs / 60:.0f} min left"

    @property
    def exit_code(self) -> int:
        """1 if an expectation that counts is broken, 3 if no run at all could be made, else 0."""
        if not any(run.counts for run in self.done):
            return EXIT_NOT_STARTED
        met = expectations(cases(self.options.guards), self.done)
        return EXIT_CHECK_FAILED if any(one.broken for one in met) else EXIT_FINE

    def report(self) -> None:
        """Show table, verdicts and expectations of what is done, and write all figures where they are wanted."""
        chosen = cases(self.options.guards)
        self.console.print(table(chosen, self.done))
        for words in (*notes(self.done), *verdicts(chosen, self.done)):
            self.console.print(Text(words), soft_wrap=True)
        for met in expectations(chosen, self.done):
            self.console.print(promise_line(met.promise), soft_wrap=True)
        for run in broken_with_all_on(self.done):
            self.console.print(Text(f"{run.case.scenario}, {run.case.label}, seed {run.seed} broke:", style="bold red"))
            for words in run.lines:
                self.console.print(Text(f"  {words}", style="red"), soft_wrap=True)
        took_min = (self.clock.monotonic() - self.began_s) / 60
        self.console.print(
            Text(f"{len(self.done)} runs in {took_min:.1f} min; what was kept is in {self.options.run_dir}"),
            soft_wrap=True,
        )
        if self.outputs.json_path is not None:
            write_json(self.outputs.json_path, self.document())
            self.console.print(Text(f"figures: {self.outputs.json_path}"), soft_wrap=True)

    def document(self) -> dict[str, Any]:
        """Return the results for programs: options, verdicts, expectations, every run's figures."""
        chosen = cases(self.options.guards)
        return {
            "seeds": self.options.seeds,
            "duration_s": self.options.duration_s,
            "guards": list(self.options.guards),
            "cases": msgspec.to_builtins(chosen),
            "verdicts": list(verdicts(chosen, self.done)),
            "expectations": msgspec.to_builtins(list(expectations(chosen, self.done))),
            "runs": msgspec.to_builtins(self.done),
        }


def line(run: RunFigures) -> str:
    """Return one run in a line: what it was, and what went wrong."""
    bad = ", ".join(f"{name} {value:g}" for name, value in run.outcomes.items() if value)
    state = "" if not run.problem else f" {run.state}: {run.problem};"
    return f"{run.case.scenario}, {run.case.label}, seed {run.seed}:{state} {bad or 'nothing'} ({run.wall_s:.0f} s)"


async def make(spec: RunSpec, clock: Clock) -> RunFigures:
    """Make one run in a process of its own, and return its figures, whatever becomes of it.

    Cancelled, it has the run stop its system first.
    """
    spec_path, log_path = _prepare(spec)
    began_s = clock.monotonic()
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *tethered((sys.executable, "-P", "-m", "lab.ablate_run", str(spec_path))),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(spec.duration_s + 2 * spec.bound_s + HANGS_AFTER_S):
                await process.wait()
    finally:
        await _stop(process)
    found = _read(spec, log_path, took_s=clock.monotonic() - began_s)
    _tidy(spec, found, (spec_path, log_path, figures_path(spec)))
    return found


def _prepare(spec: RunSpec) -> tuple[Path, Path]:
    """Write down what a run is; return where that is, and where its output goes."""
    run_dir = Path(spec.run_dir)
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    spec_path, log_path = run_dir.with_suffix(".spec.json"), run_dir.with_suffix(".log")
    spec_path.write_bytes(msgspec.json.encode(spec))
    return spec_path, log_path


def _read(spec: RunSpec, log: Path, *, took_s: float) -> RunFigures:
    try:
        return msgspec.json.decode(figures_path(spec).read_bytes(), type=RunFigures)
    except (OSError, msgspec.DecodeError):
        said = log.read_text("utf-8", "replace").strip().splitlines()
        problem = said[-1] if said else "it ended without a word"
        return RunFigures(case=spec.case, seed=spec.seed, state=FAILED, problem=problem, wall_s=round(took_s, 1))


def _tidy(spec: RunSpec, found: RunFigures, files: Sequence[Path]) -> None:
    """Delete what a run leaves, some hundred megabytes over all, unless somebody has to look at it."""
    if spec.keep or found.state == FAILED or broken_with_all_on([found]):
        return
    shutil.rmtree(spec.run_dir, ignore_errors=True)
    for path in files:
        path.unlink(missing_ok=True)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a run: in order first, then at once; what it started ends with it."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def run_ablate(options: AblateOptions, outputs: Outputs) -> int:
    """Run an ablation and return its exit code: 0, 1, 3, or 130 after Ctrl-C. Progress goes to standard error.

    Raises: StartupError, before anything is started.
    """
    options.check()
    outputs.check()
    # Where nobody's terminal sets the width, the tables have what they need.
    shown = Console() if Console().is_terminal else Console(width=PLAIN_WIDTH)
    ablation = Ablation(options, outputs, shown, Console(stderr=True))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(interruptible(ablation.run()))
        except asyncio.CancelledError:
            pass
    total = len(options.specs())
    ablation.console.print(Text(f"interrupted after {len(ablation.done)} of {total} runs. Every process is stopped."))
    if ablation.done:
        ablation.report()
    return EXIT_INTERRUPTED
