"""Answers without dnspython: the same bytes as with it, whatever a zone's values and names are."""

import random

import dns.message
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fencepost import records
from fencepost.records import RecordSet
from resolver.answer import reply
from resolver.hot import HotTable
from resolver.message import Transport
from resolver.zone import ZoneImage

ZONE = "dynamodb.us-east-1.fencepost.test."
SOA = records.soa(ZONE, ttl=9, minimum=864)
QUERIES = 3


def answered(record_sets: tuple[RecordSet, ...], name: str, kind: str, *, zone: str = ZONE, serial: int = 7) -> bool:
    """Ask some times; each answer must be the slow path's, byte for byte. Say whether each was made without it."""
    zones, chance = {zone: ZoneImage(zone, serial, record_sets)}, random.Random()
    table, made = HotTable(zones, chance), []
    for seed in range(QUERIES):
        for options in ({}, {"use_edns": 0}):
            query = dns.message.make_query(name, kind, **options).to_wire()
            expected = reply(zones, query, Transport.UDP, random.Random(seed))
            chance.seed(seed)

            answer = table.reply(query)

            assert expected is not None
            assert answer is None or answer == expected.wire
            made.append(answer is not None)
    return all(made)


quoted = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=300).map(lambda text: f'"{text}"')
texts = st.one_of(quoted, st.sampled_from(('""', '"a" "b"', "bare", '"a;b"', r'"a\"b"', r'"\065"', '"\t"', '"', "")))


@settings(max_examples=300, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), st.one_of(st.none(), st.integers(-1, 2**32)))
@example(['"' + "x" * 255 + '"'], 5)
@example(['"' + "x" * 256 + '"'], 5)
@example(['"a"', '"a"'], 5)
def test_texts_are_those_of_dnspython(values: list[str], ttl: int | None) -> None:
    """Odd characters, escapes, several strings, the same one twice, too long ones, and such that are none."""
    answered((SOA, RecordSet(f"t.{ZONE}", "TXT", ttl, tuple(values))), f"t.{ZONE}", "TXT")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(("A", "AAAA")),
    st.lists(
        st.lists(
            st.sampled_from(("127.1.0.1", "127.1.0.2", "127.1.0.1", "::1", "::ffff:1.2.3.4", "1:0::1", "01.2.3.4"))
            | st.sampled_from(("", "x", "1.2.3", "1.2.3.4\0", " 1.2.3.4", "fe80::1%lo", "1.2.3.4 ; x")),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.sampled_from((0, 1, 2, 3, 255)), min_size=4, max_size=4),
    st.lists(st.sampled_from((0, 5, 2**31)), min_size=4, max_size=4),
)
def test_addresses_are_those_of_dnspython(kind: str, values: list[list[str]], weights, ttls) -> None:
    """Of each type, some that are none, several in a set, weights and times to live of any kind."""
    sets = (
        RecordSet(f"a.{ZONE}", kind, ttl, tuple(some), f"lb-{n}", weight)
        for n, (some, weight, ttl) in enumerate(zip(values, weights, ttls, strict=False))
    )
    answered((SOA, *sets), f"a.{ZONE}", kind)


names = st.sampled_from(
    ("", "no.", "ns1.", "x.ns1.", "xns1.", "hostmaster.", "a.hostmaster.", "NS1.", "a.b.", "b.", "x" * 63 + ".")
)
servers = st.sampled_from(
    (
        *(f"{label}.{ZONE}" for label in ("ns1", "NS1", "n_s-1", "n" * 63, "n" * 64, "n;s", '"n"', "n\\", "a.ns1", "")),
        *(ZONE, ZONE[:-1], "ns1.example.", "ns1", ".", "a..b."),
    )
)
mailboxes = st.sampled_from(
    (
        f"hostmaster.{ZONE}",
        rf"host\.master.{ZONE}",
        f"ns1.{ZONE}",
        f"a.ns1.{ZONE}",
        f"h.{ZONE.upper()}",
        "x.example.",
        "@",
    )
)
numbers = st.sampled_from(
    (
        "1",
        "0",
        "7200",
        "007",
        "9" * 9,
        "9" * 10,
        "\u0661",
        " 1",
        str(2**31 - 1),
        str(2**32 - 1),
        str(2**32),
        "-1",
        "1h",
        "x",
        "",
    )
)


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(servers, mailboxes, numbers, numbers, numbers, numbers, numbers),
    st.one_of(st.none(), st.integers(-1, 2**32)),
    names,
    st.sampled_from(("SOA", "A", "TXT", "TYPE999")),
    st.integers(1, 2**33),
)
@example((f"ns1.{ZONE}", f"hostmaster.{ZONE}", "1", "2", "3", "4", "0"), 9, "x.ns1.", "A", 7)
@example((f"ns1.{ZONE}", f"hostmaster.{ZONE}", "1", "2", "3", "4", "86400"), 9, "no.", "A", 2**32)
def test_soa_is_that_of_dnspython(value: tuple[str, ...], ttl: int | None, name: str, kind: str, serial: int) -> None:
    """As answer and in negative ones: any minimum and time to live, names that are compressed otherwise, and no SOA."""
    there = records.txt(f"a.b.{ZONE}", "x")
    answered((RecordSet(ZONE, "SOA", ttl, (" ".join(value),)), there), name + ZONE, kind, serial=serial)


@pytest.mark.parametrize("name", [ZONE, f"no.{ZONE}", f"xns1.{ZONE}", f"b.{ZONE}", f"dangling.{ZONE}"])
@pytest.mark.parametrize("zone", [ZONE, "test."])
def test_what_is_not_there_is_answered_without_dnspython(name: str, zone: str) -> None:
    """Names that are missing, empty non-terminals, and aliases to nothing."""
    sets = (
        records.soa(zone, ttl=9, minimum=5),
        records.txt(f"a.b.{ZONE}", "x"),
        records.alias(f"dangling.{ZONE}", "A", f"gone.{ZONE}"),
    )

    assert answered(sets, name, "A", zone=zone)


def test_zone_without_an_soa_is_left_to_the_slow_path() -> None:
    """It has no answer to what is not there, and fails as it should."""
    assert not answered((records.txt(f"a.{ZONE}", "x"),), f"b.{ZONE}", "A")


@pytest.mark.parametrize("size", range(218, 230))
def test_answers_up_to_the_smallest_datagram_are_made_here_and_larger_ones_are_not(size: int) -> None:
    """With an OPT record or without, none is longer than 512 bytes."""
    values = ('"' + "x" * 200 + '"', '"' + "y" * size + '"')
    length = len(dns.message.make_query(f"t.{ZONE}", "TXT").to_wire()) + sum(12 + len(value) - 1 for value in values)

    made = answered((SOA, RecordSet(f"t.{ZONE}", "TXT", 5, values)), f"t.{ZONE}", "TXT")

    assert made == (length + 11 <= 512)
