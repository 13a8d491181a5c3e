"""Prepared answers: byte for byte what the slow path answers, for the same draw, in every state of a zone."""

import random
import socket
from collections import Counter
from itertools import product

import dns.edns
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencepost import records
from fencepost.batch import Change, create, delete, upsert
from fencepost.records import RecordSet
from fencepost.stores import Actor, Commit
from resolver import hot as hot_module
from resolver import prepare as prepare_module
from resolver.answer import reply
from resolver.hot import Hot, HotTable
from resolver.message import Transport
from resolver.mmsg import gathered
from resolver.outcome import Outcome
from resolver.zone import ZoneImage

ZONE = "dynamodb.us-east-1.fencepost.test."
TREES = (f"plan-000145.{ZONE}", f"plan-000146.{ZONE}")
CHI_SQUARE_999 = {4: 18.467, 19: 43.820}
"""Quantile 0.999 by degrees of freedom. Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.4."""


def leaf(tree: str, number: int, weight: int, *more: str) -> RecordSet:
    return RecordSet(tree, "A", 5, (f"127.1.0.{number}", *more), f"lb-{number:03d}", weight)


POOL = (
    *(leaf(tree, number, weight) for tree in TREES for number, weight in enumerate((100, 200, 0, 255, 70))),
    leaf(TREES[0], 9, 30, "127.1.1.9", "127.1.2.9"),
    *(
        records.address(TREES[0], "AAAA", f"::ffff:127.1.0.{n}", ttl=7, set_identifier=f"x-{n}", weight=n)
        for n in (1, 2)
    ),
    *(records.alias(ZONE, kind, tree) for kind in ("A", "AAAA") for tree in TREES),
    records.alias(f"rollback.{ZONE}", "A", TREES[1]),
    records.alias(f"far.{ZONE}", "A", f"rollback.{ZONE}"),
    records.alias(f"circle.{ZONE}", "A", f"circle.{ZONE}"),
    RecordSet(f"either.{ZONE}", "A", None, (), "one", 1, TREES[0]),
    RecordSet(f"either.{ZONE}", "A", None, (), "two", 3, TREES[1]),
    records.txt(f"_generation.{ZONE}", "145 0123abcd use1-az1-enactor/1/1"),
    records.txt(f"_generation.{ZONE}", "146 0123abcd use1-az2-enactor/1/1"),
    records.txt(f"_lock.{ZONE}", "use1-az1-enactor 1"),
    RecordSet(f"www.{ZONE}", "CNAME", 60, (ZONE,)),
    RecordSet(f"large.{ZONE}", "TXT", 5, tuple(f'"{n:03d}{"x" * 97}"' for n in range(9))),
    RecordSet(f"many.{ZONE}", "A", 5, tuple(f"127.1.3.{n}" for n in range(40))),
    RecordSet(f"twice.{ZONE}", "A", 2**31, ("127.1.3.1", "127.1.3.1")),
    RecordSet(f"deep.down.{ZONE}", "A", 5, ("127.1.3.1",)),
    RecordSet(f"wrong.{ZONE}", "A", 5, ("127.1.3.",)),
)
BASE = (records.soa(ZONE, ttl=9, minimum=864), records.ns(ZONE))
NAMES = (*sorted({r.name for r in POOL}), f"down.{ZONE}", f"nothing.{ZONE}", "fencepost.test.", "example.com.", ".")
NAMES += (
    rf"a\.b.{ZONE}",
    rf"a\\.b.{ZONE}",
)  # one label with a dot in it, and two, the first of which ends in a backslash
TYPES = ("A", "AAAA", "TXT", "SOA", "NS", "CNAME", "MX", "HTTPS", "ANY", "AXFR", "TYPE97", "TYPE65280")


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    """Return a query as some client would send it: any case, EDNS or not, any flags, now and then another shape."""
    name = "".join(draw(st.sampled_from((c.lower(), c.upper()))) for c in draw(st.sampled_from(NAMES)))
    message = dns.message.make_query(
        name, draw(st.sampled_from(TYPES)), draw(st.sampled_from(("IN", "IN", "IN", "ANY", "CH")))
    )
    message.flags = draw(st.sampled_from((0x0000, 0x0100, 0x0120, 0x0110, 0x0130, 0x0070, 0x2900, 0x07FF)))
    if draw(st.booleans()):
        options = [dns.edns.GenericOption(10, b"12345678")] if draw(st.booleans()) else []
        payload = draw(st.sampled_from((0, 512, 1232, 4096)))
        message.use_edns(
            draw(st.sampled_from((0, 0, 0, 1))), draw(st.sampled_from((0, 0x8000, 0xFFFF))), payload, options=options
        )
    wire = bytearray(message.to_wire())
    if draw(st.integers(0, 9)) == 0:
        wire[draw(st.integers(2, len(wire) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(wire[: draw(st.sampled_from((len(wire), len(wire), len(wire), len(wire) - 1)))])


changes = st.builds(
    lambda make, record_set: make(record_set), st.sampled_from((create, delete, upsert)), st.sampled_from(POOL)
)
commits = st.lists(changes, min_size=1, max_size=4)


def find(table: HotTable, wire: bytes) -> Hot | None:
    """Return what is prepared for a query when it was asked twice, None if nothing is."""
    table.reply(wire)
    table.reply(wire)
    return table.known(wire)


def prepared_answer(table: HotTable, wire: bytes, rng: random.Random) -> bytes | None:
    """Return the bytes that would be sent for a query that is found by its bytes, None if it is not."""
    if (hot := table.prepared(wire[2:])) is None:
        return None
    tail = hot.tails[hot.choice[int(rng.random() * hot.total)]]
    return wire[:2] + gathered([hot.head]) + wire[12 : 12 + hot.size] + gathered([tail, hot.opt])


def assert_answered_as_by_the_slow_path(
    table: HotTable, zones: dict[str, ZoneImage], chance: random.Random, wire: bytes, seed: int
) -> bool:
    """Ask once in each way; whatever is answered must be the slow path's bytes for the same draw. Say whether any was.

    `chance` is the table's.
    """
    expected = reply(zones, wire, Transport.UDP, random.Random(seed))
    chance.seed(seed)
    answers = [table.reply(wire), prepared_answer(table, wire, random.Random(seed))]

    for answer in answers:
        assert answer is None or (expected is not None and answer == expected.wire)
    return answers[0] is not None


def commit_of(image: ZoneImage, change_list: list[Change]) -> Commit:
    serial = image.serial + 1
    return Commit(ZONE, serial, serial, Actor("test"), None, "", tuple(change_list))


def moved_on(zones: dict[str, ZoneImage], table: HotTable, change_list: list[Change]) -> None:
    """Commit some changes, and tell the table; while it works, all that it knows is as before."""
    commit, before = commit_of(zones[ZONE], change_list), dict(table._queries)

    def look() -> None:
        assert table._queries == before

    zones[ZONE] = zones[ZONE].apply(commit, look)
    table.changed(ZONE, zones[ZONE], [commit], look)


@pytest.fixture
def table(image) -> HotTable:
    return HotTable({ZONE: image()}, random.Random(1))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(queries(), queries(), commits), min_size=1, max_size=30), st.integers(0, 999))
def test_answers_are_byte_for_byte_those_of_the_slow_path(steps, seed: int) -> None:
    """Whatever is asked in whatever shape, between whatever commits: the same bytes for the same draw."""
    zones, chance = {ZONE: ZoneImage(ZONE, 7, (*BASE, *POOL))}, random.Random()
    table = HotTable(zones, chance)

    for number, step in enumerate(steps):
        if isinstance(step, list):
            moved_on(zones, table, step)
            continue
        for _ in range(3):  # alone, prepared now, and found by its bytes the third time
            assert_answered_as_by_the_slow_path(table, zones, chance, step, seed + number)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_type_and_usual_shape_is_answered_as_by_the_slow_path(name: str) -> None:
    """What chance may leave out above: each name with each type, with every bit of a shape set and unset."""
    zones, chance = {ZONE: ZoneImage(ZONE, 2**32 + 7, (*BASE, *POOL))}, random.Random()
    table = HotTable(zones, chance)
    shapes = ({}, {"flags": 0}, {"use_edns": 0}, {"use_edns": 0, "want_dnssec": True, "payload": 512}, {"use_edns": 1})

    for spelling, record_type, klass, shape in product((name, name.upper()), TYPES, ("IN", "ANY", "CH"), shapes):
        query = dns.message.make_query(spelling, record_type, klass, **shape).to_wire()
        for seed in range(1 if shape or klass != "IN" else 25):
            assert_answered_as_by_the_slow_path(table, zones, chance, query, seed)


@pytest.mark.parametrize(
    ("name", "record_type"),
    [
        (ZONE, "A"),
        (f"rollback.{ZONE}", "A"),
        (TREES[0], "A"),
        (f"_generation.{ZONE}", "TXT"),
        (ZONE, "SOA"),
        (ZONE, "NS"),
        (ZONE, "AAAA"),
    ],
)
@pytest.mark.parametrize(
    "shape",
    [{}, {"flags": 0}, {"use_edns": 0}, {"use_edns": 0, "want_dnssec": True, "payload": 4096}],
    ids=["plain", "without RD", "EDNS", "DO"],
)
def test_query_of_a_usual_shape_is_prepared(table, name: str, record_type: str, shape) -> None:
    """What customers and operators ask is answered without the slow path, an emptied endpoint as well."""
    query = dns.message.make_query(name, record_type, **shape).to_wire()

    first, second = table.reply(query), table.reply(query)

    assert first is not None
    assert second is not None
    assert table.prepared(query[2:]) is not None


@pytest.mark.parametrize(
    ("name", "record_type"),
    [(ZONE, "ANY"), (ZONE, "AXFR"), (f"www.{ZONE}", "A"), (f"no.ns1.{ZONE}", "A"), (".", "A"), (f"many.{ZONE}", "A")],
)
def test_query_of_another_kind_is_left_to_the_slow_path(image, name: str, record_type: str) -> None:
    """ANY, CNAMEs, what is large, and what is compressed in another way, are not made here, nor awaited."""
    more = (r for r in POOL if r.name in {f"www.{ZONE}", f"many.{ZONE}"})
    table = HotTable({ZONE: image(*more)}, random.Random(1))

    query = dns.message.make_query(name, record_type).to_wire()

    assert [table.reply(query) for _ in range(3)] == [None] * 3
    assert not table.is_awaited(query)


@pytest.mark.parametrize(
    ("name", "record_type", "rcode"),
    [
        (f"_tree.{TREES[1]}", "TXT", dns.rcode.NXDOMAIN),
        (f"a.b.c.{ZONE}", "TYPE65280", dns.rcode.NXDOMAIN),
        (f"_tree.{TREES[0]}", "TXT", dns.rcode.NOERROR),
        (f"_generation.{ZONE}", "TXT", dns.rcode.NOERROR),
        (TREES[0], "A", dns.rcode.NOERROR),
        (ZONE, "AAAA", dns.rcode.NOERROR),
        (ZONE, "SOA", dns.rcode.NOERROR),
        ("example.com.", "A", dns.rcode.REFUSED),
        ("fencepost.test.", "TYPE65280", dns.rcode.REFUSED),
    ],
)
@pytest.mark.parametrize("shape", [{}, {"use_edns": 0, "options": [dns.edns.GenericOption(10, b"12345678")]}])
def test_what_enactors_and_customers_ask_is_answered_at_the_first_question(
    image, name: str, record_type: str, rcode: int, shape
) -> None:
    """Without the slow path, and as it would answer: a tree is asked for once, its manifest before it is there."""
    zones, chance = {ZONE: image()}, random.Random()
    table = HotTable(zones, chance)

    for spelling in (name, name.upper()):
        query = dns.message.make_query(spelling, record_type, **shape).to_wire()
        for seed in range(20):
            assert assert_answered_as_by_the_slow_path(table, zones, chance, query, seed)
    empty = (ZONE, "AAAA") if record_type == "AAAA" else None
    assert table.take_counts()[Outcome(dns.rcode.Rcode(rcode), empty)] >= 40


def test_tree_is_prepared_when_it_is_asked_for_again(table) -> None:
    """Who looks at a tree before it goes live asks once: a hundred answers are not made for that."""
    query = dns.message.make_query(TREES[0], "A").to_wire()

    table.reply(query)
    assert not table._ready

    table.reply(query)
    assert table.prepared(query[2:]) is not None


def test_popular_name_is_prepared_again_at_once_after_a_flip(image) -> None:
    """Every query by which it was found is, and gets what is live now: nobody has to wait."""
    zones, chance = {ZONE: image(leaf(TREES[1], 77, 1), leaf(TREES[1], 78, 1))}, random.Random(1)
    table = HotTable(zones, chance)
    asked = [dns.message.make_query(ZONE, "A", **shape).to_wire() for shape in ({}, {"flags": 0}, {"use_edns": 0})]
    for query in asked:
        find(table, query)

    moved_on(zones, table, [upsert(records.alias(ZONE, "A", TREES[1]))])

    assert all(table.prepared(query[2:]) for query in asked)
    for query in asked:
        assert assert_answered_as_by_the_slow_path(table, zones, chance, query, 7)


def test_commit_prepares_what_customers_ask_first(image) -> None:
    """A dashboard that asks for the zone's control names takes no place of the root's; only what is prepared counts."""
    control = [records.txt(f"{label}.{ZONE}", "1") for label in ("_a", "_b", "_c", "_d")]
    many = [RecordSet(f"a{n}.{ZONE}", "A", 5, ("127.1.3.1",)) for n in range(hot_module.FOLLOWED)]
    zones = {ZONE: image(leaf(TREES[1], 77, 1), *control, *many, records.alias(ZONE, "AAAA", TREES[0]), POOL[11])}
    table = HotTable(zones, random.Random(1))
    root, six, others = (ZONE, "A"), (ZONE, "AAAA"), [(r.name, r.type) for r in (*control, *many)]
    asked = {key: dns.message.make_query(*key).to_wire() for key in (root, six, *others)}
    for query in asked.values():
        find(table, query)

    gone = upsert(records.alias(ZONE, "AAAA", TREES[1]))
    moved_on(zones, table, [gone, upsert(records.alias(ZONE, "A", TREES[1])), *map(upsert, (*control, *many))])

    followed = [key for key, query in asked.items() if table.prepared(query[2:]) is not None]
    assert followed == [root, *((r.name, "A") for r in many[:-1])]


def test_commit_prepares_a_bounded_number_of_answers_anew(image) -> None:
    """A large tree that is built while somebody asks for it is not prepared by each commit; others are, as before."""
    leaves = [leaf(TREES[1], number, 1) for number in range(hot_module.MAX_TAILS + 1)]
    small = records.txt(f"_generation.{ZONE}", "1")
    zones = {ZONE: image(*leaves[:-1], small, records.alias(f"to.{ZONE}", "A", TREES[1]))}
    table = HotTable(zones, random.Random(1))
    large, also, other = (
        dns.message.make_query(*key).to_wire() for key in ((TREES[1], "A"), (f"to.{ZONE}", "A"), (small.name, "TXT"))
    )
    for query in (large, also, other):
        find(table, query)

    moved_on(zones, table, [upsert(leaf(TREES[1], 0, 2)), upsert(small)])
    assert [table.prepared(query[2:]) is not None for query in (large, also, other)] == [True, False, False]

    find(table, other)
    moved_on(zones, table, [create(leaves[-1]), upsert(small)])
    assert [table.prepared(query[2:]) is not None for query in (large, also, other)] == [False, False, True]


def test_answers_that_no_query_is_found_by_are_not_prepared_anew(image) -> None:
    """Such are those to padded queries, which are kept for nobody."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    padded = dns.message.make_query(ZONE, "A", use_edns=0, options=[dns.edns.GenericOption(12, bytes(200))])
    find(table, padded.to_wire())
    assert table._ready

    moved_on(zones, table, [upsert(records.alias(ZONE, "A", TREES[1]))])

    assert not table._ready


@pytest.mark.parametrize("name", [ZONE, f"_generation.{ZONE}"], ids=["of many", "the only one"])
def test_name_that_is_asked_for_is_prepared_by_every_commit(image, name: str) -> None:
    """A query that is answered at once says that somebody asks, if only now and then."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1), leaf(TREES[1], 78, 1))}
    table = HotTable(zones, random.Random(1))
    query = dns.message.make_query(name, "A" if name == ZONE else "TXT").to_wire()
    find(table, query)

    for number in range(5 * hot_module.MAX_FOLLOWS):
        texts = upsert(records.txt(f"_generation.{ZONE}", str(number)))
        moved_on(zones, table, [upsert(records.alias(ZONE, "A", TREES[number % 2])), texts])
        assert (hot := table.prepared(query[2:])) is not None
        if number % 5 == 0:
            assert hot.tails[hot.choice[0]]


def test_name_that_nobody_asks_for_is_not_prepared_for_ever(image) -> None:
    """After so many commits it has to be asked for again, and then is prepared after as many more."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    query = dns.message.make_query(ZONE, "A").to_wire()
    find(table, query)

    for _ in range(2):
        for number in range(hot_module.MAX_FOLLOWS):
            moved_on(zones, table, [upsert(records.alias(ZONE, "A", TREES[number % 2]))])
            assert table.prepared(query[2:]) is not None
        moved_on(zones, table, [upsert(records.alias(ZONE, "A", TREES[0]))])
        assert table.prepared(query[2:]) is None
        assert table.is_awaited(query)
        table.reply(query)


def test_commit_prepares_a_few_names_anew_and_drops_the_others(image) -> None:
    """Many names that lead to one tree do not make a commit to it take long; each is answered rightly all the same."""
    names = [f"to-{number}.{ZONE}" for number in range(hot_module.FOLLOWED + 3)]
    zones = {ZONE: image(*(records.alias(name, "A", TREES[1]) for name in names), leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    asked = [dns.message.make_query(name, "A").to_wire() for name in names]
    for query in asked:
        find(table, query)

    moved_on(zones, table, [delete(leaf(TREES[1], 77, 1)), create(leaf(TREES[1], 78, 1))])

    assert sum(table.prepared(query[2:]) is not None for query in asked) == hot_module.FOLLOWED
    for query in asked:
        answer = table.reply(query)
        assert answer is not None
        assert answer[-4:] == socket.inet_aton("127.1.0.78")


def test_name_whose_records_are_gone_is_not_prepared_anew(image) -> None:
    """A flip to a tree that is not there answers NODATA from then on."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    query = dns.message.make_query(ZONE, "A").to_wire()
    find(table, query)

    moved_on(zones, table, [delete(leaf(TREES[1], 77, 1)), upsert(records.alias(ZONE, "A", TREES[1]))])

    assert table.prepared(query[2:]) is None
    expected = reply(zones, query, Transport.UDP, random.Random(1))
    assert expected is not None
    assert table.reply(query) == expected.wire


def test_answer_of_more_records_than_before_has_another_head(image) -> None:
    """The count of records is in what each query is answered with, so such an answer is made at the next question."""
    name = f"deep.down.{ZONE}"
    zones, chance = {ZONE: image(RecordSet(name, "A", 5, ("127.1.3.1",)))}, random.Random(1)
    table = HotTable(zones, chance)
    query = dns.message.make_query(name, "A").to_wire()
    find(table, query)

    moved_on(zones, table, [upsert(RecordSet(name, "A", 5, ("127.1.3.1", "127.1.3.2")))])

    assert assert_answered_as_by_the_slow_path(table, zones, chance, query, 7)


def test_commit_of_the_zone_around_prepares_nothing_of_the_zone_within(image) -> None:
    """A name is answered by the longest zone that it lies in, whatever another zone has under that name."""
    inner = f"s3.{ZONE}"
    within = ZoneImage(inner, 3, [records.soa(inner, ttl=9, minimum=9), RecordSet(inner, "A", 5, ("127.1.3.1",))])
    zones, chance = {ZONE: image(), inner: within}, random.Random(1)
    table = HotTable(zones, chance)
    query = dns.message.make_query(inner, "A").to_wire()
    find(table, query)

    moved_on(zones, table, [create(RecordSet(inner, "A", 5, ("127.1.9.9",)))])

    assert assert_answered_as_by_the_slow_path(table, zones, chance, query, 7)


def test_commit_to_a_name_that_is_prepared_no_more_prepares_nothing(image) -> None:
    """The tree before the flip does not move the root's answers."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    query = dns.message.make_query(ZONE, "A").to_wire()
    find(table, query)
    moved_on(zones, table, [upsert(records.alias(ZONE, "A", TREES[1]))])
    before = table.prepared(query[2:])

    moved_on(zones, table, [upsert(leaf(TREES[0], 1, 99))])

    assert table.prepared(query[2:]) is before is not None


def test_zone_that_is_awaited_is_not_answered_by_the_one_around_it(image) -> None:
    """Its names are not missing: nobody knows yet."""
    inner = f"s3.{ZONE}"
    table = HotTable({ZONE: image()}, random.Random(1), awaited=(ZONE, inner))

    inside, outside = (dns.message.make_query(name, "A").to_wire() for name in (f"x.{inner}", f"x.s4.{ZONE}"))

    assert table.reply(inside) is None
    assert table.reply(outside) is not None


def test_query_in_another_case_needs_no_entry_of_its_own(table) -> None:
    """0x20: a thousand spellings of one name are one entry, and each gets its own spelling back."""
    chance = random.Random(20)
    for _ in range(1000):
        name = "".join(chance.choice((c.lower(), c.upper())) for c in ZONE)
        query = dns.message.make_query(name, "A").to_wire()

        answer = table.reply(query)

        assert answer is not None
        assert answer[12 : len(query)] == query[12:]
    assert len(table._queries) == 1


def test_commit_elsewhere_leaves_prepared_answers_alone(image) -> None:
    """Locks and trees under construction cost the root's answers nothing; answers with the serial are made anew."""
    zones = {ZONE: image()}
    table = HotTable(zones, random.Random(1))
    root, soa = (dns.message.make_query(ZONE, kind, id=1).to_wire() for kind in ("A", "SOA"))
    before = find(table, root)
    find(table, soa)

    moved_on(zones, table, [create(records.txt(f"_lock.{ZONE}", "x 1")), create(leaf(TREES[1], 1, 10))])

    assert table.prepared(root[2:]) is before
    assert table.prepared(soa[2:]) is None


@pytest.mark.parametrize("name", [ZONE, TREES[0]], ids=["the flip", "the tree"])
def test_commit_to_a_name_on_the_way_changes_the_answer(image, name: str) -> None:
    """Root or tree: whichever a commit touches, the next query gets what is live then."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    query = dns.message.make_query(ZONE, "A").to_wire()
    find(table, query)
    change = {ZONE: upsert(records.alias(ZONE, "A", TREES[1])), TREES[0]: create(leaf(TREES[0], 88, 10**6))}[name]

    moved_on(zones, table, [change])

    answer = table.reply(query)
    assert answer is not None
    assert answer[-4:] == socket.inet_aton("127.1.0.77" if name == ZONE else "127.1.0.88")


def test_zone_read_whole_drops_its_answers_and_those_of_the_zones_around_it(image) -> None:
    """Without commits to go by, everything of the zone is made anew; another zone's answers stay."""
    other = ZoneImage("other.test.", 3, [records.soa("other.test.", ttl=9, minimum=9), records.ns("other.test.")])
    zones = {ZONE: image(records.txt(f"s3.{ZONE}", "x")), "other.test.": other}
    table = HotTable(zones, random.Random(1))
    inside, outside = (dns.message.make_query(name, "SOA").to_wire() for name in (f"s3.{ZONE}", "other.test."))
    find(table, inside)
    find(table, outside)

    zones[f"s3.{ZONE}"] = ZoneImage(f"s3.{ZONE}", 5, [records.soa(f"s3.{ZONE}", ttl=9, minimum=9)])
    table.changed(f"s3.{ZONE}", zones[f"s3.{ZONE}"], ())

    assert table.prepared(inside[2:]) is None
    assert table.prepared(outside[2:]) is not None
    answer = table.reply(inside)
    assert answer is not None
    assert len(dns.message.from_wire(answer).answer) == 1


def test_options_need_no_entry_of_their_own(table) -> None:
    """Cookies differ in every query (RFC 7873): they are found by what is usual, and leave nothing behind."""
    find(table, dns.message.make_query(ZONE, "A", use_edns=0).to_wire())
    for number in range(100):
        cookie = dns.edns.GenericOption(10, number.to_bytes(8))
        query = dns.message.make_query(ZONE, "A", use_edns=0, options=[cookie]).to_wire()

        assert table.prepared(query[2:]) is None
        assert table.known(query) is not None
        assert find(table, query) is table.known(query)
    assert len(table._queries) == 1


@pytest.mark.parametrize("broken", [-2, -1, 1], ids=["shorter", "cut", "longer"])
def test_options_that_are_none_are_left_to_the_slow_path(table, broken: int) -> None:
    """A malformed OPT record must not pass for one without options."""
    find(table, dns.message.make_query(ZONE, "A", use_edns=0).to_wire())
    cookie = dns.edns.GenericOption(10, b"12345678")
    query = bytearray(dns.message.make_query(ZONE, "A", use_edns=0, options=[cookie]).to_wire())
    query[-9] += broken  # the option's size, or with the OPT record's own a size beyond the message
    query[-13] += max(0, broken)

    assert table.known(bytes(query)) is None
    assert find(table, bytes(query)) is None


def test_large_query_is_answered_and_not_kept(image) -> None:
    """Padding (RFC 7830) makes a query as large as it likes; its answer is that of any other."""
    padding = dns.edns.GenericOption(12, bytes(3000))
    padded = dns.message.make_query(ZONE, "A", use_edns=0, options=[padding])

    wire, chance = padded.to_wire(max_size=4096), random.Random()
    table = HotTable(zones := {ZONE: image()}, chance)

    for seed in range(3):
        assert assert_answered_as_by_the_slow_path(table, zones, chance, wire, seed)

    assert table._ready
    assert all(len(query) < 300 for query in table._queries)


def test_query_in_a_shape_of_its_own_is_found_by_its_bytes_the_second_time(image) -> None:
    """Resolvers offer payloads of 1232, 1400 or 4096 bytes: each is answered in the least time, until it is dropped."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    find(table, dns.message.make_query(ZONE, "A", use_edns=0).to_wire())
    query = dns.message.make_query(ZONE, "A", use_edns=0, payload=4096).to_wire()

    first, again = table.known(query), table.known(query)  # one batch may have several

    assert first is not None
    assert table.prepared(query[2:]) is first is again
    table.changed(ZONE, zones[ZONE], ())
    assert not table._queries
    assert not table._shapes


def test_shapes_of_one_name_push_out_none_of_each_other(image) -> None:
    """Whatever payloads and flags somebody sends, a name has a few queries, and each is answered as it should be."""
    zones, chance = {ZONE: image()}, random.Random()
    table = HotTable(zones, chance)
    usual = dns.message.make_query(ZONE, "A", use_edns=0).to_wire()
    before = find(table, usual)
    flags = [1 << bit for bit in range(11)]
    shapes = [{"use_edns": 0, "payload": size} for size in range(0, 5000, 100)]
    shapes += [{"use_edns": 0, "ednsflags": 1 << bit} for bit in (*range(16), *range(24, 32))]

    for shape, flag in product(({}, *shapes), (0, *flags)):
        message = dns.message.make_query(ZONE, "A", **shape)
        message.flags = flag
        query = message.to_wire()
        for seed in range(2):
            assert assert_answered_as_by_the_slow_path(table, zones, chance, query, seed)
        assert table.known(query) is not None

    assert table.prepared(usual[2:]) is before
    assert len(table._queries) <= hot_module.MAX_QUERIES + 6
    assert len(table._ready) == 1


@pytest.mark.parametrize(("name", "record_type"), [(ZONE, "A"), (ZONE, "AAAA"), (ZONE, "NS")])
def test_query_whose_answers_a_commit_dropped_is_awaited(image, name: str, record_type: str) -> None:
    """Popular before, in whatever shape, so popular now; a shape that is never kept is not."""
    zones = {ZONE: image(leaf(TREES[1], 77, 1))}
    table = HotTable(zones, random.Random(1))
    query, shaped, padded, other = (
        dns.message.make_query(name.upper(), record_type, **shape).to_wire()
        for shape in (
            {},
            {"use_edns": 0, "payload": 4096},
            {"use_edns": 0, "options": [dns.edns.GenericOption(12, bytes(300))]},
            {"use_edns": 1},
        )
    )
    assert not table.is_awaited(query)
    find(table, query)

    moved_on(zones, table, [upsert(records.alias(ZONE, "A", TREES[1]))])

    assert [table.is_awaited(message) for message in (query, shaped, padded, other)] == [True, True, False, False]


@pytest.mark.parametrize("name", [f"large.{ZONE}", f"many.{ZONE}"])
def test_large_answer_is_not_put_on_the_wire_to_find_that_out(image, monkeypatch, name: str) -> None:
    """It is made once, by who sends it."""
    table = HotTable({ZONE: image(*(r for r in POOL if r.name == name))}, random.Random(1))
    rendered = []
    monkeypatch.setattr(prepare_module, "render", lambda *_, **__: rendered.append(name))

    query = dns.message.make_query(name, "A" if "many" in name else "TXT").to_wire()

    assert [table.reply(query) for _ in range(3)] == [None] * 3
    assert not rendered


def test_name_that_is_gone_is_not_awaited_after_it_was_asked_for(image) -> None:
    """It is answered by itself every time, so whoever asks for it waits with the strangers."""
    zones = {ZONE: image(records.txt(f"gone.{ZONE}", "x"))}
    table = HotTable(zones, random.Random(1))
    query = dns.message.make_query(f"gone.{ZONE}", "TXT").to_wire()
    find(table, query)

    moved_on(zones, table, [delete(records.txt(f"gone.{ZONE}", "x"))])
    table.reply(query)

    assert not table.is_awaited(query)


def test_names_outside_the_zones_are_refused_and_not_kept(image) -> None:
    """Strangers' names leave nothing behind; an awaited zone's are not refused."""
    table = HotTable({ZONE: image()}, random.Random(1), awaited=("s3.test.",))
    inside = dns.message.make_query("x.s3.test.", "A").to_wire()

    for number in range(100):
        assert find(table, dns.message.make_query(f"no-{number}.test.", "A").to_wire()) is None

    assert table.take_counts()[Outcome(dns.rcode.REFUSED)] == 200
    assert not table._queries
    assert not table._asked
    assert table.reply(inside) is None


def test_names_that_are_not_there_are_not_kept(table) -> None:
    """Strangers with endless names throw out nothing."""
    root = dns.message.make_query(ZONE, "A").to_wire()
    before = find(table, root)

    for number in range(1000):
        assert find(table, dns.message.make_query(f"no-{number}.{ZONE}", "A").to_wire()) is None

    assert table.prepared(root[2:]) is before
    assert len(table._queries) == len(table._asked) == 1


def test_empty_answers_make_room_for_each_other_alone(table, monkeypatch) -> None:
    """65,536 types of one name, all without records: answers with records stay."""
    monkeypatch.setattr(hot_module, "MAX_EMPTY", 50)
    root = dns.message.make_query(ZONE, "A").to_wire()
    before = find(table, root)

    for number in range(300, 500):
        assert find(table, dns.message.make_query(ZONE, f"TYPE{number}").to_wire()) is not None

    assert table.prepared(root[2:]) is before
    assert len(table._empty) <= 50
    assert len(table._queries) <= 51
    assert len(table._users[ZONE]) <= 51


def test_answers_with_the_serial_are_few_for_each_zone(table) -> None:
    """Any commit drops all of them, so a stranger who asks for thousands of types must not make that long."""
    asked = [dns.message.make_query(ZONE, f"TYPE{kind}").to_wire() for kind in range(65280, 65480)]
    root = dns.message.make_query(ZONE, "A").to_wire()
    find(table, root)

    for query in asked:
        find(table, query)

    known = [table.prepared(query[2:]) is not None for query in asked]
    assert hot_module.MAX_BY_SERIAL - hot_module.ROOM < sum(known) <= hot_module.MAX_BY_SERIAL
    assert all(known[-sum(known) :]), "the last ones are"
    assert table.prepared(root[2:]) is not None


def test_full_table_drops_a_few_of_its_oldest(image, monkeypatch) -> None:
    """One name too many costs a few others their prepared answers, never all."""
    monkeypatch.setattr(hot_module, "MAX_PREPARED", 50)
    names = [f"n{number:02d}.{ZONE}" for number in range(51)]
    table = HotTable({ZONE: image(*(records.txt(name, "x") for name in names))}, random.Random(1))
    queries = [dns.message.make_query(name, "TXT").to_wire() for name in names]

    for query in queries:
        assert find(table, query) is not None

    known = [table.prepared(query[2:]) is not None for query in queries]
    assert known == [False] * hot_module.ROOM + [True] * (51 - hot_module.ROOM)
    assert len(table._asked) == 51 - hot_module.ROOM


@pytest.mark.parametrize(
    "weights",
    [(10, 20, 30, 40, 100), tuple(range(231, 251))],
    ids=["a cell for each", "more than there are cells"],
)
def test_prepared_answers_follow_the_weights(image, weights) -> None:
    """50,000 draws: chi-square below its 0.999 quantile. Seed: 145."""
    leaves = [leaf(TREES[1], number, weight) for number, weight in enumerate(weights)]
    table = HotTable({ZONE: image(*leaves)}, random.Random(1))
    hot, chance = find(table, dns.message.make_query(TREES[1], "A").to_wire()), random.Random(145)
    assert hot is not None

    drawn = Counter(hot.tails[hot.choice[int(chance.random() * hot.total)]] for _ in range(50_000))

    found = {gathered([tail])[-1]: times for tail, times in drawn.items()}
    expected = {number: 50_000 * weight / sum(weights) for number, weight in enumerate(weights)}
    assert set(found) == set(expected)
    chi_square = sum((found[n] - mean) ** 2 / mean for n, mean in expected.items())
    assert chi_square < CHI_SQUARE_999[len(weights) - 1]
