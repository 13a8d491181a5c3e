"""How long answers took by the kernel's clock: from a query's arrival at the server's socket until its answer has left.

dnsperf takes its times when it comes to it, and shares its core with whatever re-plans, so its own lateness is in them.
tcpdump writes down what the kernel noted when it passed each datagram on, however late either side came to look.
"""

import asyncio
import secrets
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from deploy.topology import ProcessSpec
from fencepost.clock import Clock
from fencepost.settings import LOOPBACK
from lab.bench.cores import Cores, pinned
from lab.bench.dns.dnsperf import CLIENTS, Latencies, latencies_of
from lab.bench.peers.peer import Peer
from lab.bench.processes import LOOK_EVERY_S, found, running
from lab.bench.programs import BenchFailed

TCPDUMP: Final = Peer("tcpdump", ("tcpdump",), "apt-get install tcpdump")
SNAP: Final = 64
"""Bytes kept of each packet: enough for all headers and a message's number."""
BUFFER_KB: Final = 128 * 1024
"""For what comes until tcpdump has its turn, which all others have before it."""
MARK_SIZE: Final = 16
"""Of a datagram that is not to be taken for any other; within what is kept of it."""
END_SIZE: Final = 1024 * 1024
READ_S: Final = 20.0
MISSED_NOTHING: Final = "0 packets dropped by kernel"
"""What tcpdump says last."""

_FILE: Final = struct.Struct("<IHHiIII")
_PACKET: Final = struct.Struct("<IIII")
_NANOSECONDS: Final = 0xA1B23C4D
_ETHERNET: Final = 1
"""So the loopback interface has it."""
_IP_AT: Final = 14
_PORTS: Final = struct.Struct("!HH")
_UDP_SIZE: Final = 8

T = TypeVar("T")


class Datagram(NamedTuple):
    """One datagram: when the kernel passed it on, in nanoseconds, from and to which ports, and its message's number."""

    at_ns: int
    source: int
    target: int
    number: int


@dataclass(frozen=True, slots=True)
class Capture:
    """Takes times from the kernel; whoever wants that is root.

    Attributes:
        place: a directory for what tcpdump writes.
        cores: where it runs: on the load's, when nobody else has anything to do there.
    """

    place: Path
    cores: Cores
    clock: Clock

    async def during(self, port: int, load: Callable[[int], Awaitable[T]]) -> tuple[T, Latencies]:
        """Load the server at a port; return what came of it, and how long its answers took.

        Raises: BenchFailed if tcpdump cannot be run, or missed something; and what the load raises.
        """
        into = self.place / "captured.pcap"
        with socket.socket(type=socket.SOCK_DGRAM) as own:
            own.bind((LOOPBACK, 0))
            command = _command((port, own.getsockname()[1]), into)
            spec = ProcessSpec("tcpdump", pinned(command, self.cores.load, yields=True), {})
            said = self.place / spec.err_name
            said.unlink(missing_ok=True)

            async def listens() -> bool:
                return b"listening on" in said.read_bytes()

            async with running(spec, self.place, listens, self.clock, yields=True) as tcpdump:
                came = await load(port)
                await self._until_read(own, into)
        if (words := tcpdump.last_words()) != MISSED_NOTHING:
            raise BenchFailed(f"tcpdump missed packets: {words}")
        return came, await asyncio.to_thread(times, into.read_bytes(), port)

    async def _until_read(self, own: socket.socket, into: Path) -> None:
        """Wait until tcpdump has written down all that came so far: until a datagram to ourselves is there."""
        mark, deadline_s = secrets.token_bytes(MARK_SIZE), self.clock.monotonic() + READ_S
        own.sendto(mark, own.getsockname())
        while mark not in await asyncio.to_thread(_end_of, into):
            if self.clock.monotonic() > deadline_s:
                raise BenchFailed(f"tcpdump had not read all packets {READ_S:g} s after the last one")
            await self.clock.sleep(LOOK_EVERY_S)


def _command(ports: tuple[int, int], into: Path) -> tuple[str, ...]:
    what = ("udp", "and", f"(port {ports[0]} or port {ports[1]})")
    how = ("--time-stamp-precision=nano", "-s", str(SNAP), "-B", str(BUFFER_KB), "-n", "-U", "-w", str(into))
    return (str(found("tcpdump")), "-i", "lo", *how, *what)


def _end_of(file: Path) -> bytes:
    """Return the last part of a file, in which a mark is found even if others have written since."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - END_SIZE))
        return opened.read()


def times(captured: bytes, port: int) -> Latencies:
    """Return how long a server's answers to the load took; others, who ask less, do not count.

    Args:
        captured: a file of tcpdump's.
        port: the server's.

    Raises: BenchFailed if it cannot be read, or has too few answers.
    """
    asked: dict[tuple[int, int], int] = {}
    took: dict[int, list[float]] = {}
    for datagram in datagrams(captured):
        if datagram.target == port:
            asked[datagram.source, datagram.number] = datagram.at_ns
        elif (began_ns := asked.pop((datagram.target, datagram.number), None)) is not None:
            took.setdefault(datagram.target, []).append((datagram.at_ns - began_ns) / 1e6)
    load = Counter({client: len(those) for client, those in took.items()}).most_common(CLIENTS)
    return latencies_of([taken_ms for client, _ in load for taken_ms in took[client]])


def datagrams(captured: bytes) -> Iterator[Datagram]:
    """Yield the datagrams of a file of tcpdump's, in order. Raises: BenchFailed if it is none of the kind we ask for.

    Source: draft-ietf-opsawg-pcap, sections 4 and 5.
    """
    magic, *_, link = _FILE.unpack_from(captured) if len(captured) >= _FILE.size else (0, 0)
    if (magic, link) != (_NANOSECONDS, _ETHERNET):
        raise BenchFailed(f"what tcpdump wrote cannot be read: {captured[: _FILE.size].hex() or 'nothing'}")
    at = _FILE.size
    while at + _PACKET.size <= len(captured):
        seconds, nanoseconds, kept, _ = _PACKET.unpack_from(captured, at)
        at += _PACKET.size
        packet = captured[at : at + kept]
        at += kept
        udp_at = _IP_AT + (packet[_IP_AT] & 0xF) * 4
        source, target = _PORTS.unpack_from(packet, udp_at)
        number = int.from_bytes(packet[udp_at + _UDP_SIZE : udp_at + _UDP_SIZE + 2])
        yield Datagram(seconds * 1_000_000_000 + nanoseconds, source, target, number)
