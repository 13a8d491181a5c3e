"""A connection to Redis of which redis-py has only the opening: addresses, passwords, TLS.

redis-py looks after each connection, and after each answer, by a dozen coroutines and time-outs, which cost several
times of what a small call does. Here hiredis is fed whatever arrives, and the replies in it are taken in one piece.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Final

from hiredis import Reader
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, InvalidResponse, RedisError
from redis.exceptions import ConnectionError as LostConnection

from fencepost.slices import Look, no_look

NOTHING_YET: Final = object()
AT_ONCE: Final = 16_384
"""How many bytes are read in one go: about 0.015 ms."""


async def connect(client: Redis) -> AbstractConnection:
    """Open a connection as a client's own are opened; it is nobody's yet. Raises: RedisError, OSError."""
    connection: AbstractConnection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    await connection.connect()  # type: ignore[no-untyped-call]  # as above
    return connection


class Wire(asyncio.Protocol, ABC):
    """A connection, and what is common to all uses of one: how it is read, and how it ends.

    An error that the server answers is a reply among others; one that means that it gives up the connection, or an
    answer that is none, ends it.

    Args:
        connection: one that redis-py has opened, and that has no call under way. It is not to be used any more.
        look: called between two parts of much that has arrived.

    Attributes:
        lost: why nothing can arrive any more; None while the connection is there.
    """

    def __init__(self, connection: AbstractConnection, look: Look = no_look) -> None:
        self._look_around = look
        # What redis-py has no name for: its stream, behind which it no longer reads, and how it reads errors.
        writer, connection._writer, connection._reader = connection._writer, None, None  # noqa: SLF001
        assert writer is not None, "it was opened"
        parser: Any = connection._parser  # noqa: SLF001
        self._reader = Reader(protocolError=InvalidResponse, replyError=parser.parse_error, notEnoughData=NOTHING_YET)
        self._writer = writer
        self._transport: asyncio.Transport = writer.transport  # type: ignore[assignment]  # it reads, too
        self._stream = self._transport.get_protocol()
        self._transport.set_protocol(self)
        gone = self._transport.is_closing()
        self.lost: RedisError | None = LostConnection("the connection was lost before it was used") if gone else None

    @abstractmethod
    def _take(self, replies: list[Any], fault: RedisError | None) -> None:
        """Take the replies that have arrived, and `end` if there is a fault behind them: nothing else will."""

    @abstractmethod
    def _tell(self) -> None:
        """Tell who waits that the connection is lost."""

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; see `asyncio.Protocol`."""
        replies: list[Any] = []
        fault: RedisError | None = None
        for start in range(0, len(data), AT_ONCE):
            if start:
                self._look_around()
            self._reader.feed(data, start, min(AT_ONCE, len(data) - start))
            if (fault := self._read_into(replies)) is not None:
                break
        self._take(replies, fault)

    def _read_into(self, replies: list[Any]) -> RedisError | None:
        """Add the replies that are whole by now; return the fault behind them, if there is one."""
        gets = self._reader.gets
        try:
            while (reply := gets()) is not NOTHING_YET:
                # "Loading" is an answer to one call, whatever redis-py calls it.
                if isinstance(reply, LostConnection) and not isinstance(reply, BusyLoadingError):
                    return reply
                replies.append(reply)
        except InvalidResponse as error:
            return error
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection has ended, be it by us; see `asyncio.Protocol`."""
        self._stream.connection_lost(exc)
        self.end(LostConnection(f"the connection was lost: {exc or 'the server has closed it'}"))

    def end(self, error: RedisError) -> None:
        """Give the connection up, if it is not lost already."""
        if self.lost is None:
            self.lost = error
            self._transport.abort()
            self._tell()

    async def closed(self) -> None:
        """Wait until a connection that has ended is closed."""
        try:
            await self._writer.wait_closed()
        except OSError:
            return
