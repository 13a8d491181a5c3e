"""The caching resolver: what a customer's resolver does to the zones, negative answers included."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Final, NamedTuple

import dns.name
import dns.rcode
import dns.rdataclass

from fencepost.clock import Clock
from resolver.message import Reply, Response, Transport, bare, refusal, render, type_text
from resolver.query import Query, Unusable, parse
from resolver.upstream import TYPES, Found, Upstream

MAX_ENTRIES: Final = 10_000
MAX_TTL_S: Final = 86_400
"""Longest that an answer is kept: a day. Source: RFC 8767 section 4 recommends a cap, of days to weeks."""
MAX_NEGATIVE_TTL_S: Final = 10_800
"""Longest that a negative answer is kept: three hours. Source: RFC 2308 section 5."""
FAILURE_TTL_S: Final = 1
"""How long a failure is kept, so that a dead upstream is not hammered. Source: RFC 9520 section 3.2: at least this."""

Key = tuple[dns.name.Name, str]
"""A name, compared without regard to case, and a type."""


class Entry(NamedTuple):
    """Something kept, and until when, on the monotonic clock."""

    found: Found
    until_s: float


class TtlCache:
    """Answers, each kept for its time to live; the ones least recently used make room. Pure but for its table.

    Attributes:
        evictions: how many made room before their time.
    """

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        assert limit > 0, limit
        self.evictions = 0
        self._limit = limit
        self._entries: OrderedDict[Key, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now_s: float) -> Found | None:
        """Return what is kept, with the time that is left as its TTLs, None if nothing is.

        Seconds are counted down to whole ones, so that nobody keeps an answer longer than its zone allows.
        """
        if (entry := self._entries.get(key)) is None:
            return None
        if now_s >= entry.until_s:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return with_ttl_at_most(entry.found, int(entry.until_s - now_s))

    def put(self, key: Key, found: Found, now_s: float) -> None:
        """Keep an answer for as long as it may be kept; one that may not be kept leaves nothing behind."""
        self._entries.pop(key, None)
        if (ttl := lifetime_s(found)) <= 0:
            return
        self._entries[key] = Entry(found, now_s + ttl)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)
            self.evictions += 1


def lifetime_s(found: Found) -> int:
    """Return how many seconds an answer may be kept; 0 means not at all.

    Source: RFC 1035 section 3.2.1 (TTL 0 is for the transaction in progress); RFC 2308 section 5 (a negative answer
    without SOA is not kept); RFC 9520 (failures).
    """
    if found.rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return FAILURE_TTL_S
    if found.records:
        return min(MAX_TTL_S, *(records.ttl for records in found.records))
    return 0 if found.soa is None else min(MAX_NEGATIVE_TTL_S, found.soa.ttl)


def with_ttl_at_most(found: Found, ttl: int) -> Found:
    """Return an answer none of whose TTLs is above `ttl`."""
    records = tuple(r._replace(ttl=min(r.ttl, ttl)) for r in found.records)
    soa = found.soa and found.soa._replace(ttl=min(found.soa.ttl, ttl))
    return Found(found.rcode, records, soa)


class Statistics(NamedTuple):
    """How well the cache does, counted since the start. `joined` misses waited for a question already under way."""

    entries: int
    hits: int
    negative_hits: int
    misses: int
    joined: int
    failures: int
    evictions: int


class CachingResolver:
    """Answers from memory while it may, else asks upstream, once however many are waiting.

    Queries must have RD set (it serves stub resolvers) and class IN. Weighted answers are kept as they came: whoever
    asks this resolver within their TTL gets the same load balancer, as with any cache in front of such records.
    """

    def __init__(self, upstream: Upstream, clock: Clock, *, limit: int = MAX_ENTRIES) -> None:
        self._upstream, self._clock = upstream, clock
        self._cache = TtlCache(limit)
        self._asking: dict[Key, asyncio.Task[Found]] = {}
        self._hits = self._negative_hits = self._misses = self._joined = self._failures = 0

    @property
    def statistics(self) -> Statistics:
        """The counts so far."""
        counts = (self._hits, self._negative_hits, self._misses, self._joined, self._failures)
        return Statistics(len(self._cache), *counts, self._cache.evictions)

    def reply(self, wire: bytes, transport: Transport) -> Reply | Awaitable[Reply] | None:
        """Return the answer to a message, at once if it is known; None if it gets none."""
        query = parse(wire)
        if query is None:
            return None
        if isinstance(query, Unusable):
            return bare(query)
        if (refused := _refusal(query)) is not None:
            return render(query, refused, transport, recursive=True)
        key = (query.qname, type_text(query.type))
        if (found := self._cache.get(key, self._clock.monotonic())) is not None:
            self._hits += 1
            self._negative_hits += not found.records
            return render(query, _response(found), transport, recursive=True)
        return self._reply_later(query, key, transport)

    async def close(self) -> None:
        """Stop asking; whoever waits is cancelled."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reply_later(self, query: Query, key: Key, transport: Transport) -> Reply:
        if (task := self._asking.get(key)) is not None:
            self._joined += 1
        else:
            self._misses += 1
            task = self._asking[key] = asyncio.create_task(self._ask(key))
        found = await asyncio.shield(task)
        return render(query, _response(found), transport, recursive=True)

    async def _ask(self, key: Key) -> Found:
        try:
            found = with_ttl_at_most(await self._upstream.ask(*key), MAX_TTL_S)
        finally:
            del self._asking[key]
        self._failures += found.rcode == dns.rcode.SERVFAIL
        self._cache.put(key, found, self._clock.monotonic())
        return found


def _refusal(query: Query) -> Response | None:
    """Return the response to what this resolver does not do, None if it does it."""
    if (refused := refusal(query)) is not None:
        return refused
    if query.klass != dns.rdataclass.IN or not query.recursion_desired:
        return Response(dns.rcode.REFUSED)
    return None if type_text(query.type) in TYPES else Response(dns.rcode.NOTIMP)


def _response(found: Found) -> Response:
    authority = (found.soa,) if found.soa else ()
    zone = found.soa.owner if found.soa else None
    return Response(found.rcode, found.records, authority, zone=zone)
