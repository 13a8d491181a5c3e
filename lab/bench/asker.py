"""Asking the authoritative server over a UDP socket of our own, at as little cost as can be: it shares the cores.

Questions are made once, answers are looked at as bytes: a name server that answers the right question does so in a
message that begins with the question's number, and ends with what was asked for.
"""

import asyncio
import re
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final, cast

import dns.message
import dns.rcode
import dns.rdatatype

from fencepost.clock import Clock
from fencepost.names import fence_name
from fencepost.settings import LOOPBACK
from lab.bench.programs import BenchFailed

LOST_AFTER_S: Final = 0.5
"""An answer that has not come by then was dropped, on the way or in a socket: the question is asked again."""
PAUSE_S: Final = 0.002
EDNS_SIZE: Final = 1232
ASKING: Final = 2
"""So many are asked side by side: enough that one lost datagram holds nothing up, too few to be a load."""
FENCE: Final = re.compile(rb"([0-9]{1,15}) ([0-9a-f]{8}) \S")
"""No name has a space in it: this is found in a TXT's value or nowhere."""

Seen = Callable[[bytes], bool]


class Asker(asyncio.DatagramProtocol):
    """Asks one server; any number of questions at a time.

    Attributes:
        asked: how many questions were sent.
        lost: how many of them were never answered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._number = self.asked = self.lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.DatagramProtocol`."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is one by its methods alone

    def datagram_received(self, data: bytes, _: object) -> None:
        """Hand an answer to whoever waits for it; one that comes too late is nobody's."""
        waiting = self._waiting.pop(int.from_bytes(data[:2]), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    def error_received(self, _: Exception) -> None:
        """Take a refused datagram (nobody listens yet) as one that was lost."""

    async def ask(self, question: bytes, *, within_s: float = LOST_AFTER_S) -> bytes | None:
        """Return the answer to a question, None if none came in time. It has the number that was asked with."""
        assert self._transport is not None, "connected"
        self._number = (self._number + 1) % 2**16
        number, self.asked = self._number, self.asked + 1
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._transport.sendto(struct.pack(">H", number) + question[2:])
        try:
            async with asyncio.timeout(within_s):
                return await waiting
        except TimeoutError:
            self.lost += 1
            return None
        finally:
            self._waiting.pop(number, None)

    async def until(self, question: bytes, seen: Seen, *, deadline_s: float, pause_s: float = PAUSE_S) -> float | None:
        """Ask again and again until an answer shows what is looked for; return that instant, None if it came too late.

        Nothing is asked while an answer is on its way, and a pause lies between: this is no load.
        """
        while True:
            answer = await self.ask(question)
            now_s = self._clock.monotonic()
            if answer is not None and seen(answer):
                return now_s
            if now_s > deadline_s:
                return None
            await self._clock.sleep(pause_s)

    async def until_all(
        self, looks: Iterable[tuple[str, bytes, Seen]], *, within_s: float, pause_s: float = PAUSE_S
    ) -> float:
        """Ask for each look (name, question, what to see) until all are seen; return the instant of the last.

        A few are asked side by side, in turn: who waited for one after the other would, once the first is there at
        last, have all others still to ask for. Raises: BenchFailed naming what was not seen.
        """
        left, last_s = deque(looks), self._clock.monotonic()
        deadline_s = last_s + within_s

        async def some() -> None:
            nonlocal last_s
            while left and last_s <= deadline_s:
                look = left.popleft()
                answer = await self.ask(look[1])
                last_s = self._clock.monotonic()
                if answer is None or not look[2](answer):
                    left.append(look)
                    await self._clock.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(ASKING):
                group.create_task(some())
        if left:
            names = sorted(look[0] for look in left)
            shown = ", ".join(names[:3]) + (", ..." if names[3:] else "")
            raise BenchFailed(f"{len(left)} did not answer what was expected within {within_s:g} s: {shown}")
        return last_s


@asynccontextmanager
async def asker(port: int, clock: Clock) -> AsyncIterator[Asker]:
    """Yield one who asks the server at a loopback port."""
    loop = asyncio.get_running_loop()
    transport, asking = await loop.create_datagram_endpoint(lambda: Asker(clock), remote_addr=(LOOPBACK, port))
    try:
        yield asking
    finally:
        transport.close()


def question(name: str, kind: str, *, edns: bool = False) -> bytes:
    """Return a question as a message without a number.

    It has the RD bit, as dnsperf's have: without it BIND adds name servers to its answers.
    """
    return dns.message.make_query(name, kind, use_edns=0 if edns else False, payload=EDNS_SIZE, id=0).to_wire()


def fence_question(zone: str) -> bytes:
    """Return the question for the plan that is live in a zone."""
    return question(fence_name(zone), "TXT")


def fence_of(answer: bytes) -> tuple[int, str] | None:
    """Return the generation and the digest (8 hex) that an answer shows, None if it shows none."""
    found = FENCE.search(answer)
    return (int(found[1]), found[2].decode()) if found else None


def shows(generation: int, digest: str) -> Seen:
    """Return a look for a fence that names a content (8 hex), put there by a plan of a generation or by a later one."""

    def seen(answer: bytes) -> bool:
        fence = fence_of(answer)
        return fence is not None and fence[0] >= generation and fence[1] == digest

    return seen


def addresses(answer: bytes | None) -> frozenset[str]:
    """Return the IPv4 addresses that an answer gives; none if it is an error, or none came."""
    return frozenset(_addresses(answer)) if answer is not None else frozenset()


def _addresses(answer: bytes) -> Iterator[str]:
    message = dns.message.from_wire(answer)
    if message.rcode() == dns.rcode.NOERROR:
        yield from (rdata.to_text() for rrset in message.answer if rrset.rdtype == dns.rdatatype.A for rdata in rrset)
