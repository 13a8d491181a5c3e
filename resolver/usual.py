"""Queries of the usual kind, which is what nearly everybody sends: read by their bytes, without building a DNS name.

`resolver.query` says what is right, and reads all others.
"""

from typing import Final, NamedTuple

import dns.rdatatype

from resolver.message import UDP_PAYLOAD
from resolver.query import HEADER_SIZE, MAX_LABEL, MAX_NAME, are_options

ID_SIZE: Final = 2
QUESTION_TAIL: Final = 4
"""Bytes of a question's type and class."""
OPT_SIZE: Final = 11
"""Bytes of an OPT record without options."""
MAX_OPTIONS: Final = 128
"""Bytes of options that are left out of what is usual; a cookie has at most 44. Source: RFC 7873 section 4."""

_COUNTS_AT: Final = 4
_NAME_AT: Final = HEADER_SIZE - ID_SIZE
_QR_AND_OPCODE: Final = 0xF8
_RD: Final = 0x01
_DO: Final = 0x80
_COUNTS: Final = {bytes((0, 1, 0, 0, 0, 0, 0, 0)): False, bytes((0, 1, 0, 0, 0, 0, 0, 1)): True}
"""One question alone, or with one additional record."""
_ONLY_ADDITIONAL: Final = bytes((0, 0, 0, 0, 0, 1))
_OPT_START: Final = b"\0\0\x29"
_OPT_VERSION, _OPT_FLAGS = 6, 7
_USUAL_OPTS: Final = {
    dnssec_ok: _OPT_START + UDP_PAYLOAD.to_bytes(2) + b"\0\0" + bytes((dnssec_ok, 0)) + b"\0\0"
    for dnssec_ok in (0, _DO)
}
"""What OPT records of version 0 have in common by their DO bit: the payload matters to answers over 512 bytes alone."""
_FLAGS: Final = tuple(bytes((first & (_QR_AND_OPCODE | _RD), 0)) for first in range(256))
"""By a header's first byte of flags, what matters of both: AA, TC, RA, Z, AD, CD and the code mean nothing in a query.

`resolver.query` reads neither those nor an OPT record's extended code and other flags."""
_CLASS_IN: Final = b"\0\1"
_DOT: Final = ord(".")
_OTHER_TYPES: Final = frozenset((dns.rdatatype.OPT, *range(128, 256)))
"""Meta-types: ANY, zone transfers, and what is refused."""


class Asked(NamedTuple):
    """A query of the usual kind: one question of class IN, one OPT record of version 0 or none, and nothing else.

    Attributes:
        name: absolute and in lower case, as zones know it; not the root, and no label has a dot or backslash in it.
        type: as a number, of no meta-type; it may be unknown to us.
        size: of the question, in bytes.
        recursion_desired: the RD bit.
        dnssec_ok: the DO bit; None without an OPT record.
    """

    name: str
    type: int
    size: int
    recursion_desired: bool
    dnssec_ok: bool | None


def usual(message: bytes) -> bytes | None:
    """Return what queries with the same answers have in common, as bytes behind the ID; None if it is no query.

    It is a query itself. Answers that are the same are those of up to 512 bytes.
    """
    if (end := _name_end(message)) is None:
        return None
    rest = message[end:]
    if QUESTION_TAIL + OPT_SIZE <= len(rest) <= QUESTION_TAIL + OPT_SIZE + MAX_OPTIONS:
        rest = _with_usual_opt(message, rest)
    return _FLAGS[message[ID_SIZE]] + message[_COUNTS_AT:HEADER_SIZE] + message[HEADER_SIZE:end].lower() + rest


def read(query: bytes) -> Asked | None:
    """Return what is asked by a query as `usual` returns it; None if it is of another kind."""
    has_opt = _COUNTS.get(query[2:_NAME_AT])
    if has_opt is None or query[0] & _QR_AND_OPCODE:
        return None
    spelled, at, labels = bytearray(query), _NAME_AT, 0
    while length := query[at]:
        spelled[at] = _DOT
        at += 1 + length
        labels += 1
    name = spelled[_NAME_AT + 1 : at].decode("latin-1") + "."
    if not labels or name.count(".") != labels or "\\" in name or at - _NAME_AT >= MAX_NAME:
        return None
    kind, klass, opt = query[at + 1 : at + 3], query[at + 3 : at + 5], query[at + 5 :]
    if klass != _CLASS_IN or (number := int.from_bytes(kind)) in _OTHER_TYPES or has_opt != _is_opt(opt):
        return None
    if not has_opt and opt:
        return None
    size = at + 1 - _NAME_AT + QUESTION_TAIL
    return Asked(name, number, size, bool(query[0] & _RD), bool(opt[_OPT_FLAGS] & _DO) if has_opt else None)


def _is_opt(record: bytes) -> bool:
    """Say whether some bytes are one OPT record of version 0 with whole options."""
    options = record[OPT_SIZE:]
    return (
        record.startswith(_OPT_START)
        and len(record) >= OPT_SIZE
        and not record[_OPT_VERSION]
        and int.from_bytes(record[OPT_SIZE - 2 : OPT_SIZE]) == len(options)
        and are_options(options)
    )


def _with_usual_opt(message: bytes, rest: bytes) -> bytes:
    """Return a question's tail and the usual OPT record, without options, of which we know none; else all as it is."""
    opt = rest[QUESTION_TAIL:]
    if message[HEADER_SIZE - len(_ONLY_ADDITIONAL) : HEADER_SIZE] == _ONLY_ADDITIONAL and _is_opt(opt):
        return rest[:QUESTION_TAIL] + _USUAL_OPTS[opt[_OPT_FLAGS] & _DO]
    return rest


def _name_end(message: bytes) -> int | None:
    """Return where the name ends of a message that may be a query; None if it is none, or ends within its question."""
    at, size = HEADER_SIZE, len(message)
    while at < size and (length := message[at]):
        if length > MAX_LABEL:
            return None
        at += 1 + length
    return at + 1 if at + QUESTION_TAIL < size else None
