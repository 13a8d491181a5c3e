"""Publishing by hand: the same protective checks as for automation, until an operator forces it."""

import pytest

from fencepost.batch import ChangeBatch, create
from fencepost.capacity import CapacityHistory
from fencepost.client import settings_with, stores
from fencepost.clock import SystemClock
from fencepost.errors import PlanConflict, PlanInvalid, PlanUnsafe
from fencepost.events import EventBus
from fencepost.fence import Fence
from fencepost.names import tree_name
from fencepost.notice import Notice
from fencepost.plan import Draft, Target, content, digest
from fencepost.publish import HandPublisher
from fencepost.records import address, alias
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
WHO = Notice("ada", 1_792_000_000, "hands off")


def value(count, weight=10):
    """Return a content of `count` of the endpoint's load balancers."""
    names = [f"use1-az{1 + n % 3}-lb-00{1 + n // 3}" for n in range(count)]
    return content(5, [Target(n, "A", f"127.1.{n[7]}.{n[-1]}", weight) for n in names])


@pytest.fixture
async def opened(redis_url):
    """Both stores of a system of one zone whose plan 1 has ten load balancers, as ada sees them."""
    async with stores(settings_with(redis_url=redis_url), Actor("ada", operator=True)) as found:
        await found.zones.create_zone(ZONE, found.region.zone_records(ZONE))
        await found.plans.publish(Draft({ZONE: value(10)}, "routine"), expected=0)
        yield found


def by_hand(value, **fields):
    """Return ada's draft."""
    return Draft({ZONE: value}, "by hand", by="ada", operator=True, **fields)


async def publish(opened, value, **fields):
    """Publish it as ada."""
    return await HandPublisher(opened, SystemClock(), EventBus()).publish(by_hand(value, **fields))


async def live(opened, value, *records):
    """Make a content live in the zone, with more records."""
    leaves = [
        address(tree_name(ZONE, 1), t.type, t.address, ttl=5, set_identifier=t.identifier, weight=t.weight)
        for t in value.targets
    ]
    changes = map(create, (*leaves, alias(ZONE, "A", tree_name(ZONE, 1)), *records))
    await opened.zones.change(ChangeBatch(ZONE, tuple(changes)))


async def test_plan_that_takes_too_much_is_refused_with_the_remedy_and_changes_nothing(opened):
    """Ten load balancers to five, against the last plan."""
    with pytest.raises(PlanUnsafe, match=r"takes away 50 of 100 A capacity.*limit is 40%.*--force"):
        await publish(opened, value(5))

    assert await opened.plans.latest_generation() == 1


async def test_plan_that_takes_too_much_goes_by_force_which_is_recorded(opened):
    """The operator's word, and what it let pass."""
    done = await publish(opened, value(5), force=True)

    assert (done.generation, len(done.forced)) == (2, 1)
    assert "takes away 50 of 100" in done.forced[0]
    assert (await opened.plans.latest()).forced[ZONE].by == "ada"
    assert (await opened.plans.history(1))[0].force


async def test_plan_is_compared_with_what_the_zone_lately_had(opened):
    """Seven of ten went by an earlier plan a moment ago; the next three are not ours to take."""
    now_s = int(SystemClock().epoch_s())
    history = CapacityHistory().noted(now_s - 5, (160, 0), 30).noted(now_s - 1, (100, 0), 30)
    await live(opened, value(10), history.record(ZONE))

    with pytest.raises(PlanUnsafe, match=r"takes away 80 of 160 A capacity within 30 s"):
        await publish(opened, value(8))


async def test_plan_is_compared_with_what_is_live_where_the_last_plan_is_not(opened):
    """The last plan already took too much and no enactor installed it: what customers have counts."""
    await live(opened, value(18))

    with pytest.raises(PlanUnsafe, match="takes away 90 of 180"):
        await publish(opened, value(9))


async def test_plan_after_a_forced_one_is_compared_with_that_alone(opened):
    """What was forced is meant, though it is not live yet: the next small step needs no force."""
    await live(opened, value(18), Fence(1, "0badcafe", "use1-az1-enactor-1-1").record(ZONE))
    await publish(opened, value(6), force=True)

    assert (await publish(opened, value(5))).generation == 3


@pytest.mark.parametrize("force", [False, True])
async def test_plan_in_place_of_a_damaged_one_is_compared_with_what_is_live(opened, damage, force):
    """The damaged one counts as forgotten, also if an operator forced it: it must not keep out what replaces it."""
    await live(opened, value(10))
    if force:
        await publish(opened, value(4), force=True)
    damaged = (await opened.plans.latest()).digests[ZONE]
    await damage(damaged)

    with pytest.raises(PlanUnsafe, match="takes away 50 of 100 A capacity"):
        await publish(opened, value(5))
    done = await publish(opened, value(9))

    assert done.forced == ()
    assert (await opened.plans.latest()).digests[ZONE] == digest(value(9))


async def test_plan_with_strangers_is_refused_unless_forced(opened):
    """A load balancer that the region file does not have here."""
    stranger = content(5, [*value(10).targets, Target("use1-az1-lb-010", "A", "127.1.1.10", 10)])

    with pytest.raises(PlanUnsafe, match="use1-az1-lb-010"):
        await publish(opened, stranger)
    assert (await publish(opened, stranger, force=True)).generation == 2


async def test_no_force_takes_the_last_address_of_a_type(opened):
    """AAAA that customers use cannot be taken away as a whole; nor can everything."""
    both = content(5, [*value(10).targets, Target("use1-az1-lb-001", "AAAA", "::ffff:127.1.1.1", 10)])
    await publish(opened, both, force=True)

    with pytest.raises(PlanUnsafe, match="no AAAA address of 1"):
        await publish(opened, value(10), force=True)
    with pytest.raises(PlanInvalid, match="would have no address"):
        await publish(opened, content(5, []), force=True)
    assert await opened.plans.latest_generation() == 2


async def test_plan_ends_pins_of_its_endpoints_and_tells_of_freezes(opened):
    """Who published by hand wants it to move again; a frozen zone waits all the same."""
    await opened.plans.publish(by_hand(value(9), pin=WHO), expected=1)
    await opened.zones.change(ChangeBatch(ZONE, (create(WHO.freezing(ZONE)),)))
    await opened.plans.freeze(WHO)

    done = await publish(opened, value(10))

    assert (done.generation, dict(done.unpinned), dict(done.frozen)) == (3, {ZONE: WHO}, {ZONE: WHO})
    assert dict((await opened.plans.controls()).pins) == {}


async def test_plan_that_somebody_overtakes_is_checked_again(opened, monkeypatch):
    """The planner publishes in between: on top of its plan, and against it."""
    really, overtaken = opened.plans.publish, []

    async def overtake(draft, **fields):
        if draft.by == "ada" and not overtaken:
            overtaken.append(True)
            await really(Draft({ZONE: value(18)}, "routine"), expected=1)
        return await really(draft, **fields)

    monkeypatch.setattr(opened.plans, "publish", overtake)

    with pytest.raises(PlanUnsafe, match="takes away 90 of 180"):
        await publish(opened, value(9))


async def test_plan_that_is_overtaken_for_ever_says_so(opened, monkeypatch):
    """Bounded: the last conflict goes up."""

    async def conflict(draft, *, expected, floor):
        raise PlanConflict(expected=expected, latest=expected + 1)

    monkeypatch.setattr(opened.plans, "publish", conflict)

    with pytest.raises(PlanConflict):
        await publish(opened, value(9))


async def test_plan_without_the_guard_is_not_checked_but_never_empty(redis_url, opened):
    """`FENCEPOST_WITHOUT=protective-checks` is the lab's word; the last address stays even so."""
    settings = settings_with(redis_url=redis_url, without="protective-checks")
    async with stores(settings, Actor("ada", operator=True)) as unguarded:
        assert (await publish(unguarded, value(2))).generation == 2
        with pytest.raises(PlanUnsafe, match="no A address"):
            await publish(
                unguarded, content(5, [Target("use1-az1-lb-001", "AAAA", "::ffff:127.1.1.1", 10)]), force=True
            )
