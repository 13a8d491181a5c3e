"""Preparing answers: all that a name and type may be answered, ready for the wire but for the query's own bytes.

`resolver.answer` and `resolver.message` say what is right; what is prepared here is byte for byte what they would send
for the same draw of chance. Most of it they make themselves. Only sets of addresses are put on the wire here, since an
endpoint has hundreds, and changes in one go.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

import dns.flags
import dns.rcode
import dns.rdatatype

from fencepost.records import RecordSet
from resolver.answer import MAX_CHAIN, eligible, respond, zone_of
from resolver.message import MAX_TTL, UDP_PAYLOAD_WITHOUT_EDNS, Reply, Transport, render, type_text
from resolver.query import HEADER_SIZE, Query
from resolver.zone import ZoneImage

OPT_SIZE: Final = 11
"""Bytes of an OPT record without options."""
_OWNER: Final = (0xC000 | HEADER_SIZE).to_bytes(2)
"""A compression pointer to the question's name. Source: RFC 1035 section 4.1.4."""
_CLASS_IN: Final = b"\0\1"
_QUESTION_TAIL: Final = 4
_FAMILIES: Final = {
    dns.rdatatype.A: (AF_INET, (4).to_bytes(2)),
    dns.rdatatype.AAAA: (AF_INET6, (16).to_bytes(2)),
}
"""Of addresses, with their size as a record states it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a name and type are answered, in one state of a zone.

    Attributes:
        zone: the zone's name.
        names: whose record sets it was made from.
        by_serial: whether it has the zone's serial in it.
        flags: QR and AA; the query's RD is to be added.
        answers, authorities: counts of records.
        tails: the bytes of these records, one of which is to be chosen; never more than fits into any UDP answer.
        weights: of the tails; whole numbers above 0.
        empty: zone and type if there are no records.
    """

    zone: str
    names: tuple[str, ...]
    by_serial: bool
    flags: int
    answers: int
    authorities: int
    tails: tuple[bytes, ...]
    weights: tuple[int, ...]
    empty: tuple[str, str] | None = None


def prepare(zones: Mapping[str, ZoneImage], query: Query, rng: random.Random) -> Prepared | None:
    """Return the answers to a query of class IN that is not refused; None if they are not for preparing.

    Not prepared are answers outside of the zones, of type ANY, by way of CNAMEs or of weighted aliases, of weighted
    record sets that are no addresses, and whatever is large. Nor is NXDOMAIN, as there is no end of names that are not.

    Args:
        zones: by name.
        query: what is asked; its RD, case and OPT record do not matter.
        rng: not drawn from, as nothing is left to chance in what is rendered whole.
    """
    if query.type == dns.rdatatype.ANY or (zone := zone_of(zones, query.labels)) is None:
        return None
    if (followed := _followed(zone, query.name, type_text(query.type))) is None:
        return None
    names, candidates = followed
    if not zone.exists(query.name):  # before it is rendered, which the slow path does again
        return None
    if candidates and query.type in _FAMILIES:
        return _addresses(zone, query, names, candidates)
    if len(candidates) > 1:
        return None
    plain = query._replace(recursion_desired=False, edns=None)
    sent = render(plain, respond(zones, plain, rng), Transport.UDP, recursive=False)
    return _rendered(zone, query, names, sent)


def _followed(zone: ZoneImage, name: str, record_type: str) -> tuple[tuple[str, ...], tuple[RecordSet, ...]] | None:
    """Return every name on the way through aliases, and what may be chosen from at its end, which may be nothing.

    None if a choice leads on, or a CNAME, or nothing ends it.
    """
    if "CNAME" in zone.types(name):
        return None
    names = [name]
    for _ in range(MAX_CHAIN + 1):
        candidates = eligible(zone.sets(names[-1], record_type))
        if not any(candidate.alias for candidate in candidates):
            return tuple(names), candidates
        if len(candidates) > 1 or (alias := candidates[0].alias) is None:
            return None
        names.append(alias)
    return None


def _addresses(
    zone: ZoneImage, query: Query, names: tuple[str, ...], candidates: tuple[RecordSet, ...]
) -> Prepared | None:
    """Return weighted addresses; None if some are none, if they are many, or not equally many in each record set."""
    try:
        parts = list(_records(candidates, query.type))
    except (OSError, ValueError):
        return None
    count, *others = {len(records) for records in parts}
    tails = tuple(map(b"".join, parts))
    if others or not _fits(query, tails[0]):
        return None
    weights = tuple(candidate.weight or 0 for candidate in candidates)
    if not any(weights):  # as for the only one, which may have no weight
        weights = (1,) * len(candidates)
    flags = int(dns.flags.QR | dns.flags.AA)
    return Prepared(zone.name, names, False, flags, count, 0, tails, weights)  # noqa: FBT003 (fields, in order)


def _records(candidates: tuple[RecordSet, ...], kind: int) -> Iterator[list[bytes]]:
    """Yield each record set's addresses on the wire, each once. Raises: OSError or ValueError if one is none."""
    family, size = _FAMILIES[dns.rdatatype.RdataType(kind)]
    owner = _OWNER + kind.to_bytes(2) + _CLASS_IN
    heads = {ttl: owner + min(MAX_TTL, max(0, ttl or 0)).to_bytes(4) + size for ttl in {c.ttl for c in candidates}}
    for candidate in candidates:
        head = heads[candidate.ttl]
        yield [head + address for address in {inet_pton(family, value): None for value in candidate.values}]


def _rendered(zone: ZoneImage, query: Query, names: tuple[str, ...], sent: Reply) -> Prepared | None:
    """Return an answer that was rendered whole; None for failures, and for what is large."""
    tail = sent.wire[HEADER_SIZE + question_size(query) :]
    if sent.rcode != dns.rcode.NOERROR or not tail or not _fits(query, tail):
        return None
    flags, answers, authorities = (int.from_bytes(sent.wire[at : at + 2]) for at in (2, 6, 8))
    by_serial = authorities > 0 or query.type == dns.rdatatype.SOA
    return Prepared(zone.name, names, by_serial, flags, answers, authorities, (tail,), (1,), sent.empty)


def _fits(query: Query, tail: bytes) -> bool:
    """Say whether a tail makes an answer that any asker can take, with an OPT record or without."""
    return HEADER_SIZE + question_size(query) + len(tail) + OPT_SIZE <= UDP_PAYLOAD_WITHOUT_EDNS


def question_size(query: Query) -> int:
    """Return the bytes of a question: name, type and class."""
    return sum(1 + len(label) for label in query.qname.labels) + _QUESTION_TAIL
