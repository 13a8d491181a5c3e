"""Queries of the usual kind: read as `resolver.query` reads them, or not at all."""

import dns.edns
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.message import refusal
from resolver.query import Query, parse
from resolver.usual import MAX_OPTIONS, Asked, read, usual

NAME = "_tree.plan-000145.dynamodb.us-east-1.fencepost.test."


def wire_of(name: str = NAME, record_type: str = "TXT", **options: object) -> bytes:
    return dns.message.make_query(name, record_type, id=0x2025, **options).to_wire(max_size=4096)


SHAPES = {
    "plain": wire_of(),
    "without RD": wire_of(flags=0),
    "EDNS": wire_of(use_edns=0),
    "DO": wire_of(use_edns=0, want_dnssec=True, payload=4096),
    "cookie": wire_of(use_edns=0, options=[dns.edns.GenericOption(10, b"12345678")]),
    "padding": wire_of(use_edns=0, options=[dns.edns.GenericOption(12, bytes(2 * MAX_OPTIONS))]),
    "upper case": wire_of(NAME.upper(), "A"),
    "unknown type": wire_of(NAME, "TYPE65280"),
    "longest name": wire_of(".".join(["x" * 63, "y" * 63, "z" * 63, "w" * 61]) + "."),
    "one letter": wire_of("a."),
    "not ASCII": wire_of(r"\195\164.test."),
}


def as_asked(query: Query) -> Asked:
    """Return what is known of a query that was read whole."""
    size = sum(1 + len(label) for label in query.qname.labels) + 4
    dnssec_ok = None if query.edns is None else query.edns.dnssec_ok
    return Asked(query.name, query.type, size, query.recursion_desired, dnssec_ok)


@pytest.mark.parametrize("shape", SHAPES)
def test_query_of_a_usual_shape_is_read_as_by_the_parser(shape: str) -> None:
    """What nearly all clients send."""
    query = parse(SHAPES[shape])
    assert isinstance(query, Query)

    assert read(usual(SHAPES[shape]) or b"") == as_asked(query)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(SHAPES)), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3))
def test_whatever_is_read_is_read_as_by_the_parser(shape: str, changes: list[tuple[int, int]]) -> None:
    """Some bytes of a query changed: what is still of the usual kind is a query, says the same, and is not refused."""
    wire = bytearray(SHAPES[shape])
    for at, value in changes:
        wire[at % len(wire)] = value

    found = None if (key := usual(bytes(wire))) is None else read(key)

    if found is not None:
        query = parse(bytes(wire))
        assert isinstance(query, Query)
        assert found == as_asked(query)
        assert refusal(query) is None
        assert query.klass == 1


@given(st.binary(max_size=80))
def test_garbage_is_passed_over(message: bytes) -> None:
    """Bytes from strangers raise nothing."""
    key = usual(message)

    assert key is None or read(key) is None or isinstance(parse(message), Query)


RARE = {
    "root": wire_of("."),
    "dot": wire_of(r"a\.b.test."),
    "backslash": wire_of(r"a\\b.test."),
    "version": wire_of(use_edns=1),
    "class": wire_of(rdclass="CH"),
    "ANY": wire_of(record_type="ANY"),
    "AXFR": wire_of(record_type="AXFR"),
    "OPT": wire_of(record_type="OPT"),
    "opcode": wire_of(flags=0x2800),
    "response": wire_of(flags=0x8000),
    "more": wire_of() + b"x",
    "less OPT": wire_of(use_edns=0)[:-1],
    "more than OPT": wire_of(use_edns=0) + b"x",
    "cut": wire_of()[:-6] + b"\0\0",
    "no OPT": dns.message.from_wire(wire_of()).to_wire()[:10] + b"\0\1" + wire_of()[12:],
}


@pytest.mark.parametrize("shape", RARE)
def test_query_of_another_kind_is_left_to_the_parser(shape: str) -> None:
    """Whatever is rare, refused, or malformed."""
    assert read(usual(RARE[shape]) or bytes(10)) is None


def test_options_are_left_out_and_case_is_lowered() -> None:
    """So that a client's cookies and spellings need no entries of their own."""
    cookie = wire_of(NAME.upper(), use_edns=0, options=[dns.edns.GenericOption(10, b"12345678")])

    assert usual(cookie) == usual(SHAPES["EDNS"])
