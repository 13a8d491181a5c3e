"""The small server and the real one side by side: the same calls on both, and what is in them afterwards."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from lab.simulation.replies import refused
from lab.simulation.server import Access, Server, ServerError, Stream

NOTHING: frozenset[str] = frozenset()


async def _value_of(client: redis.asyncio.Redis, key: bytes) -> Any:
    kind = await client.type(key)
    if kind == b"string":
        return await client.get(key)
    if kind == b"hash":
        return await client.hgetall(key)
    if kind == b"zset":
        return tuple(await client.zrange(key, 0, -1, withscores=True))
    entries = await client.eval("return redis.call('XRANGE', KEYS[1], '-', '+')", 1, key)
    last_id = (await client.xinfo_stream(key))["last-generated-id"]
    return Stream(tuple((entry_id, tuple(fields)) for entry_id, fields in entries), last_id)


class Both:
    """A small server and a real one, both empty."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self.small, self.runner = Server(), runner
        self.real = redis.asyncio.Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2)

    def script(self, text: str, keys: Sequence[str], *args: str) -> tuple[Any, Any]:
        """Run a script on both; return both answers, or the texts of both errors."""
        access = Access(NOTHING, frozenset(keys))
        try:
            small: Any = self.small.run(self.small.script(text), keys, args, access)
        except ServerError as error:
            small = f"error: {refused(error)}"
        return small, self.runner.run(self._real(text, keys, args))

    def call(self, *command: str) -> tuple[Any, Any]:
        """Run one command in a script on both; its key is its second word, if it has one."""
        keys = ("s", "t", "none") if command[0] == "XREAD" else command[1:2]
        return self.script("return redis.call(unpack(ARGV))", keys, *command)

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is in both."""
        return self.small.contents(), self.runner.run(self.real_contents())

    async def real_contents(self) -> dict[str, Any]:
        """Return everything in the real server as `Server.contents` gives it."""
        return {key.decode(): await _value_of(self.real, key) for key in sorted(await self.real.keys())}

    async def _real(self, text: str, keys: Sequence[str], args: Sequence[str]) -> Any:
        try:
            return await self.real.eval(text, len(keys), *keys, *args)
        except ResponseError as error:
            # Where in which script it happened is said behind the error itself.
            return f"error: {str(error).partition(' script: ')[0]}"


@pytest.fixture
def both(redis_server: str) -> Iterator[Both]:
    """Both servers, empty; a test of theirs is no coroutine, so that hypothesis can drive it."""
    with asyncio.Runner() as runner:
        pair = Both(redis_server, runner)
        runner.run(pair.real.flushall())
        yield pair
        runner.run(pair.real.aclose())
