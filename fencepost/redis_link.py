"""One connection to Redis on which replies are kept as they arrive: for who reads it all the time."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError

from fencepost.redis_wire import Wire, connect
from fencepost.slices import Look, no_look

MOST_KEPT: Final = 4096
"""Replies that nobody has taken yet, at most about: then the server has to wait."""


class RedisLink(Wire):
    """A connection of its own; `open` makes one. For one user at a time, who closes it after any error."""

    def __init__(self, connection: AbstractConnection, look: Look = no_look) -> None:
        super().__init__(connection, look)
        self._replies: list[Any] = []
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, client: Redis, look: Look = no_look) -> "RedisLink":
        """Connect as a client's own connections do; see `Wire` of `look`. Raises: RedisError, OSError."""
        return cls(await connect(client), look)

    async def close(self) -> None:
        """Give up the connection."""
        self.end(LostConnection("this connection was closed"))
        await self.closed()

    def send(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Send commands, which are answered in order."""
        self._transport.write(b"".join(map(pack_command, commands)))

    async def replies(self, wait_s: float, wanted: int = 1, most: int | None = None) -> list[Any]:
        """Return what has arrived as soon as so many replies have, or after some time, whatever there is then.

        An error among them is an exception there. Raises: RedisError if more cannot arrive.
        """
        if len(self._replies) < wanted:
            await self._wait(wait_s, wanted)
        if self.lost is not None and len(self._replies) < wanted:
            raise self.lost
        taken, self._replies = self._replies[:most], self._replies[len(self._replies) if most is None else most :]
        if len(self._replies) < MOST_KEPT and not self._transport.is_closing():
            self._transport.resume_reading()
        return taken

    async def _wait(self, wait_s: float, wanted: int) -> None:
        loop = asyncio.get_running_loop()
        self._waiter, self._wanted = loop.create_future(), wanted
        timer = loop.call_later(wait_s, self._tell)
        try:
            if self.lost is None:
                await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _tell(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self, replies: list[Any], fault: RedisError | None) -> None:
        self._replies += replies
        if fault is not None:
            self.end(fault)
        elif len(self._replies) >= self._wanted:
            self._tell()
            if len(self._replies) >= MOST_KEPT:
                self._transport.pause_reading()
