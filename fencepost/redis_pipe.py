"""A Redis client whose calls go out together: those of one turn of the event loop share a connection and a write."""

import asyncio
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, DataError, NoScriptError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as LostConnection

from fencepost.redis_line import Call, Line, NotSent
from fencepost.redis_wire import connect

TOGETHER: Final = frozenset({"EVALSHA", "HGET", "HMGET", "HGETALL", "EXISTS", "XRANGE", "XREVRANGE"})
"""Commands that never wait in the server and leave nothing behind in a connection: only these share one."""

MAX_PIPELINES: Final = 4
"""How many pipelines are under way at once, each on a connection of its own. Later calls wait, and then go together."""

MAX_BYTES: Final = 262_144
"""About how much one pipeline sends: all of it must be on its way within the client's time-out."""


CLOSED_MEANWHILE: Final = "the client was closed meanwhile"


NOT_EXECUTED: Final = (BusyLoadingError, ReadOnlyError, NotSent)
"""Refusals before a script begins, by the server or here. Any other error may come from half-way through one."""


class PipedRedis(Redis):
    """`redis.asyncio.Redis`, with the calls of one turn sent as one pipeline.

    Each call has its own outcome, as if it had been sent alone: an error that the server answers is its caller's only,
    and when a connection is lost, every call on it that was not answered yet fails with that. Nothing is sent twice.
    Calls that are made in different turns may overtake each other, as on any client with several connections.
    A call that has waited for longer than the client's time-out is not sent any more: what it asks for was decided on a
    state that has passed. A closed client stays closed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: deque[Call] = deque()
        self._opening: dict[asyncio.Task[Line], deque[Call]] = {}
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._due = self._closed = False
        self._timeout_s: float | None = self.connection_pool.connection_kwargs.get("socket_timeout")

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the client: calls that wait are `NotSent`, and of those under way nobody can say what came of them."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().fail(_closed())
        opening, lines = tuple(self._opening), [*self._idle, *self._busy]
        for task in opening:
            task.cancel()
        for line in lines:
            line.end(LostConnection(CLOSED_MEANWHILE))
        try:
            # redis-py connects by `asyncio.wait_for`, and that may drop a cancellation, see `was_cancelled`.
            for opened in await asyncio.gather(*opening, return_exceptions=True):
                if isinstance(opened, Line):
                    opened.end(LostConnection(CLOSED_MEANWHILE))
                    lines.append(opened)
            await asyncio.gather(*(line.closed() for line in lines))
        finally:
            await super().aclose(close_connection_pool)

    def register_script(self, script: Any) -> Any:
        """Return a script that can be called."""
        return PipedScript(self, script)

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
        loop = asyncio.get_running_loop()
        call = Call(packed, self.response_callbacks.get(args[0]), loop)
        self._waiting.append(call)
        if not self._due:
            self._due = True
            loop.call_soon(self._send_waiting)
        return await call.future

    def _send_waiting(self) -> None:
        self._due = False
        while len(self._busy) + len(self._opening) < MAX_PIPELINES and (calls := self._next()):
            if self._idle:
                self._send(self._idle.pop(), calls)
                continue
            opening = asyncio.get_running_loop().create_task(self._open())
            self._opening[opening] = calls
            opening.add_done_callback(self._opened)

    def _send(self, line: Line, calls: deque[Call]) -> None:
        self._busy.add(line)
        line.send(calls)

    async def _open(self) -> Line:
        return Line(await connect(self), self._timeout_s, self._at_rest)

    def _opened(self, opening: asyncio.Task[Line]) -> None:
        calls = self._opening.pop(opening)
        if self._closed:
            # Who waits for an answer is not cancelled because somebody else closes the client.
            self._fail(calls, NotSent(CLOSED_MEANWHILE))
        elif opening.cancelled():
            for call in calls:
                call.future.cancel()
        elif error := opening.exception():
            self._fail(calls, _not_sent(error))
            self._send_waiting()
        else:
            self._begin(opening.result(), calls)

    def _begin(self, line: Line, calls: deque[Call]) -> None:
        """Use a line for which calls have waited."""
        if line.lost is not None:
            self._send(line, calls)
            return
        # It may have taken long to open: who was cancelled meanwhile, or is late by now, is left out.
        self._waiting.extendleft(reversed(calls))
        self._idle.append(line)
        self._send_waiting()

    @staticmethod
    def _fail(calls: deque[Call], error: BaseException) -> None:
        for call in calls:
            call.fail(error)

    def _at_rest(self, line: Line) -> None:
        self._busy.discard(line)
        if line.lost is not None:
            self._idle = [other for other in self._idle if other is not line]
        else:
            self._idle.append(line)
        self._send_waiting()

    def _next(self) -> deque[Call]:
        """Take the calls of the next pipeline; who was cancelled or has waited for too long is left out."""
        calls: deque[Call] = deque()
        size, now_s = 0, asyncio.get_running_loop().time()
        while self._waiting and size < MAX_BYTES:
            call = self._waiting.popleft()
            if self._timeout_s is not None and now_s - call.made_s > self._timeout_s:
                call.fail(NotSent(f"it waited for {now_s - call.made_s:.1f} s, and was not sent any more"))
            elif not call.future.done():
                calls.append(call)
                size += len(call.packed)
        return calls


class PipedScript:
    """A script of one client, called by its hash (`sha`): what redis-py calls an `AsyncScript`."""

    def __init__(self, client: PipedRedis, script: str) -> None:
        self._client, self.script = client, script
        self.sha = sha1(script.encode()).hexdigest()  # noqa: S324  -- the server's name for it

    async def __call__(self, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """Run it; a server that does not know it, or has forgotten it, is told."""
        try:
            return await self._client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            await self._client.script_load(self.script)
            return await self._client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)


def _not_sent(error: BaseException) -> BaseException:
    """Return what became of calls whose connection could not be opened; a fault of our own stays what it is."""
    if not isinstance(error, RedisError | OSError):
        return error
    not_sent = NotSent(str(error))
    not_sent.__cause__ = error
    return not_sent


def _closed() -> NotSent:
    return NotSent("this client was closed; open another one")
