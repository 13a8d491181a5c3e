"""Who goes first at a plan: one enactor does its work, the others leave that alone as long as they see it come on."""

import asyncio

import pytest

from enactor.opening import common_order
from enactor.reader import PlanReader
from enactor.settings import EnactorSettings
from enactor.starts import AT_ONCE
from enactor.tree import manifest_of
from fencepost.batch import create, delete
from fencepost.errors import FencepostError
from fencepost.names import fence_name, frozen_name, lock_name
from fencepost.records import txt
from fencepost.settings import load_settings

ZONES = tuple(f"{name}.test." for name in "abcdefghijkl")
ORDER = common_order(1, ZONES)
PATIENCE_S = 1.0
"""The longest; of virtual time, and so long of real time that no test depends on it."""


def watched(staged) -> tuple[list[str], list[str]]:
    """Return the zones that an enactor looks at, and those that it glances at, from now on."""
    read, looks, glances = staged.store.read, [], []

    async def watching(zone, keys):
        (glances if len(keys) < 3 else looks).append(zone)
        return await read(zone, keys)

    staged.store.read = watching
    return looks, glances


async def lead(world, one) -> tuple[asyncio.Task, asyncio.Event]:
    """Let an enactor begin a plan; it has the opening's lock, and the others' trees go on; it ends with the event."""
    gate = one.store.hold("flip_committed", ORDER[0])
    leading = asyncio.create_task(one.tick())
    await gate.arrived.wait()
    return leading, gate.opened


def test_common_order_is_the_same_for_all_and_another_for_each_plan():
    """Whatever order the zones came in; so no endpoint is always the first."""
    assert common_order(1, ZONES) == common_order(1, ZONES[::-1])
    assert sorted(ORDER) == sorted(ZONES)
    assert len({common_order(generation, ZONES)[0] for generation in range(1, 100)}) > len(ZONES) / 2


async def test_enactor_that_wins_the_opening_begins_all_others_once_its_tree_is_there(world):
    """Nothing else is looked at before; then all of it is done in the same round, and nothing is left to anybody."""
    await world.add_zones(*ZONES)
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)
    looks, _ = watched(one)
    await world.publish(**world.contents(ZONES))
    gate = one.store.hold("tree 1", ORDER[0])

    ticking = asyncio.create_task(one.tick())
    await gate.arrived.wait()
    assert looks == [ORDER[0]]
    gate.opened.set()
    outcome = await ticking

    assert outcome.installed == 1
    assert [await world.fenced(zone) for zone in ZONES] == [1] * len(ZONES)
    assert one.saw("enactor.plan_left") == []


async def test_enactor_that_loses_the_opening_leaves_the_plan_alone_and_finds_it_done_by_one_look_each(world):
    """It glances at a few; a glance after the last was begun it looks at each zone once, and has written nothing."""
    await world.add_zones(*ZONES)
    one, two = (world.enactor("fixed", name, patience_s=PATIENCE_S) for name in ("one", "two"))
    await world.publish(**world.contents(ZONES))
    leading, flip = await lead(world, one)
    looks, glances = watched(two)

    outcome = await two.tick()
    assert (looks, glances) == ([ORDER[0]], [])
    assert (outcome.wait_s, outcome.installed) == (two.settings.pauses.poll_s, 0)
    assert outcome.text == "plan 1 is left to those who are at it already"
    told = two.saw("enactor.plan_left")
    assert [(event.zone, event.generation, event.reason[:11]) for event in told] == [(ORDER[0], 1, "held by one")]
    assert two.saw("enactor.pass_completed") == []

    flip.set()
    await leading
    world.clock.now_s += PATIENCE_S - 0.01
    assert (await two.tick()).wait_s == pytest.approx(0.01)
    assert (looks, glances) == ([ORDER[0]], [])
    world.clock.now_s += 0.011
    await two.tick()
    assert (looks, glances) == ([ORDER[0]], [ORDER[at] for at in (1, 2, 4, 8, 11)])

    world.clock.now_s += PATIENCE_S
    outcome = await two.tick()
    assert sorted(looks[1:]) == sorted(ZONES)
    assert (outcome.installed, two.store.writes) == (1, {})
    assert len(two.saw("enactor.pass_completed")) == 1


async def test_enactor_that_finds_the_opening_flipped_by_another_leaves_the_plan_to_that(world):
    """It came late: the first endpoint is done, and its lock is free again; the others are on their way."""
    await world.add_zones(*ZONES)
    one, two = (world.enactor("fixed", name, patience_s=PATIENCE_S) for name in ("use1-az1-one", "two"))
    await world.publish(**world.contents(ZONES))
    gate = one.store.hold("flip_committed", ORDER[1])
    leading = asyncio.create_task(one.tick())
    await gate.arrived.wait()
    while await world.fenced(ORDER[0]) != 1:
        pass

    await two.tick()

    assert [event.reason for event in two.saw("enactor.plan_left")] == ["flipped by use1-az1-one"]
    assert two.saw("enactor.lock_missed") == []
    gate.opened.set()
    await leading


async def test_enactor_that_starts_again_goes_on_with_what_it_had_begun_itself(world):
    """A flip of its own name is not another's: a lone enactor that was killed waits for nobody."""
    await world.add_zones(*ZONES)
    await world.publish(**world.contents(ZONES))
    before, after = (world.enactor("fixed", "one", patience_s=PATIENCE_S) for _ in range(2))
    await before.tick()

    outcome = await after.tick()

    assert outcome.installed == 1
    assert after.saw("enactor.plan_left") == []


async def test_enactor_that_was_killed_leaves_nothing_to_its_own_old_lock(world):
    """The lock of the opening has its name, and a tree is begun: it goes on with all others at once."""
    await world.add_zones(*ZONES)
    await world.publish(**world.contents(ZONES))
    await world.operate(ORDER[0], create(txt(lock_name(ORDER[0]), f"one {round(world.clock.epoch_s()) + 30}")))
    plan = await PlanReader(world.plans).latest()
    await world.operate(ORDER[1], create(manifest_of(plan, ORDER[1])._replace(done=0).record(ORDER[1], 1)))
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)

    await one.tick()

    assert len(one.saw("enactor.lock_missed", ORDER[0])) == 1
    assert one.saw("enactor.plan_left") == []
    assert [await world.fenced(zone) for zone in ORDER[1:]] == [1] * (len(ZONES) - 1)


async def test_opening_that_has_a_lost_plan_of_the_same_number_tells_of_nobody(world):
    """Who flipped it is not at this plan, but at one that the plan store has forgotten."""
    await world.add_zones(*ZONES)
    two = world.enactor("fixed", "two", patience_s=PATIENCE_S)
    await world.publish(**world.contents(ZONES))
    await world.operate(ORDER[0], create(txt(fence_name(ORDER[0]), "1 deadbeef one-1-1")))

    await two.tick()

    assert two.saw("enactor.plan_left") == []
    assert [await world.fenced(zone) for zone in ORDER[1:]] == [1] * (len(ZONES) - 1)


@pytest.mark.parametrize("trouble", ["frozen", "bad fence", "unsafe"])
async def test_opening_in_trouble_of_its_own_leaves_the_plan_to_nobody(world, trouble):
    """Only who is before us at the same plan is waited for: all others are installed in the same round."""
    await world.add_zones(*ZONES)
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)
    await world.publish(**world.contents(ZONES, count=10))
    await world.install(one, most=1)
    opening, *others = common_order(2, ZONES)
    if trouble == "frozen":
        await world.operate(opening, create(txt(frozen_name(opening), "by hand")))
    elif trouble == "bad fence":
        found = [r for r in (await world.records(opening)).values() if r.name == fence_name(opening)]
        await world.operate(opening, delete(found[0]), create(txt(fence_name(opening), "not a fence")))
    desired = world.contents(ZONES, count=10, weight=2)
    if trouble == "unsafe":
        desired[opening[0]] = world.targets(2)
    await world.publish(**desired)

    outcome = await one.tick()

    assert outcome.text == f"held up: {opening}"
    assert [await world.fenced(zone) for zone in others] == [2] * len(others)
    assert one.saw("enactor.plan_left") == []


async def test_glances_that_the_own_rate_leaves_no_room_for_show_nobody_who_comes_on(world):
    """All is done, but it cannot see so much: it looks for itself, at the pace that its rate allows."""
    await world.add_zones(*ZONES)
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)
    two = world.enactor("fixed", "two", patience_s=PATIENCE_S, api_requests_per_s=1)
    await world.publish(**world.contents(ZONES))
    leading, flip = await lead(world, one)
    await two.tick()
    flip.set()
    await leading
    looks, glances = watched(two)
    world.clock.now_s += PATIENCE_S

    outcome = await two.tick()

    assert glances == [ORDER[1]]
    assert sorted(looks) == sorted(ZONES)
    assert (outcome.installed, two.store.writes) == (1, {})


async def test_opening_that_stalls_holds_up_the_others_for_one_patience(world):
    """Its batch is on its way for as long as it likes: the others are installed meanwhile."""
    await world.add_zones(*ZONES)
    one = world.enactor("fixed", "one", patience_s=0.01)
    await world.publish(**world.contents(ZONES))
    gate = one.store.hold("tree 1", ORDER[0])

    ticking = asyncio.create_task(one.tick())
    while [await world.fenced(zone) for zone in ORDER[1:]] != [1] * (len(ZONES) - 1):
        pass

    assert not gate.opened.is_set()
    gate.opened.set()
    assert (await ticking).installed == 1


@pytest.mark.timeout(10)
async def test_zones_that_are_swept_and_stall_keep_no_plan_from_its_opening(world):
    """So many do that nothing else could begin if they came first: what is in order before the last of them is live."""
    zones = [f"{name}.test." for name in "abcdefghijklmnopqrst"]
    stalling, changed = zones[:AT_ONCE], zones[AT_ONCE:]
    await world.add_zones(*zones)
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)
    await world.publish(**world.contents(zones))
    await world.install(one)
    for _ in range(3):  # then all have been swept, in order of their names
        await one.tick()
    await world.publish(**world.contents(changed, weight=2))
    world.clock.now_s += one.settings.pauses.sweep_s
    read, stalled, answers = one.store.read, set(), asyncio.Event()

    async def reading(zone, keys):
        if zone in stalling:
            stalled.add(zone)
            await answers.wait()
        return await read(zone, keys)

    one.store.read = reading
    order = common_order(2, zones)
    last = max(map(order.index, stalling))
    first = [zone for zone in order[:last] if zone in changed]
    assert first

    ticking = asyncio.create_task(one.tick())
    while [await world.fenced(zone) for zone in first] != [2] * len(first) or len(stalled) < AT_ONCE:
        pass

    assert not ticking.done()
    answers.set()
    await ticking
    assert [await world.fenced(zone) for zone in changed] == [2] * len(changed)


async def test_round_that_is_cancelled_while_others_wait_for_the_opening_leaves_nothing_behind(world):
    """Ctrl-C: the next round, if there is one, does all of it in an order of its own."""
    await world.add_zones(*ZONES)
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)
    await world.publish(**world.contents(ZONES))
    gate = one.store.hold("tree 1", ORDER[0])
    ticking = asyncio.create_task(one.tick())
    await gate.arrived.wait()

    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    outcome = await one.tick()

    assert ticking.cancelled()
    assert outcome.installed == 1


async def test_plan_for_one_endpoint_leaves_nothing_to_others(world):
    """Where somebody has its lock, it is waited for as ever."""
    await world.add_zones(*ZONES)
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)
    await world.publish(**world.contents(ZONES))
    await world.install(one, most=1)
    await world.operate("b.test.", create(await world.foreign_lock("b.test.", 30)))
    await world.publish(b=world.targets(weight=2))

    outcome = await one.tick()

    assert len(one.saw("enactor.lock_missed")) == 1
    assert one.saw("enactor.plan_left") == []
    assert outcome.wait_s == one.settings.pauses.poll_s


@pytest.mark.parametrize("zones", [ORDER[:1], ORDER], ids=["one endpoint", "many"])
async def test_outcome_says_whether_somebody_else_was_first_at_a_plan(world, zones):
    """Once for each plan: no to who has it, yes to who met another's lock or flip; nothing of a round without one."""
    await world.add_zones(*zones)
    one, two, three = (world.enactor("fixed", name, patience_s=PATIENCE_S) for name in ("one", "two", "three"))
    await world.publish(**world.contents(zones))
    leading, flip = await lead(world, one)

    assert (await two.tick()).came_second is True
    assert (await two.tick()).came_second is None
    flip.set()
    assert (await leading).came_second is False
    assert (await three.tick()).came_second is True
    assert (await one.tick()).came_second is None


async def test_zones_that_are_swept_wait_for_no_plan_of_one_endpoint(world):
    """There is nothing to leave to anybody, so it is no opening: what stalls there holds up no other."""
    await world.add_zones(*ZONES)
    one = world.enactor("fixed", "one", patience_s=PATIENCE_S)
    await world.publish(**world.contents(ZONES))
    await world.install(one)
    for _ in range(3):
        await one.tick()
    await world.publish(a=world.targets(weight=2))
    world.clock.now_s += one.settings.pauses.sweep_s
    gate = one.store.hold("tree 2", "a.test.")
    looks, _ = watched(one)

    ticking = asyncio.create_task(one.tick())
    await gate.arrived.wait()
    while len(looks) < 2:  # noqa: ASYNC110  -- nothing tells of a look but the look
        await asyncio.sleep(0)

    assert not ticking.done()
    gate.opened.set()
    assert (await ticking).installed == 2


@pytest.mark.parametrize(("profile", "patience_s"), [("none", 0.03), ("lan", 0.03), ("accelerated", 0), ("region", 0)])
def test_patience_ends_where_round_trips_are_longer_than_anything_could_be_seen_in(world, profile, patience_s):
    """There each plan's work is shared as it comes."""
    assert world.enactor("fixed", "one", profile=profile).settings.pauses.patience_s == patience_s


@pytest.mark.parametrize("patience", ["inf", "nan", "-0.01", "1.01"])
def test_patience_that_comes_near_to_what_a_lock_is_good_for_is_refused(monkeypatch, patience):
    """Whoever is gone would be waited for, as for its locks, or for ever."""
    monkeypatch.setenv("FENCEPOST_PATIENCE_S", patience)

    with pytest.raises(FencepostError, match="FENCEPOST_PATIENCE_S"):
        load_settings(EnactorSettings, name="one")
