"""Repair by hand: what an operator's command makes of a broken zone, within the zone's own rules."""

import pytest

from deploy.by_hand import NothingToInstall
from deploy.repair import Repair, RepairRefused
from fencepost.batch import ChangeBatch, create, delete
from fencepost.client import settings_with, stores
from fencepost.clock import SystemClock
from fencepost.errors import ContentDamaged, InvalidChangeBatch, PlanUnsafe
from fencepost.events import EventBus, Recorder
from fencepost.fence import Fence, fence_key
from fencepost.names import rollback_name, tree_name
from fencepost.plan import Draft, Target, content, digest, short
from fencepost.records import RecordKey, alias

ZONE = "dynamodb.us-east-1.fencepost.test."
FIRST = content(5, [Target("lb-1", "A", "127.1.1.1", 10)])
SECOND = content(5, [Target("lb-1", "A", "127.1.1.1", 10), Target("lb-2", "A", "127.1.1.2", 30)])


@pytest.fixture
async def opened(redis_url):
    """Both stores of an empty system whose one zone exists."""
    async with stores(settings_with(redis_url=redis_url)) as found:
        await found.zones.create_zone(ZONE, found.region.zone_records(ZONE))
        yield found


@pytest.fixture
def repair(opened):
    """The repair, with its events kept."""
    recorder = Recorder()
    found = Repair(opened, SystemClock(), EventBus(recorder))
    found.recorder = recorder
    return found


async def put(opened, *changes):
    """Commit changes as an operator."""
    await opened.zones.change(ChangeBatch(ZONE, changes))


async def read(opened, name, record_type="A", identifier=""):
    """Read one record set."""
    key = RecordKey(name, record_type, identifier)
    return (await opened.zones.read(ZONE, [key])).records.get(key)


async def broken(opened, repair):
    """Leave what the outage left: the root points to plan 1, whose tree is deleted; plan 2 is the latest."""
    await opened.plans.publish(Draft({ZONE: FIRST}, "first"), expected=0)
    await repair.run(ZONE)
    leaf = await read(opened, tree_name(ZONE, 1), identifier="lb-1")
    await put(opened, delete(leaf))
    await opened.plans.publish(Draft({ZONE: SECOND}, "second"), expected=1)


async def test_repair_of_a_dangling_root_installs_the_newest_plan_and_drops_rollback(opened, repair):
    """The root points to nothing: there is nothing to roll back to, and the newest plan's whole tree goes live."""
    await broken(opened, repair)

    done = await repair.run(ZONE)

    assert (done.existing, done.desired, done.was_dangling, done.written) == (1, 2, True, 2)
    assert (await read(opened, ZONE)).alias == tree_name(ZONE, 2)
    assert await read(opened, rollback_name(ZONE)) is None
    assert (await read(opened, tree_name(ZONE, 2), identifier="lb-2")).weight == 30
    assert repair.recorder.names() == ["operator.repair_installed"] * 2


async def test_dangling_root_is_refused_to_the_flip_that_the_automation_makes(opened, repair):
    """Why it needs a repair: an alias for rollback to the missing tree is refused, and the whole batch with it."""
    await broken(opened, repair)

    with pytest.raises(InvalidChangeBatch, match="but that target was not found"):
        await put(opened, create(alias(rollback_name(ZONE), "A", tree_name(ZONE, 1))))


async def test_repair_keeps_rollback_where_the_root_pointed_to_a_tree(opened, repair):
    """A root that is whole, but old: it becomes rollback."""
    await opened.plans.publish(Draft({ZONE: FIRST}, "first"), expected=0)
    await repair.run(ZONE)
    await opened.plans.publish(Draft({ZONE: SECOND}, "second"), expected=1)

    done = await repair.run(ZONE)

    assert not done.was_dangling
    assert (await read(opened, rollback_name(ZONE))).alias == tree_name(ZONE, 1)


async def test_repair_of_a_live_tree_that_lost_records_completes_it(opened, repair):
    """Plan 2 is live, but half of its tree is gone: what is missing comes back, what is wrong goes."""
    await broken(opened, repair)
    await repair.run(ZONE)
    await put(opened, delete(await read(opened, tree_name(ZONE, 2), identifier="lb-2")))

    done = await repair.run(ZONE)

    assert (done.existing, done.desired) == (2, 2)
    assert await read(opened, tree_name(ZONE, 2), identifier="lb-2") is not None


async def test_repair_of_a_healthy_endpoint_is_refused_and_changes_nothing(opened, repair):
    """There is nothing to repair, and the zone's serial shows that nothing was written."""
    await broken(opened, repair)
    await repair.run(ZONE)
    serial = (await opened.zones.read(ZONE, [])).serial

    with pytest.raises(RepairRefused, match="nothing to repair"):
        await repair.run(ZONE)

    assert (await opened.zones.read(ZONE, [])).serial == serial


async def test_repair_past_a_forced_content_that_is_damaged_is_compared_with_what_is_live(opened, repair, damage):
    """Nobody can say what the force let pass, so it lets nothing pass."""
    ten, five, four = (
        content(5, [Target(f"lb-{n}", "A", f"127.1.1.{n + 1}", 10) for n in range(count)]) for count in (10, 5, 4)
    )
    await opened.plans.publish(Draft({ZONE: ten}, "first"), expected=0)
    await repair.run(ZONE)
    await opened.plans.publish(Draft({ZONE: four}, "less", by="ada", operator=True, force=True), expected=1)
    await opened.plans.publish(Draft({ZONE: five}, "more"), expected=2)
    await damage(digest(four))

    with pytest.raises(PlanUnsafe, match="takes away 50 of 100 A capacity"):
        await repair.run(ZONE)


async def test_repair_with_a_plan_that_is_damaged_writes_nothing_and_names_the_remedy(opened, repair, damage):
    """The newest plan is all that a repair may install."""
    await broken(opened, repair)
    await damage(digest(SECOND))
    before = (await opened.zones.page(ZONE)).serial

    with pytest.raises(ContentDamaged, match=f"fencepost rollback {ZONE}"):
        await repair.run(ZONE)

    assert (await opened.zones.page(ZONE)).serial == before


async def test_repair_without_any_plan_names_the_remedy(repair):
    """An empty plan store: nothing can be installed."""
    with pytest.raises(NothingToInstall, match="plan publish"):
        await repair.run(ZONE)


async def test_repair_moves_the_fence_with_the_root(opened, repair):
    """In a fixed zone the fence says what is live, so that no enactor takes the repair for an old plan."""
    await broken(opened, repair)
    await put(opened, create(Fence(1, short(digest(FIRST)), "use1-az1-enactor-1-1").record(ZONE)))

    await repair.run(ZONE)

    fence = Fence.parse(ZONE, await read(opened, fence_key(ZONE).name, "TXT"))
    assert (fence.generation, fence.digest) == (2, short(digest(SECOND)))
    assert fence.flip_id.startswith("operator-")


async def test_repair_of_a_root_that_moved_meanwhile_is_refused_by_the_zone(opened, repair):
    """The flip deletes the root exactly as it was seen: who else moves it first wins."""
    await broken(opened, repair)
    seen = await opened.zones.page(ZONE)
    root = next(r for r in seen.record_sets if r.key == RecordKey(ZONE, "A"))

    await repair.run(ZONE)

    with pytest.raises(InvalidChangeBatch, match="do not match the current values"):
        await put(opened, delete(root))
