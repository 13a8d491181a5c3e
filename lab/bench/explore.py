"""`fencepost bench explore`: how long until the outage is found, by the explorer and by the model checker Spin.

The explorer runs the code that ships, Spin a model that somebody wrote; what is compared is what a person waits for,
from typing the command to the counterexample. Each round runs both, in fresh processes, each first in turn.
"""

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.text import Text

from fencepost.clock import Clock, SystemClock
from fencepost.errors import StartupError, UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from lab.bench.figures import Spread, document, table
from lab.bench.programs import BenchFailed, Ended, timed
from lab.compare import Outputs, interruptible
from lab.load_command import write_json

MODEL: Final = Path(__file__).with_name("incident.pml")
TOOLS: Final = ("spin", "gcc")
NEEDED: Final = ("I1", "I5")
"""What ours has to break: emptiness, and the stuck state."""

ERRORS: Final = re.compile(r"errors: (\d+)")
STATES: Final = re.compile(r"(\d+) states, stored")
BROKEN: Final = re.compile(r"^pan:\d+: (?:assertion violated|acceptance cycle|claim violated).*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ExploreOptions:
    """A benchmark of the explorer.

    Attributes:
        rounds: how often each side is measured, after one that does not count.
        model: Promela, whose claim has a counterexample.
        claim: which of its claims; "" for the one that Spin takes by itself, the first.
        explorer: the command that finds the outage in the code that ships; `--json FILE` is put behind it.
    """

    rounds: int = 5
    model: Path = MODEL
    claim: str = ""
    explorer: tuple[str, ...] = (str(Path(sys.executable).with_name("fencepost")), "explore", "--mode", "buggy")

    def check(self) -> None:
        """Refuse what cannot be run. Raises: UsageError naming the option, StartupError naming what is missing."""
        if self.rounds < 1:
            raise UsageError(f"--rounds {self.rounds}: at least one round is measured")
        if not self.model.is_file():
            raise UsageError(f"--promela {self.model}: there is no such file; leave the option out for {MODEL.name}")
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise StartupError(f"{' and '.join(missing)} not found on PATH; `apt-get install {' '.join(missing)}`")


@dataclass(frozen=True, slots=True)
class SpinRun:
    """One way of Spin to its counterexample: seconds of each step, and what was violated after how many states."""

    steps_s: Mapping[str, float]
    violated: str
    states: int

    @property
    def took_s(self) -> float:
        """All steps together."""
        return sum(self.steps_s.values())


@dataclass(slots=True)
class ExploreBench:
    """A benchmark under way."""

    options: ExploreOptions
    outputs: Outputs
    console: Console
    progress: Console
    clock: Clock = field(default_factory=SystemClock)
    ours_s: list[float] = field(default_factory=list)
    spin: list[SpinRun] = field(default_factory=list)

    async def run(self) -> int:
        """Measure both sides, show and write the result, and return the exit code. Raises: BenchFailed."""
        with tempfile.TemporaryDirectory(prefix="fencepost-bench-") as place:
            for number in range(self.options.rounds + 1):
                ours_s, spin = await self._round(Path(place), number)
                words = f"ours {ours_s:.3f} s, spin {spin.took_s:.3f} s"
                if number == 0:
                    self.progress.print(Text(f"warm-up, not counted: {words}"), soft_wrap=True)
                    continue
                self.ours_s.append(ours_s)
                self.spin.append(spin)
                self.progress.print(Text(f"round {number}/{self.options.rounds}: {words}"), soft_wrap=True)
        self.report()
        return EXIT_FINE

    async def _round(self, place: Path, number: int) -> tuple[float, SpinRun]:
        if number % 2:
            spin = await spin_run(self.options, place, self.clock)
            return await explorer_run(self.options, place, self.clock), spin
        return await explorer_run(self.options, place, self.clock), await spin_run(self.options, place, self.clock)

    def report(self) -> None:
        """Show the figures, and write them where they are wanted."""
        figures = self.document()
        rows = [("fencepost explore --mode buggy", Spread(tuple(self.ours_s)))]
        rows += [(f"spin, {self.options.model.name}", Spread(tuple(run.took_s for run in self.spin)))]
        rows += [(f"  {step}", Spread(tuple(run.steps_s[step] for run in self.spin))) for step in self.spin[0].steps_s]
        self.console.print(table(rows, title=f"until the outage is found, {self.options.rounds} rounds"))
        for words in (
            f"ours / spin: {figures['ratios']['spin']:.2f} (below 1: ours is quicker)",
            f"ours broke {' and '.join(NEEDED)}, spin after {self.spin[-1].states} states: {self.spin[-1].violated}",
        ):
            self.console.print(Text(words), soft_wrap=True)
        if self.outputs.json_path is not None:
            write_json(self.outputs.json_path, figures)
            self.console.print(Text(f"figures: {self.outputs.json_path}"), soft_wrap=True)

    def document(self) -> dict[str, Any]:
        """Return the result for programs."""
        return document(
            "explore",
            Spread(tuple(self.ours_s)),
            {"spin": Spread(tuple(run.took_s for run in self.spin))},
            model=self.options.model.name,
            rounds=self.options.rounds,
            spin_states=self.spin[-1].states,
            spin_steps_s=[dict(run.steps_s) for run in self.spin],
        )


async def explorer_run(options: ExploreOptions, place: Path, clock: Clock) -> float:
    """Let a fresh process of ours find the outage; return its seconds. Raises: BenchFailed if it did not find it."""
    result = place / "explore.json"
    result.unlink(missing_ok=True)
    ended = await timed((*options.explorer, "--json", str(result)), place, clock)
    if ended.exit_code != EXIT_CHECK_FAILED:
        raise BenchFailed(
            f"fencepost explore ended with {ended.exit_code}, and 1 (a violation) is expected: {ended.last_words}"
        )
    if missing := set(NEEDED) - broken_by(result):
        raise BenchFailed(f"fencepost explore did not break {', '.join(sorted(missing))}: {ended.last_words}")
    return ended.took_s


def broken_by(result: Path) -> set[str]:
    """Return the invariants that an exploration broke. Raises: BenchFailed if it left no result."""
    try:
        found = msgspec.json.decode(result.read_bytes(), type=_Explored)
    except (OSError, msgspec.DecodeError) as error:
        raise BenchFailed(f"fencepost explore left no result that can be read: {error}") from error
    return {violation.invariant for violation in found.violations}


async def spin_run(options: ExploreOptions, place: Path, clock: Clock) -> SpinRun:
    """Let Spin find the counterexample, from the model's text on, in a directory of its own.

    The model is copied there, since Spin and its verifier write beside it.

    Raises: BenchFailed if a step fails, or no claim is violated.
    """
    with tempfile.TemporaryDirectory(dir=place) as made:
        directory = Path(made)
        shutil.copyfile(options.model, directory / "model.pml")
        chosen = ("-N", options.claim) if options.claim else ()
        steps = {
            "spin -a": await _step(("spin", "-a", "model.pml"), directory, clock),
            "gcc -O2": await _step(("gcc", "-O2", "-o", "pan", "pan.c"), directory, clock),
            "./pan -a": await _step((str(directory / "pan"), "-a", *chosen), directory, clock),
        }
    violated, states = counterexample(steps["./pan -a"].output)
    return SpinRun({name: step.took_s for name, step in steps.items()}, violated, states)


async def _step(argv: tuple[str, ...], directory: Path, clock: Clock) -> Ended:
    ended = await timed(argv, directory, clock)
    if ended.exit_code != 0:
        raise BenchFailed(f"{ended.name} ended with {ended.exit_code}: {ended.last_words}")
    return ended


def counterexample(output: str) -> tuple[str, int]:
    """Return what a verifier found violated, and how many states it had stored by then.

    Raises: BenchFailed if it found nothing: an invalid end state alone, say, is no violated claim.
    """
    errors, states, broken = ERRORS.search(output), STATES.search(output), BROKEN.search(output)
    if broken is None or errors is None or int(errors[1]) == 0:
        raise BenchFailed(f"spin found no violated claim, and one is expected: {output.strip()[-300:]}")
    return broken[0], int(states[1]) if states else 0


class _Violation(msgspec.Struct):
    invariant: str


class _Explored(msgspec.Struct):
    """What of `fencepost explore --json` is needed here."""

    violations: tuple[_Violation, ...]


def run_explore_bench(options: ExploreOptions, outputs: Outputs) -> int:
    """Do what `fencepost bench explore` does, and return its exit code. Progress goes to standard error.

    Raises: StartupError before anything is measured; BenchFailed if a side did not find what it is to find.
    """
    options.check()
    outputs.check()
    bench = ExploreBench(options, outputs, Console(), Console(stderr=True))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(interruptible(bench.run()))
        except asyncio.CancelledError:
            bench.progress.print(Text(f"interrupted after {len(bench.spin)} rounds; nothing is left running"))
            return EXIT_INTERRUPTED
