"""Many datagrams by one system call: `recvmmsg` and `sendmmsg` of the C library, through cffi, without a compiler.

Each slot of a batch keeps its place in memory for ever: where a datagram is received, and whom it came
from. An answer is gathered by the kernel from five pieces: the query's own ID, a head (flags and counts), the query's
own question, a tail (records), and an OPT record or nothing. So answering copies no message in Python: it is choosing
pieces, each of them 16 bytes of address and length. Few of them are made for one query alone, so that the processor's
cache has most of what a batch needs; that, and not the count of instructions, is what Python costs here.

Source: recvmmsg(2), sendmmsg(2); Linux has both.
"""

import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from operator import add
from typing import Any, Final, Protocol

from cffi import FFI

SLOTS: Final = 128
"""Datagrams in a batch."""
MAX_DATAGRAM: Final = 4096
"""Bytes of the largest datagram that is looked at; of a larger one only the header is, so that it is malformed."""

_ID_SIZE: Final = 2
_HEADER_SIZE: Final = 12
_PIECES: Final = 5
_ROOM: Final = MAX_DATAGRAM + 1  # what is larger shows itself by the one byte
_STRIDE: Final = MAX_DATAGRAM + 64  # not a power of two: slots would share few lines of the processor's cache
_NAME_SIZE: Final = 16  # struct sockaddr_in

_ffi: Final = FFI()
_ffi.cdef("""
struct iovec { void *iov_base; size_t iov_len; };
struct msghdr {
    void *msg_name; unsigned msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
    void *msg_control; size_t msg_controllen; int msg_flags;
};
struct mmsghdr { struct msghdr msg_hdr; unsigned msg_len; };
int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, void *timeout);
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
""")
_libc: Final = _ffi.dlopen(None)
_IOVEC: Final = struct.Struct("@PN")

Address = tuple[str, int]


def piece(data: bytes) -> bytes:
    """Return what the kernel takes for some bytes: their address and length. It is good for as long as `data` lives."""
    return _IOVEC.pack(int(_ffi.cast("uintptr_t", _ffi.from_buffer(data))), len(data))


def pieces(parts: Sequence[bytes]) -> tuple[list[bytes], bytes]:
    """Return a `piece` for each of some bytes, and what they all are good for as long as it lives."""
    whole = b"".join(parts)
    address = int(_ffi.cast("uintptr_t", _ffi.from_buffer(whole)))
    sizes = [len(part) for part in parts]
    places = accumulate(sizes[:-1], initial=address)
    return [_IOVEC.pack(place, size) for place, size in zip(places, sizes, strict=True)], whole


def gathered(pieces: Iterable[bytes]) -> bytes:
    """Return the bytes that some pieces stand for, as the kernel would send them."""
    places = (_IOVEC.unpack(one) for one in pieces)
    return b"".join(bytes(_ffi.buffer(_ffi.cast("char *", address), size)) for address, size in places)


class Batch(Protocol):
    """Up to `SLOTS` datagrams, and the answers to them."""

    def receive(self) -> list[bytes]:
        """Take what has come, without waiting; return each datagram from its third byte on, behind the ID."""

    def message(self, slot: int) -> bytes:
        """Return a received datagram whole; only its header if it is larger than `MAX_DATAGRAM`."""

    def sender(self, slot: int) -> Address:
        """Return whom a received datagram came from."""

    def answer(
        self, heads: Sequence[bytes], sizes: Sequence[int], tails: Sequence[bytes], opts: Sequence[bytes]
    ) -> None:
        """Prepare the answers to the received datagrams, in order.

        Each has a `piece` as its head, tail and OPT record, and a size of its question in bytes.
        """

    def send(self, first: int, end: int) -> int:
        """Send the answers of some slots; return how many were lost, as the system did not take them at once."""


class _Questions(dict[int, bytes]):
    """The pieces that questions of any size are, at one place."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self._place = place

    def __missing__(self, size: int) -> bytes:
        self[size] = made = _IOVEC.pack(self._place, size)
        return made


class SystemBatch:
    """A batch by `recvmmsg` and `sendmmsg`. The socket must be of IPv4."""

    def __init__(self, udp: socket.socket) -> None:
        self._fd = udp.fileno()
        self._buffer = _ffi.new("char[]", SLOTS * _STRIDE)
        self._names = _ffi.new("char[]", SLOTS * _NAME_SIZE)
        self._places = _ffi.new("struct iovec[]", SLOTS)
        self._pieces = _ffi.new("struct iovec[]", SLOTS * _PIECES)
        self._received = _ffi.new("struct mmsghdr[]", SLOTS)
        self._answers = _ffi.new("struct mmsghdr[]", SLOTS)
        for slot in range(SLOTS):
            self._places[slot] = (self._buffer + slot * _STRIDE, _ROOM)
            self._set(self._received[slot].msg_hdr, slot, self._places + slot, 1)
            self._set(self._answers[slot].msg_hdr, slot, self._pieces + slot * _PIECES, _PIECES)
        self._bytes, self._piece_bytes = _ffi.buffer(self._buffer), _ffi.buffer(self._pieces)
        stride, at = _ffi.sizeof("struct mmsghdr"), _ffi.offsetof("struct mmsghdr", "msg_len")
        size = _ffi.sizeof("unsigned")
        self._lengths = memoryview(_ffi.buffer(self._received)).cast("B").cast("I")[at // size :: stride // size]
        self._starts = [slot * _STRIDE for slot in range(SLOTS)]
        self._behind_ids = [start + _ID_SIZE for start in self._starts]
        self._ends: list[int] = []
        self._parts: list[bytes] = [b""] * (SLOTS * _PIECES)
        places = [int(_ffi.cast("uintptr_t", self._buffer + start)) for start in self._starts]
        self._parts[::_PIECES] = [_IOVEC.pack(place, _ID_SIZE) for place in places]
        self._questions = [_Questions(place + _HEADER_SIZE) for place in places]

    def receive(self) -> list[bytes]:
        """See `Batch.receive`."""
        count = _libc.recvmmsg(self._fd, self._received, SLOTS, socket.MSG_DONTWAIT, _ffi.NULL)
        if count <= 0:  # nothing there, or the socket tells of an answer that met nobody
            return []
        data = self._bytes
        self._ends = list(map(add, self._starts, self._lengths[:count].tolist()))
        return [data[start:end] for start, end in zip(self._behind_ids, self._ends, strict=False)]

    def message(self, slot: int) -> bytes:
        """See `Batch.message`."""
        return _looked_at(bytes(self._bytes[self._starts[slot] : self._ends[slot]]))

    def sender(self, slot: int) -> Address:
        """See `Batch.sender`."""
        name = bytes(_ffi.buffer(self._names + slot * _NAME_SIZE, _NAME_SIZE))
        return socket.inet_ntoa(name[4:8]), int.from_bytes(name[2:4])

    def answer(
        self, heads: Sequence[bytes], sizes: Sequence[int], tails: Sequence[bytes], opts: Sequence[bytes]
    ) -> None:
        """See `Batch.answer`."""
        parts, end = self._parts, _PIECES * len(heads)
        parts[1:end:_PIECES] = heads
        parts[2:end:_PIECES] = [of_size[size] for of_size, size in zip(self._questions, sizes, strict=False)]
        parts[3:end:_PIECES] = tails
        parts[4:end:_PIECES] = opts
        self._piece_bytes[: end * _IOVEC.size] = b"".join(parts[:end] if end < len(parts) else parts)

    def send(self, first: int, end: int) -> int:
        """See `Batch.send`."""
        lost = 0
        while first < end:
            sent = _libc.sendmmsg(self._fd, self._answers + first, end - first, socket.MSG_DONTWAIT)
            if sent <= 0:  # the first one was not taken: the others may be
                sent = 1
                lost += 1
            first += sent
        return lost

    def _set(self, header: Any, slot: int, pieces: Any, count: int) -> None:
        header.msg_name, header.msg_namelen = self._names + slot * _NAME_SIZE, _NAME_SIZE
        header.msg_iov, header.msg_iovlen = pieces, count


class PortableBatch:
    """A batch by one system call for each datagram: for systems without `recvmmsg`."""

    def __init__(self, udp: socket.socket) -> None:
        self._udp = udp
        self._messages: list[tuple[bytes, Address]] = []
        self._answers: list[bytes] = []

    def receive(self) -> list[bytes]:
        """See `Batch.receive`."""
        self._messages = []
        with suppress(OSError):  # nothing there, or the socket tells of an answer that met nobody
            while len(self._messages) < SLOTS:
                self._messages.append(self._udp.recvfrom(_ROOM))
        return [message[_ID_SIZE:] for message, _ in self._messages]

    def message(self, slot: int) -> bytes:
        """See `Batch.message`."""
        return _looked_at(self._messages[slot][0])

    def sender(self, slot: int) -> Address:
        """See `Batch.sender`."""
        return self._messages[slot][1]

    def answer(
        self, heads: Sequence[bytes], sizes: Sequence[int], tails: Sequence[bytes], opts: Sequence[bytes]
    ) -> None:
        """See `Batch.answer`."""
        self._answers = [
            message[:_ID_SIZE] + gathered([head]) + message[_HEADER_SIZE:][:size] + gathered([tail, opt])
            for (message, _), head, size, tail, opt in zip(self._messages, heads, sizes, tails, opts, strict=True)
        ]

    def send(self, first: int, end: int) -> int:
        """See `Batch.send`."""
        answers = zip(self._answers[first:end], self._messages[first:end], strict=True)
        return sum(not send_to(self._udp, answer, sender) for answer, (_, sender) in answers)


def batch(udp: socket.socket) -> Batch:
    """Return the best batch that the system has."""
    return SystemBatch(udp) if hasattr(_libc, "recvmmsg") and hasattr(_libc, "sendmmsg") else PortableBatch(udp)


def send_to(udp: socket.socket, wire: bytes, address: Address) -> bool:
    """Send one datagram; return False if it is lost, as the system did not take it at once."""
    try:
        udp.sendto(wire, address)
    except OSError:
        return False
    return True


def _looked_at(datagram: bytes) -> bytes:
    return datagram if len(datagram) <= MAX_DATAGRAM else datagram[:_HEADER_SIZE]
