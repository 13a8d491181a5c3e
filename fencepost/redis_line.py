"""A connection to Redis that carries pipelines of calls, one after the other: a pipeline is one write."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as LateAnswer

from fencepost.redis_wire import Wire

ANSWERED_UNASKED: Final = "the server answers what it was not asked"
ENDED_BEFORE: Final = "the connection had ended before the call was sent"


class NotSent(LostConnection):
    """A call that never left this process."""


class Call:
    """One call: its bytes as they are sent, what shapes its answer, when it was made, and who waits for its answer."""

    __slots__ = ("future", "made_s", "packed", "shape")

    def __init__(
        self, packed: bytes, shape: Callable[[Any], Any] | None, loop: asyncio.AbstractEventLoop, made_s: float
    ) -> None:
        self.packed, self.shape, self.made_s = packed, shape, made_s
        self.future: asyncio.Future[Any] = loop.create_future()

    def answer(self, reply: Any) -> None:
        """Hand out the server's answer, which may be an error."""
        # Who was cancelled meanwhile does not want it.
        if self.future.done():
            return
        if isinstance(reply, RedisError):
            self.future.set_exception(reply)
            return
        try:
            self.future.set_result(self.shape(reply) if self.shape else reply)
        except Exception as error:  # noqa: BLE001  -- an answer of another shape than expected is this call's matter alone
            self.future.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """Let it end with an error."""
        if not self.future.done():
            self.future.set_exception(error)


class Line(Wire):
    """One connection, and the calls that were sent over it and are not answered yet, in order.

    Invariant: each of those gets an answer or an error: its own, or that of the connection, which is then at its end.

    Args:
        connection: see `Wire`.
        timeout_s: for how long the server may be silent while calls are under way, seconds; None: for ever.
        at_rest: called whenever all calls have an answer or an error, and when the connection has ended.
    """

    def __init__(
        self, connection: AbstractConnection, timeout_s: float | None, at_rest: Callable[["Line"], None]
    ) -> None:
        super().__init__(connection)
        self._timeout_s, self._at_rest = timeout_s, at_rest
        self._calls: deque[Call] = deque()
        self._loop = asyncio.get_running_loop()
        self._heard_s = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def send(self, calls: deque[Call]) -> None:
        """Send calls; nobody else's may be under way. They are `NotSent` if the connection has ended already."""
        assert not self._calls, "one pipeline at a time"
        # Of an end that it has seen the transport tells us only in a later turn.
        if self.lost is not None or self._transport.is_closing():
            self._refuse(calls)
            return
        self._calls, self._heard_s = calls, self._loop.time()
        if self._watch is None and self._timeout_s is not None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        self._transport.writelines([call.packed for call in calls])

    def _refuse(self, calls: deque[Call]) -> None:
        for call in calls:
            call.fail(NotSent(ENDED_BEFORE))
        if self.lost is None:
            self.end(LostConnection(ENDED_BEFORE))
        else:
            self._at_rest(self)

    def _take(self, replies: list[Any], fault: RedisError | None) -> None:
        calls, self._heard_s = self._calls, self._loop.time()
        if not calls or len(replies) > len(calls):
            fault = InvalidResponse(ANSWERED_UNASKED)
        for reply in replies[: len(calls)]:
            calls.popleft().answer(reply)
        if fault is not None:
            self.end(fault)
        elif not calls:
            self._at_rest(self)

    def _tell(self) -> None:
        assert self.lost is not None, "else nobody is told"
        calls, self._calls = self._calls, deque()
        if self._watch is not None:
            self._watch.cancel()
        for call in calls:
            call.fail(self.lost)
        self._at_rest(self)

    def _look(self) -> None:
        """Give the connection up if the server has been silent for too long; look again if calls are under way."""
        assert self._timeout_s is not None, "else nobody looks"
        self._watch, left_s = None, self._heard_s + self._timeout_s - self._loop.time()
        if not self._calls:
            return
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self.end(LateAnswer(f"no answer within {self._timeout_s:g} s"))
