"""A Redis client whose calls go out together: those of one turn of the event loop share a connection and a write."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, DataError, ReadOnlyError, ResponseError

TOGETHER: Final = frozenset({"EVALSHA", "HGET", "HMGET", "HGETALL", "EXISTS", "XRANGE", "XREVRANGE"})
"""Commands that never wait in the server and leave nothing behind in a connection: only these share one."""

MAX_PIPELINES: Final = 4
"""How many pipelines are under way at once, each on a connection of its own. Later calls wait, and then go together."""

MAX_BYTES: Final = 262_144
"""About how much one pipeline sends: all of it must be on its way within the client's time-out."""

REFUSALS: Final = (ResponseError, BusyLoadingError)
"""The server's answers to one call that say no; the answers behind them are read all the same."""

NOT_EXECUTED: Final = (BusyLoadingError, ReadOnlyError)
"""Refusals by the server before a script begins. Any other error may come from half-way through one."""


class _Call:
    """One call: its bytes as they are sent, what shapes its answer, and who waits for that."""

    __slots__ = ("future", "packed", "shape")

    def __init__(self, packed: bytes, shape: Callable[[Any], Any] | None) -> None:
        self.packed, self.shape = packed, shape
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

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
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: deque[_Call] = deque()
        self._pipelines: set[asyncio.Task[None]] = set()
        self._due = False

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Carry out a command. Raises: RedisError."""
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
            self._pipelines.add(pipeline)
            pipeline.add_done_callback(self._ended)

    def _next(self) -> deque[_Call]:
        """Take the calls of the next pipeline; who was cancelled before anything was sent is left out."""
        calls: deque[_Call] = deque()
        size = 0
        while self._waiting and size < MAX_BYTES:
            call = self._waiting.popleft()
            if not call.future.done():
                calls.append(call)
                size += len(call.packed)
        return calls

    def _ended(self, pipeline: asyncio.Task[None]) -> None:
        self._pipelines.discard(pipeline)
        if not pipeline.cancelled():
            self._send_waiting()

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
        except asyncio.CancelledError:
            for call in calls:
                call.future.cancel()
            raise


async def _hand_out(connection: AbstractConnection, calls: deque[_Call]) -> None:
    while calls:
        try:
            reply = await connection.read_response(disconnect_on_error=False)
        except REFUSALS as error:
            calls.popleft().fail(error)
        else:
            calls.popleft().answer(reply)
