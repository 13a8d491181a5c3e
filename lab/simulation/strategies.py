"""How a world is driven: by chance, by random priorities, or as a given list of choices says."""

import math
import random
from collections.abc import Collection, Sequence
from typing import Final

from lab.simulation.choice import NETWORK, Choice, Fault
from lab.simulation.client import Call
from lab.simulation.process import Process
from lab.simulation.world import World

READ_FAULTS: Final = (Fault.ERROR, Fault.CRASH)
WRITE_FAULTS: Final = (Fault.ERROR, Fault.LOST, Fault.LATE, Fault.CRASH)

SPREADS: Final = (2.0, 4.0, 7.0)
"""By how many doublings the fastest of a schedule's processes may outrun the slowest; one is drawn for each."""

WORK: Final = 12
"""So many calls it takes an enactor to move one endpoint, about: up to so much slower is who publishes."""

HASTE: Final = (0.01, 0.05, 0.25)
"""How fast time goes on while calls wait, as a share of the speed of all who could go on; one is drawn."""

LAST: Final = 1_000.0
"""What takes a priority below all that falls."""


def faults_of(call: Call) -> Sequence[Fault]:
    """Return which faults a call can meet.

    A read whose reply is lost is as if it had not been executed; nobody waits for a call that was given up.
    """
    if call.given_up:
        return ()
    return WRITE_FAULTS if call.writes else READ_FAULTS


class Chance:
    """Faults by chance: how many, up to a number of them, and which calls meet them.

    Args:
        most: at most so many; each number from 0 on is equally likely.
        within: they lie among the first so many calls, spread evenly.
    """

    def __init__(self, rng: random.Random, most: int, within: int) -> None:
        self._rng, self._calls = rng, 0
        self._at = frozenset(rng.randrange(within) for _ in range(rng.randint(0, most))) if most else frozenset[int]()

    def draw(self, call: Call) -> Fault:
        """Return what a call meets."""
        if not self._at:
            return Fault.NONE
        self._calls += 1
        faults = faults_of(call) if self._calls - 1 in self._at else ()
        return self._rng.choice(faults) if faults else Fault.NONE


class RandomWalk:
    """Each process has a speed, drawn for the schedule, and who is next is drawn by the speeds; so is time.

    With equal speeds, as a plain walk has them, nobody ever falls far behind; the races that matter need that. Time has
    a speed, too: the earliest timer goes off now and then while calls wait, and whenever nothing else can happen.

    Args:
        restless: the processes that publish.
        endpoints: how many there are.
    """

    def __init__(self, rng: random.Random, faults: Chance, *, restless: Collection[str], endpoints: int) -> None:
        self._rng, self._faults, self._restless = rng, faults, restless
        self._spread, self._haste = rng.choice(SPREADS), rng.choice(HASTE)
        # What is under way may take as long as others need for a whole plan, and so may who publishes.
        self._slowness = math.log2(WORK * endpoints)
        # In order: a set has another one in each process, and with it each of them would get another draw.
        self._speeds = {name: self._draw(self._slowness) for name in sorted(restless)}

    def _draw(self, spread: float) -> float:
        return math.exp2(-self._rng.uniform(0.0, spread))

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        speeds, able, whole = self._speeds, [], 0.0
        for process in world.processes:
            if process.parked or process.killed:
                if process.name not in speeds:
                    speeds[process.name] = self._draw(self._slowness if process.name == NETWORK else self._spread)
                whole += speeds[process.name]
                able.append(process)
        # While all others sleep, a plan more is no likelier than that somebody wakes up.
        haste = 1.0 if all(process.name in self._restless for process in able) else self._haste
        at = self._rng.random() * (1.0 + haste) * whole
        for process in able:
            at -= speeds[process.name]
            if at < 0.0:
                return self._let(world, process)
        if (timer := world.next_timer) is not None:
            return world.fire(timer)
        return self._let(world, able[-1]) if able else False

    def _let(self, world: World, process: Process) -> bool:
        if process.killed:
            return world.start(process)
        waiting = process.parked
        call = waiting[0] if len(waiting) == 1 else waiting[self._rng.randrange(len(waiting))]
        return world.run(call, self._faults.draw(call))


class Priorities:
    """PCT: the process of the highest priority goes on until it cannot; at a few random steps it falls to the lowest.

    A failure that needs its processes to be in a certain order at d places is met by each schedule with a chance of at
    least 1 / (n k^(d-1)), for n processes, k steps and d-1 changes of priority. Source: Burckhardt and others, "A
    Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010. Ours is that time is one of the
    processes, whose steps are timers that go off while calls wait, and that who publishes and time get another priority
    with each step, every other time below all others: nobody knows how long they pause.

    Args:
        changes: how many changes of priority there are: d-1.
        steps: how many steps a schedule has, about: k.
        restless: the processes that publish.
    """

    TIME: Final = "time"

    def __init__(
        self, rng: random.Random, faults: Chance, *, changes: int, steps: int, restless: Collection[str]
    ) -> None:
        self._rng, self._faults, self._restless = rng, faults, restless
        self._at = sorted((rng.randrange(1, steps) for _ in range(changes)), reverse=True)
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
        while self._at and self._taken >= self._at[-1]:
            self._at.pop()
            self._lowest -= 1.0
            self._priorities[first] = self._lowest
            first = max(names, key=self._priority)
        if first == self.TIME or first in self._restless:
            self._priorities[first] = self._rng.random() - self._rng.choice((0.0, LAST, LAST))
        if first == self.TIME:
            assert timer is not None, "time can go on"
            return world.fire(timer)
        process = world.named(first)
        if process.killed:
            return world.start(process)
        call = process.parked[0]
        return world.run(call, self._faults.draw(call))

    def _priority(self, name: str) -> float:
        found = self._priorities.get(name)
        if found is None:
            found = self._priorities[name] = self._rng.random()
        return found


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
