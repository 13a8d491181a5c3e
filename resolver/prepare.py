"""Preparing answers: all that a name and type may be answered, or one of it, as bytes that only lack the query's own.

`resolver.answer` and `resolver.message` say what is right; what is made here is byte for byte what they would send for
the same draw of chance. What is asked all the time is put on the wire here: addresses, since an endpoint has hundreds
and they change in one go, TXT and what is not there, since enactors ask for that while they build. The rest they make.
"""

import random
import sys
from collections.abc import Collection, Mapping
from math import gcd
from typing import Final, NamedTuple

import dns.flags
import dns.rcode
import dns.rdatatype

from fencepost.records import RecordSet
from resolver.answer import MAX_CHAIN, choose, eligible, respond
from resolver.message import UDP_PAYLOAD_WITHOUT_EDNS, Transport, counted_type, render, type_text
from resolver.query import HEADER_SIZE, Query, parse
from resolver.usual import OPT_SIZE, QUESTION_TAIL, Asked
from resolver.wire import DATA, one_each, records, soa_record
from resolver.zone import ZoneImage

_FLAGS: Final = int(dns.flags.QR | dns.flags.AA)
_LEAST: Final[dict[int, int]] = {dns.rdatatype.A: 16, dns.rdatatype.AAAA: 28}
_LEAST_OF_OTHERS: Final = 13
"""Bytes of the smallest record of a type."""
_RCODE: Final = 0xF
_NO_ALIAS: Final = frozenset((None,))


class Found(NamedTuple):
    """Where a question leads in a zone.

    Attributes:
        zone: the zone that it lies in.
        names: every name on the way through aliases; the first is the question's.
        candidates: what may be chosen from at its end, which may be nothing.
    """

    zone: ZoneImage
    names: tuple[str, ...]
    candidates: tuple[RecordSet, ...]

    @property
    def is_there(self) -> bool:
        """Whether the name that was asked for is there."""
        return self.zone.exists(self.names[0])


class Prepared(NamedTuple):
    """What a name and type are answered, in one state of a zone.

    Attributes:
        zone: the zone's name.
        names: whose record sets it was made from.
        flags: QR, AA and the response code; the query's RD is to be added.
        answers, authorities: counts of records.
        tails: the bytes of these records, one of which is to be chosen; never more than fits into any UDP answer.
        weights: of the tails; whole numbers above 0.
        by_serial: whether it has the zone's serial in it.
        empty: zone and type if there are no records, but the name is there.
    """

    zone: str
    names: tuple[str, ...]
    flags: int
    answers: int
    authorities: int
    tails: tuple[bytes, ...]
    weights: tuple[int, ...] = (1,)
    by_serial: bool = False
    empty: tuple[str, str] | None = None

    @property
    def rcode(self) -> dns.rcode.Rcode:
        """The response code."""
        return dns.rcode.Rcode(self.flags & _RCODE)

    @property
    def form(self) -> tuple[object, ...]:
        """What must be equal for a query's head to stay as it is, and for being counted and dropped alike."""
        return self.flags, self.answers, self.authorities, self.by_serial, self.empty


REFUSED: Final = Prepared("", (), int(dns.flags.QR) | dns.rcode.REFUSED, 0, 0, ())
"""What is answered outside of the zones."""


def zone_of(zones: Collection[str], name: str, awaited: Collection[str]) -> str | None:
    """Return the longest name of a zone that a name lies in, be it there or awaited; None if it lies in none."""
    while name:
        if name in zones or name in awaited:
            return name
        name = name.partition(".")[2]
    return None


def find(zone: ZoneImage, asked: Asked, most: int = sys.maxsize) -> Found | None:
    """Return where a question leads in its zone; None by way of CNAMEs or weighted aliases, or to more than `most`."""
    if zone.sets(asked.name, "CNAME"):
        return None
    names: tuple[str, ...] = (asked.name,)
    kind = type_text(asked.type)
    for _ in range(MAX_CHAIN + 1):
        if len(sets := zone.sets(names[-1], kind)) > most:
            return None
        candidates = eligible(sets)
        if {candidate.alias for candidate in candidates} <= _NO_ALIAS:
            return Found(zone, names, candidates)
        if len(candidates) > 1 or (alias := candidates[0].alias) is None:
            return None
        names = (*names, alias)
    return None


def is_large(found: Found, asked: Asked) -> bool:
    """Say whether there are so many values that some answer cannot be small; it costs next to nothing to say."""
    values = max((len(candidate.values) for candidate in found.candidates), default=0)
    return HEADER_SIZE + asked.size + values * _LEAST.get(asked.type, _LEAST_OF_OTHERS) > UDP_PAYLOAD_WITHOUT_EDNS


def one(found: Found, asked: Asked, rng: random.Random) -> Prepared | None:
    """Return one answer, by chance; None if it is not of the kinds that are put on the wire here, or is large."""
    if not found.candidates:
        return _negative(found, asked)
    chosen = choose(found.candidates, rng)
    if asked.type == dns.rdatatype.SOA:
        return _soa(found, asked, chosen)
    if asked.type not in DATA or not (parts := records(asked.type, chosen)):
        return None
    tail = parts[0] if len(parts) == 1 else b"".join(parts)
    return Prepared(found.zone.name, found.names, _FLAGS, len(parts), 0, (tail,)) if _fits(asked, tail) else None


def every(
    zones: Mapping[str, ZoneImage], found: Found, asked: Asked, message: bytes, rng: random.Random
) -> Prepared | None:
    """Return all answers to a question about a name that is there; None if they are not for preparing.

    Not prepared are weighted record sets that are not put on the wire here, or are not equally many records each, and
    whatever is large. Nor are names that are not there, as there is no end of them.

    Args:
        zones: by name.
        found: where the question leads.
        asked: the question.
        message: the query.
        rng: not drawn from, as nothing is left to chance where there is one answer.
    """
    if not found.is_there:
        return None
    if len(found.candidates) > 1:
        return _weighted(found, asked)
    if (answer := one(found, asked, rng)) is not None:
        return answer
    if found.candidates and asked.type in DATA and records(asked.type, found.candidates[0]):
        return None  # it is large, and others would make it only to find the same
    return _rendered(zones, found, asked, message, rng)


def again(zone: ZoneImage, key: tuple[str, int], rng: random.Random, most: int) -> Prepared | None:
    """Return all answers to a question in another state of its zone; None if that would take long, or are none.

    Args:
        zone: as it is now.
        key: name and type of the question.
        rng: not drawn from.
        most: how many answers there may be.
    Returns: what `every` would, where it puts them on the wire itself.
    """
    name, kind = key
    asked = Asked(name, kind, len(name) + 1 + QUESTION_TAIL, recursion_desired=False, dnssec_ok=None)
    found = find(zone, asked, most)
    if found is None or not found.candidates or is_large(found, asked):
        return None
    return _weighted(found, asked) if len(found.candidates) > 1 else one(found, asked, rng)


def _weighted(found: Found, asked: Asked) -> Prepared | None:
    if (tails := one_each(asked.type, found.candidates)) is not None:
        count, largest = 1, tails[0]
    elif asked.type in DATA:
        parts = [records(asked.type, candidate) or [] for candidate in found.candidates]
        tails = [b"".join(some) for some in parts]
        count, *others = {len(some) for some in parts}
        if not count or others:
            return None
        largest = max(tails, key=len)
    else:
        return None
    if not _fits(asked, largest):
        return None
    weights = [candidate.weight or 0 for candidate in found.candidates]
    if divisor := gcd(*weights):
        weights = [weight // divisor for weight in weights] if divisor > 1 else weights
    else:  # no weight at all means equal chances
        weights = [1] * len(tails)
    return Prepared(found.zone.name, found.names, _FLAGS, count, 0, tuple(tails), tuple(weights))


def _negative(found: Found, asked: Asked) -> Prepared | None:
    """Return NODATA or NXDOMAIN with the SOA. Source: RFC 2308 section 3."""
    zone = found.zone
    if (soa := zone.soa) is None:
        return None
    if (record := soa_record(zone.name, soa, zone.serial, asked.name, negative=True)) is None:
        return None
    rcode = dns.rcode.NOERROR if found.is_there else dns.rcode.NXDOMAIN
    empty = None if rcode else (zone.name, counted_type(asked.type))
    return Prepared(zone.name, found.names, _FLAGS | rcode, 0, 1, (record,), by_serial=True, empty=empty)


def _soa(found: Found, asked: Asked, soa: RecordSet) -> Prepared | None:
    zone = found.zone
    if found.names != (zone.name,):
        return None
    if (record := soa_record(zone.name, soa, zone.serial, asked.name, negative=False)) is None:
        return None
    return Prepared(zone.name, found.names, _FLAGS, 1, 0, (record,), by_serial=True)


def _rendered(
    zones: Mapping[str, ZoneImage], found: Found, asked: Asked, message: bytes, rng: random.Random
) -> Prepared | None:
    """Return an answer that others put on the wire; None for failures, and for what is large."""
    query = parse(message)
    assert isinstance(query, Query), "what is of the usual kind can be read"
    plain = query._replace(recursion_desired=False, edns=None)
    sent = render(plain, respond(zones, plain, rng), Transport.UDP, recursive=False)
    tail = sent.wire[HEADER_SIZE + asked.size :]
    if sent.rcode != dns.rcode.NOERROR or not tail or not _fits(asked, tail):
        return None
    flags, answers, authorities = (int.from_bytes(sent.wire[at : at + 2]) for at in (2, 6, 8))
    by_serial = authorities > 0 or asked.type == dns.rdatatype.SOA
    return Prepared(
        found.zone.name, found.names, flags, answers, authorities, (tail,), by_serial=by_serial, empty=sent.empty
    )


def _fits(asked: Asked, tail: bytes) -> bool:
    """Say whether some records make an answer that any asker can take, with an OPT record or without."""
    return HEADER_SIZE + asked.size + len(tail) + OPT_SIZE <= UDP_PAYLOAD_WITHOUT_EDNS
