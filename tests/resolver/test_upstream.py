"""Asking upstream with aiodns: every type, negative answers with their SOA, and a bound on the time."""

import inspect

import dns.asyncquery
import dns.message
import dns.name
import dns.rcode
import pytest

from fencepost import records
from fencepost.clock import SystemClock
from resolver.cache import CachingResolver
from resolver.message import Records, Transport
from resolver.upstream import AiodnsUpstream, Found

ZONE = "dynamodb.us-east-1.fencepost.test."
SOA = f"ns1.{ZONE} hostmaster.{ZONE} 7 7200 900 1209600 864"
OK, NXDOMAIN, SERVFAIL = dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL


@pytest.fixture
async def upstream(serve, image):
    """An aiodns upstream before a real server of the zone with something of every type."""
    extra = (
        records.RecordSet(f"www.{ZONE}", "CNAME", 60, (ZONE,)),
        records.RecordSet(f"six.{ZONE}", "AAAA", 7, ("2001:db8::1", "2001:db8::2")),
        records.RecordSet(f"long.{ZONE}", "TXT", 8, (f'"{"x" * 255}" "{"y" * 45}\\"\\\\\\007"',)),
        records.RecordSet(f"big.{ZONE}", "TXT", 8, tuple(f'"{n:03d}{"x" * 197}"' for n in range(30))),
    )
    return AiodnsUpstream((await serve(image(*extra))).port)


@pytest.mark.parametrize(
    ("name", "record_type", "expected"),
    [
        (f"_generation.{ZONE}", "TXT", Records(None, "TXT", 1, ('"145 0123abcd use1-az1-enactor/1/1"',))),
        (ZONE, "NS", Records(None, "NS", 3600, (f"ns1.{ZONE}",))),
        (ZONE, "SOA", Records(None, "SOA", 9, (SOA,))),
        (f"six.{ZONE}", "AAAA", Records(None, "AAAA", 7, ("2001:db8::1", "2001:db8::2"))),
        (f"www.{ZONE}", "CNAME", Records(None, "CNAME", 60, (ZONE,))),
        (f"long.{ZONE}", "TXT", Records(None, "TXT", 8, (f'"{"x" * 255}" "{"y" * 45}\\034\\092\\007"',))),
    ],
)
async def test_upstream_gives_each_type_as_it_stands_in_the_zone(upstream, name, record_type, expected) -> None:
    """Every type that the cache serves survives the way through c-ares."""
    found = await upstream.ask(dns.name.from_text(name), record_type)

    assert found == Found(OK, (expected,))


async def test_upstream_address_comes_with_its_ttl(upstream) -> None:
    """One address, chosen by the authoritative server."""
    found = await upstream.ask(dns.name.from_text(ZONE), "A")

    (answer,) = found.records
    assert (answer.owner, answer.type, answer.ttl, len(answer.values)) == (None, "A", 5, 1)


async def test_upstream_chain_comes_whole(upstream) -> None:
    """CNAME and target, each under its own name."""
    found = await upstream.ask(dns.name.from_text(f"www.{ZONE}"), "A")

    assert [(answer.owner, answer.type) for answer in found.records] == [(None, "CNAME"), (ZONE, "A")]


async def test_upstream_truncated_answer_comes_over_tcp(upstream) -> None:
    """c-ares comes back over TCP by itself."""
    found = await upstream.ask(dns.name.from_text(f"big.{ZONE}"), "TXT")

    assert len(found.records[0].values) == 30


@pytest.mark.parametrize(
    ("name", "record_type", "rcode"),
    [(ZONE, "AAAA", OK), (f"nothing.{ZONE}", "A", NXDOMAIN), (f"a.b.c.nothing.{ZONE}", "A", NXDOMAIN)],
)
async def test_upstream_negative_answer_comes_with_the_zones_soa(upstream, name, record_type, rcode) -> None:
    """NODATA is error 1 of c-ares, NXDOMAIN error 4; the SOA is asked for, and its TTL is the negative TTL."""
    found = await upstream.ask(dns.name.from_text(name), record_type)

    assert found == Found(rcode, (), Records(ZONE, "SOA", 9, (SOA,)))


async def test_upstream_that_refuses_is_passed_on_as_refused(upstream) -> None:
    """A name outside the region is nobody's here."""
    assert await upstream.ask(dns.name.from_text("example.com."), "A") == Found(dns.rcode.REFUSED)


@pytest.mark.parametrize("answerer", [None, "silent"], ids=["nobody listens", "nobody answers"])
async def test_upstream_that_does_not_answer_is_a_failure_in_bounded_time(serve, answerer) -> None:
    """No answer is SERVFAIL, within two seconds (and what a busy machine adds)."""
    server = await serve(answerer=lambda _message, _transport: None)
    if answerer is None:
        await server.stop()
    began_s = SystemClock().monotonic()

    found = await AiodnsUpstream(server.port).ask(dns.name.from_text(ZONE), "A")

    assert found == Found(SERVFAIL)
    assert SystemClock().monotonic() - began_s < 8


async def test_upstream_is_asked_anew_each_time(serve, image) -> None:
    """c-ares would keep answers itself; a fresh resolver per question sees every change at once."""
    answers: list[bytes] = []
    first = await serve(image())
    second = await serve(image(without=[f"plan-000145.{ZONE}"]))

    def answerer(message: bytes, transport: Transport) -> object:
        answers.append(message)
        return (first if len(answers) == 1 else second)._answerer(message, transport)

    upstream = AiodnsUpstream((await serve(answerer=answerer)).port)

    assert (await upstream.ask(dns.name.from_text(ZONE), "A")).records
    assert not (await upstream.ask(dns.name.from_text(ZONE), "A")).records


async def test_caching_server_end_to_end_answers_over_both_transports(serve, image, upstream) -> None:
    """The whole way: dnspython to the caching server, aiodns to the authoritative one, and back."""
    resolver = CachingResolver(upstream, SystemClock())

    async def waiting(reply) -> bytes:
        return (await reply).wire

    def answerer(message: bytes, transport: Transport) -> object:
        reply = resolver.reply(message, transport)
        return waiting(reply) if inspect.isawaitable(reply) else reply and reply.wire

    server = await serve(answerer=answerer)
    for over in (dns.asyncquery.udp, dns.asyncquery.tcp):
        answer = await over(dns.message.make_query(ZONE, "A"), "127.0.0.1", timeout=5, port=server.port)
        assert answer.answer
    assert resolver.statistics.hits == 1
    await resolver.close()
