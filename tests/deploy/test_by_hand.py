"""Installing by hand: the batches that it is made of, and that it gets through beside automation."""

import asyncio

import pytest

from deploy.by_hand import ByHand, flip_changes, has, tree_batches
from deploy.seen import SeenZone
from enactor.tree import Manifest, in_batches, tree_records
from fencepost.batch import ChangeBatch, create, delete, limit_failures, upsert
from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.client import settings_with, stores
from fencepost.clock import SystemClock
from fencepost.connect import open_zone_store
from fencepost.errors import InvalidChangeBatch, OutcomeUnknown
from fencepost.events import EventBus
from fencepost.fence import Fence, fence_key
from fencepost.names import capacity_name, fence_name, lock_name, rollback_name, tree_name
from fencepost.plan import Draft, Target, content, digest, short
from fencepost.records import RecordKey, alias, txt
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
FENCE = Fence(1, "0badcafe", "use1-az1-enactor-1-1")


def value(count, weight=10):
    """Return a content of `count` load balancers."""
    return content(5, [Target(f"lb-{n:04d}", "A", f"10.1.{n // 250}.{1 + n % 250}", weight) for n in range(count)])


@pytest.fixture
async def opened(redis_url):
    """Both stores of an empty system whose one zone exists, as ada sees them."""
    async with stores(settings_with(redis_url=redis_url), Actor("ada", operator=True)) as found:
        await found.zones.create_zone(ZONE, found.region.zone_records(ZONE))
        yield found


@pytest.fixture
def hand(opened):
    """The operator's hands."""
    return ByHand(opened, SystemClock(), EventBus())


async def approve(*_):
    """Have nothing against it."""


async def publish(opened, value):
    """Publish one content."""
    return await opened.plans.publish(Draft({ZONE: value}, "test"), expected=await opened.plans.latest_generation())


async def operate(opened, *changes):
    """Change the zone by hand."""
    await opened.zones.change(ChangeBatch(ZONE, changes))


async def test_large_tree_is_built_in_batches_within_the_limits_that_move_its_manifest(opened, hand):
    """1,200 load balancers in a fenced zone: three batches with proof and manifest, then one flip with both."""
    await publish(opened, value(1200))
    await operate(opened, create(FENCE.record(ZONE)))

    done = await hand.install(ZONE, "repair", approve)

    assert (done.written, done.by_automation) == (1200, False)
    commits = (await opened.zones.commits(ZONE))[2:]
    assert [c.comment for c in commits] == [
        *(f"repair: tree 1, batch {n} of 3" for n in (1, 2, 3)),
        "repair: flip to 1",
    ]
    assert all(limit_failures(ChangeBatch(ZONE, c.changes)) == () for c in commits)
    seen = await hand.look(ZONE)
    whole = Manifest(3, 3, short(digest(value(1200)))).record(ZONE, 1)
    assert seen.find(whole.key) == whole
    assert seen.serves(value(1200))
    assert (seen.fence.generation, seen.fence.digest) == (1, short(digest(value(1200))))
    assert seen.capacity.samples[-1].capacity == (12_000, 0)


async def test_half_built_tree_of_an_enactor_is_gone_on_with(opened, hand):
    """An enactor died after its first batch: what is there stays, and only the rest is written."""
    await publish(opened, value(600))
    first = in_batches(tree_records(ZONE, 1, value(600)))[0]
    manifest = Manifest(1, 2, short(digest(value(600)))).record(ZONE, 1)
    await operate(opened, create(FENCE.record(ZONE)), create(manifest), *map(create, first))

    done = await hand.install(ZONE, "repair", approve)

    assert done.written == 600 - len(first)
    assert (await hand.look(ZONE)).serves(value(600))


async def test_tree_of_another_content_under_the_same_number_is_replaced(opened, hand):
    """Left by a plan that the plan store has lost: it is no plan's tree, so none of it stays."""
    await publish(opened, value(2))
    lost = tree_records(ZONE, 1, value(5, weight=7))
    manifest = Manifest(1, 1, "0badcafe").record(ZONE, 1)
    await operate(opened, create(FENCE.record(ZONE)), create(manifest), *map(create, lost))

    await hand.install(ZONE, "repair", approve)

    assert (await hand.look(ZONE)).serves(value(2))


def test_live_tree_gets_what_it_lacks_before_it_loses_what_is_too_much():
    """It never answers with less than it needs."""
    wanted, strange = tree_records(ZONE, 1, value(2)), tree_records(ZONE, 1, value(3))[2:]
    root = alias(ZONE, "A", tree_name(ZONE, 1))
    seen = SeenZone(ZONE, (root, wanted[0], *strange))

    batches = list(tree_batches(seen, 1, value(2)))

    assert batches == [((upsert(wanted[1]),), 1), ((delete(strange[0]),), 0)]


def test_dead_tree_loses_what_is_too_much_first():
    """Nobody sees it, and it must not be taken for whole with strangers in it."""
    wanted, strange = tree_records(ZONE, 1, value(2)), tree_records(ZONE, 1, value(3))[2:]
    seen = SeenZone(ZONE, (FENCE.record(ZONE), *strange))

    batches = [changes for changes, _ in tree_batches(seen, 1, value(2))]

    assert [len(changes) for changes in batches] == [4, 6]
    assert batches[0][-1] == delete(strange[0])
    assert batches[0][2] == create(Manifest(0, 1, short(digest(value(2)))).record(ZONE, 1))
    assert batches[1][-2:] == tuple(map(upsert, wanted))


def test_rollback_that_is_whole_stays_where_the_root_points_to_nothing():
    """The root's tree is gone; the way back that there is, is kept."""
    root, back = alias(ZONE, "A", tree_name(ZONE, 2)), alias(rollback_name(ZONE), "A", tree_name(ZONE, 1))
    seen = SeenZone(ZONE, (root, back, *tree_records(ZONE, 1, value(2)), *tree_records(ZONE, 3, value(1))))

    changes = flip_changes(seen, 3, value(1), FENCE, CapacityHistory())

    assert changes == (delete(root), create(alias(ZONE, "A", tree_name(ZONE, 3))))


def test_zone_with_the_content_gets_only_its_fence_moved():
    """No second tree for a content that is live, and no history of a capacity that stays."""
    root = alias(ZONE, "A", tree_name(ZONE, 1))
    seen = SeenZone(ZONE, (root, FENCE.record(ZONE), *tree_records(ZONE, 1, value(1))))
    moved = Fence(4, short(digest(value(1))), "ada-1-1")

    changes = flip_changes(seen, 4, value(1), moved, CapacityHistory())

    assert changes == (delete(FENCE.record(ZONE)), create(moved.record(ZONE)))


async def test_fence_that_nobody_can_read_is_replaced(opened, hand):
    """The enactors refuse such a zone and ask for an operator: this is what the operator has."""
    await publish(opened, value(1))
    broken = txt(fence_name(ZONE), "what is this")
    await operate(opened, create(broken))

    done = await hand.install(ZONE, "repair", approve)

    seen = await hand.look(ZONE)
    assert (seen.fence.generation, has(seen, done.plan)) == (1, True)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("name", [lock_name(ZONE), capacity_name(ZONE)])
async def test_control_record_that_nobody_can_read_goes(opened, hand, name, live):
    """No enactor takes such a lock, or compares with such a history: whether the content is live or not."""
    await publish(opened, value(1))
    if live:
        await operate(
            opened, *map(create, tree_records(ZONE, 1, value(1))), create(alias(ZONE, "A", tree_name(ZONE, 1)))
        )
    await operate(opened, create(FENCE.record(ZONE)), create(txt(name, "what is this")))

    done = await hand.install(ZONE, "repair", approve)

    seen = await hand.look(ZONE)
    assert has(seen, done.plan)
    assert txt(name, "what is this") not in seen.record_sets


async def test_zone_without_a_fence_gets_none(opened, hand):
    """`buggy` would not move it: after its next flip it would say what is not so."""
    await publish(opened, value(1))

    await hand.install(ZONE, "repair", approve)

    seen = await hand.look(ZONE)
    assert [seen.find(key) for key in (fence_key(ZONE), capacity_key(ZONE))] == [None, None]
    assert not [r for r in seen.record_sets if r.name.startswith("_tree")]


async def test_root_that_somebody_else_moved_in_between_is_looked_at_again(opened, hand, monkeypatch):
    """The flip deletes the root exactly as it was seen; the second attempt sees it as it is."""
    await publish(opened, value(1))
    await operate(opened, create(FENCE.record(ZONE)))
    stranger = tree_records(ZONE, 9, value(3))
    really, moved = hand.look, []

    async def look(zone):
        seen = await really(zone)
        if not moved:
            moved.append(True)
            await operate(opened, *map(create, stranger), create(alias(ZONE, "A", tree_name(ZONE, 9))))
        return seen

    monkeypatch.setattr(hand, "look", look)

    await hand.install(ZONE, "repair", approve)

    seen = await really(ZONE)
    assert seen.serves(value(1))
    assert seen.rollback == (alias(rollback_name(ZONE), "A", tree_name(ZONE, 9)),)


class Unsure:
    """A zone store that loses the answers to all batches whose comment has a word."""

    def __init__(self, inner, word):
        self._inner, self._word, self.lost = inner, word, 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def change(self, batch):
        commit = await self._inner.change(batch)
        if self._word in batch.comment:
            self.lost += 1
            raise OutcomeUnknown("no answer")
        return commit


@pytest.mark.parametrize("word", ["flip", "tree"])
async def test_unknown_outcome_is_read_again_and_written_once(opened, word):
    """No answer to the build or to the flip: what is in the zone counts, and nothing is done twice."""
    await publish(opened, value(1))
    await operate(opened, create(FENCE.record(ZONE)))
    object.__setattr__(opened, "zones", Unsure(opened.zones, word))

    done = await ByHand(opened, SystemClock(), EventBus()).install(ZONE, "repair", approve)

    assert not done.by_automation
    assert opened.zones.lost == 1
    assert [c.comment for c in await opened.zones.commits(ZONE)][2:] == [
        "repair: tree 1, batch 1 of 1",
        "repair: flip to 1",
    ]


async def test_install_that_is_refused_for_ever_gives_up_with_the_zones_reason(opened, hand, monkeypatch):
    """Bounded: the last refusal goes up."""
    monkeypatch.setattr("deploy.by_hand.PAUSE_S", 0)
    await publish(opened, value(1))
    await operate(opened, create(FENCE.record(ZONE)))
    seen = await hand.look(ZONE)
    await operate(opened, delete(FENCE.record(ZONE)), create(FENCE._replace(flip_id="another-1-1").record(ZONE)))

    async def look(_):
        return seen

    monkeypatch.setattr(hand, "look", look)

    with pytest.raises(InvalidChangeBatch, match="do not match the current values"):
        await hand.install(ZONE, "repair", approve)


async def test_two_operators_and_an_automation_at_once_leave_one_whole_tree(opened, redis_url):
    """Everybody builds and flips the same plan: refusals are looked into, and all end with it."""
    await publish(opened, value(600))
    await operate(opened, create(FENCE.record(ZONE)))
    automation = open_zone_store(opened.settings, Actor("use1-az1-enactor"))

    async def interfere():
        for number in range(1, 6):
            key = fence_key(ZONE)
            found = (await automation.read(ZONE, [key])).records[key]
            moved = Fence.parse(ZONE, found)._replace(flip_id=f"use1-az1-enactor-1-{number}").record(ZONE)
            batch = ChangeBatch(ZONE, (delete(found), create(moved)))
            await asyncio.gather(automation.change(batch), return_exceptions=True)

    hands = [ByHand(opened, SystemClock(), EventBus()) for _ in range(2)]
    await asyncio.gather(interfere(), *(each.install(ZONE, "repair", approve) for each in hands))

    seen = await hands[0].look(ZONE)
    assert seen.serves(value(600))
    assert RecordKey(ZONE, "A") in {r.key for r in seen.root}
    await automation.close()
