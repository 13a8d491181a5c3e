"""What a zone tells: its record sets in order, and its history."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencepost.batch import ChangeBatch, create, delete, swap, upsert
from fencepost.records import RecordKey, address, ns, soa, txt
from fencepost.stores import Actor, Commit

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."
WEB = address(f"www.{ZONE}", "A", "127.1.0.1", ttl=5)
LABELS = ("a", "a-", "a0", "aa", "a-b", "b", "plan-000009", "plan-000010", "plan-1000000", "_lock")
HISTORIES = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def labels_reversed(name):
    """Return what ListResourceRecordSets compares, written independently of how the store does it."""
    return tuple(reversed(name.rstrip(".").split(".")))


async def walk(store, limit):
    """Return all record sets of the zone, page by page."""
    found, start = [], None
    while True:
        page = await store.page(ZONE, start, limit)
        assert len(page.record_sets) <= limit
        found += page.record_sets
        start = page.next_key
        if start is None:
            return found


async def test_page_order_is_by_reversed_labels_then_type_then_identifier(zones, change):
    """API Reference, ListResourceRecordSets, Sort order: "by DNS name with the labels reversed", then type."""
    names = [f"{label}.{ZONE}" for label in LABELS if label != "a-"]
    names += [f"x.{name}" for name in names] + [f"a.x.{names[0]}"]
    record_sets = [txt(name, "t") for name in names] + [address(name, "A", "127.1.0.1", ttl=5) for name in names]
    weighted = [
        address(f"w.{ZONE}", "A", "127.1.0.1", ttl=5, set_identifier=identifier, weight=1)
        for identifier in ("lb-10", "lb-2", "lb 1")
    ]
    await change(*(create(record_set) for record_set in record_sets + weighted))

    listed = await walk(zones, 300)
    expected = sorted(
        [*record_sets, *weighted, soa(ZONE, ttl=900, minimum=86_400), ns(ZONE)],
        key=lambda r: (labels_reversed(r.name), r.type, r.set_identifier or ""),
    )
    assert listed == expected


async def test_pages_of_any_size_add_up_to_the_listing(zones, change):
    """API Reference, ListResourceRecordSets, MaxItems and NextRecordName: pages neither repeat nor leave out."""
    record_sets = [txt(f"r{n}-{n % 7}.{ZONE}", "t") for n in range(41)]
    await change(*(create(record_set) for record_set in record_sets))

    whole = await walk(zones, 300)
    assert len(whole) == 43
    for limit in (1, 2, 7, 42, 43, 44):
        assert await walk(zones, limit) == whole


async def test_page_start_is_inclusive_and_need_not_exist(zones, change):
    """API Reference, ListResourceRecordSets, StartRecordName: the list begins at the name or at what follows it."""
    await change(create(txt(f"a.{ZONE}", "t")), create(txt(f"c.{ZONE}", "t")))

    for start in (f"a.{ZONE}", f"b.{ZONE}", f"c.{ZONE}", f"d.{ZONE}"):
        page = await zones.page(ZONE, RecordKey(start, "TXT"))
        assert [record_set.name for record_set in page.record_sets] == [
            name for name in (f"a.{ZONE}", f"c.{ZONE}") if name >= start
        ]


async def test_page_is_never_longer_than_300(zones, change):
    """API Reference, ListResourceRecordSets, MaxItems: 300 at most, whatever is asked for."""
    await change(*(create(txt(f"r{n:03}.{ZONE}", "t")) for n in range(305)))

    page = await zones.page(ZONE, limit=5000)
    assert len(page.record_sets) == 300
    assert page.next_key is not None


async def test_page_ends_with_a_domain_where_nobody_wants_more(zones, change):
    """A listing of one tree costs what is in that tree, whatever follows it, and has all at its name and below it."""
    names = [
        f"{label}.{ZONE}"
        for label in ("plan-1", "x.plan-1", "_tree.plan-1", "plan-1-x", "plan-10", "plan-2", "xplan-1")
    ]
    await change(*(create(txt(name, "t")) for name in names))

    page = await zones.page(ZONE, RecordKey(names[0], "A"), within=names[0])
    assert [record_set.name for record_set in page.record_sets] == [names[0], names[2], names[1]]
    assert page.next_key is None
    first = await zones.page(ZONE, RecordKey(names[0], "A"), 2, within=names[0])
    assert (first.record_sets, first.next_key) == (page.record_sets[:2], page.record_sets[2].key)
    assert (await zones.page(ZONE, RecordKey(names[5], "A"), within=names[0])).record_sets == ()


async def test_page_follows_what_was_deleted(zones, change):
    """API Reference, ListResourceRecordSets: a deleted record set is listed no more."""
    await change(create(WEB))
    await change(delete(WEB))

    assert [record_set.type for record_set in await walk(zones, 300)] == ["NS", "SOA"]


async def test_commits_are_the_zones_history_without_gaps(zones, open_zones, change):
    """A zone's history: serials count from 1, and each commit says who did what, for which plan, and why."""
    operator = open_zones(Actor("alice", operator=True))
    await change(create(WEB), generation=145, comment="flip to 145")
    await operator.change(ChangeBatch(ZONE, (upsert(WEB), delete(WEB)), comment="two\nlines"))

    created, first, second = await zones.commits(ZONE)
    assert [created.serial, first.serial, second.serial] == [1, 2, 3]
    assert (created.comment, [c.record_set.type for c in created.changes]) == ("zone created", ["SOA", "NS"])
    actor = Actor("use1-az1-enactor", operator=False)
    assert first == Commit(ZONE, 2, first.at_us, actor, 145, "flip to 145", (create(WEB),))
    assert second == Commit(ZONE, 3, second.at_us, operator_of("alice"), None, "two\nlines", (upsert(WEB), delete(WEB)))
    assert 0 < created.at_us <= first.at_us <= second.at_us


def operator_of(name):
    """Return an operator."""
    return Actor(name, operator=True)


async def test_change_returns_what_the_history_keeps(zones, change):
    """A commit that is returned and the one that is read later are the same."""
    returned = [await change(create(WEB), generation=1), await change(*swap(WEB, WEB), comment="a\nb")]

    assert list(await zones.commits(ZONE, after_serial=1)) == returned


async def test_commits_after_a_serial_and_with_a_limit(zones, change):
    """A zone's history can be read in parts, oldest first."""
    for _ in range(4):
        await change(upsert(WEB))

    assert [commit.serial for commit in await zones.commits(ZONE, after_serial=2)] == [3, 4, 5]
    assert [commit.serial for commit in await zones.commits(ZONE, after_serial=2, limit=2)] == [3, 4]
    assert await zones.commits(ZONE, after_serial=5) == ()


async def test_history_is_trimmed_from_its_oldest_end(zones, open_zones):
    """A zone's history is capped: at least `stream_limit` commits are kept, about twice as many at most, no gaps."""
    store = open_zones(stream_limit=100)
    for _ in range(400):
        await store.change(ChangeBatch(ZONE, (upsert(WEB),)))

    serials = [commit.serial for commit in await store.commits(ZONE)]
    assert serials == list(range(serials[0], 402))
    assert 100 <= len(serials) <= 200


async def test_follow_waits_for_the_first_commit_of_any_zone(zones, open_zones, change):
    """The data plane's feed: one call waits for all zones, and a commit ends the wait."""
    reader = open_zones()
    await zones.create_zone(OTHER, (soa(OTHER, ttl=1, minimum=1), ns(OTHER)))

    waiting = asyncio.create_task(reader.follow({ZONE: 1, OTHER: 1}, 2.0))
    await asyncio.sleep(0)
    commit = await change(create(WEB))

    assert await asyncio.wait_for(waiting, 1.5) == (commit,)


async def test_follow_gives_each_zone_from_its_own_position(zones, change):
    """The data plane's feed: nothing is repeated, nothing is left out."""
    await zones.create_zone(OTHER, (soa(OTHER, ttl=1, minimum=1), ns(OTHER)))
    await change(create(WEB))
    await change(delete(WEB))

    found = await zones.follow({ZONE: 1, OTHER: 0}, 0.0)
    assert sorted((commit.zone, commit.serial) for commit in found) == [(OTHER, 1), (ZONE, 2), (ZONE, 3)]


async def test_follow_without_commits_returns_empty_after_its_wait(zones):
    """The data plane's feed: an empty answer says that nothing was committed."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    assert await zones.follow({ZONE: 1}, 0.05) == ()
    assert 0.04 <= loop.time() - began_s < 1.5


@HISTORIES
@given(steps=st.lists(st.tuples(st.sampled_from(["put", "drop"]), st.sampled_from(LABELS)), min_size=1, max_size=12))
async def test_history_replayed_is_the_zone(zones, steps):
    """A zone's history is true: replaying its commits in order gives exactly the record sets that it lists."""
    await clear(zones)
    for number, (step, label) in enumerate(steps):
        record_set = txt(f"{label.rstrip('-')}.{ZONE}", str(number))
        existing = (await zones.read(ZONE, [record_set.key])).records.get(record_set.key)
        if step == "put":
            await zones.change(ChangeBatch(ZONE, (upsert(record_set),)))
        elif existing is not None:
            await zones.change(ChangeBatch(ZONE, (delete(existing),)))

    replayed = {}
    for commit in await zones.commits(ZONE, limit=100_000):
        for change in commit.changes:
            replayed.pop(change.record_set.key, None)
            if change.action != "DELETE":
                replayed[change.record_set.key] = change.record_set
    listed = await walk(zones, 5)
    assert {record_set.key: record_set for record_set in listed} == replayed


async def clear(store):
    """Delete what an earlier example left in the zone."""
    left = [delete(record_set) for record_set in await walk(store, 300) if record_set.type == "TXT"]
    if left:
        await store.change(ChangeBatch(ZONE, tuple(left)))
