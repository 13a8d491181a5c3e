"""What the lab does to a system, each on a real store: that it is done, and that it is what it says."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest

from enactor.tree import Manifest, tree_records
from fencepost.batch import ChangeBatch, create, swap, upsert
from fencepost.clock import SystemClock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.events import EventBus, Recorder
from fencepost.names import lock_name, manifest_name
from fencepost.plan import Content, Draft, Target, content
from fencepost.records import RecordKey, RecordSet, alias, txt
from fencepost.region import load_region
from fencepost.settings import Settings
from fencepost.stores import Actor, ZoneStore
from lab.history import HistoryUnusable
from lab.lost_writes import LostWrites
from lab.scenarios import (
    STRAY,
    ScenarioFailed,
    Scene,
    delete_live_tree,
    half_of_each,
    hands,
    live_tree_deletions,
    stuck_lock,
)
from lab.settle import zone_state
from lab.wide_region import write_wide_region

REGION = load_region()
ENACTOR = Actor("use1-az1-enactor")
WANTED = content(5, [Target(f"lb-{n}", "A", f"127.1.0.{n}", 100) for n in range(1, 7)])


@pytest.fixture
async def scene(redis_url) -> AsyncIterator[Scene]:
    """All zones of the default region, without any record of their own."""
    settings = Settings(redis_url=redis_url)
    zones, plans = open_zone_store(settings, Actor("lab", operator=True)), open_plan_store(settings)
    for name in REGION.endpoint_names:
        await zones.create_zone(name, REGION.zone_records(name))
    async with aiohttp.ClientSession() as http:
        yield Scene(
            settings=settings,
            region=REGION,
            zones=zones,
            plans=plans,
            http=http,
            clock=SystemClock(),
            rng=random.Random(1),
            events=EventBus(Recorder()),
            duration_s=0.0,
        )
    await zones.close()
    await plans.close()


@pytest.fixture
async def enactor(redis_url) -> AsyncIterator[ZoneStore]:
    """An automation's connection to the zones."""
    zones = open_zone_store(Settings(redis_url=redis_url), ENACTOR)
    yield zones
    await zones.close()


async def install(zones: ZoneStore, zone: str, generation: int, wanted: Content = WANTED) -> None:
    """Build a tree in one batch and point the root at it."""
    leaves = tree_records(zone, generation, wanted)
    await zones.change(ChangeBatch(zone, tuple(map(create, leaves)), generation))
    await zones.change(ChangeBatch(zone, (upsert(alias(zone, "A", leaves[0].name)),), generation))


def test_half_of_each_takes_half_of_every_endpoint_and_leaves_some():
    """No endpoint keeps more than half of its load balancers, and none loses all."""
    for seed in range(20):
        gone = half_of_each(REGION, random.Random(seed))

        for endpoint in REGION.endpoint:
            members = {lb.name for lb in REGION.members(endpoint)}
            assert len(members) / 2 <= len(members & gone) < len(members)


def test_wide_region_has_trees_of_two_batches(tmp_path):
    """Its file is a region, and the dual-stack endpoint has more record sets than a batch holds."""
    region = load_region(write_wide_region(tmp_path / "wide" / "region.toml"))

    sizes = sorted(len(region.members(endpoint)) * len(endpoint.types) for endpoint in region.endpoint)
    assert sizes == [6, 540]


async def test_stuck_lock_leaves_a_lock_that_somebody_else_holds(scene, enactor):
    """In one zone, taken from whoever had it, for 12 s from now."""
    for name in REGION.endpoint_names:
        held = txt(lock_name(name), f"{ENACTOR.name} 1")
        await enactor.change(ChangeBatch(name, (create(held),)))

    await stuck_lock(scene)

    keys = {name: RecordKey(lock_name(name), "TXT") for name in REGION.endpoint_names}
    locks = {name: (await scene.zones.read(name, [key])).records[key].text for name, key in keys.items()}
    (stray,) = [text for text in locks.values() if text.startswith(STRAY)]
    assert 11 <= float(stray.partition(" ")[2]) - scene.clock.epoch_s() <= 13
    assert scene.done == 1


async def test_hands_takes_endpoints_back_as_newer_plans_and_lets_them_go(scene, enactor):
    """An operator's rollbacks are in the zones at once, under new generations, and no endpoint stays pinned."""
    members = {name: [(lb.name, lb.address) for lb in REGION.members(e)] for e in REGION.endpoint for name in [e.name]}
    for weight in (90, 100):
        contents = {n: content(5, [Target(who, "A", at, weight) for who, at in m]) for n, m in members.items()}
        expected = await scene.plans.latest_generation()
        generation = await scene.plans.publish(Draft(contents, "all"), expected=expected)
        for name, value in contents.items():
            await install(enactor, name, generation, value)
    scene.duration_s = 1.0

    await hands(scene)

    assert scene.done > 0
    assert (await scene.plans.controls()).pins == {}
    plan = await scene.plans.latest()
    moved = [name for name in REGION.endpoint_names if await root_of(scene, name) > 2]
    assert moved
    assert all({t.weight for t in plan.content(name).targets} <= {90, 100} for name in moved)


async def root_of(scene: Scene, zone: str) -> int:
    """Return the generation that the root points to."""
    view = (await zone_state(scene.zones, zone)).view()
    return view.generation or 0


async def test_dangling_deletes_the_live_tree_and_nothing_else(scene, enactor):
    """The root stays and points to nothing; the tree before it is still there."""
    for name in REGION.endpoint_names:
        await install(enactor, name, 1)
        await install(enactor, name, 2)

    await delete_live_tree(scene)

    states = [await zone_state(scene.zones, name) for name in REGION.endpoint_names]
    (hit,) = [state for state in states if not state.view().addresses["A"]]
    (root,) = hit.view().pointers
    assert (root.generation, root.sets) == (2, 0)
    assert len([key for key in hit.records if key.name.startswith("plan-000001.")]) == 6
    assert (scene.done, scene.spoilt) == (1, {hit.zone})


async def test_dangling_is_refused_by_the_zone_if_the_root_has_moved_on(scene, enactor):
    """What is deleted is the live tree, or nothing: a flip in between makes the batch fail."""
    name = REGION.endpoint_names[0]
    await install(enactor, name, 1)
    changes = live_tree_deletions(await zone_state(scene.zones, name))
    await install(enactor, name, 2)

    with pytest.raises(Exception, match="values provided do not match"):
        await scene.zones.change(ChangeBatch(name, changes))


async def test_dangling_without_any_live_tree_says_that_it_could_not_be(scene):
    """A run in which nothing was done must not look like one in which nothing went wrong."""
    scene.clock = Hasty()

    with pytest.raises(ScenarioFailed, match="could not be caught"):
        await delete_live_tree(scene)

    assert scene.done == 0


class Hasty(SystemClock):
    """Waits for nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0 if seconds else seconds)


class Builder:
    """Builds a tree of two batches in one zone, with lock and manifest, as an enactor does."""

    def __init__(self, zones: ZoneStore, zone: str) -> None:
        self.zones, self.zone = zones, zone
        self.lock: RecordSet | None = None
        self.manifest: RecordSet | None = None
        self.leaves = tree_records(zone, 1, WANTED)

    async def batch(self, done: int, expires: int = 9) -> None:
        lock = txt(lock_name(self.zone), f"{ENACTOR.name} {expires}")
        manifest = Manifest(done, 2, "0a1b2c3d").record(self.zone, 1)
        part = self.leaves[:3] if done == 1 else self.leaves[3:]
        changes = (*swap(self.lock, lock), *swap(self.manifest, manifest), *map(create, part))
        await self.zones.change(ChangeBatch(self.zone, changes, 1))
        self.lock, self.manifest = lock, manifest


@pytest.fixture
async def follower(scene) -> AsyncIterator[LostWrites]:
    """A follower that takes back whatever it can."""
    follower = LostWrites(scene.zones, REGION.endpoint_names, random.Random(1), chance=1.0)
    running = asyncio.create_task(follower.run(scene.clock, 30.0))
    yield follower
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_lost_write_leaves_the_zone_as_it_was_before_the_batch(scene, enactor, follower, until):
    """Records, manifest and lock are what they were after the first batch, to the letter."""
    name = REGION.endpoint_names[0]
    await install(enactor, name, 7)
    builder = Builder(enactor, name)
    await builder.batch(1)
    before = (await zone_state(scene.zones, name)).records

    await builder.batch(2)
    await until(lambda: follower.taken_back == 1)

    after = (await zone_state(scene.zones, name)).records
    assert after == before
    assert after[RecordKey(manifest_name(name, 1), "TXT")].text == "1/2 0a1b2c3d"


async def test_first_batch_and_one_that_moved_the_lock_are_not_taken_back(scene, enactor, follower, until):
    """The first leaves nothing behind that could go live; of the other the store's earlier state is not to be had."""
    names = REGION.endpoint_names
    for name in names[:2]:
        await install(enactor, name, 7)
    moved, marker = Builder(enactor, names[0]), Builder(enactor, names[1])
    await moved.batch(1, expires=9)
    await moved.batch(2, expires=10)
    await marker.batch(1)
    await marker.batch(2)

    await until(lambda: follower.taken_back == 1)

    trees = [(await zone_state(scene.zones, name)).at(f"plan-000001.{name}", "A") for name in names[:2]]
    assert [len(found) for found in trees] == [6, 3]


async def test_lost_writes_refuse_a_history_with_a_gap(scene, enactor):
    """What was before a batch that was not seen is not known: nothing could be taken back to it."""
    name = REGION.endpoint_names[0]
    follower = LostWrites(scene.zones, [name], random.Random(1), chance=1.0)
    await install(enactor, name, 7)
    builder = Builder(enactor, name)
    await builder.batch(1)
    await builder.batch(2)
    first, _, third, *_ = await scene.zones.commits(name)
    follower.take_in(first)

    with pytest.raises(HistoryUnusable, match="commits 2 to 2 are not in the history"):
        follower.take_in(third)


async def test_batch_whose_tree_went_live_first_is_too_late(scene, enactor):
    """A root that moved since makes the reversal fail: what customers are answered is not touched."""
    name = REGION.endpoint_names[0]
    follower = LostWrites(scene.zones, [name], random.Random(1), chance=1.0)
    await install(enactor, name, 7)
    builder = Builder(enactor, name)
    await builder.batch(1)
    await builder.batch(2)
    commits = await scene.zones.commits(name)
    (build,) = [found for found in map(follower.take_in, commits) if found is not None]
    await enactor.change(ChangeBatch(name, (upsert(alias(name, "A", builder.leaves[0].name)),)))

    await follower.take_back(name, build, scene.clock)

    assert (follower.taken_back, follower.too_late) == (0, 1)
    assert (await zone_state(scene.zones, name)).view().addresses["A"] == 6


async def test_dangling_leaves_a_zone_alone_that_dangles_already(scene, enactor):
    """There is no live tree to delete; the run goes on."""
    for name in REGION.endpoint_names:
        await install(enactor, name, 1)
        gone = live_tree_deletions(await zone_state(scene.zones, name))
        await scene.zones.change(ChangeBatch(name, gone))

    await delete_live_tree(scene)

    assert scene.done == 1
