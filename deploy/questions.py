"""Asking a name server on loopback the same questions again and again, lightly: one socket, messages made once."""

import asyncio
import struct
from itertools import count
from typing import Final

import dns.exception
import dns.message
import dns.rcode

from fencepost.facts import Answer
from fencepost.settings import LOOPBACK

TRIES: Final = 3
TRY_TIMEOUT_S: Final = 0.4
REFUSED_PAUSE_S: Final = 0.05
"""A datagram may get lost, and a machine may be busy: a name server is silent only if it is so three times."""

_HEADER: Final = struct.Struct("!HHHHHH")
_ID: Final = struct.Struct("!H")


class Questions(asyncio.DatagramProtocol):
    """Questions to the name server on a loopback port. Use: `open`, then `ask` and `serial`, then `close`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = count(1)
        self._made: dict[tuple[str, str], bytes] = {}

    async def open(self) -> None:
        """Open the socket; nobody need listen at the other end."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(LOOPBACK, self._port))

    def close(self) -> None:
        """Give up the socket."""
        if self._transport is not None:
            self._transport.close()

    async def ask(self, name: str, record_type: str) -> Answer:
        """Return what the server says about a name; an answer without rcode if it says nothing. Never raises."""
        reply = await self._ask(name, record_type)
        if reply is None:
            return Answer("")
        _, flags, _, answers, _, _ = _HEADER.unpack_from(reply)
        return Answer(dns.rcode.to_text(dns.rcode.Rcode(flags & 0x0F)), answers)

    async def serial(self, zone: str) -> int | None:
        """Return the serial that the server shows of a zone, None if it shows none. Never raises."""
        reply = await self._ask(zone, "SOA")
        if reply is None:
            return None
        try:
            answer = dns.message.from_wire(reply).answer
        except dns.exception.DNSException:
            return None
        return int(answer[0][0].serial) if answer and hasattr(answer[0][0], "serial") else None

    async def _ask(self, name: str, record_type: str) -> bytes | None:
        for _ in range(TRIES):
            number = next(self._numbers) % 0x10000
            self._waiting[number] = asyncio.get_running_loop().create_future()
            try:
                self._send(number, name, record_type)
                async with asyncio.timeout(TRY_TIMEOUT_S):
                    return await self._waiting[number]
            except TimeoutError:
                continue
            except ConnectionError:
                await asyncio.sleep(REFUSED_PAUSE_S)
            finally:
                self._waiting.pop(number, None)
        return None

    def _send(self, number: int, name: str, record_type: str) -> None:
        assert self._transport is not None, "opened"
        question = (name, record_type)
        if question not in self._made:
            self._made[question] = dns.message.make_query(name, record_type).to_wire()
        self._transport.sendto(_ID.pack(number) + self._made[question][_ID.size :])

    def datagram_received(self, data: bytes, _: object) -> None:
        """Hand an answer to whoever waits for it; whatever else comes is nobody's."""
        if len(data) >= _HEADER.size:
            waiter = self._waiting.get(_ID.unpack_from(data)[0])
            if waiter is not None and not waiter.done():
                waiter.set_result(data)

    def error_received(self, _: Exception) -> None:
        """Nobody listens there, the kernel says: no need to wait for an answer."""
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionRefusedError())
