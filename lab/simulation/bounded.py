"""Every schedule with few preemptions and faults: depth first, each run from its beginning.

A switch from a process that could go on counts as a preemption; one from a process that waits, or has ended, is free,
and so is one from who publishes, whose plans come whenever they come. A timer that goes off while calls wait is a
preemption, too. Most faults of concurrency need few of them. Source: Musuvathi and Qadeer, "Iterative Context Bounding
for Systematic Testing of Multithreaded Programs", PLDI 2007.
"""

from collections.abc import Iterator
from typing import NamedTuple

from lab.simulation.choice import START, TIMER, Choice, Fault
from lab.simulation.strategies import faults_of
from lab.simulation.world import World


class Option(NamedTuple):
    """Something that may happen next, and how many preemptions and faults it costs."""

    choice: Choice
    preemptions: int
    faults: int


class _Point:
    """A step at which there was a choice: what was taken, and what is still to be tried."""

    __slots__ = ("taken", "todo")

    def __init__(self, options: list[Option]) -> None:
        self.taken, *self.todo = options


class Bounded:
    """All schedules within the bounds, one after the other: a strategy that is used for each in turn.

    Args:
        preemptions, faults: how many a schedule may have.
        restless: the process that publishes.
    """

    def __init__(self, *, preemptions: int, faults: int, restless: str) -> None:
        self._bounds, self._restless = (preemptions, faults), restless
        self._points: list[_Point] = []
        self._at = 0
        self._left = self._bounds
        self._last = restless
        self.complete = False

    def begin(self) -> None:
        """Begin the next schedule; only after `following` said that there is one."""
        self._at, self._left, self._last = 0, self._bounds, self._restless

    def following(self) -> bool:
        """Go on to the next schedule; return False, and be complete, if there is none."""
        del self._points[self._at :]
        while self._points and not self._points[-1].todo:
            self._points.pop()
        if not self._points:
            self.complete = True
            return False
        last = self._points[-1]
        last.taken = last.todo.pop(0)
        return True

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        if self._at == len(self._points):
            options = [option for option in self._options(world) if self._affords(option)]
            if not options:
                return False
            self._points.append(_Point(options))
        option = self._points[self._at].taken
        self._at += 1
        preemptions, faults = self._left
        self._left = preemptions - option.preemptions, faults - option.faults
        if option.choice.what != TIMER:
            self._last = option.choice.process
        return world.take(option.choice)

    def _affords(self, option: Option) -> bool:
        return option.preemptions <= self._left[0] and option.faults <= self._left[1]

    def _options(self, world: World) -> list[Option]:
        """Return what may happen, what costs nothing first, and the process that was last before others."""
        able = [process for process in world.processes if process.parked or process.killed]
        goes_on = self._last != self._restless and any(process.name == self._last for process in able)
        found = []
        for process in able:
            cost = int(goes_on and process.name != self._last)
            if process.killed:
                found.append(Option(Choice(process.name, START), cost, 0))
            calls = dict.fromkeys(call.what for call in process.parked)
            found += [Option(Choice(process.name, call), cost, 0) for call in calls]
        if (timer := world.next_timer) is not None:
            found.append(Option(Choice(timer.name, TIMER), int(bool(able)), 0))
        if self._left[1]:
            found += self._faulty(world, found)
        return sorted(found, key=lambda one: (one.faults, one.preemptions, one.choice.process != self._last))

    def _faulty(self, world: World, options: list[Option]) -> Iterator[Option]:
        costs = {option.choice: option.preemptions for option in options}
        for call in world.parked:
            cost = costs[Choice(call.process, call.what)]
            for fault in faults_of(call):
                yield Option(Choice(call.process, call.what, Fault(fault)), cost, 1)
