"""How a world is driven: by chance, by random priorities, or in turn."""

import random
from collections.abc import Sequence
from typing import Final

from lab.simulation.choice import Choice, Fault
from lab.simulation.client import Call
from lab.simulation.world import World

READ_FAULTS: Final = (Fault.ERROR, Fault.CRASH)
WRITE_FAULTS: Final = (Fault.ERROR, Fault.LOST, Fault.CRASH)


def faults_of(call: Call) -> Sequence[Fault]:
    """Return which faults a call can meet: a read whose reply is lost is as if it had not been executed."""
    return WRITE_FAULTS if call.writes else READ_FAULTS


class Chance:
    """Faults by chance, up to a number of them."""

    def __init__(self, rng: random.Random, most: int, rate: float) -> None:
        self._rng, self._left, self._rate = rng, most, rate

    def draw(self, call: Call) -> Fault:
        """Return what a call meets."""
        if self._left and self._rng.random() < self._rate:
            self._left -= 1
            return self._rng.choice(faults_of(call))
        return Fault.NONE


class RandomWalk:
    """Whatever may happen next is equally likely, process by process; timers less so while calls wait."""

    def __init__(self, rng: random.Random, faults: Chance, *, timers: float = 0.05) -> None:
        self._rng, self._faults, self._timers = rng, faults, timers

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        rng = self._rng
        able = [process for process in world.processes if process.parked or process.killed]
        if not able or rng.random() < self._timers:
            if (timer := world.next_timer) is not None:
                return world.fire(timer)
            if not able:
                return False
        process = able[rng.randrange(len(able))]
        if process.killed:
            return world.start(process)
        call = process.parked[rng.randrange(len(process.parked))]
        return world.run(call, self._faults.draw(call))


class Priorities:
    """PCT: the process of the highest priority goes on until it cannot; at a few random steps it falls to the lowest.

    Time is one of them: while it has the highest priority, timers go off and calls wait. Who publishes gets another
    priority with each plan. Source: Burckhardt and others, "A Randomized Scheduler with Probabilistic Guarantees of
    Finding Bugs", ASPLOS 2010.
    """

    TIME: Final = "time"

    def __init__(self, rng: random.Random, faults: Chance, *, changes: int, steps: int, restless: str) -> None:
        self._rng, self._faults, self._restless = rng, faults, restless
        self._at = sorted(rng.randrange(1, steps) for _ in range(changes))
        self._priorities: dict[str, float] = {}
        self._taken = 0
        self._lowest = 0.0

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        names = [process.name for process in world.processes if process.parked or process.killed]
        timer = world.next_timer
        if timer is not None:
            names.append(self.TIME)
        if not names:
            return False
        first = max(names, key=self._priority)
        self._taken += 1
        if self._at and self._taken >= self._at[0]:
            self._at.pop(0)
            self._lowest -= 1.0
            self._priorities[first] = self._lowest
            first = max(names, key=self._priority)
        if first == self.TIME:
            assert timer is not None, "time can go on"
            self._priorities[self.TIME] = self._rng.random()
            return world.fire(timer)
        process = world.named(first)
        if first == self._restless:
            self._priorities[first] = self._rng.random()
        if process.killed:
            return world.start(process)
        call = process.parked[0]
        return world.run(call, self._faults.draw(call))

    def _priority(self, name: str) -> float:
        if name not in self._priorities:
            self._priorities[name] = self._rng.random()
        return self._priorities[name]


class Replayed:
    """A given list of choices; one that cannot be made is left out."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._left = list(reversed(choices))
        self.left_out = 0

    @property
    def left(self) -> int:
        """How many choices were not looked at, as the schedule had ended."""
        return len(self._left)

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        while self._left:
            if world.take(self._left.pop()):
                return True
            self.left_out += 1
        return False
