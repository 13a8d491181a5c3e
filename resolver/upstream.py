"""Asking the authoritative server on behalf of the caching one, with aiodns."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple, Protocol

import aiodns
import dns.name
import dns.rcode
import pycares

from fencepost.settings import LOOPBACK
from resolver.message import Records

TIMEOUT_S: Final = 2.0
"""Longest wait for all that one miss needs."""
TRY_TIMEOUT_S: Final = 0.5
TRIES: Final = 3
MAX_AT_ONCE: Final = 64
"""Misses on their way at one time; each has a socket and a thread of c-ares."""
TYPES: Final = ("A", "AAAA", "CNAME", "NS", "SOA", "TXT")
"""The types that are asked for."""

_TYPE_TEXT: Final = {aiodns.query_type_map[text]: text for text in TYPES}
_NODATA: Final = pycares.errno.ARES_ENODATA
_NXDOMAIN: Final = pycares.errno.ARES_ENOTFOUND
_REFUSED: Final = pycares.errno.ARES_EREFUSED
_CHUNK: Final = 255
_PRINTABLE: Final = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')


class Found(NamedTuple):
    """What the authoritative server said, or SERVFAIL if it said nothing usable.

    Attributes:
        rcode: NOERROR, NXDOMAIN, REFUSED or SERVFAIL.
        records: the answer section.
        soa: for NODATA and NXDOMAIN the zone's SOA, its TTL being the negative TTL; None if no zone was found.
    """

    rcode: dns.rcode.Rcode
    records: tuple[Records, ...] = ()
    soa: Records | None = None


class Upstream(Protocol):
    """Whom the caching resolver asks."""

    async def ask(self, qname: dns.name.Name, record_type: str) -> Found:
        """Return what is known now of a name and one of `TYPES`; never raises, takes `TIMEOUT_S` at most."""


class AiodnsUpstream:
    """The server on a loopback port.

    c-ares keeps answers itself, and pycares has no switch for that; so each miss gets a resolver of its own, which is
    closed afterwards. Its time-outs adapt to the answers it has seen, of which a fresh one has none: hence the bound
    around all of it.
    """

    def __init__(self, port: int) -> None:
        self._server = f"{LOOPBACK}:{port}"
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)

    async def ask(self, qname: dns.name.Name, record_type: str) -> Found:
        """Ask once; see `Upstream.ask`."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self._slots, self._resolver() as resolver:
                return await _ask(resolver, qname, record_type)
        except aiodns.error.DNSError as error:
            return Found(dns.rcode.REFUSED if error.args[0] == _REFUSED else dns.rcode.SERVFAIL)
        except TimeoutError:
            return Found(dns.rcode.SERVFAIL)

    def _resolver(self) -> aiodns.DNSResolver:
        return aiodns.DNSResolver(nameservers=[self._server], timeout=TRY_TIMEOUT_S, tries=TRIES)


async def _ask(resolver: aiodns.DNSResolver, qname: dns.name.Name, record_type: str) -> Found:
    try:
        result = await resolver.query_dns(qname.to_text(), record_type)
    except aiodns.error.DNSError as error:
        if error.args[0] not in (_NODATA, _NXDOMAIN):
            raise
        rcode = dns.rcode.NOERROR if error.args[0] == _NODATA else dns.rcode.NXDOMAIN
        return Found(rcode, (), await _zone_soa(resolver, qname))
    return Found(dns.rcode.NOERROR, tuple(_records(qname, result.answer)))


async def _zone_soa(resolver: aiodns.DNSResolver, qname: dns.name.Name) -> Records | None:
    """Return the SOA of the zone that a name lies in, with the negative TTL, None if there is none.

    aiodns reports a negative answer as an error without the SOA that came with it; so the zone is asked for it, which
    is found by going up label by label. Source: RFC 2308 section 5: the lesser of the SOA's TTL and its minimum.
    """
    name = qname
    while True:
        try:
            result = await resolver.query_dns(name.to_text(), "SOA")
        except aiodns.error.DNSError as error:
            if error.args[0] not in (_NODATA, _NXDOMAIN) or name == dns.name.root:
                return None
            name = name.parent()
        else:
            found = (records for records in _records(None, result.answer) if records.type == "SOA")
            return next((soa._replace(ttl=min(soa.ttl, int(soa.values[0].split()[-1]))) for soa in found), None)


def _records(qname: dns.name.Name | None, answer: Sequence[pycares.DNSRecord]) -> Iterator[Records]:
    """Yield an answer's records, those of one name and type together; types that were not asked for are left out."""
    known = [record for record in answer if record.type in _TYPE_TEXT]
    for (name, number), group in groupby(known, key=lambda record: (record.name, record.type)):
        members = list(group)
        owner = None if dns.name.from_text(name) == qname else f"{name}."
        values = tuple(_value(_TYPE_TEXT[number], member.data) for member in members)
        yield Records(owner, _TYPE_TEXT[number], min(member.ttl for member in members), values)


def _value(record_type: str, data: object) -> str:
    """Return one record's data in presentation format."""
    match data:
        case pycares.ARecordData() | pycares.AAAARecordData():
            return data.addr
        case pycares.CNAMERecordData():
            return f"{data.cname}."
        case pycares.NSRecordData():
            return f"{data.nsdname}."
        case pycares.SOARecordData():
            times = f"{data.serial} {data.refresh} {data.retry} {data.expire} {data.minimum}"
            return f"{data.mname}. {data.rname}. {times}"
        case pycares.TXTRecordData():
            return _quoted(data.data)
    raise AssertionError(f"{record_type} is not one of {TYPES}: {data!r}")


def _quoted(text: bytes) -> str:
    """Return TXT data in presentation format. c-ares joins the strings of a record; they are cut anew at 255 bytes."""
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)] or [b""]
    return " ".join('"' + "".join(chr(b) if b in _PRINTABLE else f"\\{b:03d}" for b in c) + '"' for c in chunks)
