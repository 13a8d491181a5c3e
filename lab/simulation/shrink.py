"""Shrinking: the shortest schedule that still breaks what was broken, so that a person can read why.

Choices and faults are left out, blocks of one process are put together, and the scenario is made smaller, as long as a
replay breaks the same invariants. Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input",
IEEE TSE 2002 (delta debugging).
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from lab.invariants.violation import Violation
from lab.simulation.choice import START, Choice, Fault
from lab.simulation.drive import PROCESS_FAILED, Strategy, Verdict, run
from lab.simulation.scenario import Scenario
from lab.simulation.shorter import Trace, joined, size, smaller
from lab.simulation.stage import Stage
from lab.simulation.strategies import Replayed
from lab.simulation.world import World

BUDGETS_S: Final = {"buggy": 0.8, "fixed": 10.0}
"""So long it may take, by mode: what always fails is shown at once; what never should is worth a wait.

Seconds of this process's own time, so that it comes to the same on a busy machine.
"""

STUCK: Final = "I5"
"""The one invariant that only healing shows."""

MOST_MORE: Final = 3
"""So many steps are put in, at most, to see whether that makes a schedule shorter."""


class Shrunk(NamedTuple):
    """A failure at its shortest.

    Attributes:
        scenario, trace: what breaks it; replayed by `strategies.Replayed`.
        violations: what it breaks, healing included if I5 was wanted.
        runs: how many schedules were tried.
        finished: whether nothing more could be left out; False: the time was up before all was tried.
    """

    scenario: Scenario
    trace: Trace
    violations: tuple[Violation, ...]
    runs: int
    finished: bool


class NotReproduced(AssertionError):
    """A replay of the given choices does not break what it is said to break: something besides them decides."""


class Continued:
    """A given beginning, then a few steps of one process, then another one alone, as far as it gets."""

    def __init__(self, beginning: Trace, more: str, most: int, last: str) -> None:
        self._beginning, self._more, self._left, self._last = Replayed(beginning), more, most, last

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        if self._beginning.step(world):
            return True
        if self._left:
            self._left -= 1
            return _goes_on(world, self._more) or _goes_on(world, self._last)
        return _goes_on(world, self._last)


def _goes_on(world: World, name: str) -> bool:
    process = world.named(name)
    if process.killed:
        return world.start(process)
    if process.parked:
        return world.run(process.parked[0])
    return process is world.next_timer and world.fire(process)


class _OutOfTime(Exception):
    """The budget is used up."""


def shrink(
    scenario: Scenario,
    trace: Sequence[Choice],
    wanted: frozenset[str],
    *,
    budget_s: float | None = None,
    clock_s: Callable[[], float] = time.process_time,
) -> Shrunk:
    """Return the shortest schedule found that breaks at least the wanted invariants.

    Whether a world gets stuck takes long to see, so the other invariants are shrunk for alone; only where the shortest
    of those heals, every candidate is healed. Raises: NotReproduced.

    Args:
        scenario: what the world is made of.
        trace: choices that break all of them.
        wanted: numbers of invariants, or `drive.PROCESS_FAILED`.
        budget_s: the shortest one that was found within so many seconds is returned; None: see `BUDGETS_S`.
        clock_s: tells the seconds of the budget.
    """
    deadline_s = clock_s() + (BUDGETS_S[scenario.mode] if budget_s is None else budget_s)
    quickly = _Shrinker(scenario, tuple(trace), wanted - {STUCK} or wanted, deadline_s, clock_s)
    finished = quickly.work()
    found = quickly.verdict(quickly.scenario, quickly.trace, wanted)
    if not _breaks(found, wanted):
        surely = _Shrinker(scenario, tuple(trace), wanted, deadline_s, clock_s)
        finished = surely.work()
        surely.runs += quickly.runs
        quickly, found = surely, surely.verdict(surely.scenario, surely.trace, wanted)
    return Shrunk(quickly.scenario, quickly.trace, found.violations, quickly.runs, finished)


def _breaks(verdict: Verdict, wanted: frozenset[str]) -> bool:
    return wanted <= {violation.invariant for violation in verdict.violations}


class _Shrinker:
    """The shortest failing schedule so far; each pass makes it shorter where it can."""

    def __init__(
        self, scenario: Scenario, trace: Trace, wanted: frozenset[str], deadline_s: float, now_s: Callable[[], float]
    ) -> None:
        self.scenario, self.trace, self.runs = scenario, trace, 0
        self._wanted, self._deadline_s, self._now_s = wanted, deadline_s, now_s
        self._stages: dict[Scenario, Stage] = {}
        self._tried: set[tuple[object, ...]] = set()
        found = self.verdict(scenario, trace, wanted)
        if not _breaks(found, wanted):
            raise NotReproduced(f"a replay of the {len(trace)} choices does not break {', '.join(sorted(wanted))}")
        self._error = _error_of(found)
        self.trace = found.trace

    def verdict(self, scenario: Scenario, trace: Trace, wanted: frozenset[str]) -> Verdict:
        """Replay a schedule; it is healed only if that is wanted."""
        return self._run(scenario, Replayed(trace), len(trace), wanted)

    def _run(self, scenario: Scenario, strategy: Strategy, steps: int, wanted: frozenset[str]) -> Verdict:
        self.runs += 1
        stage = self._stages.get(scenario) or self._stages.setdefault(scenario, Stage(scenario))
        world = stage.world()
        heal_s = stage.scene.heal_s if STUCK in wanted else 0.0
        try:
            return run(world, strategy, steps=steps, heal_s=heal_s, seek=wanted)
        finally:
            world.close()

    def work(self) -> bool:
        """Shrink until nothing gets shorter; return False if the time was up before."""
        passes = (self._leave_out_processes, self._leave_out_faults, self._leave_out_chunks, self._leave_out_of_each)
        try:
            self._shrink_scenario()
            before = None
            while before != (before := (size(self.trace), self.scenario)):
                for one in passes:
                    one()
                self._join_blocks()
                self._go_on_otherwise()
                self._shrink_scenario()
        except _OutOfTime:
            return False
        return True

    def _try(self, trace: Trace, scenario: Scenario | None = None) -> bool:
        """Take a candidate if it is shorter, or its scenario smaller, and breaks the same; say whether it was taken."""
        candidate = (scenario or self.scenario, trace)
        if candidate in self._tried or (scenario is None and size(trace) >= size(self.trace)):
            return False
        if self._now_s() > self._deadline_s:
            raise _OutOfTime
        self._tried.add(candidate)
        found = self.verdict(*candidate, self._wanted)
        return self._take(found, candidate[0])

    def _try_to_go_on(self, beginning: Trace, more: str, most: int, last: str) -> bool:
        candidate = (self.scenario, beginning, more, most, last)
        if candidate in self._tried:
            return False
        if self._now_s() > self._deadline_s:
            raise _OutOfTime
        self._tried.add(candidate)
        found = self._run(self.scenario, Continued(beginning, more, most, last), len(self.trace) - 1, self._wanted)
        return self._take(found, self.scenario)

    def _take(self, found: Verdict, scenario: Scenario) -> bool:
        if not _breaks(found, self._wanted) or _error_of(found) != self._error:
            return False
        if scenario == self.scenario and size(found.trace) >= size(self.trace):
            return False
        self.scenario, self.trace = scenario, found.trace
        return True

    def _leave_out_processes(self) -> None:
        for name in sorted({choice.process for choice in self.trace}):
            self._try(tuple(choice for choice in self.trace if choice.process != name))

    def _leave_out_chunks(self) -> None:
        self._cut(lambda: range(len(self.trace)))

    def _leave_out_of_each(self) -> None:
        """Leave out what one process does in a row, whoever else acts in between."""
        for name in sorted({choice.process for choice in self.trace}):
            self._cut(partial(self._places_of, name))

    def _places_of(self, name: str) -> Sequence[int]:
        return [at for at, choice in enumerate(self.trace) if choice.process == name]

    def _cut(self, places: Callable[[], Sequence[int]]) -> None:
        """Leave out chunks of these places of the trace: half of them first, single ones last, late ones first."""
        length = max(1, len(places()) // 2)
        while True:
            end = len(places())
            while end > 0:
                out = set(places()[max(0, end - length) : end])
                if not out or not self._try(tuple(c for at, c in enumerate(self.trace) if at not in out)):
                    end -= length
                end = min(end, len(places()))
            if length == 1:
                return
            length //= 2

    def _leave_out_faults(self) -> None:
        for at, choice in enumerate(self.trace):
            if at < len(self.trace) and choice.fault is not Fault.NONE and self.trace[at] == choice:
                rest = list(self.trace[at + 1 :])
                if choice.fault is Fault.CRASH:
                    again = next((c for c in rest if c == Choice(choice.process, START)), None)
                    rest = [c for c in rest if c is not again]
                self._try((*self.trace[:at], msgspec.structs.replace(choice, fault=Fault.NONE), *rest))

    def _join_blocks(self) -> None:
        """Let a process go on where it stopped, or stop later, so that the processes alternate less."""
        progress = True
        while progress:
            progress = any(self._try(candidate) for candidate in joined(self.trace))

    def _go_on_otherwise(self) -> None:
        """Let one process do a little more where another took over, and then only one of them go on.

        What is left out cannot make a schedule shorter that waits for something: a lock, say, that is given back in
        one more step of somebody who never got to make it.
        """
        progress = True
        while progress:
            names = sorted({choice.process for choice in self.trace})
            ends = [at for at in range(1, len(self.trace)) if self.trace[at - 1].process != self.trace[at].process]
            progress = any(
                self._try_to_go_on(self.trace[:end], more, most, last)
                for end in reversed(ends)
                for more in names
                for last in names
                for most in ((0,) if more == last else range(1, MOST_MORE + 1))
            )

    def _shrink_scenario(self) -> None:
        progress = True
        while progress:
            progress = any(self._try(trace, scenario) for scenario, trace in smaller(self.scenario, self.trace))


def _error_of(verdict: Verdict) -> str:
    """Return the type of the error that ended a process, "" if none did."""
    return next((v.detail.partition(":")[0] for v in verdict.violations if v.invariant == PROCESS_FAILED), "")
