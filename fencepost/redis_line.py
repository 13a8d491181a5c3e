"""A connection that carries pipelines of calls, one after the other: redis-py opens it, what goes over it is ours.

redis-py looks after each connection, and after each answer, by a dozen coroutines and time-outs, which cost several
times of what a small call does. Here a pipeline is one write, and what arrives is handed out as it comes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from hiredis import Reader
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, InvalidResponse, ResponseError
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import TimeoutError as LateAnswer

REFUSALS: Final = (ResponseError, BusyLoadingError)
"""The server's answers to one call that say no; the answers behind them are read all the same."""

NOTHING_YET: Final = object()
ANSWERED_UNASKED: Final = "the server answers what it was not asked"


class Call:
    """One call: its bytes as they are sent, what shapes its answer, when it was made, and who waits for its answer."""

    __slots__ = ("future", "made_s", "packed", "shape")

    def __init__(self, packed: bytes, shape: Callable[[Any], Any] | None, loop: asyncio.AbstractEventLoop) -> None:
        self.packed, self.shape, self.made_s = packed, shape, loop.time()
        self.future: asyncio.Future[Any] = loop.create_future()

    def answer(self, reply: Any) -> None:
        """Hand out the server's answer."""
        # Who was cancelled meanwhile does not want it.
        if self.future.done():
            return
        try:
            self.future.set_result(self.shape(reply) if self.shape else reply)
        except Exception as error:  # noqa: BLE001  -- an answer of another shape than expected is this call's matter alone
            self.future.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """Let it end with an error."""
        if not self.future.done():
            self.future.set_exception(error)


class Line(asyncio.Protocol):
    """One connection, and the calls that were sent over it and are not answered yet, in order.

    Invariant: each of those gets an answer or an error: its own, or that of the connection, which is then at its end.

    Args:
        connection: one that redis-py has opened, and that has no call under way. It is not to be used any more.
        timeout_s: for how long the server may be silent while calls are under way, seconds; None: for ever.
        at_rest: called whenever all calls have an answer or an error, and when the connection has ended.
    """

    def __init__(
        self, connection: AbstractConnection, timeout_s: float | None, at_rest: Callable[["Line"], None]
    ) -> None:
        # What redis-py has no name for: its stream, behind which it no longer reads, and how it reads errors.
        self._writer, connection._writer, connection._reader = connection._writer, None, None  # noqa: SLF001
        assert self._writer is not None, "it was opened"
        parser: Any = connection._parser  # noqa: SLF001
        self._reader = Reader(protocolError=InvalidResponse, replyError=parser.parse_error, notEnoughData=NOTHING_YET)
        self._transport = self._writer.transport
        self._stream = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._timeout_s, self._at_rest = timeout_s, at_rest
        self._calls: deque[Call] = deque()
        self._loop = asyncio.get_running_loop()
        self._heard_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.ended = self._transport.is_closing()

    def send(self, calls: deque[Call]) -> None:
        """Send calls; nobody else's may be under way."""
        assert not self._calls, "one pipeline at a time"
        self._calls, self._heard_s = calls, self._loop.time()
        if self.ended:
            self.end(LostConnection("the connection was lost before it was used"))
            return
        if self._watch is None and self._timeout_s is not None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        self._transport.writelines([call.packed for call in calls])

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that have arrived."""
        if not self._calls:
            self.end(InvalidResponse(ANSWERED_UNASKED))
            return
        self._heard_s = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not NOTHING_YET:
                self._take(reply)
        except (InvalidResponse, LostConnection) as error:
            self.end(error)
        else:
            if not self._calls:
                self._at_rest(self)

    def _take(self, reply: Any) -> None:
        if not self._calls:
            raise InvalidResponse(ANSWERED_UNASKED)
        if isinstance(reply, REFUSALS):
            self._calls.popleft().fail(reply)
        elif isinstance(reply, LostConnection):
            raise reply
        else:
            self._calls.popleft().answer(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection has ended, be it by us."""
        self._stream.connection_lost(exc)
        self.end(LostConnection(f"the connection was lost: {exc}" if exc else "Connection closed by server."))

    def end(self, error: Exception) -> None:
        """Give the connection up; every call that has no answer yet fails with an error."""
        calls, self._calls = self._calls, deque()
        if self._watch is not None:
            self._watch.cancel()
        for call in calls:
            call.fail(error)
        if not self.ended or calls:
            self.ended = True
            self._transport.abort()
            self._at_rest(self)

    async def closed(self) -> None:
        """Wait until a connection that has ended is closed."""
        assert self._writer is not None, "it was opened"
        try:
            await self._writer.wait_closed()
        except OSError:
            return

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
