"""A Redis client whose calls go out together: those of one turn of the event loop share a connection and a write."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Connection, Redis
from redis.exceptions import BusyLoadingError, DataError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as LostConnection

from fencepost.redis_line import Call, Line, NotSent
from fencepost.redis_wire import connect

TOGETHER: Final = frozenset({"EVALSHA", "HGET", "HMGET", "HGETALL", "EXISTS", "XRANGE", "XREVRANGE"})
"""Commands that never wait in the server and leave nothing behind in a connection: only these share one."""

MAX_PIPELINES: Final = 4
"""How many pipelines are under way at once, each on a connection of its own. Later calls wait, and then go together."""

MAX_BYTES: Final = 262_144
"""About how much one pipeline sends: all of it must be on its way within the client's time-out."""


MAX_LOADS: Final = 2
"""How often a call has the server told of its script: it may have forgotten again what another call had it told of."""

CLOSED_MEANWHILE: Final = "the client was closed meanwhile"


NOT_EXECUTED: Final = (BusyLoadingError, NoScriptError, ReadOnlyError, NotSent)
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
        """Return a `PipedScript`."""
        return PipedScript(self, script)

    async def prepare(self, scripts: Iterable["PipedScript"]) -> None:
        """Open all connections, and make scripts known to the server, so that no later call waits for that.

        Raises: NotSent; calls can be made all the same.
        """
        missing = MAX_PIPELINES - len(self._idle) - len(self._busy) - len(self._opening)
        if self._closed:
            raise _closed()
        if openings := [self._open_for(deque()) for _ in range(missing)]:
            # Who cannot have one is told below, where a call needs it.
            await asyncio.wait(openings)
        await asyncio.gather(*(script.load() for script in scripts))

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Carry out a command. Raises: RedisError; NotSent if it certainly was not executed."""
        if self._closed:
            raise _closed()
        if args[0] not in TOGETHER:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        return await self.begin(*args)

    async def idle_connection(self) -> Connection:
        """Return an open connection of redis-py's, for one pipeline of its. Raises: NotSent."""
        if self._closed:
            raise _closed()
        try:
            found: Connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # as above
        except (RedisError, OSError) as error:
            raise _not_sent(error) from error
        return found

    def begin(self, *args: Any, made_s: float | None = None) -> asyncio.Future[Any]:
        """Let a command that never waits in the server go out with the others of this turn; return its outcome.

        Args:
            args: its words.
            made_s: when it was decided on, by the loop's clock; None: now. From then on its time runs.
        Raises: DataError, NotSent.
        """
        if self._closed:
            raise _closed()
        try:
            packed = pack_command(args)
        except TypeError as error:
            raise DataError(str(error)) from error
        loop = asyncio.get_running_loop()
        call = Call(packed, self.response_callbacks.get(args[0]), loop, loop.time() if made_s is None else made_s)
        self._waiting.append(call)
        if not self._due:
            self._due = True
            loop.call_soon(self._send_waiting)
        return call.future

    def _send_waiting(self) -> None:
        self._due = False
        while len(self._busy) + len(self._opening) < MAX_PIPELINES and (calls := self._next()):
            if self._idle:
                self._send(self._idle.pop(), calls)
                continue
            self._open_for(calls)

    def _open_for(self, calls: deque[Call]) -> asyncio.Task[Line]:
        """Begin to open a connection for which some calls, or none yet, wait."""
        opening = asyncio.get_running_loop().create_task(self._open())
        self._opening[opening] = calls
        opening.add_done_callback(self._opened)
        return opening

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
        self._loading: asyncio.Future[Any] | None = None

    async def __call__(self, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """Run it; a server that does not know it, or has forgotten it, is told: it has done nothing by then."""
        call = "EVALSHA", self.sha, len(keys), *keys, *args
        made_s = asyncio.get_running_loop().time()
        for _ in range(MAX_LOADS):
            try:
                return await self._client.begin(*call, made_s=made_s)
            except NoScriptError:
                await self.load()
        return await self._client.begin(*call, made_s=made_s)

    async def load(self) -> None:
        """Tell the server; all who want that before it is done share one load.

        Raises: NotSent; ResponseError, the server's own refusal, e.g. because this user may not: it will not do later.
        """
        if self._loading is None:
            self._loading = self._client.begin("SCRIPT", "LOAD", self.script)
            self._loading.add_done_callback(self._loaded)
        try:
            # One of them may be cancelled; the others go on waiting.
            await asyncio.shield(self._loading)
        except ResponseError:
            raise
        except RedisError as error:
            raise _not_sent(error) from error

    def _loaded(self, loading: asyncio.Future[Any]) -> None:
        self._loading = None
        if not loading.cancelled():
            loading.exception()  # it may be that nobody waits any more


def _not_sent(error: BaseException) -> BaseException:
    """Return what became of calls whose connection could not be opened; a fault of our own stays what it is."""
    if not isinstance(error, RedisError | OSError):
        return error
    not_sent = NotSent(str(error))
    not_sent.__cause__ = error
    return not_sent


def _closed() -> NotSent:
    return NotSent("this client was closed; open another one")
