"""Schedules of a scenario, one after the other, by their numbers: what `fencepost explore` does, without the command.

Schedule n of a seed is the same whoever runs it, and in whatever order: it has its own chance, drawn from both.
"""

import gc
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec

from enactor.opening import FEWEST
from fencepost.clock import stream
from lab.invariants.violation import Violation
from lab.simulation.bounded import Bounded
from lab.simulation.choice import Choice
from lab.simulation.coverage import Coverage
from lab.simulation.drive import Strategy, Verdict, verdict_of
from lab.simulation.forgetting import Forgetful
from lab.simulation.scenario import Scenario
from lab.simulation.seal import sealed
from lab.simulation.stage import Stage
from lab.simulation.strategies import Chance, Priorities, RandomWalk

By = Literal["random", "pct", "mixed", "bounded", "exhaustive"]

WANDERS: Final = 8
"""One schedule in so many goes on when all are at rest, so that what only looks and sweeps do is seen, too."""

DEPTHS: Final = (2, 3, 4, 5)
"""PCT: what number of places a failure may depend on; one after the other."""

SHARES: Final = (0.25, 0.5, 1.0)
"""PCT: within what part of a schedule's usual length priorities change; one after the other."""

REACHES: Final = (0.5, 1.4)
"""Within what part of a schedule's usual length its faults lie, in turn: cleaning comes late, and must meet some."""

CROWDED: Final = 0.5
"""In so many of the drawn schedules no enactor leaves a plan to another one."""

STEPS_EACH: Final = 40
"""A schedule's usual length, for each endpoint."""

SEEDS: Final = 1_000_000_007
"""How far the seeds of two seeds' processes are apart: more than there will ever be schedules."""

MOST_STEPS: Final = 100_000
"""So many steps no bounded schedule has: it ends when its processes have no rounds left."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is explored.

    Attributes:
        by: the strategy.
        schedules: how many, at most; no matter to `exhaustive`, and to `bounded` no matter if 0.
        steps: how many choices a schedule has at most; then the world heals.
        preemptions: how many a schedule of `bounded` has at most.
        seek: what a schedule must break to be the failure that ends the exploration; empty: anything.
    """

    scenario: Scenario
    by: By = "mixed"
    schedules: int = 10_000
    seed: int = 1
    steps: int = 200
    preemptions: int = 2
    seek: frozenset[str] = frozenset()


class Failure(NamedTuple):
    """A schedule that breaks what was sought.

    Attributes:
        schedule: its number.
        scenario: what it was a schedule of, with the seed that its processes had.
        violations: what it breaks.
        trace: the choices that lead there.
    """

    schedule: int
    scenario: Scenario
    violations: tuple[Violation, ...]
    trace: tuple[Choice, ...]

    @property
    def broken(self) -> frozenset[str]:
        """The numbers of the broken invariants."""
        return frozenset(violation.invariant for violation in self.violations)


class Tally(msgspec.Struct):
    """What some schedules came to.

    Attributes:
        steps: in all, healing included.
        simulated_s: the worlds' time.
        cpu_s: what it took, of this machine.
        healed_s: the longest healing.
        paths: how often each rare path was taken.
        broken: how many schedules broke each invariant.
        failure: the first that broke what was sought; nothing after it is in the tally.
        other: the first that broke anything else.
    """

    schedules: int = 0
    steps: int = 0
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    healed_s: float = 0.0
    paths: Counter[str] = msgspec.field(default_factory=Counter)
    broken: Counter[str] = msgspec.field(default_factory=Counter)
    failure: Failure | None = None
    other: Failure | None = None

    @property
    def worst(self) -> Failure | None:
        """What there is to tell: what was sought, else whatever was broken."""
        return self.failure or self.other

    def add(self, other: "Tally") -> None:
        """Take in what the schedules after these came to."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.simulated_s += other.simulated_s
        self.cpu_s += other.cpu_s
        self.healed_s = max(self.healed_s, other.healed_s)
        self.paths.update(other.paths)
        self.broken.update(other.broken)
        self.failure = self.failure or other.failure
        self.other = self.other or other.other


class Explorer:
    """Runs schedules in this process. Enactors leave plans to each other in half of those that are drawn.

    In the other half they are in each other's way as often as can be; what a failure's scenario has is in its file.

    Attributes:
        stage: where schedules are run as the scenario has it.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.stage = self._stage = Stage(options.scenario)
        # Where nothing can be left to anybody, there is no second world to be set up.
        leaves = options.scenario.mode == "fixed" and options.scenario.endpoints >= FEWEST
        systematic = options.by in {"bounded", "exhaustive"} or not options.scenario.patience_s
        alone = msgspec.structs.replace(options.scenario, patience_s=0.0)
        self._crowded = Stage(alone) if leaves and not systematic else self.stage
        self._restless = frozenset(self.stage.cast) - frozenset(self.stage.scene.enactor_names)

    def strategy(self, number: int) -> Strategy:
        """Return how a schedule is driven."""
        rng, forgets = stream(self._options.seed, "schedule", str(number)), self._options.scenario.forgets
        drawn = self._drawn(number, rng)
        return Forgetful(drawn, rng, forgets) if forgets else drawn

    def _drawn(self, number: int, rng: random.Random) -> Strategy:
        by, scenario = self._options.by, self._options.scenario
        usual = STEPS_EACH * scenario.endpoints
        turn = number // 2
        faults = Chance(rng, scenario.faults, round(usual * REACHES[turn % len(REACHES)]))
        if by == "mixed":
            by = "pct" if number % 2 else "random"
        if by == "pct":
            changes, within = DEPTHS[turn % len(DEPTHS)] - 1, round(usual * SHARES[turn % len(SHARES)])
            return Priorities(rng, faults, changes=changes, steps=within, restless=self._restless)
        return RandomWalk(rng, faults, restless=self._restless, endpoints=scenario.endpoints)

    def block(self, first: int, count: int) -> Tally:
        """Run some schedules, up to the first that fails."""
        tally, coverage, began_s = Tally(), Coverage(), time.process_time()
        with sealed():
            for number in range(first, first + count):
                # Processes draw anew in each schedule, too: plans, and pauses.
                self._stage = self._stage_of(number)
                self._stage.seed = self._options.scenario.seed * SEEDS + number
                verdict = self._run(self.strategy(number), coverage, rests=number % WANDERS != 0)
                if self._note(tally, number, verdict):
                    break
        tally.paths.update(coverage.counts)
        tally.cpu_s = time.process_time() - began_s
        return tally

    def _stage_of(self, number: int) -> Stage:
        """Return where a schedule is run: drawn apart from all else, so that it goes with every way to drive one."""
        drawn = stream(self._options.seed, "patience", str(number)).random()
        return self._crowded if drawn < CROWDED else self.stage

    def bounded(self, tell: Callable[[Tally], bool]) -> tuple[Tally, bool]:
        """Run all schedules within the bounds, up to the first that fails; return whether there is none left.

        `tell` is given what there is so far, now and then; it says whether to go on.
        """
        scenario, most = self._options.scenario, self._options.schedules
        search = Bounded(
            preemptions=self._options.preemptions,
            faults=scenario.faults,
            rounds=scenario.rounds,
            restless=self._restless,
        )
        tally, coverage, began_s, cut = Tally(), Coverage(), time.process_time(), False
        with sealed():
            while (guided := search.following()) is not None and not (most and tally.schedules >= most):
                verdict = self._run(guided, coverage, steps=MOST_STEPS)
                search.ran(guided)
                cut = cut or len(verdict.trace) >= MOST_STEPS
                failed = self._note(tally, tally.schedules, verdict)
                tally.paths, tally.cpu_s = coverage.counts, time.process_time() - began_s
                if failed or not tell(tally):
                    break
        return tally, search.complete and not cut and tally.failure is None

    def _run(self, strategy: Strategy, coverage: Coverage, *, steps: int = 0, rests: bool = False) -> Verdict:
        options = self._options
        return verdict_of(
            self._stage, strategy, steps=steps or options.steps, seek=options.seek, rests=rests, coverage=coverage
        )

    def _note(self, tally: Tally, number: int, verdict: Verdict) -> bool:
        """Take in a schedule; say whether it is the failure that is sought."""
        tally.schedules += 1
        tally.steps += verdict.steps
        tally.simulated_s += verdict.lasted_s
        if not verdict.pending:
            tally.healed_s = max(tally.healed_s, verdict.healed_s or 0.0)
        if not verdict.violations:
            return False
        scenario = msgspec.structs.replace(self._stage.scene.scenario, seed=self._stage.seed)
        failure = Failure(number, scenario, verdict.violations, verdict.trace)
        tally.broken.update(failure.broken)
        if self._options.seek <= failure.broken:
            tally.failure = failure
        else:
            tally.other = tally.other or failure
        return tally.failure is not None


def settle_memory() -> None:
    """Take what there is now out of the garbage collector's rounds: worlds come and go, the code stays."""
    gc.collect()
    gc.freeze()
