"""Questions to the authoritative server on loopback, at the cost of a datagram each way.

dnspython opens a socket for every question and builds each message from objects, a millisecond in all; a full plan asks
two or three questions for every endpoint. What is asked here has one form, and what is answered is three types.
Source: RFC 1035, section 4.
"""

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from fencepost.settings import LOOPBACK

ASK_TIMEOUT_S: Final = 0.25
LARGEST: Final = 65_535
TYPES: Final = {"A": 1, "TXT": 16, "AAAA": 28}
INTERNET: Final = 1
ANSWERED_FOR_ZONE: Final = (0, 3)
"""NOERROR and NXDOMAIN; any other code says nothing of the zone."""

HEADER: Final = struct.Struct("!6H")
RESOURCE: Final = struct.Struct("!2HIH")
POINTER: Final = 0xC0
_numbers: Final = itertools.count(1)


class Asker:
    """Asks one question after the other on one connected socket: nobody else can answer there."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def ask(self, name: str, kind: str) -> tuple[str, ...] | None:
        """Return the values of a name, None if the server did not answer for the zone; a TXT value has its quotes."""
        number = next(_numbers) & 0xFFFF
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await loop.sock_sendall(self._sock, question(number, name, kind))
                while True:
                    reply = await loop.sock_recv(self._sock, LARGEST)
                    if reply[:2] == number.to_bytes(2):  # else it is late, and was given up already
                        return values(reply, kind)
        except (OSError, ValueError, TimeoutError):
            return None


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[Asker]:
    """Yield who asks the server on a port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0)
        sock.connect((LOOPBACK, port))
        yield Asker(sock)


def question(number: int, name: str, kind: str) -> bytes:
    """Return a query for a name that ends with a dot."""
    labels = [part.encode("ascii") for part in name.rstrip(".").split(".")]
    asked = b"".join(bytes([len(label)]) + label for label in labels)
    return HEADER.pack(number, 0, 1, 0, 0, 0) + asked + b"\0" + struct.pack("!2H", TYPES[kind], INTERNET)


def values(reply: bytes, kind: str) -> tuple[str, ...] | None:
    """Return the values of a type in a reply, None if it is no answer for the zone. Raises: ValueError if malformed."""
    try:
        _, flags, questions, answers, _, _ = HEADER.unpack_from(reply)
        if flags & 0xF not in ANSWERED_FOR_ZONE:
            return None
        at = HEADER.size
        for _ in range(questions):
            at = _skip_name(reply, at) + 4
        return tuple(_values(reply, at, answers, kind))
    except (IndexError, struct.error) as error:
        raise ValueError(f"the reply ends too soon: {error}") from error


def _values(reply: bytes, at: int, answers: int, kind: str) -> Iterator[str]:
    for _ in range(answers):
        at = _skip_name(reply, at)
        found, _, _, length = RESOURCE.unpack_from(reply, at)
        at += RESOURCE.size
        data = reply[at : at + length]
        at += length
        if found == TYPES[kind]:
            yield _text(kind, data)


def _text(kind: str, data: bytes) -> str:
    if kind != "TXT":
        return socket.inet_ntop(socket.AF_INET if kind == "A" else socket.AF_INET6, data)
    strings, at = [], 0
    while at < len(data):
        strings.append(f'"{data[at + 1 : at + 1 + data[at]].decode("ascii")}"')
        at += 1 + data[at]
    return " ".join(strings)


def _skip_name(reply: bytes, at: int) -> int:
    while (length := reply[at]) != 0:
        if length >= POINTER:
            return at + 2
        at += 1 + length
    return at + 1
