"""How much a batch may hold, how often one may come, and who may send it.

Source: Route 53 Developer Guide, Quotas (abbreviated Quotas below), unless a test says otherwise.
"""

import asyncio

import pytest

from fencepost.batch import ChangeBatch, create, delete, upsert
from fencepost.errors import InvalidChangeBatch, NoSuchHostedZone, PriorRequestNotComplete, Throttling, ZoneFrozen
from fencepost.records import RecordSet, address, ns, soa, txt
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
WEB = address(f"www.{ZONE}", "A", "127.1.0.1", ttl=5)
TOO_MANY = "Number of records limit of 1000 exceeded."
TOO_LONG = "Number of characters limit of 32000 exceeded."
FROZEN = txt(f"_frozen.{ZONE}", "by alice: incident 42")


def leaves(count):
    """Return CREATEs of so many record sets of one element each."""
    name = f"plan-000145.{ZONE}"
    return [
        create(address(name, "A", f"127.1.{n // 200}.{n % 200}", ttl=5, set_identifier=f"lb-{n:04}", weight=1))
        for n in range(count)
    ]


def text_of(name, characters):
    """Return a TXT record set with so many characters of value, quotes included."""
    whole, rest = divmod(characters, 250)
    values = [f'"{n:03}{"x" * 245}"' for n in range(whole)]
    return RecordSet(f"{name}.{ZONE}", "TXT", 5, tuple(values + ([f'"{"y" * (rest - 2)}"'] if rest else [])))


async def test_batch_of_1000_elements_commits(change):
    """Quotas: "ResourceRecord elements: 1,000 in a request"."""
    assert (await change(*leaves(1000))).serial == 2


async def test_batch_of_1001_elements_is_refused(refused):
    """Quotas: one element more is refused, as a failure of the whole batch."""
    assert await refused(*leaves(1001)) == [(-1, "elements_limit", TOO_MANY)]


async def test_batch_with_upsert_counts_its_elements_twice(change, refused):
    """CRRS quotas: "When the value of the Action element is UPSERT, each ResourceRecord element is counted twice"."""
    upserts = [upsert(leaf.record_set) for leaf in leaves(501)]

    assert await refused(*upserts) == [(-1, "elements_limit", TOO_MANY)]
    assert (await change(*upserts[:500])).serial == 2


async def test_batch_elements_are_values_not_record_sets(refused):
    """Quotas: a record set with ten values has ten elements."""
    many = tuple(f"127.1.{n // 200}.{n % 200}" for n in range(1001))

    failures = await refused(create(RecordSet(WEB.name, "A", 5, many)))
    assert failures == [(-1, "elements_limit", TOO_MANY)]


async def test_batch_of_32000_characters_commits(change):
    """Quotas: "Maximum number of characters: 32,000 in a request", the sum over all Value elements."""
    assert (await change(create(text_of("a", 16_000)), create(text_of("b", 16_000)))).serial == 2


async def test_batch_of_32001_characters_is_refused(refused):
    """Quotas: one character more is refused."""
    failures = await refused(create(text_of("a", 16_000)), create(text_of("b", 16_003)))
    assert failures == [(-1, "characters_limit", TOO_LONG)]


async def test_batch_with_upsert_counts_its_characters_twice(change, refused):
    """CRRS quotas: with UPSERT, "each character in a Value element is counted twice"."""
    assert await refused(upsert(text_of("a", 16_003))) == [(-1, "characters_limit", TOO_LONG)]
    assert (await change(upsert(text_of("a", 16_000)))).serial == 2


async def test_batch_without_changes_is_refused(refused):
    """API Reference, ChangeBatch, Changes: "Array Members: Minimum number of 1 item"."""
    assert await refused() == [(-1, "no_changes", "The request contains no changes.")]


async def test_zone_unknown_is_refused_by_every_call(zones):
    """API Reference, NoSuchHostedZone: "No hosted zone exists with the ID that you specified"."""
    other = "other.fencepost.test."
    message = f"NoSuchHostedZone: No hosted zone found with ID: {other}"
    calls = (
        zones.change(ChangeBatch(other, (create(address(other, "A", "127.1.0.1", ttl=5)),))),
        zones.read(other, [WEB.key]),
        zones.page(other),
        zones.commits(other),
    )

    for call in calls:
        with pytest.raises(NoSuchHostedZone) as caught:
            await call
        assert str(caught.value) == message


async def test_create_zone_again_changes_nothing(zones, change):
    """API Reference, CreateHostedZone, HostedZoneAlreadyExists: here a False, so that every start may ask for it."""
    await change(create(WEB))
    before = await zones.page(ZONE)

    assert await zones.create_zone(ZONE, (soa(ZONE, ttl=1, minimum=1), ns(ZONE))) is False
    assert await zones.page(ZONE) == before


async def test_create_zone_with_bad_records_creates_nothing(zones):
    """API Reference, CreateHostedZone: the zone is there with its records or not at all."""
    other = "other.fencepost.test."

    with pytest.raises(InvalidChangeBatch):
        await zones.create_zone(other, (soa(other, ttl=1, minimum=1), WEB))
    with pytest.raises(NoSuchHostedZone):
        await zones.page(other)


async def test_create_zone_by_two_at_once_has_one_winner(open_zones):
    """API Reference, CreateHostedZone: one of two creates, the other one finds it there."""
    records = (soa(ZONE, ttl=900, minimum=86_400), ns(ZONE))

    answers = await asyncio.gather(*(open_zones().create_zone(ZONE, records) for _ in range(4)))
    assert sorted(answers) == [False, False, False, True]


async def test_batch_while_a_prior_one_is_processed_is_refused(zones, open_zones):
    """API Reference, PriorRequestNotComplete: one batch of a zone at a time; nothing is queued; it may be retried."""
    slow = open_zones(Actor("slow"), processing_s=30.0)
    other = "other.fencepost.test."
    await slow.create_zone(other, (soa(other, ttl=1, minimum=1), ns(other)))
    await slow.change(ChangeBatch(ZONE, (create(WEB),)))

    with pytest.raises(PriorRequestNotComplete) as caught:
        await zones.change(ChangeBatch(ZONE, (delete(WEB),)))

    assert caught.value.retryable
    assert str(caught.value) == (
        "PriorRequestNotComplete: The request was rejected because Route 53 was still processing a prior request "
        "for the same zone."
    )
    assert (await zones.read(ZONE, [WEB.key])) == (2, {WEB.key: WEB})


async def test_batch_after_processing_time_commits(zones, open_zones):
    """API Reference, PriorRequestNotComplete: it ends by itself; a refused batch keeps no zone busy."""
    slow = open_zones(Actor("slow"), processing_s=0.05)
    with pytest.raises(InvalidChangeBatch):
        await slow.change(ChangeBatch(ZONE, (delete(WEB),)))
    await slow.change(ChangeBatch(ZONE, (create(WEB),)))

    async with asyncio.timeout(5):
        while True:
            try:
                commit = await zones.change(ChangeBatch(ZONE, (delete(WEB),)))
            except PriorRequestNotComplete:
                await asyncio.sleep(0.01)
            else:
                break
    assert commit.serial == 3


async def test_account_bucket_is_shared_by_all_of_its_callers(zones, open_zones):
    """Quotas, API requests: "Five requests per second per AWS account", for reads and writes, whoever sends them."""
    first, second = (open_zones(Actor(name), requests_per_s=0.5) for name in ("one", "two"))
    await first.read(ZONE, [])

    for store in (first, second):
        with pytest.raises(Throttling) as caught:
            await store.change(ChangeBatch(ZONE, (create(WEB),)))
        assert str(caught.value) == "Throttling: Rate exceeded"
        assert caught.value.retryable
        assert 0 < caught.value.wait_s <= 2
    assert await zones.read(ZONE, [WEB.key]) == (1, {})


async def attempt(store):
    """Read from the zone; return its serial, or the refusal."""
    try:
        return (await store.read(ZONE, [])).serial
    except Throttling as error:
        return error


async def test_account_bucket_lets_a_burst_of_one_second_through_and_refills(zones, open_zones):
    """Quotas, API requests: a second's worth at once, then as they come back."""
    store = open_zones(requests_per_s=5)
    took = []
    while not took or isinstance(took[-1], int):
        took.append(await attempt(store))

    assert len(took) > 5
    await asyncio.sleep(took[-1].wait_s)
    assert (await store.read(ZONE, [])).serial == 1


async def test_history_and_feed_take_no_request_of_the_account(zones, open_zones):
    """The data plane is not the control API: following a zone costs the account nothing."""
    store = open_zones(requests_per_s=0.001)
    await store.read(ZONE, [])

    assert len(await store.commits(ZONE)) == 1
    assert len(await store.follow({ZONE: 0}, 0.0)) == 1


async def test_frozen_zone_refuses_automation_and_says_why(zones, open_zones, change):
    """Invariant I9: while `_frozen` exists no batch but an operator's commits, whatever it holds."""
    operator = open_zones(Actor("alice", operator=True))
    await operator.change(ChangeBatch(ZONE, (create(FROZEN),)))

    for attempt in (create(WEB), delete(FROZEN)):
        with pytest.raises(ZoneFrozen) as caught:
            await change(attempt)
        assert str(caught.value) == (
            f"ZoneFrozen: {ZONE} is frozen (by alice: incident 42); automation may change it again after a thaw"
        )
    assert (await zones.page(ZONE)).serial == 2


async def test_frozen_zone_lets_an_operator_in_and_automation_after_the_thaw(zones, open_zones, change):
    """Invariant I9: the operator works on a frozen zone; deleting the record is the thaw."""
    operator = open_zones(Actor("alice", operator=True))
    await operator.change(ChangeBatch(ZONE, (create(FROZEN), create(WEB))))
    await operator.change(ChangeBatch(ZONE, (delete(FROZEN),)))

    assert (await change(delete(WEB))).serial == 4


async def test_frozen_by_hand_with_two_strings_is_frozen_all_the_same(zones, open_zones, change):
    """Invariant I9: whoever wrote `_frozen`, and however, the refusal is the typed one."""
    operator = open_zones(Actor("alice", operator=True))
    by_hand = RecordSet(FROZEN.name, "TXT", 5, ('"stop"', '"now"'))
    await operator.change(ChangeBatch(ZONE, (create(by_hand),)))

    with pytest.raises(ZoneFrozen, match=r"is frozen \(stop now\)"):
        await change(create(WEB))
