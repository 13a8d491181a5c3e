"""Who cleans what: whoever flipped a zone goes first, the others help where that one does not come to it."""

from enactor.pace import HEAD_START, SLICE, CleanPace
from fencepost.batch import create, delete
from fencepost.names import generation_of, tree_name
from fencepost.throttle import TokenBucket

ZONE = "b.test."
MANY = tuple(f"{number:02d}.test." for number in range(SLICE + 1))
HEAD_START_S = HEAD_START * 0.02


def trees(records, zone: str) -> set[int]:
    return {generation for r in records.values() if (generation := generation_of(r.name, zone)) is not None}


def pages_of(store):
    """Return a list of the calls of a store's `page` from now on."""
    page, calls = store.page, []

    async def counted(zone, start, *args, **given):
        calls.append(start.name)
        return await page(zone, start, *args, **given)

    store.page = counted
    return calls


async def test_tree_that_whoever_flipped_its_zone_leaves_is_cleaned_by_another_after_a_head_start(world):
    """One flips and then does not clean, as if it had been killed; long before a sweep comes round another does."""
    await world.add_zones(ZONE)
    flips, cleans = world.enactor("fixed", "one", keep=1000), world.enactor("fixed", "two", keep=1)
    for weight in (1, 2, 3):
        await world.publish(b=world.targets(weight=weight))
        await world.install(flips)
        await cleans.tick()

    before = trees(await world.records(ZONE), ZONE)
    await world.clock.sleep(HEAD_START_S)
    await cleans.tick()

    assert before == {1, 2, 3}
    assert trees(await world.records(ZONE), ZONE) == {2, 3}
    assert world.clock.now_s < cleans.settings.pauses.sweep_s
    assert not cleans.saw("enactor.flip_committed")
    assert await world.violations() == ()


async def test_zone_that_others_installed_for_the_first_time_is_not_asked_for_old_trees(world):
    """It has one tree: in a region that is new nobody asks for what cannot be."""
    await world.add_zones(ZONE)
    lock = await world.foreign_lock(ZONE, 60)
    await world.operate(ZONE, create(lock))
    await world.publish(b=world.targets())
    one, two = world.enactor("fixed", "one"), world.enactor("fixed", "two")
    await two.tick()  # its first sweep, which asks in any case
    await world.operate(ZONE, delete(lock))
    await world.install(one)
    asked = pages_of(two.store)

    for _ in range(3):
        await world.clock.sleep(HEAD_START_S + 0.5)
        outcome = await two.tick()

    assert outcome.installed == 1
    assert asked == []


async def test_cleaner_goes_on_without_a_pause_as_long_as_its_turns_are_full(world):
    """With more than one slice to clean the next round follows at once; after the last one there is a pause."""
    await world.add_zones(*MANY)
    enactor = world.enactor("fixed", "one", keep=1, clean_batches_per_s=100)
    for weight in (1, 2):
        await world.publish(**world.contents(MANY, weight=weight))
        await world.install(enactor)
        for _ in range(4):  # nothing is called for any more
            await enactor.tick()
    await world.publish(**world.contents(MANY, weight=3))

    waits = [(await enactor.tick()).wait_s for _ in range(2)]

    assert waits == [0.0, enactor.settings.pauses.poll_s]
    assert not [zone for zone in MANY if 1 in trees(await world.records(zone), zone)]


async def test_cleaner_without_tokens_does_not_go_on_without_a_pause(world):
    """Rounds in which the rate allows nothing are no more often than others."""
    await world.add_zones(*MANY)
    enactor = world.enactor("fixed", "one", keep=1, clean_batches_per_s=1)
    for weight in (1, 2, 3):
        await world.publish(**world.contents(MANY, weight=weight))
        await world.install(enactor)

    outcomes = [await enactor.tick() for _ in range(5)]

    assert {outcome.wait_s for outcome in outcomes} == {enactor.settings.pauses.poll_s}


async def test_cleaned_tree_costs_three_pages_and_no_second_turn(world):
    """One finds the tree, one lists it, one finds that there is no other: who took all there was does not ask again."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1)
    for weight in (1, 2):
        await world.publish(b=world.targets(weight=weight))
        await world.install(enactor)
    await enactor.tick()
    await world.publish(b=world.targets(weight=3))
    asked = pages_of(enactor.store)

    for _ in range(3):
        await enactor.tick()

    assert len(enactor.saw("enactor.trees_cleaned", ZONE)) == 1
    read_back = [tree_name(ZONE, 3)]
    assert asked == [*read_back, tree_name(ZONE, 0), tree_name(ZONE, 1), f"~.{tree_name(ZONE, 1)}"]


def test_pace_calls_for_what_others_flipped_later_and_for_what_one_flipped_at_once(world):
    """A zone that is called for in the meantime does not have a second turn because of the others."""
    pace = CleanPace(TokenBucket(0.0, 1.0, world.clock), 0.02)
    pace.call_after("a", 0.0)
    pace.call_after("b", 0.1)
    pace.call_after("a", 0.1)

    assert not pace.is_called(HEAD_START_S - 0.001)
    assert pace.is_called(HEAD_START_S)
    assert pace.turns(bool, hurry=False) == ["a"]
    pace.unused("a")
    pace.call_for(["b"])
    assert pace.turns(bool, hurry=False) == ["b"]
    pace.done("b")
    assert not pace.is_called(9.0)
