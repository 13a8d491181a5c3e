"""DNS responses: what they say, and how that is put on the wire for UDP and TCP."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from resolver.query import Edns, Query, Unusable

UDP_PAYLOAD: Final = 1232
"""The largest datagram that we send, and the size that our OPT record offers. Source: DNS flag day 2020."""
UDP_PAYLOAD_WITHOUT_EDNS: Final = 512
"""Source: RFC 1035 section 4.2.1; smaller sizes in an OPT record mean this one, RFC 6891 section 6.2.3."""
MAX_MESSAGE: Final = 65_535
MAX_TTL: Final = 2**31 - 1
"""Source: RFC 2181 section 8."""

_OPCODE: Final = 0x7800
_LAST_ORDINARY_TYPE: Final = 127
_LAST_META_TYPE: Final = 255


class Transport(StrEnum):
    """What a query came over."""

    UDP = "udp"
    TCP = "tcp"


class Records(NamedTuple):
    """Records of one name and type.

    Attributes:
        owner: absolute name; None for the query's own, in the query's own case.
        type: A, TXT, ...
        ttl: seconds.
        values: in presentation format.
    """

    owner: str | None
    type: str
    ttl: int
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """What is to be answered.

    Attributes:
        rcode: the response code.
        answer, authority: the two sections.
        authoritative: the AA bit.
        zone: the zone that it comes from, None if it comes from none.
    """

    rcode: dns.rcode.Rcode
    answer: tuple[Records, ...] = ()
    authority: tuple[Records, ...] = ()
    authoritative: bool = False
    zone: str | None = None


class Reply(NamedTuple):
    """A response on the wire, with what the metrics count: its code, and the zone and type of an empty answer."""

    wire: bytes
    rcode: dns.rcode.Rcode
    empty: tuple[str, str] | None = None


def refusal(query: Query) -> Response | None:
    """Return the response to a query that no server here carries out, None for a query that may go on.

    Source: RFC 6891 section 6.1.3 (BADVERS); RFC 5936 section 2.2.1 (REFUSED zone transfers); RFC 6895 section 3.1
    (types 128 to 255 and OPT are meta-types).
    """
    if query.edns is not None and query.edns.version > 0:
        return Response(dns.rcode.BADVERS)
    if query.klass not in (dns.rdataclass.IN, dns.rdataclass.ANY):
        return Response(dns.rcode.REFUSED)
    if query.type in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
        return Response(dns.rcode.REFUSED)
    is_meta = _LAST_ORDINARY_TYPE < query.type <= _LAST_META_TYPE or query.type == dns.rdatatype.OPT
    if is_meta and query.type != dns.rdatatype.ANY:
        return Response(dns.rcode.NOTIMP)
    return None


def bare(unusable: Unusable) -> Reply:
    """Return the answer to a message without a usable question: a header and nothing else."""
    message = dns.message.Message(id=unusable.id)
    message.flags = dns.flags.QR | (dns.flags.RD if unusable.recursion_desired else 0)
    message.flags |= dns.opcode.to_flags(dns.opcode.Opcode.make(unusable.opcode))
    message.set_rcode(unusable.rcode)
    return Reply(message.to_wire(), unusable.rcode)


def failure(message: bytes) -> Reply:
    """Return SERVFAIL as a bare header, by the simplest of means, for a query that could not be looked at."""
    flags = int.from_bytes(message[2:4]) & (_OPCODE | dns.flags.RD) | dns.flags.QR | dns.rcode.SERVFAIL
    return Reply(message[:2] + flags.to_bytes(2) + bytes(8), dns.rcode.SERVFAIL)


def render(query: Query, response: Response, transport: Transport, *, recursive: bool) -> Reply:
    """Put a response on the wire.

    A response that is too large for UDP goes out without records and with TC set, so that the asker comes back over
    TCP. Records that cannot be put on the wire make it SERVFAIL: a bad value in a zone must not stop the server.

    Args:
        query: the query to repeat.
        response: what to say.
        transport: what it goes out over.
        recursive: the RA bit: whether this server asks others.
    Source: RFC 2181 section 9 (TC), RFC 6891 section 6.2.5 (sizes).
    """
    try:
        wire = _wire(query, response, recursive=recursive)
    except (dns.exception.DNSException, ValueError):
        response = Response(dns.rcode.SERVFAIL, zone=response.zone)
        wire = _wire(query, response, recursive=recursive)
    if transport is Transport.UDP and len(wire) > _udp_limit(query.edns):
        shortened = Response(response.rcode, authoritative=response.authoritative)
        wire = _wire(query, shortened, recursive=recursive, flags=dns.flags.TC)
    return Reply(wire, response.rcode, _empty(query, response))


@lru_cache(maxsize=1024)
def type_text(record_type: int) -> str:
    """Return a type's name, `TYPE65280` for one that has none."""
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(record_type))


def _empty(query: Query, response: Response) -> tuple[str, str] | None:
    """Return zone and type of an answer that is NOERROR without records, None for any other."""
    if response.zone is None or response.answer or response.rcode != dns.rcode.NOERROR:
        return None
    return response.zone, counted_type(query.type)


def counted_type(record_type: int) -> str:
    """Return a type as the metrics have it.

    Types without a name are one, so that strangers cannot fill the metrics with as many as there are numbers.
    """
    text = type_text(record_type)
    return "other" if text.startswith("TYPE") else text


def _udp_limit(edns: Edns | None) -> int:
    return UDP_PAYLOAD_WITHOUT_EDNS if edns is None else min(UDP_PAYLOAD, max(UDP_PAYLOAD_WITHOUT_EDNS, edns.payload))


def _wire(query: Query, response: Response, *, recursive: bool, flags: int = 0) -> bytes:
    message = dns.message.Message(id=query.id)
    flags |= dns.flags.QR
    flags |= dns.flags.RD if query.recursion_desired else 0
    flags |= dns.flags.AA if response.authoritative else 0
    flags |= dns.flags.RA if recursive else 0
    message.flags = dns.flags.Flag(flags)
    if query.edns is not None:
        message.use_edns(0, dns.flags.DO if query.edns.dnssec_ok else 0, UDP_PAYLOAD)
    message.set_rcode(response.rcode)
    klass, kind = dns.rdataclass.RdataClass.make(query.klass), dns.rdatatype.RdataType.make(query.type)
    message.question = [dns.rrset.RRset(query.qname, klass, kind)]
    message.answer = [_rrset(query, records) for records in response.answer]
    message.authority = [_rrset(query, records) for records in response.authority]
    return message.to_wire(max_size=MAX_MESSAGE, want_shuffle=False)  # chance is injected, never dnspython's own


def _rrset(query: Query, records: Records) -> dns.rrset.RRset:
    owner = query.qname if records.owner is None else dns.name.from_text(records.owner)
    ttl = min(MAX_TTL, max(0, records.ttl))
    return dns.rrset.from_rdata_list(owner, ttl, [_rdata(records.type, value) for value in records.values])


@lru_cache(maxsize=10_000)
def _rdata(record_type: str, value: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, record_type, value)
