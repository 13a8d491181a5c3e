"""Rollback by an operator: an earlier content as a new generation, at once, whoever else is at work or dead."""

import asyncio

import pytest

from deploy.rollback import Rollback, RollbackRefused
from enactor.fixed import FixedEnactor
from enactor.protocol import Tools
from enactor.settings import EnactorSettings
from enactor.tree import Manifest
from fencepost.batch import ChangeBatch, create, delete, upsert
from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.client import settings_with, stores
from fencepost.clock import SystemClock, stream
from fencepost.connect import open_zone_store
from fencepost.errors import EndpointPinned, OutcomeUnknown, PlanNotFound, PlanUnsafe
from fencepost.events import EventBus, Recorder
from fencepost.fence import Fence, fence_key
from fencepost.names import manifest_name, rollback_name, tree_name
from fencepost.notice import Notice
from fencepost.plan import Draft, Target, content, digest, short
from fencepost.records import RecordKey, alias
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."


def value(count, weight=10):
    """Return a content of `count` of the endpoint's load balancers."""
    names = [f"use1-az{1 + n % 3}-lb-00{1 + n // 3}" for n in range(count)]
    return content(5, [Target(n, "A", f"127.1.{n[7]}.{n[-1]}", weight) for n in names])


@pytest.fixture
async def opened(redis_url):
    """Both stores of a system of one zone, as ada sees them."""
    async with stores(settings_with(redis_url=redis_url), Actor("ada", operator=True)) as found:
        await found.zones.create_zone(ZONE, found.region.zone_records(ZONE))
        yield found


@pytest.fixture
async def enactor(opened):
    """An enactor of the fixed protocol that is interested in this zone only."""
    settings = EnactorSettings(name="use1-az1-enactor", redis_url=opened.settings.redis_url, profile="none")
    zones = open_zone_store(settings, Actor("use1-az1-enactor"))
    tools = Tools.of(
        settings, plans=opened.plans, zones=zones, clock=SystemClock(), rng=stream(1, "enactor"), events=EventBus()
    )
    yield FixedEnactor(tools)
    await zones.close()


@pytest.fixture
def rollback(opened):
    """The rollback, with its events kept."""
    recorder = Recorder()
    found = Rollback(opened, SystemClock(), EventBus(recorder))
    found.recorder = recorder
    return found


async def publish(opened, value, reason="routine", **fields):
    """Publish one content as the planner does."""
    return await opened.plans.publish(
        Draft({ZONE: value}, reason, **fields), expected=await opened.plans.latest_generation()
    )


async def read(opened, name, record_type="A", identifier=""):
    """Read one record set."""
    key = RecordKey(name, record_type, identifier)
    return (await opened.zones.read(ZONE, [key])).records.get(key)


async def fence(opened):
    """Read the zone's fence."""
    return Fence.parse(ZONE, await read(opened, fence_key(ZONE).name, "TXT"))


async def installed(opened, enactor, *values):
    """Publish contents, and let the enactor install each."""
    for each in values:
        generation = await publish(opened, each)
        await enactor.tick()
        assert (await fence(opened)).generation == generation


async def test_rollback_takes_what_the_rollback_record_points_to_as_a_new_generation(opened, enactor, rollback):
    """Everything is dead: the earlier content is live under a new number, whole, fenced, pinned and forced."""
    await installed(opened, enactor, value(3), value(12))

    done = await rollback.run(ZONE, why="plan 2 is wrong")

    assert (done.existing, done.goal, done.desired, done.by_automation) == (2, 1, 3, False)
    assert (await read(opened, ZONE)).alias == tree_name(ZONE, 3)
    assert (await read(opened, rollback_name(ZONE))).alias == tree_name(ZONE, 2)
    assert (await read(opened, tree_name(ZONE, 3), identifier="use1-az3-lb-001")).weight == 10
    assert Manifest.parse(ZONE, await read(opened, manifest_name(ZONE, 3), "TXT")).complete
    now = await fence(opened)
    assert (now.generation, now.digest, now.flip_id.partition("-")[0]) == (3, short(digest(value(3))), "ada")
    history = CapacityHistory.parse(ZONE, await read(opened, capacity_key(ZONE).name, "TXT"))
    assert {sample.capacity for sample in history.samples} == {(30, 0)}
    latest = await opened.plans.latest()
    assert (latest.content(ZONE), latest.forced[ZONE].generation) == (value(3), 3)
    assert (await opened.plans.controls()).pins[ZONE] == Notice("ada", done.pin.at_s, "plan 2 is wrong")
    assert rollback.recorder.names() == ["operator.rollback_published", "operator.rollback_installed"]
    assert "takes away 90 of 120" in done.warnings[0]


async def test_rollback_stays_until_thaw_though_automation_runs_on(opened, enactor, rollback):
    """Neither the planner's next plan nor the enactors undo it; when it is let go, both do."""
    await installed(opened, enactor, value(3), value(4))
    await rollback.run(ZONE)

    with pytest.raises(EndpointPinned, match="thaw --endpoint"):
        await publish(opened, value(4))
    await enactor.tick()
    assert (await read(opened, ZONE)).alias == tree_name(ZONE, 3)

    await opened.plans.unpin([ZONE])
    await installed(opened, enactor, value(5))
    assert (await read(opened, ZONE)).alias == tree_name(ZONE, 4)


async def test_rollback_of_a_frozen_zone_goes_through(opened, enactor, rollback):
    """An operator's batch is taken while nobody else's is."""
    await installed(opened, enactor, value(3), value(4))
    await opened.plans.freeze(Notice("ada", 7, ""))
    await opened.zones.change(ChangeBatch(ZONE, (create(Notice("ada", 7, "").freezing(ZONE)),)))

    done = await rollback.run(ZONE)

    assert (done.desired, (await read(opened, ZONE)).alias) == (3, tree_name(ZONE, 3))


async def test_rollback_without_a_rollback_record_takes_the_last_other_content(opened, enactor, rollback):
    """Plans that left the endpoint as it is are passed over."""
    await installed(opened, enactor, value(3), value(4))
    await publish(opened, value(4), "changes nothing here")
    await enactor.tick()
    await opened.zones.change(ChangeBatch(ZONE, (delete(await read(opened, rollback_name(ZONE))),)))

    done = await rollback.run(ZONE)

    assert (done.existing, done.goal, done.content) == (2, 1, value(3))


async def test_rollback_from_and_past_damaged_contents_takes_the_last_that_can_be_read(
    opened, enactor, rollback, damage
):
    """It is what an operator is told to do about the one that is the latest."""
    await installed(opened, enactor, value(3), value(4), value(5))
    await opened.zones.change(ChangeBatch(ZONE, (delete(await read(opened, rollback_name(ZONE))),)))
    for damaged in (value(4), value(5)):
        await damage(digest(damaged))

    done = await rollback.run(ZONE)

    assert (done.existing, done.goal, done.content) == (3, 1, value(3))
    assert (await fence(opened)).generation == done.desired == 4


async def test_rollback_to_a_named_plan_takes_that_one(opened, enactor, rollback):
    """Further back than the rollback record."""
    await installed(opened, enactor, value(3), value(4), value(5))

    done = await rollback.run(ZONE, to=1)

    assert (done.goal, done.desired, done.content) == (1, 4, value(3))


async def test_rollback_to_a_plan_that_is_not_kept_comes_from_its_whole_tree(opened, enactor, rollback, redis_url):
    """The plan store has forgotten it, the zone has not; where half of the tree is gone too, that is refused."""
    await installed(opened, enactor, value(3), value(4), value(5))
    short_memory = RedisPlanStore(open_client(redis_url), keep=1)
    await short_memory.publish(Draft({ZONE: value(6)}, "forgets"), expected=3)
    await short_memory.close()
    with pytest.raises(PlanNotFound):
        await opened.plans.get(1)
    leaf = await read(opened, tree_name(ZONE, 2), identifier="use1-az2-lb-001")

    done = await rollback.run(ZONE, to=1)

    assert (done.goal, done.content) == (1, value(3))
    await opened.zones.change(ChangeBatch(ZONE, (delete(leaf),)))
    with pytest.raises(PlanNotFound, match="plan 2 is not kept"):
        await rollback.run(ZONE, to=2)


async def test_rollback_to_an_unknown_plan_changes_nothing(opened, enactor, rollback):
    """No such plan, and no earlier content: a clear word, and neither a plan nor a commit."""
    await installed(opened, enactor, value(3))
    before = (await opened.zones.read(ZONE, [])).serial, await opened.plans.latest_generation()

    with pytest.raises(PlanNotFound, match="plan 99 is not kept; the store has plans 1 to 1"):
        await rollback.run(ZONE, to=99)
    with pytest.raises(RollbackRefused, match="--to GENERATION"):
        await rollback.run(ZONE)
    with pytest.raises(RollbackRefused, match="answers plan 1's content already"):
        await rollback.run(ZONE, to=1)

    assert ((await opened.zones.read(ZONE, [])).serial, await opened.plans.latest_generation()) == before


async def test_rollback_that_would_leave_no_address_of_a_type_is_refused(opened, enactor, rollback):
    """Force does not make an endpoint empty: plan 1 had no AAAA, which customers use now."""
    both = content(5, [*value(3).targets, Target("use1-az1-lb-001", "AAAA", "::ffff:127.1.1.1", 10)])
    await installed(opened, enactor, value(3))
    await publish(opened, both, force=True)  # the region file has no AAAA here: an operator wanted it
    await enactor.tick()
    assert (await fence(opened)).generation == 2

    with pytest.raises(PlanUnsafe, match="no AAAA address of 1"):
        await rollback.run(ZONE)

    assert await opened.plans.latest_generation() == 2


async def test_rollback_while_automation_publishes_and_installs_ends_with_its_content(opened, enactor, rollback):
    """The planner publishes all the time, and an enactor installs: conflicts and refusals are gone through."""
    await installed(opened, enactor, value(3), value(12))
    other = "dynamodb-fips.us-east-1.fencepost.test."
    await opened.zones.create_zone(other, opened.region.zone_records(other))

    async def plans():
        for number in range(40):
            latest = await opened.plans.latest_generation()
            draft = Draft({other: value(1, 1 + number % 200)}, "routine")
            await asyncio.gather(opened.plans.publish(draft, expected=latest), return_exceptions=True)

    async def installs():
        for _ in range(10):
            await enactor.tick()

    background = asyncio.gather(plans(), installs())
    done = await rollback.run(ZONE)
    await background

    await enactor.tick()
    now = await fence(opened)
    assert (now.digest, now.generation >= done.desired) == (short(digest(value(3))), True)
    assert (await opened.plans.latest()).content(ZONE) == value(3)


async def test_rollback_whose_publication_is_not_answered_publishes_once(opened, enactor, rollback, monkeypatch):
    """The answer got lost: the history is read before anything is said, and the plan is not published again."""
    await installed(opened, enactor, value(3), value(4))
    really = opened.plans.publish

    async def silent(draft, **fields):
        await really(draft, **fields)
        raise OutcomeUnknown("the answer got lost")

    monkeypatch.setattr(opened.plans, "publish", silent)

    done = await rollback.run(ZONE)

    assert (done.desired, await opened.plans.latest_generation()) == (3, 3)


async def test_rollback_goes_above_a_fence_that_the_plan_store_does_not_know(opened, enactor, rollback):
    """The plan store has lost its last plans, and the planner is dead: the new plan is numbered above the zone's."""
    await installed(opened, enactor, value(3), value(4))
    lost = Fence(90, "0badcafe", "use1-az1-enactor-1-1")
    await opened.zones.change(ChangeBatch(ZONE, (upsert(lost.record(ZONE)),)))

    done = await rollback.run(ZONE)

    assert (done.desired, (await fence(opened)).generation) == (91, 91)


async def test_rollback_of_a_dangling_root_installs_the_earlier_content(opened, enactor, rollback):
    """The live tree is gone: rollback's still stands, and is what comes back."""
    await installed(opened, enactor, value(3), value(4))
    page = await opened.zones.page(ZONE)
    leaves = [r for r in page.record_sets if r.name == tree_name(ZONE, 2)]
    await opened.zones.change(ChangeBatch(ZONE, tuple(map(delete, leaves))))

    done = await rollback.run(ZONE)

    assert (done.existing, done.goal, (await read(opened, ZONE)).alias) == (2, 1, tree_name(ZONE, 3))
    assert await read(opened, rollback_name(ZONE)) == alias(rollback_name(ZONE), "A", tree_name(ZONE, 1))
