"""The caching resolver: what it keeps, for how long, and what it answers meanwhile."""

import asyncio
import inspect

import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from resolver.cache import (
    FAILURE_TTL_S,
    MAX_NEGATIVE_TTL_S,
    MAX_TTL_S,
    CachingResolver,
    TtlCache,
    lifetime_s,
)
from resolver.message import Records, Transport
from resolver.upstream import Found

ZONE = "dynamodb.us-east-1.fencepost.test."
SOA = f"ns1.{ZONE} hostmaster.{ZONE} 7 7200 900 1209600 864"
OK, NXDOMAIN, SERVFAIL = dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL


def address(ttl: int, value: str = "127.1.0.1", owner: str | None = None) -> Records:
    return Records(owner, "A", ttl, (value,))


def empty(ttl: int, rcode: dns.rcode.Rcode = OK) -> Found:
    return Found(rcode, (), Records(ZONE, "SOA", ttl, (SOA,)))


class Source:
    """An upstream that says what it is told to say, and counts."""

    def __init__(self, found: Found) -> None:
        self.found, self.asked = found, 0
        self.gate: asyncio.Event | None = None

    async def ask(self, _qname: dns.name.Name, _record_type: str) -> Found:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        return self.found


async def ask(resolver: CachingResolver, name: str = ZONE, record_type: str = "A", **options) -> dns.message.Message:
    query = dns.message.make_query(name, record_type, **options)
    reply = resolver.reply(query.to_wire(), Transport.UDP)
    answer = await reply if inspect.isawaitable(reply) else reply
    assert answer is not None
    parsed = dns.message.from_wire(answer.wire)
    assert query.is_response(parsed)
    return parsed


async def test_answer_is_kept_for_its_ttl_and_counts_down(clock) -> None:
    """RFC 1035 section 3.2.1: the TTL says how long it may be kept; what is left of it is what the next one gets."""
    source = Source(Found(OK, (address(5),)))
    resolver = CachingResolver(source, clock)

    seen = []
    for _ in range(6):
        seen.append((await ask(resolver)).answer[0].ttl)
        clock.now_s += 1

    assert seen == [5, 4, 3, 2, 1, 5]
    assert source.asked == 2


async def test_answer_from_memory_never_promises_more_than_is_left(clock) -> None:
    """Part of a second counts as used: 5 s kept for 0.4 s are 4 s."""
    resolver = CachingResolver(Source(Found(OK, (address(5),))), clock)
    await ask(resolver)
    clock.now_s += 0.4

    assert (await ask(resolver)).answer[0].ttl == 4


async def test_chain_is_kept_for_its_shortest_ttl(clock) -> None:
    """A CNAME and its target are kept together, for as long as both hold; each shows its own TTL."""
    source = Source(Found(OK, (Records(None, "CNAME", 60, (ZONE,)), address(5, owner=ZONE))))
    resolver = CachingResolver(source, clock)

    first = await ask(resolver, f"www.{ZONE}")
    clock.now_s += 5
    await ask(resolver, f"www.{ZONE}")

    assert [rrset.ttl for rrset in first.answer] == [60, 5]
    assert source.asked == 2


async def test_negative_answer_outlives_the_upstreams_repair_by_exactly_the_negative_ttl(clock) -> None:
    """The incident's second half: upstream is well at 3 s, the cache says NODATA until 9 s (RFC 2308 section 5)."""
    source = Source(empty(9))
    resolver = CachingResolver(source, clock)
    began_s = clock.now_s
    assert not (await ask(resolver)).answer

    clock.now_s = began_s + 3
    source.found = Found(OK, (address(5),))
    clock.now_s = began_s + 8.999
    still_empty = await ask(resolver)
    clock.now_s = began_s + 9
    regained = await ask(resolver)

    assert (still_empty.rcode(), still_empty.answer) == (OK, [])
    assert still_empty.authority[0].ttl == 0
    assert regained.answer


@pytest.mark.parametrize("rcode", [OK, NXDOMAIN])
async def test_negative_answer_keeps_its_code_and_its_soa_counts_down(clock, rcode) -> None:
    """RFC 2308 section 6: a cached negative answer has its SOA in authority, with the decremented TTL."""
    resolver = CachingResolver(Source(empty(9, rcode)), clock)
    await ask(resolver)
    clock.now_s += 2

    again = await ask(resolver)

    assert again.rcode() == rcode
    assert again.authority[0].ttl == 7
    assert resolver.statistics.negative_hits == 1


async def test_ttl_0_is_not_kept(clock) -> None:
    """RFC 1035 section 3.2.1: zero is for the transaction in progress only."""
    source = Source(Found(OK, (address(0),)))
    resolver = CachingResolver(source, clock)

    await ask(resolver)
    await ask(resolver)

    assert source.asked == 2


async def test_failure_is_kept_for_a_second(clock) -> None:
    """RFC 9520 section 3.2: at least a second, so that a dead upstream is not hammered; here no more than that."""
    source = Source(Found(SERVFAIL))
    resolver = CachingResolver(source, clock)

    assert (await ask(resolver)).rcode() == SERVFAIL
    clock.now_s += FAILURE_TTL_S - 0.01
    await ask(resolver)
    assert source.asked == 1
    clock.now_s += 0.01
    await ask(resolver)

    assert source.asked == 2
    assert resolver.statistics.failures == 2


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Found(OK, (address(5),)), 5),
        (Found(OK, (address(10 * MAX_TTL_S),)), MAX_TTL_S),
        (empty(9), 9),
        (empty(10 * MAX_NEGATIVE_TTL_S), MAX_NEGATIVE_TTL_S),
        (Found(OK), 0),
        (Found(NXDOMAIN), 0),
    ],
)
def test_lifetime_is_bounded_and_needs_an_soa_if_negative(found: Found, expected: int) -> None:
    """RFC 2308 section 5: without SOA a negative answer is not kept, and none for longer than some hours."""
    assert lifetime_s(found) == expected


def test_cache_least_recently_used_makes_room() -> None:
    """The table is bounded; what was asked for last stays."""
    cache, found = TtlCache(2), Found(OK, (address(60),))
    keys = [(dns.name.from_text(f"{letter}.{ZONE}"), "A") for letter in "abc"]
    cache.put(keys[0], found, 0)
    cache.put(keys[1], found, 0)
    assert cache.get(keys[0], 1) is not None

    cache.put(keys[2], found, 2)

    assert [cache.get(key, 3) is not None for key in keys] == [True, False, True]
    assert (len(cache), cache.evictions) == (2, 1)


async def test_name_is_the_same_in_any_case_and_is_repeated_as_asked(clock) -> None:
    """RFC 4343: names are compared without regard to case; each asker gets its own back."""
    source = Source(Found(OK, (address(60),)))
    resolver = CachingResolver(source, clock)

    await ask(resolver, ZONE)
    shouted = await ask(resolver, ZONE.upper())

    assert source.asked == 1
    assert shouted.answer[0].name.to_text() == ZONE.upper()
    assert shouted.question[0].name.to_text() == ZONE.upper()


async def test_question_under_way_is_not_asked_twice(clock) -> None:
    """However many want the same, one query goes upstream."""
    source = Source(Found(OK, (address(0),)))
    source.gate = asyncio.Event()
    resolver = CachingResolver(source, clock)
    askers = [asyncio.create_task(ask(resolver)) for _ in range(50)]
    await asyncio.sleep(0)

    source.gate.set()
    answers = await asyncio.gather(*askers)

    assert source.asked == 1
    assert all(answer.answer for answer in answers)
    assert (resolver.statistics.misses, resolver.statistics.joined) == (1, 49)


async def test_question_under_way_survives_an_asker_that_leaves(clock) -> None:
    """Who gives up takes nothing from the others."""
    source = Source(Found(OK, (address(5),)))
    source.gate = asyncio.Event()
    resolver = CachingResolver(source, clock)
    leaving, staying = (asyncio.create_task(ask(resolver)) for _ in range(2))
    await asyncio.sleep(0)

    leaving.cancel()
    source.gate.set()

    assert (await staying).answer


async def test_flags_are_those_of_a_recursive_resolver(clock) -> None:
    """RA set, AA clear, whether from memory or not."""
    resolver = CachingResolver(Source(Found(OK, (address(5),))), clock)

    for _ in range(2):
        flags = (await ask(resolver)).flags
        assert flags & dns.flags.RA
        assert not flags & dns.flags.AA


@pytest.mark.parametrize(
    ("options", "record_type", "rcode"),
    [
        ({"flags": 0}, "A", dns.rcode.REFUSED),
        ({"rdclass": "CH"}, "TXT", dns.rcode.REFUSED),
        ({"rdclass": "ANY"}, "A", dns.rcode.REFUSED),
        ({}, "MX", dns.rcode.NOTIMP),
        ({}, "ANY", dns.rcode.NOTIMP),
        ({}, "AXFR", dns.rcode.REFUSED),
        ({"use_edns": 1}, "A", dns.rcode.BADVERS),
    ],
)
async def test_what_it_does_not_do_is_refused_without_asking(clock, options, record_type: str, rcode: int) -> None:
    """Only recursive queries of class IN and the types of our zones go upstream."""
    source = Source(Found(OK, (address(5),)))

    assert (await ask(CachingResolver(source, clock), record_type=record_type, **options)).rcode() == rcode
    assert source.asked == 0


async def test_garbage_is_treated_as_by_the_authoritative_server(clock) -> None:
    """No header: no answer; no question: FORMERR; a response: no answer."""
    resolver = CachingResolver(Source(Found(OK)), clock)
    response = dns.message.make_response(dns.message.make_query(ZONE, "A")).to_wire()

    malformed = resolver.reply(bytes(12), Transport.UDP)

    assert resolver.reply(b"x", Transport.UDP) is None
    assert resolver.reply(response, Transport.UDP) is None
    assert not inspect.isawaitable(malformed)
    assert malformed is not None
    assert malformed.rcode == dns.rcode.FORMERR
