"""What both Redis adapters share: a client that never retries by itself, scripts, and the three outcomes of a write."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Final

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from fencepost.errors import OutcomeUnknown, StartupError, StoreUnavailable
from fencepost.redis_pipe import NOT_EXECUTED, PipedRedis, PipedScript

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 5.0
REPLICA_TIMEOUT_MS: Final = 1000

Argument = str | bytes | int


def open_client(url: str) -> PipedRedis:
    """Return a client for a URL; it connects when it is first used.

    It makes no attempt of its own to call again: a script that may have been executed must not be sent twice.
    Raises: StartupError for a URL that is none.
    """
    try:
        client = PipedRedis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            protocol=2,
        )
    except ValueError as error:
        raise StartupError(f"bad --redis-url {url!r}: {error}; use redis://HOST:PORT/DB or unix:///PATH") from error
    assert isinstance(client, PipedRedis), "it was told to be"
    return client


START_IT: Final = "start it, or leave --redis-url out for the embedded one"
FIND_IT: Final = "`. RUN-DIR/env` tells this shell where the system is, or name it with --redis-url"
"""What to do about a server that does not answer: for who starts a system, and for who looks for one."""


async def check_server(url: str, remedy: str = START_IT) -> None:
    """Ask a server for a sign of life. Raises: StartupError with the remedy."""
    client = open_client(url)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise StartupError(f"no Redis server answers at {url} ({error}); {remedy}") from error
    finally:
        await client.aclose()


@cache
def load_script(name: str) -> str:
    """Return the text of a script of ours, e.g. `change_batch`."""
    return (files("fencepost") / "lua" / f"{name}.lua").read_text("utf-8")


class Scripts:
    """Runs our scripts on one client. `replicas` of the primary must have a write before it counts as done."""

    def __init__(self, client: PipedRedis, replicas: int = 0) -> None:
        self._client, self._replicas = client, replicas
        self._known: dict[str, PipedScript] = {}

    async def prepare(self, names: Iterable[str]) -> None:
        """Open the client's connections, and make some scripts known to the server. Raises: StoreUnavailable."""
        with reading():
            await self._client.prepare([self._script(name) for name in names])

    async def read(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script that changes nothing. Raises: StoreUnavailable."""
        with reading():
            return await self._script(name)(keys=list(keys), args=list(args))

    async def write(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script that may change something. Raises: StoreUnavailable, OutcomeUnknown."""
        with writing():
            if not self._replicas:
                return await self._script(name)(keys=list(keys), args=list(args))
            return await self._write_replicated(self._script(name), keys, args)

    def _script(self, name: str) -> PipedScript:
        if name not in self._known:
            self._known[name] = self._client.register_script(load_script(name))
        return self._known[name]

    async def _write_replicated(self, script: PipedScript, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        reply, copies = await self._call_and_wait("EVALSHA", script.sha, len(keys), *keys, *args)
        if isinstance(reply, NoScriptError):
            # Told of it by another connection, another server might know it: the one that the address led to before.
            reply, copies = await self._call_and_wait("EVAL", script.script, len(keys), *keys, *args)
        for answer in (reply, copies):
            if isinstance(answer, Exception):
                raise answer
        if copies < self._replicas:
            raise OutcomeUnknown(
                f"{copies} of {self._replicas} replicas had the write after {REPLICA_TIMEOUT_MS} ms; "
                "it may be lost when the primary fails"
            )
        return reply

    async def _call_and_wait(self, *call: Argument) -> list[Any]:
        """Return the answers to a call and to WAIT, which speaks of its own connection's writes. Raises: NotSent."""
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.connection = await self._client.idle_connection()
            pipeline.execute_command(*call)
            pipeline.execute_command("WAIT", self._replicas, REPLICA_TIMEOUT_MS)
            return await pipeline.execute(raise_on_error=False)


class _Reading:
    """Has no state: one object serves all calls, at no cost worth counting for each."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, RedisError | OSError):
            raise StoreUnavailable(f"the store cannot be read: {error}") from error


class _Writing:
    """As `_Reading`."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, NOT_EXECUTED):
            raise StoreUnavailable(f"the store takes no writes: {error}") from error
        if isinstance(error, RedisError | OSError):
            raise OutcomeUnknown(f"the store did not say that it is done: {error}") from error


_READING: Final = _Reading()
_WRITING: Final = _Writing()


def reading() -> AbstractContextManager[None]:
    """Turn the client's errors on a read into ours: whatever happened, nothing has changed."""
    return _READING


def writing() -> AbstractContextManager[None]:
    """Turn the client's errors on a write into ours: only the server's own refusals are certain."""
    return _WRITING
