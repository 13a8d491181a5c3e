"""A simulated process: shipped code on a loop of its own, which can be killed and started again with empty memory."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from fencepost.clock import stream
from fencepost.events import Event
from lab.simulation.client import Call, SimClient
from lab.simulation.loop import ProcessLoop, WorldTime
from lab.simulation.promises import Promises
from lab.simulation.server import Server

EPOCH_S: Final = 1_792_000_000.0
"""When every world begins, by the server's clock."""


class SimClock:
    """A process's clock: the world's time, and a wall clock that may be wrong."""

    def __init__(self, time: WorldTime, skew_s: float) -> None:
        self._time, self._epoch_s = time, EPOCH_S + skew_s

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._time.now_s

    def epoch_s(self) -> float:
        """See `Clock.epoch_s`."""
        return self._epoch_s + self._time.now_s

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """See `Clock.sleep`."""
        return asyncio.sleep(seconds)


class Even(random.Random):
    """No chance at all: what waits for some span waits for the middle of it."""

    def __init__(self) -> None:
        super().__init__(0)

    def uniform(self, a: float, b: float) -> float:
        """Return the middle."""
        return (a + b) / 2


Listener = Callable[[str, Event], None]
Main = Callable[["Process"], Coroutine[Any, Any, None]]


class Process:
    """One process of a world.

    Args:
        main: what it does, given itself; it begins anew with each `start`.
        listener: hears every event of the process, with its name.
        skew_s: by how much its wall clock is ahead.
        finite: whether it has something to do that ends.
        even: whether its chance is none: every draw of a span is its middle.

    Attributes:
        parked: its store calls that wait to be executed.
        client: what its stores are opened on.
        life: how often it was started.
        killed: whether it was, and was not started again.
        rounds: how many rounds it has made in this life.
        memory: what it goes by from one round to the next; None if it makes no rounds.
        promises: what its person was told and relies on, which outlives the process; None if it has none.
    """

    def __init__(
        self,
        name: str,
        main: Main,
        *,
        server: Server,
        time: WorldTime,
        seed: int,
        listener: Listener,
        skew_s: float = 0.0,
        finite: bool = False,
        even: bool = False,
        promises: Promises | None = None,
    ) -> None:
        self.name, self._main, self._server, self._time, self._seed = name, main, server, time, seed
        self._listener, self._finite, self._even = listener, finite, even
        self.clock = SimClock(time, skew_s)
        self.parked: list[Call] = []
        self.client = SimClient(name, server, self.parked, time.numbers)
        self.life = 0
        self._loop: ProcessLoop | None = None
        self.killed = False
        self.rounds = 0
        self.memory: object = None
        self.promises = promises

    @property
    def timer_s(self) -> float | None:
        """When its next timer is due; None if it has none, or does not run."""
        return self._loop.timer_s if self._loop is not None else None

    @property
    def tasks(self) -> Sequence[asyncio.Task[Any]]:
        """Its tasks that are not done."""
        return [] if self._loop is None else [task for task in self._loop.tasks if not task.done()]

    @property
    def timers(self) -> Sequence[asyncio.TimerHandle]:
        """Its timers, in the order in which its loop keeps them."""
        return [] if self._loop is None else self._loop.timers

    @property
    def busy(self) -> bool:
        """Whether it has still to do what ends."""
        return self._finite and (self._loop is None or not self._loop.ended)

    def rng(self, purpose: str) -> random.Random:
        """Return the chance of this life of the process."""
        if self._even:
            return Even()
        return stream(self._seed, self.name, str(self.life), purpose)

    def emit(
        self,
        name: str,
        *,
        zone: str | None = None,
        generation: int | None = None,
        reason: str = "",
        took_ms: float | None = None,
        **fields: Any,
    ) -> None:
        """See `Events.emit`."""
        if not self.client.dead:
            self._listener(self.name, Event(name, zone, generation, reason, took_ms, fields))

    def start(self) -> None:
        """Begin, with empty memory. Raises: what goes wrong in it."""
        self.life += 1
        self.killed = False
        self.rounds = 0
        self.client = SimClient(self.name, self._server, self.parked, self._time.numbers)
        self._loop = ProcessLoop(self._time)
        self._loop.begin(self._main(self))

    def answer(self, call: Call, reply: Any) -> None:
        """Hand over the reply to a parked call. Raises: what goes wrong in the process."""
        self.parked.remove(call)
        call.answer(reply)
        self._settle()

    def fail(self, call: Call, error: Exception) -> None:
        """Let a parked call end with an error of the client. Raises: as `answer`."""
        self.parked.remove(call)
        call.fail(error)
        self._settle()

    def fire(self) -> None:
        """Let its next timer go off. Raises: as `answer`."""
        assert self._loop is not None, f"{self.name} runs"
        self._loop.fire()

    def _settle(self) -> None:
        assert self._loop is not None, f"{self.name} runs"
        self._loop.settle()

    def kill(self) -> None:
        """End it at once; what it had under way is not executed."""
        self.client.dead = self.killed = True
        self.parked.clear()
        if self._loop is not None:
            self._loop.drop()
            self._loop = None
