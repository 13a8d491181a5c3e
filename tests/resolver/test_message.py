"""What goes out on the wire: EDNS, sizes, truncation, and that no bytes whatever make it fail."""

import random

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencepost import records
from fencepost.records import RecordSet
from resolver.answer import reply
from resolver.message import Transport
from resolver.zone import ZoneImage

ZONE = "dynamodb.us-east-1.fencepost.test."
TREE = f"plan-000145.{ZONE}"


def test_edns_is_answered_with_edns_only_if_asked(image, ask) -> None:
    """RFC 6891 section 6.1.1: OPT in the response if and only if it was in the query; DO is copied (RFC 3225)."""
    plain = ask(image(), ZONE, use_edns=False)
    extended = ask(image(), ZONE, use_edns=0, want_dnssec=True)

    assert plain.edns == -1
    assert (extended.edns, extended.payload) == (0, 1232)
    assert extended.ednsflags & dns.flags.DO


def test_edns_version_above_zero_is_badvers(image, ask) -> None:
    """RFC 6891 section 6.1.3: BADVERS, with the version that we do speak."""
    answer = ask(image(), ZONE, use_edns=1)

    assert answer.rcode() == dns.rcode.BADVERS
    assert answer.edns == 0
    assert not answer.answer


def test_edns_option_that_is_unknown_is_ignored(image, ask) -> None:
    """RFC 6891 section 6.1.2."""
    answer = ask(image(), ZONE, use_edns=0, options=[dns.edns.GenericOption(65001, b"x")])

    assert answer.answer
    assert not answer.options


@pytest.fixture
def texts(image):
    """A zone with TXT record sets of some size each: `t300` has one string of 255 and one of 45 bytes."""

    def make(*sizes: int) -> ZoneImage:
        return image(
            *(
                RecordSet(f"t{size}.{ZONE}", "TXT", 5, tuple(f'"{n:03d}{"x" * 197}"' for n in range(size // 200)))
                for size in sizes
            )
        )

    return make


@pytest.mark.parametrize(
    ("size", "options", "truncated"),
    [
        (400, {"use_edns": False}, False),
        (600, {"use_edns": False}, True),
        (600, {"use_edns": 0, "payload": 1232}, False),
        (600, {"use_edns": 0, "payload": 100}, True),
        (1400, {"use_edns": 0, "payload": 4096}, True),
    ],
)
def test_udp_answer_too_large_for_the_asker_is_truncated(texts, ask, size, options, truncated: bool) -> None:
    """512 bytes without EDNS (RFC 1035 section 4.2.1), the asker's size with it, never over our own 1232."""
    answer = ask(texts(size), f"t{size}.{ZONE}", "TXT", **options)

    assert bool(answer.flags & dns.flags.TC) is truncated
    assert bool(answer.answer) is not truncated
    assert answer.rcode() == dns.rcode.NOERROR


def test_tcp_answer_is_whole(texts, ask) -> None:
    """Over TCP the same answer comes without TC."""
    answer = ask(texts(20_000), f"t20000.{ZONE}", "TXT", over=Transport.TCP)

    assert not answer.flags & dns.flags.TC
    assert len(answer.answer[0]) == 100


def test_answer_beyond_64_kib_is_a_server_failure(texts, ask) -> None:
    """What no message can hold is a failure, not an exception."""
    assert ask(texts(80_000), f"t80000.{ZONE}", "TXT", over=Transport.TCP).rcode() == dns.rcode.SERVFAIL


def test_value_that_is_no_record_data_is_a_server_failure(image, ask) -> None:
    """A bad value in the store spoils its own answers and no others."""
    bad = RecordSet(f"bad.{ZONE}", "A", 5, ("not an address",))
    odd = RecordSet(f"odd.{ZONE}", "TYPE99999", 5, ("x",))
    zone = image(bad, odd, RecordSet(f"long.{ZONE}", "A", 2**40, ("127.0.0.1",)))
    longest = 2**31 - 1  # RFC 2181 section 8

    assert ask(zone, f"bad.{ZONE}").rcode() == dns.rcode.SERVFAIL
    assert ask(zone, f"odd.{ZONE}", "ANY").rcode() == dns.rcode.SERVFAIL
    assert ask(zone, f"long.{ZONE}").answer[0].ttl == longest
    assert ask(zone, ZONE).rcode() == dns.rcode.NOERROR


SETS = (
    records.soa(ZONE, ttl=9, minimum=864),
    records.ns(ZONE),
    records.alias(ZONE, "A", TREE),
    RecordSet(f"www.{ZONE}", "CNAME", 60, (ZONE,)),
    *(records.address(TREE, "A", f"127.1.0.{n}", ttl=5, set_identifier=f"lb-{n}", weight=n) for n in range(4)),
)
QUERIES = [
    dns.message.make_query(name, kind, use_edns=edns, payload=512 if edns == 0 else None).to_wire()
    for name in (ZONE, f"www.{ZONE}", f"nothing.{ZONE}")
    for kind in ("A", "ANY", "TXT", "TYPE12345")
    for edns in (0, False)
]


@st.composite
def nearly_queries(draw: st.DrawFn) -> bytes:
    """Return a query with some bytes changed, perhaps cut short, perhaps with something behind it."""
    wire = bytearray(draw(st.sampled_from(QUERIES)))
    for _ in range(draw(st.integers(0, 4))):
        wire[draw(st.integers(2, len(wire) - 1))] = draw(st.integers(0, 255))
    return bytes(wire[: draw(st.integers(0, len(wire)))]) + draw(st.binary(max_size=20))


@settings(max_examples=500)
@given(st.one_of(st.binary(max_size=600), nearly_queries()), st.sampled_from(Transport))
def test_reply_to_any_bytes_is_a_fitting_response_or_none(wire: bytes, transport: Transport) -> None:
    """Never an exception; what is sent parses, has the query's identifier and QR set, and fits the transport."""
    answer = reply({ZONE: ZoneImage(ZONE, 1, SETS)}, wire, transport, random.Random(1))

    if answer is not None:
        parsed = dns.message.from_wire(answer.wire)
        assert parsed.id == int.from_bytes(wire[:2])
        assert parsed.flags & dns.flags.QR
        assert transport is Transport.TCP or len(answer.wire) <= 1232


@pytest.mark.parametrize("opcode", [dns.opcode.UPDATE, dns.opcode.NOTIFY, dns.opcode.IQUERY])
def test_other_opcode_is_not_implemented_and_repeated(image, opcode: int) -> None:
    """The response carries the query's opcode and NOTIMP."""
    wire = bytearray(dns.message.make_query(ZONE, "A").to_wire())
    wire[2] = opcode << 3

    answer = reply({ZONE: image()}, bytes(wire), Transport.UDP, random.Random(1))

    assert answer is not None
    assert answer.wire[2] >> 3 & 0xF == opcode
    assert answer.rcode == dns.rcode.NOTIMP
    assert len(answer.wire) == 12
