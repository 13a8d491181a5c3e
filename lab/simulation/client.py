"""What the shipped store adapters get for a client: each call parks until the world has it done, or has it fail."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from fencepost.redis_client import Argument, load_script
from lab.simulation import replies
from lab.simulation.server import Access, Reply, Script, Server


class Killed(BaseException):
    """The process is dead; no `except` of it may hear this."""


WRITING: Final[Mapping[str, Sequence[int] | None]] = {
    "change_batch": None,
    "publish_plan": None,
    "read_plan": (),
    "read_records": (),
    "page_records": (),
    "set_requests": None,
    "set_frozen": None,
    "unpin": None,
    "set_report": None,
    "read_reports": (),
    "read_controls": (),
    "take_token": None,
}
"""Script -> which of its KEYS it may write: None: all of them. The server refuses every other write."""


@cache
def script_names() -> Mapping[str, str]:
    """Return the shipped scripts: text -> name."""
    return {load_script(name): name for name in WRITING}


@cache
def access_of(reads: tuple[str, ...], writes: tuple[str, ...]) -> Access:
    """Return what a call declares; one object for equal calls."""
    return Access(frozenset(reads), frozenset(writes))


class Call:
    """A store call that waits to be executed.

    Attributes:
        process: the name of who called.
        number: counts a world's calls in the order in which they were made.
        what: what it is and on what, for people and for schedules, e.g. `change a.test.`.
        zone: whose hash slot it is: a zone's, `plans`, or `account`.
        name: the script's or command's name.
        keys, args: as the adapter gave them.
        access: which keys it may read and write.
        writes: whether it may change anything.
        given_up: whether its caller has been told that it failed, though it is still to be executed.
    """

    __slots__ = (
        "_convert",
        "_script",
        "access",
        "args",
        "future",
        "given_up",
        "keys",
        "name",
        "number",
        "process",
        "what",
        "writes",
        "zone",
    )

    def __init__(
        self,
        process: str,
        name: str,
        keys: tuple[str, ...],
        args: tuple[Argument, ...],
        *,
        access: Access,
        script: Script | None,
        convert: Callable[[Reply], Any] | None,
        future: asyncio.Future[Any],
    ) -> None:
        self.process, self.name, self.keys, self.args, self.access = process, name, keys, args, access
        self.number = 0
        self.writes = bool(access.writes)
        self.given_up = False
        self.zone = keys[0].partition("}")[0][1:]
        self.what = f"{name} {self.zone}"
        self._script, self._convert, self.future = script, convert, future

    def execute(self, server: Server) -> Reply:
        """Carry it out. Raises: ServerError, Undeclared."""
        if self._script is not None:
            return server.run(self._script, self.keys, self.args, self.access)
        return server.command(self.name, *self.args, access=self.access)

    def answer(self, reply: Reply) -> None:
        """Hand the reply to who called."""
        if not self.future.done():
            self.future.set_result(self._convert(reply) if self._convert else reply)

    def fail(self, error: Exception) -> None:
        """Let it end with an error of the client."""
        if not self.future.done():
            self.future.set_exception(error)


class SimClient:
    """The part of `redis.asyncio.Redis` that the adapters use; its calls wait in `parked`, in the order they came."""

    def __init__(self, process: str, server: Server, parked: list[Call], numbers: Iterator[int]) -> None:
        self._process, self._server, self._parked, self._numbers = process, server, parked, numbers
        self.dead = False

    def register_script(self, text: str) -> "_SimScript":
        """See redis-py: a script that can be called with keys and args."""
        return _SimScript(self, script_names()[text], self._server.script(text))

    async def hget(self, key: str, field: str) -> Any:
        """Read one field of a hash."""
        return await self._command("HGET", key, field)

    async def hgetall(self, key: str) -> Any:
        """Read a hash."""
        return await self._command("HGETALL", key, convert=replies.pairs)

    async def hmget(self, key: str, fields: Sequence[str]) -> Any:
        """Read fields of a hash."""
        return await self._command("HMGET", key, *fields)

    async def exists(self, key: str) -> Any:
        """Say whether a key exists: 0 or 1."""
        return await self._command("EXISTS", key)

    async def xrange(self, key: str, low: str, high: str, count: int) -> Any:
        """Read entries of a stream, oldest first."""
        return await self._command("XRANGE", key, low, high, "COUNT", count, convert=replies.entries)

    async def xrevrange(self, key: str, high: str, low: str, count: int) -> Any:
        """Read entries of a stream, newest first."""
        return await self._command("XREVRANGE", key, high, low, "COUNT", count, convert=replies.entries)

    async def aclose(self) -> None:
        """Close it; nothing is to be done."""

    async def _command(
        self, name: str, key: str, *args: Argument, convert: Callable[[Reply], Any] | None = None
    ) -> Any:
        return await self.park(name, (key,), (key, *args), access=access_of((key,), ()), convert=convert)

    def park(
        self,
        name: str,
        keys: tuple[str, ...],
        args: tuple[Argument, ...],
        *,
        access: Access,
        script: Script | None = None,
        convert: Callable[[Reply], Any] | None = None,
    ) -> "asyncio.Future[Any]":
        """Let a call wait until the world has it executed. Its reply or error, a RedisError, is the future's."""
        if self.dead:
            raise Killed
        future: asyncio.Future[Any] = asyncio.Future()
        call = Call(self._process, name, keys, args, access=access, script=script, convert=convert, future=future)
        call.number = next(self._numbers)
        self._parked.append(call)
        return future


class _SimScript:
    """What redis-py calls an `AsyncScript`."""

    def __init__(self, client: SimClient, name: str, script: Script) -> None:
        self._client, self._name, self._script = client, name, script
        self._some = WRITING[name]

    async def __call__(self, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        declared = tuple(keys)
        written = declared if self._some is None else tuple(declared[at] for at in self._some)
        access = access_of(declared, written)
        return await self._client.park(self._name, declared, tuple(args), access=access, script=self._script)
