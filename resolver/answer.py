"""What the authoritative server answers: a pure function of the zones, the query and one draw of chance."""

import random
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import dns.rcode
import dns.rdataclass
import dns.rdatatype

from fencepost.records import RecordSet
from resolver.message import Records, Reply, Response, Transport, bare, refusal, render, type_text
from resolver.query import Query, Unusable, absolute, parse
from resolver.zone import ZoneImage

MAX_CHAIN: Final = 8
"""How many aliases or CNAMEs are followed for one query."""


class _EndlessChain(Exception):
    """Aliases or CNAMEs lead in a circle, or on and on."""


def reply(
    zones: Mapping[str, ZoneImage],
    wire: bytes,
    transport: Transport,
    rng: random.Random,
    awaited: Collection[str] = (),
) -> Reply | None:
    """Return the answer to a message, None if it gets none.

    Args:
        zones: by name; the longest one that a query's name lies in answers it.
        wire: any bytes.
        transport: what they came over, which limits the size of the answer.
        rng: chooses among weighted record sets; one draw for each choice.
        awaited: names of zones that are answered here as soon as they are known: those not in `zones` get SERVFAIL.
    """
    query = parse(wire)
    if query is None:
        return None
    if isinstance(query, Unusable):
        return bare(query)
    return render(query, respond(zones, query, rng, awaited), transport, recursive=False)


def respond(
    zones: Mapping[str, ZoneImage], query: Query, rng: random.Random, awaited: Collection[str] = ()
) -> Response:
    """Return what is to be answered to a well-formed query; see `reply`.

    Source: RFC 1034 section 4.3.2, without wildcards and delegations, which our zones have none of; RFC 1035 section
    6.2: an answer to class ANY is not authoritative.
    """
    if (refused := refusal(query)) is not None:
        return refused
    name = next((name for name in _upwards(query.labels) if name in zones or name in awaited), None)
    if name is None:
        return Response(dns.rcode.REFUSED)
    if name not in zones:
        return Response(dns.rcode.SERVFAIL, zone=name)
    try:
        return _in_zone(zones[name], query, rng)
    except (_EndlessChain, ValueError, IndexError):  # the latter two: an SOA or CNAME value that is none
        return Response(dns.rcode.SERVFAIL, zone=name)


def addresses(zone: ZoneImage, name: str, record_type: str) -> frozenset[str]:
    """Return every value that queries for a name and type get in turn, aliases followed; empty if they get none."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        seen.add(current := waiting.pop())
        for record_set in eligible(zone.sets(current, record_type)):
            found.update(record_set.values)
            if record_set.alias is not None and record_set.alias not in seen:
                waiting.append(record_set.alias)
    return frozenset(found)


def _upwards(labels: tuple[str, ...]) -> Iterator[str]:
    return (absolute(labels[at:]) for at in range(len(labels)))


def _in_zone(zone: ZoneImage, query: Query, rng: random.Random) -> Response:
    authoritative = query.klass == dns.rdataclass.IN
    chain: list[Records] = []
    owner, name = None, query.name
    while (records := _first(zone, name, owner, query.type, rng)) is not None:
        chain.append(records)
        if records.type != "CNAME" or query.type in (dns.rdatatype.CNAME, dns.rdatatype.ANY):
            return Response(dns.rcode.NOERROR, tuple(chain), (), authoritative, zone.name)
        owner = name = records.values[0].lower()
        if not (name == zone.name or name.endswith("." + zone.name)):
            return Response(dns.rcode.NOERROR, tuple(chain), (), authoritative, zone.name)
        if len(chain) > MAX_CHAIN:
            raise _EndlessChain
    rcode = dns.rcode.NOERROR if zone.exists(name) else dns.rcode.NXDOMAIN
    return _negative(zone, rcode, tuple(chain), authoritative)


def _first(zone: ZoneImage, name: str, owner: str | None, asked: int, rng: random.Random) -> Records | None:
    """Return what a name has for the asker, None if it has nothing; a CNAME stands for whatever is asked.

    ANY gets one type only, the first in order that has something. Source: RFC 8482 section 4.1.
    """
    types = zone.types(name)
    if "CNAME" in types:
        types = ("CNAME",)
    elif asked != dns.rdatatype.ANY:
        types = (type_text(asked),)
    found = (_records(zone, name, owner, record_type, rng) for record_type in types)
    return next((records for records in found if records is not None), None)


def _records(zone: ZoneImage, name: str, owner: str | None, record_type: str, rng: random.Random) -> Records | None:
    """Return what a name and type answer this time, aliases followed; None if an alias leads to nothing.

    An alias answers under its own name, with its target's values and TTL. Source: Route 53 Developer Guide, Choosing
    between alias and non-alias records. That a circle is an error: RFC 1034 section 3.6.2 has it so for CNAMEs.
    """
    for _ in range(MAX_CHAIN + 1):
        candidates = eligible(zone.sets(name, record_type))
        if not candidates:
            return None
        chosen = choose(candidates, rng)
        if chosen.alias is None:
            values = (with_serial(chosen.values[0], zone.serial),) if record_type == "SOA" else chosen.values
            return Records(owner, record_type, chosen.ttl or 0, values)
        name = chosen.alias
    raise _EndlessChain


def eligible(sets: Mapping[str, RecordSet]) -> tuple[RecordSet, ...]:
    """Return the record sets that may be answered, in order: those with weight, or all if none has any.

    Source: Route 53 Developer Guide, Values specific for weighted records: "If you set Weight to 0 for all of the
    records in the group, traffic is routed to all resources with equal probability".
    """
    if len(sets) <= 1:
        return tuple(sets.values())
    ordered = [sets[identifier] for identifier in sorted(sets)]
    return tuple([r for r in ordered if r.weight is None or r.weight > 0] or ordered)


def choose(candidates: tuple[RecordSet, ...], rng: random.Random) -> RecordSet:
    """Return one of the record sets, each with the chance weight / sum of weights; equal chances if none has weight."""
    if len(candidates) == 1:
        return candidates[0]
    weights = [candidate.weight or 0 for candidate in candidates]
    return rng.choices(candidates, weights if any(weights) else None)[0]


def _negative(zone: ZoneImage, rcode: dns.rcode.Rcode, chain: tuple[Records, ...], authoritative: bool) -> Response:
    """Return NODATA or NXDOMAIN with the SOA, whose TTL says how long it may be kept. Source: RFC 2308 section 3."""
    if (soa := zone.soa) is None:
        return Response(dns.rcode.SERVFAIL, zone=zone.name)
    authority = Records(zone.name, "SOA", negative_ttl(soa), (with_serial(soa.values[0], zone.serial),))
    return Response(rcode, chain, (authority,), authoritative, zone.name)


def negative_ttl(soa: RecordSet) -> int:
    """Return how long a negative answer may be kept, in seconds. Raises: ValueError or IndexError if it is no SOA."""
    return min(soa.ttl or 0, int(soa.values[0].split()[-1]))


def with_serial(soa: str, serial: int) -> str:
    """Return an SOA value with the zone's serial, which has 32 bits there. Raises: ValueError. Source: RFC 1982."""
    mname, rname, _, *rest = soa.split()
    return " ".join((mname, rname, str(serial % 2**32), *rest))
