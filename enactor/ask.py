"""Questions to the authoritative server on loopback, at the cost of a datagram each way.

dnspython opens a socket for every question and builds each message from objects, a millisecond in all; a full plan asks
two or three questions for every endpoint. What is asked here has one form, and what is answered is three types.
Source: RFC 1035, section 4.
"""

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NamedTuple, Self

from fencepost.settings import LOOPBACK

ASK_TIMEOUT_S: Final = 0.25
LARGEST: Final = 512
"""Bytes of a reply to who says nothing of more. Source: RFC 1035, section 4.2.1."""
TYPES: Final = {"A": 1, "TXT": 16, "AAAA": 28}
INTERNET: Final = 1
ANSWERED_FOR_ZONE: Final = (0, 3)
"""NOERROR and NXDOMAIN; any other code says nothing of the zone."""

HEADER: Final = struct.Struct("!6H")
RESPONSE: Final = 0x8000
RESOURCE: Final = struct.Struct("!2HIH")
POINTER: Final = 0xC0
IP_RECVERR: Final = 11
"""Keep with an error the datagram that it is of; `socket` has no name for it. Source: ip(7)."""
_numbers: Final = itertools.count(1)


class Asked(NamedTuple):
    """A question under way: its bytes behind the header, names in lower case, and who waits for the reply."""

    text: bytes
    answer: "asyncio.Future[bytes | None]"

    def is_answered_by(self, reply: bytes) -> bool:
        """Say whether a datagram is a response to this question, and not to another one of the same number."""
        if len(reply) < HEADER.size:
            return False
        _, flags, questions, *_ = HEADER.unpack_from(reply)
        repeated = reply[HEADER.size : HEADER.size + len(self.text)].lower()
        return bool(flags & RESPONSE) and questions == 1 and repeated == self.text

    def give_up(self) -> None:
        """Let it end without an answer, if it has none."""
        if not self.answer.done():
            self.answer.set_result(None)


class Asker:
    """Asks the server on a port of loopback, many questions at a time on one connected socket.

    Nobody else can answer there. A reply is taken for a question only if it repeats it: numbers recur while the socket
    lives, and replies may come late. It is open while anybody is inside (`with asker:`), and shared by all who are.
    """

    def __init__(self, port: int) -> None:
        self._port, self._inside = port, 0
        self._sock: socket.socket | None = None
        self._waiting: dict[int, Asked] = {}

    def __enter__(self) -> Self:
        """Have the socket open."""
        if self._sock is None:
            self._sock = _connected(self._port)
            asyncio.get_running_loop().add_reader(self._sock, self._receive)
        self._inside += 1
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Close the socket if nobody else is inside."""
        self._inside -= 1
        if not self._inside and self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    async def ask(self, name: str, kind: str) -> tuple[str, ...] | None:
        """Return the values of a name, None if the server did not answer for the zone; a TXT value has its quotes."""
        assert self._sock is not None, "somebody is inside"
        number, loop = next(_numbers) & 0xFFFF, asyncio.get_running_loop()
        query = question(number, name, kind)
        asked = self._waiting[number] = Asked(query[HEADER.size :].lower(), loop.create_future())
        patience = loop.call_later(ASK_TIMEOUT_S, asked.give_up)
        try:
            self._send(query)
            reply = await asked.answer
            return None if reply is None else values(reply, kind)
        except (OSError, ValueError):
            return None
        finally:
            patience.cancel()
            del self._waiting[number]

    def _send(self, query: bytes) -> None:
        assert self._sock is not None, "somebody is inside"
        try:
            self._sock.send(query)
        except ConnectionRefusedError:  # an earlier question was: this one was not sent, and the error is told once
            self._sock.send(query)

    def _receive(self) -> None:
        """Hand out the replies that are there; one that is late, and was given up already, nobody waits for."""
        assert self._sock is not None, "it is closed only after it is no longer looked at"
        found = False
        try:
            while True:
                reply = self._sock.recv(LARGEST)
                found = True
                asked = self._waiting.get(int.from_bytes(reply[:2]))
                if asked is not None and asked.is_answered_by(reply) and not asked.answer.done():
                    asked.answer.set_result(reply)
        except BlockingIOError:
            if not found:  # what woke us is an error that a send was told already
                self._give_up_refused(self._sock)
        except OSError:
            self._give_up_refused(self._sock)

    def _give_up_refused(self, sock: socket.socket) -> None:
        """Give up the questions that came back as nobody listened, and only those; the port may be served again."""
        try:
            while True:
                query, *_ = sock.recvmsg(LARGEST, 0, socket.MSG_ERRQUEUE)
                if asked := self._waiting.get(int.from_bytes(query[:2])):
                    asked.give_up()
        except OSError:  # there are no more
            return


def _connected(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(0)
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    sock.connect((LOOPBACK, port))
    return sock


def question(number: int, name: str, kind: str) -> bytes:
    """Return a query for a name that ends with a dot."""
    labels = name.rstrip(".").encode("ascii").split(b".")
    asked = b"".join([bytes((len(label),)) + label for label in labels])
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
