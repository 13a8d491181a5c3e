"""Records on the wire without dnspython: addresses, simple TXT values, and the SOA; of anything else nothing.

Byte for byte what `resolver.message` makes of them, which says what is right. Names are compressed as dnspython does
it: an owner that was asked for is a pointer to the question, and so is the zone's name wherever it ends another name.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, NamedTuple, cast

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.SOA import SOA

from fencepost.records import RecordSet
from resolver.answer import negative_ttl, with_serial
from resolver.message import MAX_TTL
from resolver.query import HEADER_SIZE

_POINTER: Final = 0xC000
_OWNER: Final = (_POINTER | HEADER_SIZE).to_bytes(2)
"""A compression pointer to the question's name. Source: RFC 1035 section 4.1.4."""
_CLASS_IN: Final = b"\0\1"
_POINTER_SIZE: Final = 2
_SIMPLE_TEXT: Final = re.compile(r'"([ !#-\[\]-~]{0,255})"')
"""A TXT value of one string, without escapes."""

_PLAIN_ZONE: Final = re.compile(r"(?=.{1,180}\Z)(?:[a-z0-9_-]{1,63}\.)+")
_PLAIN_SOA: Final = re.compile(r"([A-Za-z0-9_-]{1,63})\.(\S+) ([A-Za-z0-9_-]{1,63})\.(\S+)" + " ([0-9]{1,9})" * 5)
"""A zone's name, and an SOA value, without anything that a master file could say in another way."""

_FAMILIES: Final[dict[int, tuple[int, bytes]]] = {
    dns.rdatatype.A: (AF_INET, b"\0\4"),
    dns.rdatatype.AAAA: (AF_INET6, b"\0\x10"),
}
"""Of addresses, with their size as a record states it."""

Datum = Callable[[str], bytes]
"""Puts a value on the wire, behind its size. Raises: OSError or ValueError if it is not of a simple kind."""


def _address(family: int, size: bytes) -> Datum:
    return lambda value: size + inet_pton(family, value)


def _text(value: str) -> bytes:
    if (match := _SIMPLE_TEXT.fullmatch(value)) is None:
        raise ValueError(value)
    text = match[1].encode("ascii")
    return (len(text) + 1).to_bytes(2) + len(text).to_bytes(1) + text


DATA: Final[dict[int, Datum]] = {
    dns.rdatatype.TXT: _text,
    **{kind: _address(*family) for kind, family in _FAMILIES.items()},
}
"""By type, what is put on the wire here."""


def records(kind: int, record_set: RecordSet) -> list[bytes] | None:
    """Return the records of a set of one of the types in `DATA`, each once; None if a value is not of a simple kind."""
    head, datum = _head(kind, record_set.ttl), DATA[kind]
    try:
        return [head + data for data in dict.fromkeys(map(datum, record_set.values))]
    except (OSError, ValueError):
        return None


def one_each(kind: int, record_sets: Sequence[RecordSet]) -> list[bytes] | None:
    """Return the record of each of some sets of addresses in little time; None if they have not one each, and one TTL.

    It is for the sets of a tree, of which there are hundreds; `records` says the same of any of them.
    """
    ttls, counts = {r.ttl for r in record_sets}, {len(r.values) for r in record_sets}
    if kind not in _FAMILIES or len(ttls) > 1 or counts != {1}:
        return None
    family, size = _FAMILIES[kind]
    head = _head(kind, *ttls) + size
    try:
        return [head + inet_pton(family, record_set.values[0]) for record_set in record_sets]
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _head(kind: int, ttl: int | None) -> bytes:
    return _OWNER + kind.to_bytes(2) + _CLASS_IN + min(MAX_TTL, max(0, ttl or 0)).to_bytes(4)


class _SoaParts(NamedTuple):
    """An SOA record but for its serial, and for the pointers to the zone's name in front of and between the parts.

    Attributes:
        parts: from the type to the server's label; the mailbox's label.
        timers: behind the serial.
        in_the_way: ends of names, with a dot in front, which would be pointed to instead of the zone's name.
    """

    parts: tuple[bytes, bytes]
    timers: bytes
    in_the_way: tuple[str, str]


class _Soa(NamedTuple):
    """What an SOA says: the labels in front of the zone's name, and its numbers behind the serial."""

    labels: tuple[bytes, bytes]
    numbers: tuple[int, int, int, int]


def soa_record(zone: str, soa: RecordSet, serial: int, name: str, *, negative: bool) -> bytes | None:
    """Return a zone's SOA as an answer to a question carries it; None if it is not of the usual kind.

    Usual are a name server and a mailbox that are one label in front of the zone's name.

    Args:
        zone: its name.
        soa: its SOA.
        serial: of the zone's state.
        name: what was asked for, in the zone; no label has a dot in it.
        negative: whether it says how long the name may be taken for missing.
    """
    try:
        made = _soa_parts(zone, soa.values[0], negative_ttl(soa) if negative else soa.ttl or 0)
    except (ValueError, IndexError):  # an SOA value that is none
        return None
    if made is None or f".{name}".endswith(made.in_the_way):
        return None
    pointer = (_POINTER | HEADER_SIZE + len(name) - len(zone)).to_bytes(2)
    first, second = made.parts
    return b"".join((pointer, first, pointer, second, pointer, (serial % 2**32).to_bytes(4), made.timers))


@lru_cache(maxsize=4096)
def _soa_parts(zone: str, value: str, ttl: int) -> _SoaParts | None:
    read = _plain_soa(zone, value) or _any_soa(zone, value)
    if read is None or read.labels[0].lower() == read.labels[1].lower():
        return None
    labels = read.labels
    server, mailbox = (len(label).to_bytes(1) + label for label in labels)
    timers = b"".join(number.to_bytes(4) for number in read.numbers)
    size = len(server) + len(mailbox) + 2 * _POINTER_SIZE + 4 + len(timers)
    head = dns.rdatatype.SOA.to_bytes(2) + _CLASS_IN + min(MAX_TTL, max(0, ttl)).to_bytes(4) + size.to_bytes(2)
    ends = tuple(f".{label.lower().decode('latin-1')}.{zone}" for label in labels)
    return _SoaParts((head + server, mailbox), timers, cast("tuple[str, str]", ends))


def _plain_soa(zone: str, value: str) -> _Soa | None:
    """Read an SOA as zones of ours have it: dnspython takes 66 us, for each zone, while its first plan is installed."""
    plain = _PLAIN_SOA.fullmatch(value)
    if plain is None or not (plain[2] == plain[4] == zone) or _PLAIN_ZONE.fullmatch(zone) is None:
        return None
    _, refresh, retry, expire, minimum = map(int, plain.groups()[4:])
    return _Soa((plain[1].encode(), plain[3].encode()), (refresh, retry, expire, minimum))


def _any_soa(zone: str, value: str) -> _Soa | None:
    try:
        soa = cast("SOA", dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.SOA, with_serial(value, 0)))
    except dns.exception.DNSException:
        return None
    apex, (server, mailbox) = dns.name.from_text(zone), (soa.mname, soa.rname)
    for name in (server, mailbox):
        if apex == dns.name.root or not name.is_subdomain(apex) or len(name) != len(apex) + 1:
            return None
    return _Soa((server.labels[0], mailbox.labels[0]), (soa.refresh, soa.retry, soa.expire, soa.minimum))
