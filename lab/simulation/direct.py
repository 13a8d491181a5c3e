"""A client that executes every call on the small server at once: for replays and tests, where nothing interleaves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lab.simulation.replies import range_arguments, read_arguments, refused, shaped
from lab.simulation.server import Access, Argument, Script, Server, ServerError

NOTHING: frozenset[str] = frozenset()


class DirectScript:
    """What `register_script` returns: a script bound to a server."""

    def __init__(self, server: Server, script: Script) -> None:
        self._server, self._script = server, script

    async def __call__(self, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run the script. Raises: ResponseError as redis-py does."""
        with _as_response_error():
            return self._server.run(self._script, keys, args, Access(NOTHING, frozenset(keys)))


class DirectClient:
    """What the adapters use of `redis.asyncio.Redis`, over a small server; nothing ever waits."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def register_script(self, text: str) -> DirectScript:
        """Return a script that can be called."""
        return DirectScript(self._server, self._server.script(text))

    async def hget(self, key: str, field: str) -> bytes | None:
        """Return a field, None if it is not there."""
        found: bytes | None = self._read("HGET", (key, field), key)
        return found

    async def hmget(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Return fields in order, None for each that is not there."""
        found: list[bytes | None] = self._read("HMGET", (key, *fields), key)
        return found

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        """Return all fields."""
        found: dict[bytes, bytes] = self._read("HGETALL", (key,), key)
        return found

    async def exists(self, *keys: str) -> int:
        """Return how many of the keys exist."""
        found: int = self._read("EXISTS", keys, *keys)
        return found

    async def xrange(self, key: str, first: str = "-", last: str = "+", count: int | None = None) -> Any:
        """Return entries as (id, fields), oldest first."""
        return self._read("XRANGE", range_arguments(key, first, last, count), key)

    async def xrevrange(self, key: str, last: str = "+", first: str = "-", count: int | None = None) -> Any:
        """Return entries as (id, fields), newest first."""
        return self._read("XREVRANGE", range_arguments(key, last, first, count), key)

    async def xread(self, streams: Mapping[str, str], count: int | None = None, block: int | None = None) -> Any:  # noqa: ARG002  -- nobody else could write meanwhile
        """Return what is new as [key, entries] of each stream; it does not wait."""
        return self._read("XREAD", read_arguments(streams, count), *streams)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""

    def _read(self, name: str, arguments: Sequence[str], *keys: str) -> Any:
        with _as_response_error():
            return shaped(name, self._server.command(name, *arguments, access=Access(frozenset(keys), NOTHING)))


@contextmanager
def _as_response_error() -> Iterator[None]:
    try:
        yield
    except ServerError as error:
        raise refused(error) from error
