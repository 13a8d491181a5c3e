"""`fencepost bench explore`: how long until the outage is found, by the explorer and by the model checker Spin.

The explorer runs the code that ships, Spin a model that somebody wrote; what is compared is what a person waits for,
from typing the command to the counterexample. Each round runs both, in fresh processes, each first in turn.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from fencepost.clock import Clock, SystemClock
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from lab.bench.figures import SECONDS, Spread, document, table
from lab.bench.peers.peer import Peer, needs
from lab.bench.plot import OURS, Bars
from lab.bench.processes import workplace
from lab.bench.programs import BenchFailed, Ended, timed
from lab.bench.report import Result, run_interruptible, tell
from lab.bench.rounds import Rounds, measure_in_turn
from lab.compare import Outputs

MODEL: Final = Path(__file__).with_name("incident.pml")
ABOUT: Final = (
    "Each round runs both in fresh processes, each first in turn; one round before them does not count. The explorer "
    "runs the code that ships, Spin a model of it."
)
SPIN: Final = Peer("spin", ("spin", "gcc"), "apt-get install spin gcc", ("-V",))
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
        needs(SPIN)


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
    rounds: Rounds[float] = field(default_factory=lambda: Rounds.of((OURS, SPIN.name)))
    spin: dict[int, SpinRun] = field(default_factory=dict)

    async def run(self) -> int:
        """Measure both sides, show and write the result, and return the exit code. Raises: BenchFailed."""
        with workplace() as place:

            async def ours(_: int) -> float:
                return await explorer_run(self.options, place, self.clock)

            async def spin(number: int) -> float:
                self.spin[number] = await spin_run(self.options, place, self.clock)
                return self.spin[number].took_s

            sides = {OURS: ours, SPIN.name: spin}
            await measure_in_turn(sides, self.options.rounds, self.rounds, self._tell, tolerant=False)
        tell(self.result(), self.outputs, self.console)
        return EXIT_FINE

    def _tell(self, number: int, side: str, took_s: float | None, _: str) -> None:
        if took_s is not None:
            where = f"round {number}/{self.options.rounds}" if number else "warm-up, not counted"
            self.progress.print(Text(f"{where}: {side} {took_s:.3f} s"), soft_wrap=True)

    def result(self) -> Result:
        """Return what it came to."""
        counted = [self.spin[number] for number in self.rounds.done]
        ours, spin = (Spread(tuple(self.rounds.counted[side])) for side in (OURS, SPIN.name))
        rows = [("fencepost explore --mode buggy", ours), (f"spin, {self.options.model.name}", spin)]
        rows += [(f"  {step}", Spread(tuple(run.steps_s[step] for run in counted))) for step in counted[0].steps_s]
        title = f"until the outage is found, {self.options.rounds} rounds"
        said = (
            f"ours / spin: {ours.ratio(spin):.2f} ({SECONDS.better})",
            f"ours broke {' and '.join(NEEDED)}, spin after {counted[-1].states} states: {counted[-1].violated}",
        )
        figures = document(
            "explore",
            ours,
            {SPIN.name: spin},
            model=self.options.model.name,
            rounds=self.options.rounds,
            spin_states=counted[-1].states,
            spin_steps_s=[dict(run.steps_s) for run in counted],
            versions={SPIN.name: SPIN.version},
        )
        charts = [Bars(title, {OURS: ours, SPIN.name: spin}, "From the command to the counterexample.")]
        return Result("explore", figures, [table(rows, title=title)], charts, said, ABOUT)


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
    return run_interruptible(bench.run(), bench.progress, bench.rounds.done)
