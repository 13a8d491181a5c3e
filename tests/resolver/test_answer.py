"""What the authoritative server answers, rule by rule."""

import random

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from fencepost import records
from fencepost.records import RecordSet
from resolver.answer import MAX_CHAIN, addresses, reply
from resolver.message import Transport
from resolver.zone import ZoneImage

ZONE = "dynamodb.us-east-1.fencepost.test."
TREE = f"plan-000145.{ZONE}"


def test_alias_answers_under_its_own_name_with_its_targets_ttl(image, ask) -> None:
    """The root is an alias: the customer sees its own name and an address, never the tree (Route 53, alias records)."""
    answer = ask(image(), ZONE)

    (rrset,) = answer.answer
    assert rrset.name.to_text() == ZONE
    assert rrset.ttl == 5
    assert len(rrset) == 1
    assert answer.flags & dns.flags.AA


def test_alias_to_nothing_is_noerror_without_records_and_with_soa(image, ask) -> None:
    """The incident: the tree is gone, the root still points at it. NOERROR, no answer, SOA in authority (NODATA)."""
    answer = ask(image(without=[TREE]), ZONE)

    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert [(rrset.name.to_text(), rrset.rdtype) for rrset in answer.authority] == [(ZONE, dns.rdatatype.SOA)]


def test_alias_of_an_alias_is_followed(image, ask) -> None:
    """Rollback -> root -> tree: aliases of aliases answer like the last one's target."""
    answer = ask(image(records.alias(f"x.{ZONE}", "A", f"rollback.{ZONE}")), f"x.{ZONE}")

    assert len(answer.answer[0]) == 1


def test_alias_circle_is_a_server_failure(image, ask) -> None:
    """A circle is an error to be signalled (RFC 1034 section 3.6.2 says so of CNAMEs), and ends."""
    circle = (records.alias(f"x.{ZONE}", "A", f"y.{ZONE}"), records.alias(f"y.{ZONE}", "A", f"x.{ZONE}"))

    assert ask(image(*circle), f"x.{ZONE}").rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(("steps", "rcode"), [(MAX_CHAIN, dns.rcode.NOERROR), (MAX_CHAIN + 1, dns.rcode.SERVFAIL)])
def test_alias_chain_is_followed_to_its_limit(image, ask, steps: int, rcode: int) -> None:
    """Eight aliases in a row are followed, a ninth is not."""
    chain = [records.alias(f"x{n}.{ZONE}", "A", f"x{n + 1}.{ZONE}") for n in range(steps - 1)]
    last = records.alias(f"x{steps - 1}.{ZONE}", "A", TREE)

    assert ask(image(*chain, last), f"x0.{ZONE}").rcode() == rcode


def test_alias_has_the_type_it_was_made_for(image, ask) -> None:
    """The root's A alias says nothing of AAAA: that is NODATA."""
    answer = ask(image(), ZONE, "AAAA")

    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer


def test_name_that_is_not_there_is_nxdomain_with_soa(image, ask) -> None:
    """RFC 1034 section 4.3.2 and RFC 2308 section 3: name error, SOA in authority, authoritative."""
    answer = ask(image(), f"nothing.{ZONE}")

    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].rdtype == dns.rdatatype.SOA
    assert answer.flags & dns.flags.AA


def test_empty_non_terminal_is_nodata(image, ask) -> None:
    """A name with nothing but names below it exists: NODATA, not NXDOMAIN (RFC 8020, RFC 4592 section 2.2.2)."""
    answer = ask(image(records.txt(f"a.b.{ZONE}", "x")), f"b.{ZONE}")

    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer


@pytest.mark.parametrize(("ttl", "minimum", "expected"), [(9, 864, 9), (900, 60, 60)])
def test_negative_answer_soa_ttl_is_the_lesser_of_ttl_and_minimum(ask, ttl: int, minimum: int, expected: int) -> None:
    """RFC 2308 section 3: the SOA in a negative answer carries min(its TTL, its minimum)."""
    zone = ZoneImage(ZONE, 1, [records.soa(ZONE, ttl=ttl, minimum=minimum), records.ns(ZONE)])

    assert ask(zone, ZONE).authority[0].ttl == expected


@pytest.mark.parametrize(("serial", "shown"), [(7, 7), (2**32 + 5, 5)])
def test_soa_shows_the_zones_own_serial(image, ask, serial: int, shown: int) -> None:
    """The stored SOA says 1 for ever; answers say which state of the zone they are, in 32 bits (RFC 1982)."""
    zone = image(serial=serial)

    assert ask(zone, ZONE, "SOA").answer[0][0].serial == shown
    assert ask(zone, f"nothing.{ZONE}").authority[0][0].serial == shown


def test_soa_and_ns_are_answered_at_the_apex(image, ask) -> None:
    """The apex has SOA and NS beside the alias, which a CNAME there could not have."""
    assert ask(image(), ZONE, "NS").answer[0][0].target.to_text() == f"ns1.{ZONE}"
    assert ask(image(), ZONE, "SOA").answer[0].ttl == 9


def test_fence_is_answered_as_text(image, ask) -> None:
    """`dig TXT _generation.<zone>` shows what is live."""
    answer = ask(image(), f"_generation.{ZONE}", "TXT")

    assert answer.answer[0][0].strings == (b"145 0123abcd use1-az1-enactor/1/1",)


def test_zone_with_the_longest_name_answers(image) -> None:
    """A zone within another zone answers for its own names (RFC 1034 section 4.3.2, step 2)."""
    inner = f"plan-000145.{ZONE}"
    zones = {ZONE: image(), inner: ZoneImage(inner, 3, [records.soa(inner, ttl=1, minimum=1)])}

    answer = reply(zones, dns.message.make_query(f"x.{inner}", "A").to_wire(), Transport.UDP, random.Random(1))

    assert answer is not None
    assert dns.message.from_wire(answer.wire).authority[0].name.to_text() == inner


@pytest.mark.parametrize(
    "name", ["example.com.", ".", "test.", "fencepost.test.", "xdynamodb.us-east-1.fencepost.test."]
)
def test_name_outside_all_zones_is_refused(image, ask, name: str) -> None:
    """REFUSED, without AA, and without a referral that could be used to amplify."""
    answer = ask(image(), name)

    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.flags & dns.flags.AA
    assert not answer.answer + answer.authority


@pytest.mark.parametrize("name", [f"s3.{ZONE}", f"x.s3.{ZONE}", "sqs.us-east-1.fencepost.test."])
def test_name_in_a_zone_that_is_not_known_yet_fails(image, name: str) -> None:
    """SERVFAIL: REFUSED would deny that the zone is ours, and NXDOMAIN by the zone around it that the name exists."""
    query, awaited = dns.message.make_query(name, "A").to_wire(), {f"s3.{ZONE}", "sqs.us-east-1.fencepost.test.", ZONE}

    answer = reply({ZONE: image()}, query, Transport.UDP, random.Random(1), awaited)

    assert answer is not None
    assert answer.rcode == dns.rcode.SERVFAIL


def test_label_with_a_dot_inside_is_not_taken_for_two(image) -> None:
    """A single label `x.dynamodb` under `us-east-1` lies in no zone of ours."""
    name = dns.name.Name((b"x.dynamodb", b"us-east-1", b"fencepost", b"test", b""))

    answer = reply({ZONE: image()}, dns.message.make_query(name, "A").to_wire(), Transport.UDP, random.Random(1))

    assert answer is not None
    assert answer.rcode == dns.rcode.REFUSED


@pytest.mark.parametrize("name", ["DyNaMoDb.uS-eAsT-1.FENCEPOST.test.", "NoThInG.dynamodb.us-east-1.fencepost.TEST."])
def test_query_name_keeps_its_case_in_the_answer(image, name: str) -> None:
    """Askers that randomize the case of their names (0x20) must get it back, in question and answer."""
    query = dns.message.make_query(name, "A")
    answer = reply({ZONE: image()}, query.to_wire(), Transport.UDP, random.Random(1))

    assert answer is not None
    parsed = dns.message.from_wire(answer.wire)
    assert parsed.question[0].name.to_text() == name
    for rrset in parsed.answer:
        assert rrset.name.to_text() == name


@pytest.mark.parametrize("desired", [True, False])
def test_recursion_desired_is_copied_and_never_available(image, ask, desired: bool) -> None:
    """RFC 1035 section 4.1.1: RD is copied; RA says that nobody recurses here."""
    answer = ask(image(), ZONE, flags=dns.flags.RD if desired else 0)

    assert bool(answer.flags & dns.flags.RD) is desired
    assert not answer.flags & dns.flags.RA


def test_any_gets_one_record_set_only(image, ask) -> None:
    """RFC 8482 section 4.1: a responder may choose one RRset; the apex has A, NS and SOA."""
    answer = ask(image(), ZONE, "ANY")

    assert [rrset.rdtype for rrset in answer.answer] == [dns.rdatatype.A]


def test_any_at_a_dangling_root_gets_what_else_is_there(image, ask) -> None:
    """The alias leads to nothing, but the apex has NS and SOA: ANY is not empty."""
    answer = ask(image(without=[TREE]), ZONE, "ANY")

    assert [rrset.rdtype for rrset in answer.answer] == [dns.rdatatype.NS]


def test_any_where_nothing_is_is_nxdomain(image, ask) -> None:
    """ANY of a name that is not there has no record set to choose."""
    assert ask(image(), f"nothing.{ZONE}", "ANY").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("record_type", ["AXFR", "IXFR"])
def test_zone_transfer_is_refused(image, ask, record_type: str) -> None:
    """RFC 5936 section 2.2.1: whom a server does not want to give its zone gets REFUSED."""
    assert ask(image(), ZONE, record_type, over=Transport.TCP).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("record_type", ["OPT", "TKEY", "TSIG", "MAILB", "TYPE128"])
def test_meta_type_is_not_implemented(image, ask, record_type: str) -> None:
    """RFC 6895 section 3.1: these are no data types; no zone can hold them."""
    assert ask(image(), ZONE, record_type).rcode() == dns.rcode.NOTIMP


@pytest.mark.parametrize("record_type", ["HTTPS", "MX", "TYPE65280", "TYPE0"])
def test_type_that_the_zone_lacks_is_nodata(image, ask, record_type: str) -> None:
    """RFC 3597: a type that we do not know is a type all the same."""
    answer = ask(image(), ZONE, record_type)

    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


@pytest.mark.parametrize("klass", ["CH", "HS", "NONE"])
def test_class_other_than_in_is_refused(image, ask, klass: str) -> None:
    """The zones are of class IN."""
    assert ask(image(), ZONE, rdclass=klass).rcode() == dns.rcode.REFUSED


def test_class_any_is_answered_without_authority(image, ask) -> None:
    """RFC 1035 section 6.2: an answer to class ANY is never authoritative, since other classes may have more."""
    answer = ask(image(), ZONE, rdclass="ANY")

    assert answer.answer
    assert not answer.flags & dns.flags.AA


def test_cname_is_served_with_its_target(image, ask) -> None:
    """RFC 1034 section 4.3.2, step 3a: the CNAME, then what its target has, each under its own name."""
    cname = RecordSet(f"www.{ZONE}", "CNAME", 60, (ZONE,))

    answer = ask(image(cname), f"www.{ZONE}")

    assert [(rrset.name.to_text(), rrset.rdtype) for rrset in answer.answer] == [
        (f"www.{ZONE}", dns.rdatatype.CNAME),
        (ZONE, dns.rdatatype.A),
    ]


def test_cname_itself_is_not_followed_when_asked_for(image, ask) -> None:
    """RFC 1034 section 3.6.2: asked for CNAME, the record is the answer."""
    answer = ask(image(RecordSet(f"www.{ZONE}", "CNAME", 60, (ZONE,))), f"www.{ZONE}", "CNAME")

    assert [rrset.rdtype for rrset in answer.answer] == [dns.rdatatype.CNAME]


def test_cname_to_nothing_has_the_targets_code(image, ask) -> None:
    """RFC 6604 section 3: the code is that of the last name in the chain; the SOA says how long it may be kept."""
    answer = ask(image(RecordSet(f"www.{ZONE}", "CNAME", 60, (f"nothing.{ZONE}",))), f"www.{ZONE}")

    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.rdtype for rrset in answer.answer] == [dns.rdatatype.CNAME]
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


def test_cname_out_of_the_zone_is_left_to_the_asker(image, ask) -> None:
    """What lies outside is not ours to say: the CNAME alone, NOERROR."""
    answer = ask(image(RecordSet(f"www.{ZONE}", "CNAME", 60, ("example.com.",))), f"www.{ZONE}")

    assert answer.rcode() == dns.rcode.NOERROR
    assert len(answer.answer) == 1


def test_cname_circle_is_a_server_failure(image, ask) -> None:
    """RFC 1034 section 3.6.2: CNAME loops are signalled as an error."""
    circle = (
        RecordSet(f"x.{ZONE}", "CNAME", 60, (f"y.{ZONE}",)),
        RecordSet(f"y.{ZONE}", "CNAME", 60, (f"x.{ZONE}",)),
    )

    assert ask(image(*circle), f"x.{ZONE}").rcode() == dns.rcode.SERVFAIL


def test_zone_without_soa_is_a_server_failure_where_one_is_needed(ask) -> None:
    """A negative answer without SOA could not be kept; such a zone is broken."""
    assert ask(ZoneImage(ZONE, 1, [records.ns(ZONE)]), ZONE).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("values", [(), ("",), ("not an soa",), ("a. b. c d e f g",)])
def test_zone_with_an_soa_that_is_none_is_a_server_failure(ask, values: tuple[str, ...]) -> None:
    """Nothing that a store could hold makes the server raise."""
    zone = ZoneImage(ZONE, 1, [RecordSet(ZONE, "SOA", 9, values), RecordSet(f"www.{ZONE}", "CNAME", 9, values[:0])])

    for name, record_type in ((ZONE, "A"), (ZONE, "SOA"), (f"www.{ZONE}", "A")):
        assert ask(zone, name, record_type).rcode() == dns.rcode.SERVFAIL


def test_empty_answer_is_counted_with_zone_and_type(image) -> None:
    """The metrics can tell the outage (empty A) from what is usual (empty AAAA)."""
    query = dns.message.make_query(ZONE, "A").to_wire()

    full = reply({ZONE: image()}, query, Transport.UDP, random.Random(1))
    empty = reply({ZONE: image(without=[TREE])}, query, Transport.UDP, random.Random(1))

    assert full is not None
    assert empty is not None
    assert full.empty is None
    assert empty.empty == (ZONE, "A")


def test_record_set_of_several_values_is_answered_whole_and_in_order(image) -> None:
    """RFC 2181 section 5: an RRset goes out whole; the same question and draw give the same bytes."""
    several = RecordSet(f"six.{ZONE}", "AAAA", 5, tuple(f"2001:db8::{n}" for n in range(1, 9)))
    query = dns.message.make_query(f"six.{ZONE}", "AAAA").to_wire()

    first, second = (reply({ZONE: image(several)}, query, Transport.UDP, random.Random(1)) for _ in range(2))

    assert first is not None
    assert first == second
    assert [record.address for record in dns.message.from_wire(first.wire).answer[0]] == list(several.values)


def test_addresses_are_all_that_queries_get_in_turn(image) -> None:
    """The state page counts what an endpoint can answer: weightless record sets only count if all are so."""
    weightless = records.address(TREE, "A", "127.1.0.9", ttl=5, set_identifier="lb-009", weight=0)
    circle = records.alias(f"x.{ZONE}", "A", f"x.{ZONE}")

    assert len(addresses(image(weightless), ZONE, "A")) == 5
    assert addresses(image(weightless), ZONE, "AAAA") == frozenset()
    assert addresses(image(circle), f"x.{ZONE}", "A") == frozenset()
