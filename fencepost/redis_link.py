"""One connection to Redis on which replies are taken as they arrive: for who reads it all the time.

redis-py opens it (addresses, passwords, TLS) and hiredis parses it, as everywhere else. But a reply goes through no
coroutine, time-out and stream of its own: behind redis-py's, each costs more than all that the resolver does with it.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from hiredis import Reader, pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, RedisError, ResponseError

MOST_KEPT: Final = 4096
"""Replies that nobody has taken yet, at most about: then the server has to wait."""


class RedisLink(asyncio.Protocol):
    """A connection of its own; `open` makes one. For one user at a time, who closes it after any error.

    Attributes:
        lost: why nothing can arrive any more; None while the connection is there.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        assert connection._writer is not None, "it is connected"  # noqa: SLF001  -- redis-py has no other way to it
        self.lost: RedisError | None = None
        self._connection = connection
        self._transport: asyncio.Transport = connection._writer.transport  # type: ignore[assignment]  # noqa: SLF001
        self._reader = Reader(protocolError=InvalidResponse, replyError=ResponseError)
        self._replies: list[Any] = []
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._transport.set_protocol(self)

    @classmethod
    async def open(cls, client: Redis) -> "RedisLink":
        """Connect as a client's own connections do. Raises: RedisError, OSError."""
        connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
        await connection.connect()
        return cls(connection)

    async def close(self) -> None:
        """Give up the connection."""
        self._lose(LostConnection("this connection was closed"))
        await self._connection.disconnect(nowait=True)

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
        timer = loop.call_later(wait_s, self._wake)
        try:
            if self.lost is None:
                await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _lose(self, error: RedisError) -> None:
        if self.lost is None:
            self.lost = error
        self._wake()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; see `asyncio.Protocol`."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._replies.append(reply)
        except InvalidResponse as error:
            self._lose(error)
            self._transport.abort()
            return
        if len(self._replies) >= self._wanted:
            self._wake()
            if len(self._replies) >= MOST_KEPT:
                self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits; see `asyncio.Protocol`."""
        self._lose(LostConnection(f"the connection was lost: {error or 'the server has closed it'}"))
