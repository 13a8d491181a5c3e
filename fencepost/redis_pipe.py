"""A Redis client whose calls go out together: those of one turn of the event loop share a connection and a write."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, DataError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as LostConnection

from fencepost.cancelling import was_cancelled

TOGETHER: Final = frozenset({"EVALSHA", "HGET", "HMGET", "HGETALL", "EXISTS", "XRANGE", "XREVRANGE"})
"""Commands that never wait in the server and leave nothing behind in a connection: only these share one."""

MAX_PIPELINES: Final = 4
"""How many pipelines are under way at once, each on a connection of its own. Later calls wait, and then go together."""

MAX_BYTES: Final = 262_144
"""About how much one pipeline sends: all of it must be on its way within the client's time-out."""

REFUSALS: Final = (ResponseError, BusyLoadingError)
"""The server's answers to one call that say no; the answers behind them are read all the same."""


class NotSent(LostConnection):
    """A call that never left this process."""


NOT_EXECUTED: Final = (BusyLoadingError, ReadOnlyError, NotSent)
"""Refusals before a script begins, by the server or here. Any other error may come from half-way through one."""


class _Call:
    """One call: its bytes as they are sent, what shapes its answer, when it was made, and who waits for its answer."""

    __slots__ = ("future", "made_s", "packed", "shape")

    def __init__(self, packed: bytes, shape: Callable[[Any], Any] | None) -> None:
        self.packed, self.shape = packed, shape
        loop = asyncio.get_running_loop()
        self.made_s = loop.time()
        self.future: asyncio.Future[Any] = loop.create_future()

    def answer(self, reply: Any) -> None:
        # Who was cancelled meanwhile does not want it.
        if self.future.done():
            return
        try:
            self.future.set_result(self.shape(reply) if self.shape else reply)
        except Exception as error:  # noqa: BLE001  -- an answer of another shape than expected is this call's matter alone
            self.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class PipedRedis(Redis):
    """`redis.asyncio.Redis`, with the calls of one turn sent as one pipeline.

    Each call has its own outcome, as if it had been sent alone: an error that the server answers is its caller's only,
    and when a connection is lost, every call on it that was not answered yet fails with that. Nothing is sent twice.
    Calls that are made in different turns may overtake each other, as on any client with several connections.
    A call that has waited for longer than the client's time-out is not sent any more: what it asks for was decided on a
    state that has passed. A client that was closed stays closed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: deque[_Call] = deque()
        self._pipelines: dict[asyncio.Task[None], deque[_Call]] = {}
        self._due = self._closed = False
        self._timeout_s: float | None = self.connection_pool.connection_kwargs.get("socket_timeout")

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the client: calls that wait are `NotSent`, and of those under way nobody can say what came of them."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().fail(_closed())
        pipelines = tuple(self._pipelines)
        for pipeline in pipelines:
            pipeline.cancel()
        try:
            await asyncio.gather(*pipelines, return_exceptions=True)
        finally:
            await super().aclose(close_connection_pool)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Carry out a command. Raises: RedisError; NotSent if it certainly was not executed."""
        if self._closed:
            raise _closed()
        if args[0] not in TOGETHER:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        try:
            packed = pack_command(args)
        except TypeError as error:
            raise DataError(str(error)) from error
        call = _Call(packed, self.response_callbacks.get(args[0]))
        self._waiting.append(call)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._send_waiting)
        return await call.future

    def _send_waiting(self) -> None:
        self._due = False
        while len(self._pipelines) < MAX_PIPELINES and (calls := self._next()):
            pipeline = asyncio.get_running_loop().create_task(self._pipeline(calls))
            self._pipelines[pipeline] = calls
            pipeline.add_done_callback(self._ended)

    def _next(self) -> deque[_Call]:
        """Take the calls of the next pipeline; who was cancelled or has waited for too long is left out."""
        calls: deque[_Call] = deque()
        size, now_s = 0, asyncio.get_running_loop().time()
        while self._waiting and size < MAX_BYTES:
            call = self._waiting.popleft()
            if self._timeout_s is not None and now_s - call.made_s > self._timeout_s:
                call.fail(NotSent(f"it waited for others for {now_s - call.made_s:.1f} s, and was not sent any more"))
            elif not call.future.done():
                calls.append(call)
                size += len(call.packed)
        return calls

    def _ended(self, pipeline: asyncio.Task[None]) -> None:
        unanswered = self._pipelines.pop(pipeline)
        if not pipeline.cancelled():
            self._send_waiting()
            return
        for call in unanswered:
            # Who waits for an answer is not cancelled because somebody else closes the client.
            call.fail(LostConnection("the client was closed meanwhile")) if self._closed else call.future.cancel()

    async def _pipeline(self, calls: deque[_Call]) -> None:
        """Send calls and hand out their answers; `calls` is left with those that were not answered, which then fail."""
        try:
            connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
            try:
                await connection.send_packed_command([call.packed for call in calls])
                await _hand_out(connection, calls)
            finally:
                if calls:
                    await connection.disconnect()
                await self.connection_pool.release(connection)
        except Exception as error:  # noqa: BLE001  -- whatever it was, somebody waits for each of them
            for call in calls:
                call.fail(error)


def _closed() -> NotSent:
    return NotSent("this client was closed; open another one")


async def _hand_out(connection: AbstractConnection, calls: deque[_Call]) -> None:
    while calls:
        if was_cancelled():
            raise asyncio.CancelledError
        try:
            reply = await connection.read_response(disconnect_on_error=False)
        except REFUSALS as error:
            calls.popleft().fail(error)
        else:
            calls.popleft().answer(reply)
