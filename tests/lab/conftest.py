"""Fixtures of the lab: a tiny real name server on loopback whose answers a test sets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

ORIGIN = "x.test."


class TinyNameServer(asyncio.DatagramProtocol):
    """Answers over UDP from `addresses`: (name, type) -> texts; names that are absent get NODATA, or `rcode`."""

    def __init__(self) -> None:
        self.addresses: dict[tuple[str, str], list[str]] = {}
        self.rcode = dns.rcode.NOERROR
        self.ttl = 0
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        key = (question.name.to_text(), dns.rdatatype.to_text(question.rdtype))
        self.asked.append(key)
        if self.silent:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        response.set_rcode(self.rcode)
        if texts := self.addresses.get(key):
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", key[1], *texts))
        else:
            soa = f"ns1.{ORIGIN} hostmaster.{ORIGIN} 1 7200 900 1209600 {self.ttl}"
            response.authority.append(dns.rrset.from_text(ORIGIN, self.ttl, "IN", "SOA", soa))
        assert self.transport is not None
        self.transport.sendto(response.to_wire(), addr)


@pytest.fixture
async def name_server() -> AsyncIterator[TinyNameServer]:
    """A name server that listens on a free port, `name_server.port`."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        TinyNameServer, local_addr=("127.0.0.1", 0)
    )
    yield server
    transport.close()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition, for 5 seconds at most."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  -- what is waited for does not know that somebody waits
                await asyncio.sleep(0.001)

    return wait
