"""DNS queries off the wire. The only code that looks at bytes from strangers: it never raises, whatever they are."""

from typing import Final, NamedTuple

import dns.flags
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype

HEADER_SIZE: Final = 12
MAX_LABEL: Final = 63
MAX_NAME: Final = 255
_QUESTION_TAIL: Final = 4
_RECORD_TAIL: Final = 10
_OPTION_HEAD: Final = 4
_POINTER: Final = 0xC0


class Edns(NamedTuple):
    """What a query's OPT record says: version, the UDP payload that the sender can take, the DO bit.

    Source: RFC 6891 section 6.1.2 and RFC 3225 section 3.
    """

    version: int
    payload: int
    dnssec_ok: bool


class Query(NamedTuple):
    """A well-formed query of opcode QUERY with one question.

    Attributes:
        id: to be copied into the response.
        recursion_desired: the RD bit.
        qname: as the sender wrote it, so that the response can repeat its case.
        labels: the same in lower case, as zones know them. A dot or backslash inside a label is escaped, so that no two
            names are spelled alike; no zone has a backslash in a name.
        type, klass: as numbers; they may be unknown to us.
        edns: None if the query has no OPT record.
    """

    id: int
    recursion_desired: bool
    qname: dns.name.Name
    labels: tuple[str, ...]
    type: int
    klass: int
    edns: Edns | None

    @property
    def name(self) -> str:
        """The absolute name that is asked for, as zones know it."""
        return absolute(self.labels)


class Unusable(NamedTuple):
    """A message that gets a bare header as its answer: `rcode` is FORMERR or NOTIMP."""

    id: int
    opcode: int
    recursion_desired: bool
    rcode: dns.rcode.Rcode


class _Malformed(Exception):
    """The bytes end, or are not what they should be."""


def absolute(labels: tuple[str, ...]) -> str:
    """Return the absolute name of some labels."""
    return ".".join(labels) + "."


def are_options(data: bytes) -> bool:
    """Say whether the data of an OPT record are whole options. Source: RFC 6891 section 6.1.2."""
    at = 0
    while at + _OPTION_HEAD <= len(data):
        at += _OPTION_HEAD + int.from_bytes(data[at + 2 : at + _OPTION_HEAD])
    return at == len(data)


def parse(wire: bytes) -> Query | Unusable | None:
    """Return what a datagram asks; None for what gets no answer: less than a header, or itself a response.

    Source: RFC 1035 section 4.1; RFC 9619 section 4 (one question, else FORMERR); RFC 6891 section 6.1.1 (one OPT
    record, else FORMERR). Responses are never answered, so that two servers cannot be made to talk to each other.
    """
    if len(wire) < HEADER_SIZE:
        return None
    number, flags, *counts = (int.from_bytes(wire[at : at + 2]) for at in range(0, HEADER_SIZE, 2))
    if flags & dns.flags.QR:
        return None
    opcode, recursion_desired = flags >> 11 & 0xF, bool(flags & dns.flags.RD)
    if opcode != dns.opcode.QUERY:
        return Unusable(number, opcode, recursion_desired, dns.rcode.NOTIMP)
    try:
        return _query(wire, number, recursion_desired, counts)
    except _Malformed:
        return Unusable(number, opcode, recursion_desired, dns.rcode.FORMERR)


def _query(wire: bytes, number: int, recursion_desired: bool, counts: list[int]) -> Query:
    questions, answers, authorities, additionals = counts
    if questions != 1:
        raise _Malformed
    qname, at = _question_name(wire)
    tail = _take(wire, at, _QUESTION_TAIL)
    at += _QUESTION_TAIL
    for _ in range(answers + authorities):
        record_type, _record, at = _record_at(wire, at)
        if record_type == dns.rdatatype.OPT:
            raise _Malformed
    edns, at = _edns(wire, at, additionals)
    if at != len(wire):
        raise _Malformed
    labels = tuple(_spelled(label) for label in qname.labels[:-1])
    return Query(number, recursion_desired, qname, labels, int.from_bytes(tail[:2]), int.from_bytes(tail[2:]), edns)


def _spelled(label: bytes) -> str:
    return label.lower().decode("latin-1").replace("\\", "\\\\").replace(".", "\\.")


def _question_name(wire: bytes) -> tuple[dns.name.Name, int]:
    """Read the question's name; nothing stands before it that a compression pointer could mean."""
    labels: list[bytes] = []
    at = HEADER_SIZE
    while length := _take(wire, at, 1)[0]:
        if length > MAX_LABEL:
            raise _Malformed
        labels.append(_take(wire, at + 1, length))
        at += 1 + length
    if at + 1 - HEADER_SIZE > MAX_NAME:
        raise _Malformed
    return dns.name.Name((*labels, b"")), at + 1


def _edns(wire: bytes, at: int, additionals: int) -> tuple[Edns | None, int]:
    """Read the additional section and return what its OPT record says; other records (TSIG, say) are passed over."""
    edns = None
    for _ in range(additionals):
        start = at
        record_type, record, at = _record_at(wire, at)
        if record_type != dns.rdatatype.OPT:
            continue
        if edns is not None or wire[start] != 0:
            raise _Malformed
        if not are_options(record[_RECORD_TAIL:]):
            raise _Malformed
        flags = int.from_bytes(record[6:8])
        edns = Edns(record[5], int.from_bytes(record[2:4]), bool(flags & dns.flags.DO))
    return edns, at


def _record_at(wire: bytes, at: int) -> tuple[int, bytes, int]:
    """Return a record's type, its bytes from the type field on, and where the next one starts."""
    at = _after_name(wire, at)
    length = int.from_bytes(_take(wire, at, _RECORD_TAIL)[8:])
    record = _take(wire, at, _RECORD_TAIL + length)
    return int.from_bytes(record[:2]), record, at + len(record)


def _after_name(wire: bytes, at: int) -> int:
    """Return where a name ends that may end in a compression pointer, which is not followed."""
    while length := _take(wire, at, 1)[0]:
        if length >= _POINTER:
            _take(wire, at, 2)
            return at + 2
        if length > MAX_LABEL:
            raise _Malformed
        at += 1 + length
    return at + 1


def _take(wire: bytes, at: int, length: int) -> bytes:
    if at + length > len(wire):
        raise _Malformed
    return wire[at : at + length]
