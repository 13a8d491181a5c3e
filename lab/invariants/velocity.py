"""I7: what automation may take away from an endpoint, in one commit and within a window of time."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fencepost.capacity import Capacity, capacity_of
from fencepost.errors import PlanUnsafe
from fencepost.network import PROFILES
from fencepost.records import ADDRESS_TYPES
from fencepost.safety import Baseline, Limits, check_removal
from lab.history import History, RunInfo
from lab.invariants.replay import Step, View
from lab.invariants.violation import Violation

NOTED_BEFORE_S: Final = 2.0
"""A zone's own record of its capacity counts whole seconds, and its writer may have had to try again."""


def velocity(history: History, steps: Sequence[Step]) -> Iterator[Violation]:
    """I7: no commit of an automation takes away more capacity than allowed, at once or within the window.

    What leaves a type without any address is I1's, and is not told again here.
    """
    watch = Watch(history.run, _members(steps))
    forced = _forced(history, steps)
    for step in steps:
        if problem := watch.look(step, forced):
            yield problem


def _members(steps: Sequence[Step]) -> int:
    """Return how many load balancers an endpoint had at most: that is how large it is, whoever is left."""
    contents = [step.after.live for step in steps if step.after.live is not step.before.live]
    return max((len({t.identifier for t in live.targets}) for live in contents), default=0)


def limits_of(parameters: Mapping[str, Any]) -> Limits:
    """Return the limits that a run was made with; the defaults where its parameters do not say."""
    default = Limits()
    return Limits(
        max_removal_fraction=float(parameters.get("max_removal_fraction", default.max_removal_fraction)),
        window_s=float(parameters.get("velocity_window_s", default.window_s)),
        min_healthy=int(parameters.get("min_healthy", default.min_healthy)),
        small_fleet=int(parameters.get("small_fleet", default.small_fleet)),
    )


def _window_us(run: RunInfo) -> int:
    """Return the window as it can be judged from commits, microseconds.

    An enactor notes what is live before its batch is on its way; what was live before may have stayed so for as long as
    the batch took. That, and how far clocks differ, is taken off, so that nobody is blamed for a stall.
    """
    slack_s = NOTED_BEFORE_S + abs(float(run.parameters.get("clock_skew_s", 0.0)))
    if profile := PROFILES.get(run.profile):
        slack_s += profile.control_api.p99_s + profile.control_api.stall_max_s / 2
    return round(max(0.0, limits_of(run.parameters).window_s - slack_s) * 1e6)


class Watch:
    """One zone's capacity as commits move it; `members` is how many load balancers the endpoint has in its region."""

    def __init__(self, run: RunInfo, members: int) -> None:
        self._limits, self._window_us = limits_of(run.parameters).for_fleet(members), _window_us(run)
        self._highest = _Highest(self._window_us)

    @property
    def memory(self) -> object:
        """What it compares later commits with; equal for two that will say the same."""
        return self._highest.memory

    def look(self, step: Step, forced: Sequence[int]) -> Violation | None:
        """Take the next commit; say what is wrong with it. `forced`: the generations that an operator has forced."""
        if step.before.live is step.after.live:
            return None
        found, at_us = None, step.commit.at_us
        if step.commit.actor.operator or _is_forced(step, forced):
            self._highest = _Highest(self._window_us)
        elif problem := _problem(step, self._highest.at(at_us), self._limits):
            found = Violation("I7", step.commit.zone, problem, at_us, step.commit.serial)
        self._highest.note(at_us, capacity_of(step.after.live))
        return found


class _Highest:
    """The most capacity of each type within a window that moves on; each note is looked at twice in all."""

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._now: Capacity = (0, 0)
        # Of each type: (until when, how much), of which each has more than the later ones.
        self._ended: tuple[deque[tuple[int, int]], ...] = tuple(deque() for _ in ADDRESS_TYPES)

    @property
    def memory(self) -> object:
        """All that it knows."""
        return self._now, tuple(map(tuple, self._ended))

    def note(self, at_us: int, capacity: Capacity) -> None:
        """Take in what is live from an instant on; instants never go back."""
        for ended, before in zip(self._ended, self._now, strict=True):
            while ended and ended[-1][1] <= before:
                ended.pop()
            ended.append((at_us, before))
        self._now = capacity

    def at(self, at_us: int) -> Capacity:
        """Return the most within the window that ends at an instant."""
        for ended in self._ended:
            while ended and ended[0][0] < at_us - self._window_us:
                ended.popleft()
        a, aaaa = (max(now, ended[0][1] if ended else 0) for ended, now in zip(self._ended, self._now, strict=True))
        return a, aaaa


def _forced(history: History, steps: Sequence[Step]) -> tuple[int, ...]:
    """Return the generations that an operator has published by force for a zone, in order."""
    zone = steps[0].commit.zone if steps else ""
    return tuple(plan.generation for plan in history.plans if plan.force and zone in plan.changed)


def _is_forced(step: Step, forced: Sequence[int]) -> bool:
    """Say whether a commit brings its zone past a plan that was forced: whatever it takes away was meant."""
    before, after = _generation(step.before), _generation(step.after)
    return any(before < generation <= after for generation in forced)


def _generation(view: View) -> int:
    return view.fenced_generation or view.generation or 0


def _problem(step: Step, highest: Capacity, limits: Limits) -> str | None:
    try:
        check_removal(step.commit.zone, step.after.live, Baseline(step.before.live, highest), limits)
    except PlanUnsafe as error:
        if error.rule == "empty":
            return None
        what = str(error).removeprefix(f"{error.endpoint}: the plan ").partition(";")[0]
        return f"serial {step.commit.serial} of {step.commit.actor.name} {what}"
    return None
