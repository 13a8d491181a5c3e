"""The rules of a change batch, each with the words that Route 53 has for its refusal.

Source: Route 53 API Reference, ChangeResourceRecordSets (abbreviated CRRS below), unless a test says otherwise.
"""

import msgspec
import pytest
from redis.exceptions import ResponseError

from fencepost.batch import ChangeBatch, create, delete, swap, upsert
from fencepost.change_script import arguments
from fencepost.records import RecordKey, RecordSet, address, alias, ns, soa, txt
from fencepost.redis_client import load_script, open_client
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
TREE = f"plan-000145.{ZONE}"
WEB = address(f"www.{ZONE}", "A", "127.1.0.1", ttl=5)
LEAF = address(TREE, "A", "127.1.0.1", ttl=5, set_identifier="use1-az1-lb-001", weight=10)
OTHER_LEAF = address(TREE, "A", "127.1.0.2", ttl=5, set_identifier="use1-az1-lb-002", weight=10)
ROOT = alias(ZONE, "A", TREE)
RUNS = 8
"""Where the runs are in the arguments of the script."""
LEAF_ID = f"[name='{TREE}', type='A', set-identifier='use1-az1-lb-001']"
WEB_ID = f"[name='www.{ZONE}', type='A']"


def script_arguments(batch):
    """Return the arguments of a batch for the script, as nobody has looked at what can never be valid."""
    return arguments(batch, {}, Actor("one"), processing_us=0, stream_limit=100, creating=False)


async def answer_of_the_script(redis_url, args):
    """Return what the script answers to such arguments."""
    client = open_client(redis_url)
    keys = [f"{{{ZONE}}}:{part}" for part in ("records", "order", "counts", "meta", "stream")]
    try:
        return await client.eval(load_script("change_batch"), len(keys), *keys, *args)
    finally:
        await client.aclose()


def altered(record_set, **fields):
    """Return a record set with some fields replaced."""
    return msgspec.structs.replace(record_set, **fields)


async def test_batch_committed_is_there_whole_at_the_next_serial(zones, change):
    """CRRS: "all of the changes or none"; a commit is one step of the zone."""
    commit = await change(create(LEAF), create(OTHER_LEAF), create(ROOT), generation=145, comment="flip")

    found = await zones.read(ZONE, [LEAF.key, OTHER_LEAF.key, ROOT.key, WEB.key])
    assert (commit.serial, commit.generation, commit.comment) == (2, 145, "flip")
    assert found == (2, {record_set.key: record_set for record_set in (LEAF, OTHER_LEAF, ROOT)})


async def test_batch_with_one_bad_change_changes_nothing(zones, refused):
    """CRRS, transactional: one failing change, wherever it stands, refuses the good ones beside it too."""
    missing = f"Tried to delete resource record set {WEB_ID} but it was not found"

    assert await refused(create(LEAF), delete(WEB), create(OTHER_LEAF)) == [(1, "not_found", missing)]
    assert (await zones.read(ZONE, [LEAF.key, OTHER_LEAF.key])) == (1, {})


async def test_create_existing_is_refused(change, refused):
    """CRRS, CREATE: fails if a record set of this name, type and set identifier exists, even an equal one."""
    await change(create(LEAF))

    text = f"Tried to create resource record set {LEAF_ID} but it already exists"
    assert await refused(create(LEAF)) == [(0, "exists", text)]
    assert await refused(create(altered(LEAF, weight=11))) == [(0, "exists", text)]


async def test_create_twice_in_one_batch_is_refused(refused):
    """CRRS: changes are judged in order, the second CREATE on what the first would leave."""
    assert [failure[:2] for failure in await refused(create(WEB), create(WEB))] == [(1, "exists")]


async def test_upsert_absent_creates(zones, change):
    """CRRS, UPSERT: "If a resource record set doesn't already exist, Route 53 creates it"."""
    await change(upsert(WEB))

    assert (await zones.read(ZONE, [WEB.key])).records == {WEB.key: WEB}


async def test_upsert_existing_replaces(zones, change):
    """CRRS, UPSERT: "If a resource record set does exist, Route 53 updates it with the values in the request"."""
    moved = altered(WEB, values=("127.1.0.9",), ttl=60)
    await change(create(WEB))
    await change(upsert(moved))

    assert (await zones.read(ZONE, [WEB.key])).records == {WEB.key: moved}


@pytest.mark.parametrize("wrong", [{"ttl": 6}, {"values": ("127.1.0.2",)}, {"weight": 11}])
async def test_delete_differing_in_one_field_is_refused(change, refused, wrong):
    """CRRS, DELETE: every value given must be equal to the existing one."""
    await change(create(LEAF))

    text = f"Tried to delete resource record set {LEAF_ID} but the values provided do not match the current values"
    assert await refused(delete(altered(LEAF, **wrong))) == [(0, "mismatch", text)]


async def test_delete_alias_with_another_target_is_refused(change, refused):
    """CRRS, DELETE: an alias target is a value like any other."""
    await change(create(LEAF), create(ROOT))

    failures = await refused(delete(altered(ROOT, alias=f"plan-000146.{ZONE}")))
    assert [failure[:2] for failure in failures] == [(0, "mismatch")]


async def test_delete_of_another_set_identifier_is_not_found(change, refused):
    """CRRS, SetIdentifier: it is part of what identifies a record set."""
    await change(create(LEAF))

    text = (
        f"Tried to delete resource record set [name='{TREE}', type='A', set-identifier='use1-az1-lb-002'] "
        "but it was not found"
    )
    assert await refused(delete(OTHER_LEAF)) == [(0, "not_found", text)]


async def test_delete_exact_removes(zones, change):
    """CRRS, DELETE: an exact match goes, its weighted siblings stay."""
    await change(create(LEAF), create(OTHER_LEAF))
    await change(delete(LEAF))

    assert (await zones.read(ZONE, [LEAF.key, OTHER_LEAF.key])).records == {OTHER_LEAF.key: OTHER_LEAF}


async def test_delete_twice_in_one_batch_is_refused(change, refused):
    """CRRS, InvalidChangeBatch: a record set cannot be deleted twice in one request, nor after a CREATE in between."""
    await change(create(WEB))

    text = f"The request contains an invalid set of changes for a resource record set 'A www.{ZONE}'"
    assert await refused(delete(WEB), delete(WEB)) == [(1, "deleted_twice", text)]
    assert await refused(delete(WEB), create(WEB), delete(WEB)) == [(2, "deleted_twice", text)]


async def test_delete_then_create_is_compare_and_swap(zones, change, refused):
    """CRRS: DELETE + CREATE in one batch replaces exactly what was read, or does nothing."""
    first, second = txt(f"_generation.{ZONE}", "1 aaaaaaaa x"), txt(f"_generation.{ZONE}", "2 bbbbbbbb y")
    await change(*swap(None, first))
    await change(*swap(first, second))

    assert (await zones.read(ZONE, [second.key])).records == {second.key: second}
    # The CREATE fails as well: what the DELETE could not take away is still there.
    assert [failure[:2] for failure in await refused(*swap(first, second))] == [(0, "mismatch"), (1, "exists")]
    assert [failure[:2] for failure in await refused(*swap(None, first))] == [(0, "exists")]


async def test_swap_to_the_same_value_proves_without_changing(zones, change):
    """CRRS: DELETE + CREATE of an equal record set is a proof that it is still so; it counts as a commit."""
    await change(create(WEB))
    commit = await change(*swap(WEB, WEB))

    assert commit.serial == 3
    assert (await zones.read(ZONE, [WEB.key])).records == {WEB.key: WEB}


async def test_failing_changes_are_all_listed_in_order(change, refused):
    """CRRS, InvalidChangeBatch: `messages` has every failing change, with good ones in between left out."""
    await change(create(WEB))

    failures = await refused(create(WEB), create(LEAF), delete(OTHER_LEAF), upsert(WEB), create(alias(ZONE, "A", "x.")))
    assert [failure[:2] for failure in failures] == [(0, "exists"), (2, "not_found"), (4, "target_outside")]


async def test_tree_of_which_some_are_there_is_refused_for_those(change, refused):
    """CRRS: changes that differ in the set identifier alone are judged one by one all the same."""
    leaves = [altered(LEAF, set_identifier=f"lb-{number}") for number in range(5)]
    await change(create(leaves[1]), create(altered(leaves[3], weight=11)))

    assert [f[:2] for f in await refused(*map(create, leaves))] == [(1, "exists"), (3, "exists")]
    failures = [(0, "not_found"), (2, "not_found"), (3, "mismatch"), (4, "not_found")]
    assert [f[:2] for f in await refused(*map(delete, leaves))] == failures


async def test_alias_after_its_target_in_one_batch_is_created(zones, change):
    """CRRS, AliasTarget: the target has to exist after the changes before it."""
    await change(create(LEAF), upsert(ROOT))

    assert (await zones.read(ZONE, [ROOT.key])).records == {ROOT.key: ROOT}


@pytest.mark.parametrize("verb", [create, upsert])
async def test_alias_before_its_target_in_one_batch_is_refused(refused, verb):
    """CRRS, AliasTarget: what comes later in the batch does not exist yet, for CREATE and UPSERT alike."""
    text = f"Tried to create an alias that targets {TREE}, type A in zone {ZONE}, but that target was not found"

    assert await refused(verb(ROOT), create(LEAF)) == [(0, "target_missing", text)]


@pytest.mark.parametrize("target", ["nope\nx", "x\n0 UPSERT 1 x y", "x\n0 UPSERT 1  ", "plan\t", "a b", "UP", "", "-x"])
async def test_alias_to_what_is_no_name_is_malformed(refused, target):
    """CRRS, AliasTarget: a DNS name; any other text, of several lines even, is refused and touches no other change."""
    name = f"{target}.{ZONE}"

    text = f"Invalid record set [name='{ZONE}', type='A']: alias target {name!r} is not a name"
    assert await refused(create(WEB), create(alias(ZONE, "A", name))) == [(1, "malformed", text)]


async def test_alias_to_a_target_of_which_the_counts_know_nothing_is_refused(redis_url, zones):
    """The script takes a target that its fields do not name for one that is not there."""
    batch = ChangeBatch(ZONE, (create(ROOT),))
    args = script_arguments(batch)
    args[RUNS] = args[RUNS].replace("plan-000145", "plan-000999")

    assert await answer_of_the_script(redis_url, args) == [b"refused", 0, b"target_missing"]
    assert (await zones.read(ZONE, [ROOT.key])) == (1, {})


@pytest.mark.parametrize(
    "runs",
    [
        "",
        "1 CREATE 0  \n",
        "1 CREATE 0  \n0 UPSERT 1 x \n1 CREATE 0  \n",
        "1 CREATE 0  \n1 CREATE 0  \n1 CREATE 0  \n",
        "3 CREATE 0  \n",
        "no run\n",
    ],
)
async def test_runs_that_do_not_cover_exactly_the_changes_write_nothing(redis_url, zones, runs):
    """Whoever calls the script with them: fewer, more or empty ones are an error before anything is written."""
    args = script_arguments(ChangeBatch(ZONE, (create(LEAF), create(OTHER_LEAF))))
    args[RUNS] = runs

    with pytest.raises(ResponseError, match="the runs do not cover exactly the changes; nothing was written"):
        await answer_of_the_script(redis_url, args)

    assert (await zones.read(ZONE, [LEAF.key, OTHER_LEAF.key])) == (1, {})
    assert len(await zones.commits(ZONE)) == 1


async def test_alias_to_target_of_other_type_is_refused(change, refused):
    """CRRS, AliasTarget: the target has the alias's type; an A record is none for an AAAA alias."""
    await change(create(LEAF))

    text = f"Tried to create an alias that targets {TREE}, type AAAA in zone {ZONE}, but that target was not found"
    assert await refused(create(alias(ZONE, "AAAA", TREE))) == [(0, "target_missing", text)]


async def test_alias_to_a_target_deleted_before_in_the_batch_is_refused(change, refused):
    """CRRS, AliasTarget: the working copy counts, not the zone as it was."""
    await change(create(LEAF))

    assert [f[:2] for f in await refused(delete(LEAF), create(ROOT))] == [(1, "target_missing")]


async def test_alias_to_a_weighted_target_needs_one_member_only(change, refused):
    """CRRS, AliasTarget: the target is a name and type; it is there as long as any weighted record set of it is."""
    await change(create(LEAF), create(OTHER_LEAF))
    await change(delete(LEAF), create(ROOT))

    failures = await refused(delete(OTHER_LEAF), create(alias(f"rollback.{ZONE}", "A", TREE)))
    assert [f[:2] for f in failures] == [(1, "target_missing")]


async def test_alias_to_itself_is_refused(change, refused):
    """CRRS, AliasTarget: a record set that would replace its own target has none."""
    await change(create(WEB))

    assert [f[:2] for f in await refused(upsert(alias(WEB.name, "A", WEB.name)))] == [(0, "target_missing")]


async def test_alias_out_of_the_zone_is_refused(refused):
    """Developer Guide, Choosing between alias and non-alias records: the target is in the same hosted zone."""
    target = "plan-000145.another.fencepost.test."
    text = (
        f"Tried to create an alias that targets {target}, type A in zone {ZONE}, "
        "but the alias target name does not lie within the target zone"
    )

    assert await refused(create(alias(ZONE, "A", target))) == [(0, "target_outside", text)]


async def test_alias_target_may_be_deleted(zones, change):
    """CRRS has no rule against deleting what an alias points to: the root dangles, and that is how the outage began."""
    await change(create(LEAF), create(ROOT))
    await change(delete(LEAF))

    assert (await zones.read(ZONE, [LEAF.key, ROOT.key])).records == {ROOT.key: ROOT}


async def test_dangling_alias_may_be_deleted_but_not_written_again(change, refused):
    """CRRS: DELETE looks at the record set alone; a CREATE of the same alias needs its target."""
    await change(create(LEAF), create(ROOT))
    await change(delete(LEAF))

    assert [f[:2] for f in await refused(*swap(ROOT, ROOT))] == [(1, "target_missing")]
    assert (await change(delete(ROOT))).serial == 4


async def test_cname_beside_other_records_is_refused_both_ways(change, refused):
    """Developer Guide, CNAME record type: a name with a CNAME has no other records (RFC 1034 section 3.6.2)."""
    cname = RecordSet(WEB.name, "CNAME", 5, (TREE,))
    text = "RRSet of type {} with DNS name " + WEB.name + " is not permitted as it conflicts with other records "
    text += f"with the same DNS name in zone {ZONE}"

    assert await refused(create(WEB), create(cname)) == [(1, "cname_conflict", text.format("CNAME"))]
    assert await refused(create(cname), create(WEB)) == [(1, "cname_conflict", text.format("A"))]
    assert await refused(create(altered(cname, name=ZONE))) != []


async def test_cname_swapped_with_address_in_one_batch_is_fine(zones, change):
    """Developer Guide, CNAME record type, on the working copy: the other one is gone by then."""
    cname = RecordSet(WEB.name, "CNAME", 5, (TREE,))
    await change(create(cname))
    await change(upsert(altered(cname, ttl=6)))
    await change(delete(altered(cname, ttl=6)), create(WEB))

    assert [key.type for key in (await zones.read(ZONE, [WEB.key, cname.key])).records] == ["A"]


async def test_simple_and_weighted_of_one_name_are_refused_both_ways(refused):
    """Developer Guide, Weighted routing: simple and weighted record sets of one name and type exclude each other."""
    simple = address(TREE, "A", "127.1.0.9", ttl=5)
    text = "RRSet with DNS name " + TREE + ", type A, SetIdentifier {} cannot be created as "
    text += "simple and weighted record sets of the same name and type exclude each other"

    assert await refused(create(LEAF), create(simple)) == [(1, "policy_conflict", text.format(None))]
    assert await refused(create(simple), create(LEAF)) == [(1, "policy_conflict", text.format("use1-az1-lb-001"))]


async def test_simple_replaced_by_weighted_in_one_batch_is_fine(change):
    """Developer Guide, Weighted routing, on the working copy: the simple one is gone by then."""
    simple = address(TREE, "A", "127.1.0.9", ttl=5)
    await change(create(simple))

    assert (await change(delete(simple), create(LEAF), create(OTHER_LEAF))).serial == 3


@pytest.mark.parametrize("name", ["www.example.", f"evil-{ZONE}", "us-east-1.fencepost.test."])
async def test_name_outside_the_zone_is_refused(refused, name):
    """CRRS, Name: it is the zone's name or ends with it at a label."""
    text = f"RRSet with DNS name {name} is not permitted in zone {ZONE}"

    assert await refused(create(address(name, "A", "127.1.0.1", ttl=5))) == [(0, "outside_zone", text)]


@pytest.mark.parametrize("record_set", [soa(ZONE, ttl=900, minimum=86_400), ns(ZONE)], ids=["SOA", "NS"])
async def test_apex_soa_and_ns_cannot_be_deleted(change, refused, record_set):
    """Developer Guide, SOA and NS records: a hosted zone keeps both; they can be replaced."""
    text = "A HostedZone must contain exactly one SOA record and at least one NS record for the zone itself"

    assert await refused(delete(record_set)) == [(0, "apex_required", text)]
    assert (await change(upsert(altered(record_set, ttl=60)))).serial == 2


FOUND_NONE = "expected exactly one of AliasTarget, or TTL and ResourceRecords, but found none"
FOUND_BOTH = "expected exactly one of AliasTarget, or TTL and ResourceRecords, but found more than one"
NO_NAME = "is not a name in lower case with labels of 1 to 63 letters, digits, '-' or '_'"
NEEDS_BOTH = "a weighted record set needs both a set identifier and a weight"


@pytest.mark.parametrize(
    ("record_set", "problem"),
    [
        (altered(WEB, values=("127.1.0.256",)), "value '127.1.0.256' is not a A value"),
        (altered(WEB, values=("::1",)), "value '::1' is not a A value"),
        (altered(WEB, type="AAAA"), "value '127.1.0.1' is not a AAAA value"),
        (altered(WEB, type="TXT", values=("bare",)), "value 'bare' is not a TXT value"),
        (altered(WEB, type="MX"), "type MX is not supported; types are A, AAAA, TXT, SOA, NS, CNAME"),
        (altered(WEB, values=()), FOUND_NONE),
        (altered(WEB, values=("127.1.0.1", "127.1.0.1")), "duplicate resource record"),
        (altered(WEB, ttl=None), "TTL None is outside 0 to 2147483647"),
        (altered(WEB, ttl=-1), "TTL -1 is outside 0 to 2147483647"),
        (altered(LEAF, weight=256), "weight 256 is outside 0 to 255"),
        (altered(LEAF, weight=None), NEEDS_BOTH),
        (altered(LEAF, set_identifier=None), NEEDS_BOTH),
        (altered(LEAF, set_identifier=""), "set identifier '' must be 1 to 128 printable characters"),
        (altered(WEB, alias=TREE), FOUND_BOTH),
        (alias(WEB.name, "TXT", TREE), "an alias of type TXT is not supported"),
        (altered(WEB, name=f"a b.{ZONE}"), f"'a b.{ZONE}' {NO_NAME}"),
        (altered(WEB, name=f"WWW.{ZONE}"), f"'WWW.{ZONE}' {NO_NAME}"),
    ],
    ids=str,
)
async def test_malformed_record_set_is_refused_with_what_is_wrong(refused, record_set, problem):
    """CRRS, InvalidInput and ResourceRecordSet: values fit their type, weights their range, and so on."""
    identity = f"[name='{record_set.name}', type='{record_set.type}'"
    if record_set.set_identifier is not None:
        identity += f", set-identifier='{record_set.set_identifier}'"

    assert await refused(create(record_set)) == [(0, "malformed", f"Invalid record set {identity}]: {problem}")]


async def test_name_with_a_space_is_never_mistaken_for_labels(zones, change, refused):
    """CRRS, Name: `a b.<zone>` would sort, and be kept, as `b.a.<zone>` is."""
    await change(create(altered(WEB, name=f"b.a.{ZONE}")))

    assert [f[:2] for f in await refused(create(altered(WEB, name=f"a b.{ZONE}")))] == [(0, "malformed")]
    assert (await zones.read(ZONE, [RecordKey(f"b.a.{ZONE}", "A")])).records != {}
