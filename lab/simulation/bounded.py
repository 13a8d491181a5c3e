"""All schedules of a small world in which a process loses its turn only so often: systematic, without a state kept.

A process goes on until it has nothing more to do: then whoever goes on is free. To take its turn away before that is a
preemption. Most races need few of them, and there are far fewer schedules with few: those with none are run first, then
those with one, and so on, each exactly once, from the world's beginning. Source: Musuvathi and Qadeer, "Iterative
Context Bounding for Systematic Testing of Multithreaded Programs", PLDI 2007.
"""

from collections import deque
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from lab.simulation.choice import Fault
from lab.simulation.client import Call
from lab.simulation.process import Process
from lab.simulation.strategies import faults_of
from lab.simulation.world import World

MOST_OPTIONS: Final = 255
"""A beginning is kept as a byte for each step."""


class Option(NamedTuple):
    """Something that may happen next, and what it costs.

    `call` is None for a timer, and for the start of a dead process.
    """

    process: Process
    call: Call | None
    fault: Fault = Fault.NONE
    preempts: int = 0

    def take(self, world: World) -> bool:
        """Let it happen."""
        if self.call is not None:
            return world.run(self.call, self.fault)
        return world.start(self.process) if self.process.killed else world.fire(self.process)


class Beginning(NamedTuple):
    """How a schedule begins: the option's number at each step; and how often it preempts, and has a fault."""

    steps: bytes
    preemptions: int
    faults: int


class Guided:
    """A schedule that begins in a given way and then goes on without a preemption, as far as it gets.

    Attributes:
        others: how the schedules begin that leave this one after its beginning, as far as the bounds allow them.
    """

    def __init__(self, beginning: Beginning, bounds: Beginning, *, rounds: int, restless: Collection[str]) -> None:
        self._beginning, self._bounds, self._rounds, self._restless = beginning, bounds, rounds, restless
        self._path = bytearray()
        self._last: Process | None = None
        self.others: list[Beginning] = []

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        options = list(self._options(world))
        if not options:
            return False
        assert len(options) <= MOST_OPTIONS, "a small world"
        at = len(self._path)
        number = self._beginning.steps[at] if at < len(self._beginning.steps) else 0
        if at >= len(self._beginning.steps):
            self.others += self._elsewhere(options)
        chosen = options[number]
        self._path.append(number)
        self._last = chosen.process
        return chosen.take(world)

    def _elsewhere(self, options: list[Option]) -> Iterator[Beginning]:
        _, preemptions, faults = self._beginning
        for number, option in enumerate(options[1:], 1):
            found = Beginning(bytes((*self._path, number)), preemptions + option.preempts, faults + bool(option.fault))
            if found.preemptions <= self._bounds.preemptions and found.faults <= self._bounds.faults:
                yield found

    def _options(self, world: World) -> Iterator[Option]:
        """Yield what may happen next; first what costs nothing: that the process goes on which has its turn."""
        able = [process for process in world.processes if process.parked or process.killed]
        last = self._last if self._last in able else None
        # Who publishes pauses after each plan: to let others go on then takes no turn away.
        cost = int(last is not None and last.name not in self._restless)
        if last is not None:
            able.remove(last)
            able.insert(0, last)
        late: list[Option] = []
        for process in able:
            preempts = 0 if process is last else cost
            if process.killed:
                yield Option(process, None, preempts=preempts)
            for place, call in enumerate(process.parked):
                # Each of a process's calls is a task of its own, and has its turn, too.
                price = preempts if place == 0 else max(preempts, int(process is last))
                yield Option(process, call, preempts=price)
                late += (Option(process, call, fault, price) for fault in faults_of(call))
        if (timer := self._timer(world)) is not None:
            yield Option(timer, None, preempts=int(bool(able)))
        yield from late

    def _timer(self, world: World) -> Process | None:
        """Return whose timer is the earliest, of processes that have rounds left."""
        due = [p for p in world.processes if p.timer_s is not None and not p.killed and p.rounds < self._rounds]
        return min(due, key=lambda process: process.timer_s or 0.0, default=None)


class Bounded:
    """All schedules within bounds; ask `following` for one, run it, then say so by `ran`.

    Attributes:
        complete: whether all were run.
    """

    def __init__(self, *, preemptions: int, faults: int, rounds: int, restless: Collection[str]) -> None:
        self._bounds, self._rounds, self._restless = Beginning(b"", preemptions, faults), rounds, restless
        self._levels: list[deque[Beginning]] = [deque() for _ in range(preemptions + faults + 1)]
        self._levels[0].append(Beginning(b"", 0, 0))

    @property
    def complete(self) -> bool:
        """Whether there is no schedule left."""
        return not any(self._levels)

    @property
    def waiting(self) -> int:
        """How many schedules are known to be left."""
        return sum(map(len, self._levels))

    def following(self) -> Guided | None:
        """Return the next schedule, of those with the fewest preemptions and faults; None if there is none."""
        for level in self._levels:
            if level:
                return Guided(level.popleft(), self._bounds, rounds=self._rounds, restless=self._restless)
        return None

    def ran(self, guided: Guided) -> None:
        """Take note of the schedules that leave one which was run."""
        for other in guided.others:
            self._levels[other.preemptions + other.faults].append(other)
