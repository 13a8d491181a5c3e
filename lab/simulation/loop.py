"""The event loop of one simulated process: nothing happens in it but by its world's word, and time is the world's.

A world hands a reply or a timer in and lets the loop run until nothing in it is ready. What it then waits for are
store calls (`lab.simulation.client`) and timers; there are no sockets, no threads and no other way out.
"""

import asyncio
import heapq
from asyncio import events
from collections.abc import Coroutine, Sequence
from contextvars import Context
from itertools import count
from typing import Any, Final, NoReturn

MAX_HANDLES: Final = 20_000
"""More callbacks than this without a store call or a timer are an endless loop."""


class WorldTime:
    """Seconds since the world began, and numbers for what is called; one object that all its processes look at."""

    __slots__ = ("now_s", "numbers")

    def __init__(self) -> None:
        self.now_s = 0.0
        self.numbers = count(1)


class NotInSimulation(AssertionError):
    """Code under simulation reached for the real world; then a schedule would not be all that decides."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not there in a simulation: time, chance and stores are injected")


class EndlessLoop(AssertionError):
    """A process went round and round without a store call or a timer."""


class ProcessLoop(asyncio.BaseEventLoop):
    """One process's loop.

    Args:
        time: the world's time.
    """

    _ready: Any  # asyncio.BaseEventLoop's own: a deque of handles, and a heap of timers
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, time: WorldTime) -> None:
        super().__init__()
        self._world_time = time
        self.tasks: list[asyncio.Task[Any]] = []
        self.problems: list[BaseException] = []

    def time(self) -> float:
        """Return seconds since the world began."""
        return self._world_time.now_s

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        """Make a task that can be dropped with its process."""
        task = asyncio.Task(coro, loop=self, name=None if name is None else str(name), context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  -- a crash leaves tasks pending
        self.tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]  # its generic signature would say no more here
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Put a callback behind what is ready; as the base class does it, without its checks of the caller."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def begin(self, main: Coroutine[Any, Any, None]) -> None:
        """Begin a process."""
        self.create_task(main)
        self.settle()

    def settle(self) -> None:
        """Run what is ready, first come first served, until nothing is. Raises: what went wrong in the process."""
        ready, before = self._ready, events._get_running_loop()  # noqa: SLF001
        events._set_running_loop(self)  # noqa: SLF001
        try:
            for _ in range(MAX_HANDLES):
                if not ready:
                    break
                handle = ready.popleft()
                if not handle._cancelled:  # noqa: SLF001
                    handle._run()  # noqa: SLF001
            else:
                raise EndlessLoop(f"{MAX_HANDLES} steps without a store call or a timer")
        finally:
            events._set_running_loop(before)  # noqa: SLF001
        if self.problems:
            raise self.problems[0]
        if len(self.tasks) > 1:
            self.tasks = [task for task in self.tasks if not task.done()] or self.tasks[:1]
        if self.tasks[0].done() and (error := self.tasks[0].exception()) is not None:
            raise error

    @property
    def ended(self) -> bool:
        """Whether the process has come to its end by itself."""
        return bool(self.tasks) and self.tasks[0].done()

    @property
    def timer_s(self) -> float | None:
        """When the next timer is due, seconds since the world began; None if there is none."""
        timers = self._scheduled
        while timers and timers[0]._cancelled:  # noqa: SLF001
            heapq.heappop(timers)
        return timers[0].when() if timers else None

    @property
    def timers(self) -> Sequence[asyncio.TimerHandle]:
        """Return all timers, as they are kept."""
        return tuple(self._scheduled)

    def fire(self) -> None:
        """Let the next timer go off."""
        assert self.timer_s is not None, "there is one"  # and those that were cancelled are out of the way
        self._ready.append(heapq.heappop(self._scheduled))
        self.settle()

    def drop(self) -> None:
        """End the process as a kill does: nothing of it runs on, though Python unwinds what it leaves behind.

        Whatever a `finally` of the process calls meanwhile must not work any more; the process sees to that.
        """
        before = events._get_running_loop()  # noqa: SLF001
        events._set_running_loop(self)  # noqa: SLF001
        try:
            for task in self.tasks:
                if not task.done():
                    _unwind(task.get_coro())
        finally:
            events._set_running_loop(before)  # noqa: SLF001
        self.tasks.clear()
        self.close()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what would only be logged: it is a finding here."""
        self.problems.append(context.get("exception") or AssertionError(context["message"]))

    def get_debug(self) -> bool:
        """Return False: debug mode reads the clock."""
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it on the heap; it is skipped there."""


REAL: Final = (
    "call_soon_threadsafe",
    "run_in_executor",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_datagram_endpoint",
    "create_unix_connection",
    "create_unix_server",
    "subprocess_exec",
    "subprocess_shell",
    "connect_read_pipe",
    "connect_write_pipe",
    "add_signal_handler",
    "add_reader",
    "add_writer",
)
"""What of a loop leads out into the real world."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotInSimulation("a socket, a thread or a child process")


for _name in REAL:
    setattr(ProcessLoop, _name, _refuse)


def _unwind(coro: Any) -> None:
    try:
        coro.close()
    except BaseException as error:  # noqa: BLE001  -- whatever a dead process says is not heard
        del error
