"""Who cleans what: whoever flipped a zone goes first, the others help where that one does not come to it."""

import asyncio

from enactor.pace import SLICE
from enactor.settings import HEAD_START
from fencepost.batch import create, delete
from fencepost.errors import OutcomeUnknown
from fencepost.names import generation_of, tree_name
from fencepost.records import txt

ZONE = "b.test."
MANY = tuple(f"{number:02d}.test." for number in range(SLICE + 1))
HEAD_START_S = HEAD_START * 0.02
LATEST_S = 2 * HEAD_START_S


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
    await world.clock.sleep(LATEST_S)
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
        await world.clock.sleep(LATEST_S + 0.5)
        outcome = await two.tick()

    assert outcome.installed == 1
    assert asked == []


async def cleaned_twice(world):
    """Return an enactor that has installed two plans in many zones, and calls for none of them any more."""
    await world.add_zones(*MANY)
    enactor = world.enactor("fixed", "one", keep=1, clean_batches_per_s=100)
    for weight in (1, 2):
        await world.publish(**world.contents(MANY, weight=weight))
        await world.install(enactor)
        for _ in range(4):  # nothing is called for any more
            await enactor.tick()
    return enactor


async def test_cleaner_goes_on_without_a_pause_as_long_as_its_turns_are_full(world):
    """With more than one slice to clean the next round follows at once; after the last one there is a pause."""
    enactor = await cleaned_twice(world)
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


async def test_cleaner_whose_batches_all_come_to_nothing_pauses_between_its_rounds(world):
    """Full slices, and no answer to any batch: trying again at once would be a loop without an end."""
    await world.add_zones(*MANY)
    enactor = world.enactor("fixed", "one", keep=1, clean_batches_per_s=1000)
    for weight in (1, 2):
        await world.publish(**world.contents(MANY, weight=weight))
        await world.install(enactor)
    await world.publish(**world.contents(MANY, weight=3))
    change, tries = enactor.store.change, []

    async def unanswered(batch):
        if batch.comment.startswith("clean"):
            tries.append(batch.zone)
            raise OutcomeUnknown("the answer got lost")
        return await change(batch)

    enactor.store.change = unanswered
    waits = {(await enactor.tick()).wait_s for _ in range(10)}

    assert len(tries) == 10 * SLICE
    assert waits == {enactor.settings.pauses.poll_s}


async def test_zones_with_nothing_to_clean_are_asked_with_a_pause_between_the_rounds(world):
    """The first sweep calls for all zones, more than a slice."""
    await world.add_zones(*MANY)
    enactor = world.enactor("fixed", "one")
    await world.publish(**world.contents(MANY))

    waits = {(await enactor.tick()).wait_s for _ in range(4)}

    assert waits == {enactor.settings.pauses.poll_s}


async def test_cleaner_left_with_a_frozen_zone_does_not_go_on_without_a_pause(world):
    """A full slice was cleaned; what is called for then nobody may clean, and that is no reason to hurry."""
    enactor = await cleaned_twice(world)
    gate = enactor.store.hold("clean", MANY[0])
    await world.publish(**world.contents(MANY, weight=3))
    round_ = asyncio.create_task(enactor.tick())
    await gate.arrived.wait()
    await world.operate(MANY[0], create(txt(f"_frozen.{MANY[0]}", "ops 1792000000 why")))
    gate.opened.set()
    await round_
    await enactor.tick()
    await world.publish(**world.contents(MANY[1:], weight=4))

    waits = [(await enactor.tick()).wait_s for _ in range(3)]

    assert enactor.saw("enactor.zone_frozen", MANY[0])
    assert waits == [0.0, *[enactor.settings.pauses.poll_s] * 2]


async def test_zone_that_left_the_plan_is_not_called_for_any_more(world):
    """It waited for its turn to be cleaned, and nobody comes to it: rounds with nothing to do are idle all the same."""
    await world.add_zones(ZONE, "a.test.")
    enactor = world.enactor("fixed", "one", clean_batches_per_s=0.001)
    assert enactor.tools.cleaning.try_take()
    await world.publish(**world.contents([ZONE, "a.test."]))
    await enactor.tick()
    before = await enactor.tick()
    await world.forget_plans()
    await world.publish(number=2, a=world.targets(weight=2))
    enactor.tools.cleaning.give_back()
    await enactor.tick()

    outcome = await enactor.tick()

    assert not before.text.startswith("nothing is due")
    assert outcome.text.startswith("nothing is due")


async def flipped_by_another(world, zones, *others):
    """Let one flip some zones three times that does not clean, and the others find that; then a bucket is full."""
    flips = world.enactor("fixed", "flips", keep=1000, patience_s=0)
    for weight in (1, 2, 3):
        await world.publish(**world.contents(zones, weight=weight))
        await world.install(flips)
        for each in others:
            await each.tick()
            await each.tick()


async def test_enactors_that_help_do_not_all_come_at_the_same_time(world):
    """Three find eight zones flipped at once: who is second finds nothing, and few batches are in vain."""
    zones = MANY[:SLICE]
    await world.add_zones(*zones)
    others = [world.enactor("fixed", name, keep=1) for name in ("one", "two", "three")]
    await flipped_by_another(world, zones, *others)

    for _ in range(2 * HEAD_START + 1):
        await world.clock.sleep(0.02)
        await asyncio.gather(*(each.tick() for each in others))

    cleaned, refused = (
        [event for each in others for event in each.saw(f"enactor.{name}")]
        for name in ("trees_cleaned", "clean_refused")
    )
    assert sorted(event.zone for event in cleaned) == list(zones)
    assert len(refused) < SLICE


async def test_help_does_not_make_a_round_wait_for_the_enactor_s_own_rate(world):
    """Eight calls a second: a zone is helped when there are calls for it, and a newer plan finds nobody asleep."""
    zones = MANY[:SLICE]
    await world.add_zones(*zones)
    two = world.enactor("fixed", "two", keep=1, patience_s=0, api_requests_per_s=8, sweep_s=1000)
    await flipped_by_another(world, zones, two)
    took_s, cleaned = [], two.saw("enactor.trees_cleaned")
    assert not cleaned

    while len(cleaned) < len(zones):
        await world.clock.sleep(0.1)
        began_s = world.clock.now_s
        await two.tick()
        took_s.append(world.clock.now_s - began_s)
        cleaned = two.saw("enactor.trees_cleaned")
        assert world.clock.now_s < 60

    assert max(took_s) == 0


async def test_enactor_whose_rate_never_leaves_the_calls_for_it_is_idle_and_does_not_wait_to_help(world):
    """Else it would look for a newer plan twice in each round, until a sweep has come by."""
    await world.add_zones(ZONE)
    two = world.enactor("fixed", "two", keep=1, patience_s=0, api_requests_per_s=4, sweep_s=1000)
    await flipped_by_another(world, [ZONE], two)
    await world.clock.sleep(LATEST_S)

    outcome = await two.tick()

    assert outcome.text.startswith("nothing is due")
    assert trees(await world.records(ZONE), ZONE) == {1, 2, 3}
