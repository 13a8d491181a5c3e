"""What an enactor reports as installed, and how often it says that an endpoint cannot be moved."""

import asyncio

import msgspec

from enactor.held import Held
from enactor.reader import PlanReader
from fencepost.batch import create, delete
from fencepost.errors import StoreUnavailable, Throttling
from fencepost.names import tree_name
from fencepost.notice import Notice

ZONE = "b.test."
OTHER = "a.test."


async def contend(world, zones) -> None:
    """Give each lock to another holder than before, as enactors do that take turns."""
    for number, zone in enumerate(zones):
        found = [r for r in (await world.records(zone)).values() if r.name.startswith("_lock.")]
        lock = await world.foreign_lock(zone, 60 + number)
        values = (lock.values[0].replace("somebody", f"rival-{round(world.clock.now_s)}"),)
        await world.operate(zone, *map(delete, found), create(msgspec.structs.replace(lock, values=values)))


async def test_zones_that_are_all_contended_keep_the_generation_that_they_are_at(world):
    """Nothing of what is published has arrived: the planner has to be told so, or it publishes without end."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one", max_tries=2)
    await world.publish(a=world.targets(), b=world.targets())
    await world.install(enactor)
    for weight in (2, 3):
        await world.publish(a=world.targets(weight=weight), b=world.targets(weight=weight))

    for _ in range(8):
        await contend(world, (OTHER, ZONE))
        outcome = await enactor.tick()
        await world.clock.sleep(1)

    assert list(outcome.held) == [OTHER, ZONE]
    assert outcome.installed == 1


async def test_zone_that_is_throttled_in_every_try_keeps_the_generation_that_it_is_at(world):
    """A control API that is overloaded is the reason to hold plans back, not to let them through."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without="self-repair")
    await world.publish(b=world.targets())
    await world.install(enactor)
    await world.publish(b=world.targets(weight=2))
    enactor.store.errors = [Throttling(ZONE, wait_s=0.01)] * 8

    outcome = await enactor.tick()

    assert "Rate exceeded" in outcome.held[ZONE]
    assert outcome.installed == 1


async def test_lock_that_somebody_left_behind_holds_the_others_up_only_for_two_lives_of_a_lock(world):
    """It expires in the far future, and its holder moves nothing: from then on the region goes on without the zone."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one", max_tries=2, lock_ttl_s=3)
    await world.publish(a=world.targets(), b=world.targets())
    await world.operate(ZONE, create(await world.foreign_lock(ZONE, 1e6)))
    installed = {}

    for second in range(12):
        installed[second] = (await enactor.tick()).installed
        await world.clock.sleep(1)

    waited = [second for second, generation in installed.items() if generation == 0]
    assert waited == list(range(len(waited)))
    assert 6 <= len(waited) <= 9
    told = [event.reason for event in enactor.saw("enactor.lock_exhausted", ZONE)]
    assert told == ["its lock is lost in 2 tries or more"]


async def test_zone_that_the_store_does_not_answer_for_holds_no_other_up(world):
    """A shard that is down: its zone is held, with the reason, and the others get their plan."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(a=world.targets(), b=world.targets())
    enactor.store.away = {ZONE}

    outcome = await enactor.tick()

    assert await world.root(OTHER) == tree_name(OTHER, 1)
    assert "is away" in outcome.held[ZONE]
    enactor.store.away = set()
    await world.install(enactor)
    assert (await enactor.tick()).held == {}


async def test_zones_that_wait_for_a_person_let_the_planner_go_on(world):
    """Frozen by an operator, it moves with the thaw and not before, whatever is published."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.operate(ZONE, create(Notice("anna", 1_792_000_000, "looking").freezing(ZONE)))
    await world.publish(b=world.targets())

    outcome = await enactor.tick()

    assert list(outcome.held) == [ZONE]
    assert outcome.installed == 1


async def test_passes_in_which_only_held_zones_are_tried_again_are_not_told(world):
    """A zone that is frozen over night must not fill the log: one pass for each plan."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.operate(ZONE, create(Notice("anna", 1_792_000_000, "looking").freezing(ZONE)))

    for weight in (1, 2):
        await world.publish(b=world.targets(weight=weight))
        for _ in range(10):
            await enactor.tick()
            await world.clock.sleep(1)

    for name in ("enactor.pass_started", "enactor.pass_completed"):
        assert [event.generation for event in enactor.saw(name)] == [1, 2]


async def test_zone_that_has_a_lost_plan_is_not_reported_as_at_another_of_its_number(world):
    """Before it has even been looked at again: the planner goes by this word."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets())
    kept = await world.kept_plans()
    await world.publish(b=world.targets(weight=2))
    await world.install(enactor)
    lost = await world.plans.latest()
    await world.forget_plans(kept)
    await world.publish(b=world.targets(weight=3))
    held = Held(world.clock, enactor.tools.events, 9)
    held.turn_to(lost)
    held.arrived(ZONE, lost)
    assert held.installed() == 2

    plan = await world.plans.latest()
    held.turn_to(plan)

    assert (plan.generation, held.installed()) == (2, 1)
    assert held.is_due(ZONE)


class SlowPlans:
    """The real plan store, whose first reply is held up; `reads` counts."""

    def __init__(self, plans) -> None:
        self._plans, self.reads, self.error = plans, 0, None
        self.arrived, self.held = asyncio.Event(), asyncio.Event()

    async def latest(self, known):
        self.reads += 1
        found, first = await self._plans.latest(known), self.reads == 1
        if first:
            self.arrived.set()
            await self.held.wait()
        if self.error:
            raise self.error
        return found


async def test_plan_that_many_ask_for_at_once_is_read_once_more_and_is_the_latest_for_each(world):
    """Who asks while a read is under way is not given its answer, which may be older than the question."""
    await world.publish(b=world.targets(weight=1))
    plans = SlowPlans(world.plans)
    reader = PlanReader(plans)
    early = asyncio.create_task(reader.latest())
    await plans.arrived.wait()
    await world.publish(b=world.targets(weight=2))
    late = [asyncio.create_task(reader.latest()) for _ in range(20)]
    await asyncio.sleep(0)

    plans.held.set()
    found = await asyncio.gather(early, *late)

    assert [plan.generation for plan in found] == [1] + [2] * 20
    assert plans.reads == 2
    assert len({id(plan) for plan in found[1:]}) == 1


async def test_plan_that_cannot_be_read_is_an_error_for_each_who_asked_and_not_for_the_next(world):
    """One call is lost for all of them, not one after the other."""
    await world.publish(b=world.targets())
    plans = SlowPlans(world.plans)
    plans.held.set()
    plans.error = StoreUnavailable("gone")
    reader = PlanReader(plans)

    results = await asyncio.gather(*(reader.latest() for _ in range(5)), return_exceptions=True)
    assert [str(result) for result in results] == ["gone"] * 5
    assert plans.reads == 2  # the first one's, and one for all who asked meanwhile

    plans.error = None
    assert (await reader.latest()).generation == 1
