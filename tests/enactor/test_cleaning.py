"""The cleaner's pace: it keeps up with a steady stream of plans, and keeps no install waiting."""

from itertools import pairwise

import pytest

from enactor.cleaner import trees_in
from enactor.cleaning import OldTrees
from fencepost.batch import create
from fencepost.errors import InvalidChangeBatch, NoSuchHostedZone, Throttling
from fencepost.names import generation_of
from fencepost.records import txt

ZONE = "b.test."
ZONES = tuple(f"{letter}.test." for letter in "abcdef")
KEEP = 10
ROUNDS = 160
PLAN_S = 1 / 40


def another(world, weight: int):
    """Return what a plan changes: every endpoint."""
    return {zone.partition(".")[0]: world.targets(2, weight=weight) for zone in ZONES}


def trees(records, zone: str) -> set[int]:
    return {generation for r in records.values() if (generation := generation_of(r.name, zone)) is not None}


async def test_cleaner_under_a_steady_stream_of_plans_keeps_up_and_keeps_no_install_waiting(world):
    """Forty plans a second, each for all endpoints, a newer one always waiting: at most one delete batch in between."""
    await world.add_zones(*ZONES)
    enactor = world.enactor("fixed", "one", keep=KEEP)
    change, weight, most = enactor.store.change, 1, 0

    async def then_publish(batch):
        """Let the next plan come as soon as one goes live somewhere: whoever cleans after that keeps it waiting."""
        nonlocal weight
        commit = await change(batch)
        if batch.zone == ZONES[0] and batch.comment.startswith("flip_committed"):
            weight = weight % 200 + 1
            await world.publish(**another(world, weight))
        return commit

    enactor.store.change = then_publish
    await world.publish(**another(world, 1))
    for _ in range(ROUNDS):
        await enactor.tick()
        await world.clock.sleep(PLAN_S)
        most = max(most, len(trees(await world.records(ZONES[-1]), ZONES[-1])))

    assert KEEP < most <= KEEP + 60
    for zone in ZONES:
        comments = [c.split(" ")[0] for c in await world.comments(zone) if c.startswith(("clean", "flip"))]
        assert comments.count("flip_committed") > ROUNDS / 2
        assert comments.count("clean") >= 2
        assert ("clean", "clean") not in set(pairwise(comments))
    enactor.store.change = change
    await world.install(enactor)
    assert await world.violations() == ()


@pytest.mark.parametrize(("without", "batches"), [("", 1), ("throttling", 4)])
async def test_cleaner_with_much_to_do_deletes_one_batch_a_round_unless_throttling_is_off(world, without, batches):
    """What the guard is worth: without it the next plan waits until all that is old is gone."""
    await world.add_zones(ZONES[0])
    hoarder = world.enactor("fixed", "one", keep=1000)
    for weight in range(1, 9):
        await world.publish(a=world.targets(250, weight=weight))
        await world.install(hoarder)
    cleaner = world.enactor("fixed", "two", keep=1, without=without)
    await world.publish(a=world.targets(250, weight=9))

    await cleaner.tick()

    assert len([c for c in await world.comments(ZONES[0]) if c.startswith("clean")]) == batches


async def test_cleaner_of_a_zone_that_is_held_counts_from_what_the_zone_has(world):
    """Plans that the zone refuses do not make its trees old: there has to be something to go back to."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=5)
    for weight in (1, 2, 3):
        await world.publish(b=world.targets(10, weight=weight))
        await world.install(enactor)
    await world.publish(number=20, b=world.targets(1, weight=3))
    await world.clock.sleep(6)  # then it is swept

    await enactor.tick()

    assert enactor.saw("enactor.plan_refused", ZONE)
    assert len(await world.leaves(ZONE, 1)) == 10


async def test_cleaner_leaves_a_zone_alone_that_has_no_fence(world):
    """There is nothing to prove by that its root has not moved: buggy left it, and no plan could be installed since."""
    await world.add_zones(ZONE)
    await world.publish(b=world.targets(10))
    await world.enactor("buggy", "old").tick()
    await world.publish(number=20, b=world.targets(1))
    enactor = world.enactor("fixed", "new", keep=1)

    await enactor.tick()

    assert enactor.saw("enactor.plan_refused", ZONE)
    assert await world.fenced(ZONE) is None
    assert len(await world.leaves(ZONE, 1)) == 10


async def test_cleaner_whose_oldest_trees_are_kept_looks_at_the_others_in_a_thorough_look_only(world):
    """Numbers of seven digits sort before those of six: the look that goes on finds what is old behind them."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1000)
    for number, weight in ((999_998, 1), (999_999, 2), (1_000_000, 3), (1_000_001, 4)):
        await world.publish(number=number, b=world.targets(weight=weight))
        await world.install(enactor)
    old = OldTrees(enactor.tools.api, world.enactor("fixed", "two", keep=2).settings)

    quick = await old.find(ZONE, 1_000_001, thorough=False)
    thorough = await old.find(ZONE, 1_000_001, thorough=True)

    assert quick.batches == ()
    assert [trees_in(ZONE, batch) for batch in thorough.batches] == [[999_998]]


@pytest.mark.parametrize("note", ["plan-000000-note", "x.plan-000001-note", "plan-00000", "plan-0000001", "plan-0_x"])
async def test_name_that_only_looks_like_a_tree_s_stops_no_cleaner_and_stays(world, note):
    """An operator's note stands between the trees, or before them all: what is old behind it goes all the same."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1)
    await world.operate(ZONE, create(txt(f"{note}.{ZONE}", "by hand")))
    for weight in range(1, 9):
        await world.publish(b=world.targets(weight=weight))
        await world.install(enactor)

    assert await world.text(f"{note}.{ZONE}", ZONE) == "by hand"
    assert {6, 7, 8} >= {tree for tree in trees(await world.records(ZONE), ZONE) if await world.leaves(ZONE, tree)}
    assert len(enactor.saw("enactor.trees_cleaned", ZONE)) >= 5


def pages_of(store):
    """Return a list of the calls of a store's `page` from now on."""
    page, calls = store.page, []

    async def counted(zone, *args):
        calls.append(args)
        return await page(zone, *args)

    store.page = counted
    return calls


async def test_name_behind_all_trees_ends_the_cleaner_s_look(world):
    """What follows is not looked through, however much there is."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1)
    await world.operate(ZONE, *(create(txt(f"plan-b-{n}.{ZONE}", "by hand")) for n in range(9)))
    calls = pages_of(enactor.store)
    found = await OldTrees(enactor.tools.api, enactor.settings).find(ZONE, 100, thorough=True)

    assert found.batches == ()
    assert len(calls) == 1


async def test_thorough_look_at_a_zone_whose_trees_are_all_kept_is_one_call(world):
    """Behind a tree of six digits that may stay none is older, so a sweep does not go through them all."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    for weight in range(1, 6):
        await world.publish(b=world.targets(weight=weight))
        await world.install(enactor)
    calls = pages_of(enactor.store)
    found = await OldTrees(enactor.tools.api, enactor.settings).find(ZONE, 5, thorough=True)

    assert found.batches == ()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("refused", "error", "tokens"),
    [
        ("page", Throttling(ZONE, wait_s=0.0), 5),
        ("change", NoSuchHostedZone(ZONE), 4),
        ("change", InvalidChangeBatch(ZONE, ()), 5),
    ],
)
async def test_turn_that_is_refused_costs_the_bucket_a_token_unless_no_batch_was_sent_or_somebody_was_first(
    world, refused, error, tokens
):
    """A batch that is refused has been sent all the same; what another has cleaned meanwhile takes nobody's turn."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1, clean_batches_per_s=5, max_tries=1)
    for weight in range(1, 4):
        await world.publish(b=world.targets(weight=weight))
        if weight < 3:
            await world.install(enactor)
    change = enactor.store.change

    async def refusing(batch):
        if batch.comment.startswith("clean"):
            raise error
        return await change(batch)

    async def throttled(*_, **__):
        raise error

    await world.clock.sleep(5)
    setattr(enactor.store, refused, refusing if refused == "change" else throttled)
    await enactor.tick()

    assert enactor.saw("enactor.clean_refused", ZONE)
    taken = 0
    while enactor.tools.cleaning.try_take():
        taken += 1
    assert taken == tokens


async def test_tree_of_two_batches_is_cleaned_to_its_end(world):
    """What a first turn leaves is called for still: nobody flips the zone again, and no sweep comes by."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=1)
    for weight in (1, 2, 3):
        await world.publish(b=world.targets(600, weight=weight))
        await world.install(enactor)

    for _ in range(2):
        await enactor.tick()

    assert len([c for c in await world.comments(ZONE) if c.startswith("clean")]) == 2
    assert trees(await world.records(ZONE), ZONE) == {2, 3}
    assert world.clock.now_s < enactor.settings.pauses.sweep_s


async def test_what_is_old_by_a_plan_that_came_during_the_round_is_cleaned_in_that_round(world):
    """A newer plan comes in each round, and the zone goes to it: by the round's first plan nothing would be old."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", keep=3)
    await world.publish(number=2, b=world.targets(weight=2))
    await world.install(enactor)
    change = enactor.store.change

    async def then_publish(batch):
        commit = await change(batch)
        if batch.comment.startswith(("tree 3", "tree 5")):
            await world.publish(b=world.targets(weight=(await world.plans.latest_generation()) + 1))
        return commit

    enactor.store.change = then_publish
    for weight in (3, 5):
        await world.publish(b=world.targets(weight=weight))
        await enactor.tick()

    assert await world.fenced(ZONE) == 6
    assert 2 not in trees(await world.records(ZONE), ZONE)
