"""Reading queries off the wire: what is well-formed, what is not, and what gets no answer."""

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.query import Query, Unusable, parse

QUERY = dns.message.make_query("WwW.Fencepost.test.", "AAAA", use_edns=0, payload=1400, want_dnssec=True).to_wire()


def header(flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    return b"".join(number.to_bytes(2) for number in (0x1234, flags, *counts))


QUESTION = b"\x03www\x04test\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


def test_parse_query_gives_what_it_says() -> None:
    """Identifier, name in the sender's case and in lower case, type, class, RD and EDNS come through."""
    query = parse(QUERY)

    assert isinstance(query, Query)
    assert query.id == int.from_bytes(QUERY[:2])
    assert query.qname.to_text() == "WwW.Fencepost.test."
    assert query.name == "www.fencepost.test."
    assert (query.type, query.klass, query.recursion_desired) == (28, 1, True)
    assert query.edns is not None
    assert (query.edns.version, query.edns.payload, query.edns.dnssec_ok) == (0, 1400, True)


def test_parse_spells_no_two_names_alike() -> None:
    """Else one got the answer to the other, with compression pointers to the wrong place."""
    names = ((b"a.b",), (b"a\\", b"b"), (b"a", b"b"), (b"a\\.b",), (b"a\\\\", b"b"), (b"a\\\\.b",))
    spelled = set()

    for labels in names:
        question = b"".join(bytes([len(label)]) + label for label in labels) + QUESTION[-5:]
        query = parse(header() + question)
        assert isinstance(query, Query)
        spelled.add(query.name)

    assert len(spelled) == len(names)


@pytest.mark.parametrize("length", range(12))
def test_parse_less_than_a_header_gets_no_answer(length: int) -> None:
    """Without an identifier nobody could tell what is answered."""
    assert parse(QUERY[:length]) is None


def test_parse_response_gets_no_answer() -> None:
    """A message with QR set is a response; answering it could start a loop between two servers."""
    assert parse(header(dns.flags.QR) + QUESTION) is None


@pytest.mark.parametrize("opcode", [code for code in range(16) if code != dns.opcode.QUERY])
def test_parse_other_opcode_is_not_implemented(opcode: int) -> None:
    """RFC 1035 section 4.1.1: NOTIMP, whatever stands behind the header."""
    found = parse(header(opcode << 11) + b"anything")

    assert found == Unusable(0x1234, opcode, recursion_desired=False, rcode=dns.rcode.NOTIMP)


@pytest.mark.parametrize(
    ("claim", "wire"),
    [
        ("no question (RFC 9619)", header(0, (0, 0, 0, 0))),
        ("two questions (RFC 9619)", header(0, (2, 0, 0, 0)) + QUESTION + QUESTION),
        ("a question that ends within its name", header() + QUESTION[:5]),
        ("a question without its class", header() + QUESTION[:-2]),
        ("a compression pointer in the question", header() + b"\xc0\x0c\x00\x01\x00\x01"),
        ("a reserved label type (RFC 1035 section 4.1.4)", header() + b"\x40\x00\x00\x01\x00\x01"),
        ("a name of 256 bytes", header() + (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\x00\x00\x01\x00\x01"),
        ("bytes behind the last record", header() + QUESTION + b"x"),
        ("a record that is counted and not there", header(0, (1, 0, 0, 1)) + QUESTION),
        ("a record longer than the message", header(0, (1, 0, 0, 1)) + QUESTION + OPT[:-1] + b"\x05"),
        ("two OPT records (RFC 6891 section 6.1.1)", header(0, (1, 0, 0, 2)) + QUESTION + OPT + OPT),
        ("an OPT record that has a name", header(0, (1, 0, 0, 1)) + QUESTION + b"\x01a" + OPT),
        ("an OPT record among the answers", header(0, (1, 1, 0, 0)) + QUESTION + OPT),
        ("an option longer than its record", header(0, (1, 0, 0, 1)) + QUESTION + OPT[:-1] + b"\x04\0\x03\0\x01"),
        ("65,535 records of each kind", header(0, (1, 65535, 65535, 65535)) + QUESTION),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parse_malformed_is_a_format_error(claim: str, wire: bytes) -> None:
    """RFC 1035 section 4.1.1: "unable to interpret the query" is FORMERR."""
    assert parse(wire) == Unusable(0x1234, 0, recursion_desired=False, rcode=dns.rcode.FORMERR), claim


def test_parse_longest_name_is_taken() -> None:
    """255 bytes on the wire are within the limit (RFC 1035 section 2.3.4)."""
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\x00"
    assert len(name) == 255

    query = parse(header() + name + b"\x00\x01\x00\x01")

    assert isinstance(query, Query)
    assert len(query.qname.to_wire()) == 255


def test_parse_dot_within_a_label_stays_one_label() -> None:
    """`a.b` as one label is not the two labels `a` and `b`."""
    query = parse(header() + b"\x03a.b\x04test\x00\x00\x01\x00\x01")

    assert isinstance(query, Query)
    assert query.name == "a\\.b.test."


def test_parse_signed_query_is_read_without_its_signature() -> None:
    """Records other than OPT in the additional section, such as TSIG, are passed over."""
    wire = header(0, (1, 0, 0, 2)) + QUESTION + b"\x01k\xc0\x0c\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x02ab" + OPT

    query = parse(wire)

    assert isinstance(query, Query)
    assert query.edns is not None


@settings(max_examples=1500)
@given(st.binary(max_size=600))
def test_parse_never_raises_on_any_bytes(wire: bytes) -> None:
    """Bytes from strangers are data, never an exception."""
    parse(wire)


@settings(max_examples=1500)
@given(st.integers(0, len(QUERY)), st.lists(st.tuples(st.integers(0, len(QUERY) - 1), st.integers(0, 255)), max_size=5))
def test_parse_never_raises_on_damaged_queries(end: int, damage: list[tuple[int, int]]) -> None:
    """The same for what was nearly a query: cut short, some bytes changed."""
    wire = bytearray(QUERY)
    for at, byte in damage:
        wire[at] = byte

    parse(bytes(wire[:end]))


def labels() -> st.SearchStrategy[list[bytes]]:
    names = st.lists(st.binary(min_size=1, max_size=63), max_size=6)
    return names.filter(lambda found: sum(len(label) + 1 for label in found) < 255)


@given(labels(), st.integers(0, 65535))
def test_parse_any_name_comes_back_as_sent(sent: list[bytes], kind: int) -> None:
    """Whatever bytes a name has, the response can repeat it exactly."""
    name = b"".join(bytes([len(label)]) + label for label in sent) + b"\0"

    query = parse(header() + name + kind.to_bytes(2) + b"\x00\x01")

    assert isinstance(query, Query)
    assert query.qname.to_wire() == name
    assert query.type == kind
