"""Freeze and thaw by an operator: nothing automated commits in between, whoever is at work (I9)."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from deploy.freeze import Freezer, Word
from fencepost.batch import ChangeBatch, create, upsert
from fencepost.client import settings_with, stores
from fencepost.clock import SystemClock
from fencepost.connect import open_zone_store
from fencepost.errors import ChangeRefused, NoSuchHostedZone, OutcomeUnknown, PlansFrozen, StoreUnavailable, ZoneFrozen
from fencepost.events import EventBus, Recorder
from fencepost.names import frozen_name
from fencepost.notice import Notice, frozen_key
from fencepost.plan import Draft, Target, content
from fencepost.records import txt
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor

WHO = Notice("ada", 1_792_000_000, "the health checks lie")
VALUE = content(5, [Target("use1-az1-lb-001", "A", "127.1.1.1", 10)])


@pytest.fixture
async def opened(redis_url):
    """Both stores of a system with all its zones, as ada sees them."""
    async with stores(settings_with(redis_url=redis_url), Actor("ada", operator=True)) as found:
        for zone in found.region.endpoint_names:
            await found.zones.create_zone(zone, found.region.zone_records(zone))
        yield found


@pytest.fixture
def freezer(opened):
    """The freezer, with its events kept; it gives up soon."""
    recorder = Recorder()
    found = Freezer(opened, SystemClock(), EventBus(recorder), patience_s=0.5)
    found.recorder = recorder
    return found


async def frozen(opened, zone):
    """Return who has frozen a zone, None if nobody."""
    record = (await opened.zones.read(zone, [frozen_key(zone)])).records.get(frozen_key(zone))
    return Notice.parse(record.text) if record else None


async def test_freeze_stops_the_automation_everywhere_and_says_who_when_and_why(opened, freezer):
    """Plan store and zones are frozen when it returns; the record is in each zone."""
    automation = open_zone_store(opened.settings, Actor("use1-az1-enactor"))

    done = await freezer.freeze(WHO)

    assert done.complete
    assert [held.zone for held in done.zones] == list(opened.region.endpoint_names)
    for zone in opened.region.endpoint_names:
        assert await frozen(opened, zone) == WHO
        with pytest.raises(ZoneFrozen, match="the health checks lie"):
            await automation.change(ChangeBatch(zone, (create(txt(f"x.{zone}", "y")),)))
    with pytest.raises(PlansFrozen):
        await opened.plans.publish(Draft({opened.region.endpoint_names[0]: VALUE}, "routine"), expected=0)
    assert sorted(freezer.recorder.names()) == ["operator.plans_frozen", *["operator.zone_frozen"] * 6]
    await automation.close()


class WaitingPlans(RedisPlanStore):
    """A plan store that does not answer an operator before `zones_frozen`."""

    def __init__(self, url):
        super().__init__(open_client(url))
        self.zones_frozen = asyncio.Event()

    async def freeze(self, notice):
        await self.zones_frozen.wait()
        await super().freeze(notice)


async def test_freeze_of_zones_does_not_wait_for_the_plan_store(opened):
    """While the plan store hangs, every zone is frozen all the same; it is complete when both are."""
    plans, zones = WaitingPlans(opened.settings.redis_url), opened.region.endpoint_names
    under_way = asyncio.create_task(Freezer(replace(opened, plans=plans), SystemClock(), EventBus()).freeze(WHO))

    async with asyncio.timeout(5):
        for zone in zones:
            while not (await opened.zones.commits(zone, 1)):
                pass
    before = (await opened.plans.controls()).frozen
    plans.zones_frozen.set()
    done = await under_way

    assert before is None
    assert (done.complete, done.plans.zone, len(done.zones)) == (True, None, 6)
    await plans.close()


async def test_freeze_of_one_endpoint_leaves_all_others(opened, freezer):
    """Only its zone; plans are published as before."""
    one, *others = opened.region.endpoint_names

    done = await freezer.freeze(WHO, [one])

    assert (done.plans, [held.zone for held in done.zones]) == (None, [one])
    assert [await frozen(opened, zone) for zone in (one, *others)] == [WHO, *[None] * 5]
    assert (await opened.plans.controls()).frozen is None


async def test_freeze_again_says_whose_is_in_force_and_leaves_it(opened, freezer):
    """The first one who froze is the one to ask; the second loses nothing by it."""
    await freezer.freeze(WHO)

    done = await freezer.freeze(Notice("grace", WHO.at_s + 60, "me, too"))

    assert done.complete
    assert all(held.already and held.notice == Word(*WHO) for held in (done.plans, *done.zones))
    assert (await opened.plans.controls()).frozen == WHO


async def test_thaw_ends_everything_and_says_what_it_was(opened, freezer):
    """Zones, plan store and pins; and a second thaw finds nothing."""
    zone = opened.region.endpoint_names[0]
    await freezer.freeze(WHO)
    await opened.plans.publish(Draft({zone: VALUE}, "by hand", by="ada", operator=True, pin=WHO), expected=0)

    done = await freezer.thaw()

    assert done.complete
    assert not done.nothing
    assert {held.notice for held in (done.plans, *done.zones)} == {Word(*WHO)}
    assert done.pins == {zone: Word(*WHO)}
    assert [await frozen(opened, zone) for zone in opened.region.endpoint_names] == [None] * 6
    assert await opened.plans.publish(Draft({zone: VALUE}, "routine"), expected=1) == 2
    assert (await freezer.thaw()).nothing


async def test_thaw_of_one_endpoint_says_what_is_still_frozen(opened, freezer):
    """Its zone and its pin; the plan store stays frozen, which is said."""
    one, another, *_ = opened.region.endpoint_names
    await freezer.freeze(WHO)
    draft = Draft({one: VALUE, another: VALUE}, "by hand", by="ada", operator=True, pin=WHO)
    await opened.plans.publish(draft, expected=0)

    done = await freezer.thaw([one])

    assert (done.plans, done.left, done.pins) == (None, Word(*WHO), {one: Word(*WHO)})
    assert [await frozen(opened, zone) for zone in (one, another)] == [None, WHO]
    assert list((await opened.plans.controls()).pins) == [another]


async def test_record_that_freezes_without_saying_who_is_thawed_all_the_same(opened, freezer):
    """Somebody made the record by hand, in words of their own."""
    zone = opened.region.endpoint_names[0]
    await opened.zones.change(ChangeBatch(zone, (create(txt(frozen_name(zone), "do not touch")),)))

    done = await freezer.thaw([zone])

    assert done.zones[0].notice == Word("somebody", 0, "do not touch")
    assert await frozen(opened, zone) is None


class Faulty:
    """A zone store whose next calls on one zone end in these errors; `executed` of them are carried out first."""

    def __init__(self, inner, zone, *errors, executed=False):
        self._inner, self._zone, self.errors, self._executed = inner, zone, list(errors), executed

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def change(self, batch):
        if batch.zone != self._zone or not self.errors:
            return await self._inner.change(batch)
        if self._executed:
            await self._inner.change(batch)
        raise self.errors.pop(0)


def faulty(opened, *errors, executed=False, patience_s=0.5):
    """Return a freezer whose first zone is in trouble."""
    zone = opened.region.endpoint_names[0]
    object.__setattr__(opened, "zones", Faulty(opened.zones, zone, *errors, executed=executed))
    return Freezer(opened, SystemClock(), EventBus(), patience_s=patience_s)


@pytest.mark.parametrize("executed", [True, False])
async def test_freeze_of_unknown_outcome_is_read_before_anything_is_said(opened, executed):
    """The answer got lost, with or without the record in place: either way it is, when freeze says so."""
    done = await faulty(opened, OutcomeUnknown("no answer"), executed=executed).freeze(WHO)

    assert done.complete
    assert not done.zones[0].already
    assert await frozen(opened, opened.region.endpoint_names[0]) == WHO
    # Written once more where it was there already: what was told is what the replicas have, too.
    comments = [commit.comment for commit in await opened.zones.commits(opened.region.endpoint_names[0])]
    assert comments[-1].startswith("frozen by")
    assert sum(comment.startswith("frozen by") for comment in comments) == (2 if executed else 1)


async def test_thaw_of_unknown_outcome_says_what_it_ended(opened, freezer):
    """The record was gone when it was looked for again; by whom it was is not forgotten."""
    await freezer.freeze(WHO)

    done = await faulty(opened, OutcomeUnknown("no answer"), executed=True).thaw()

    assert done.complete
    assert done.zones[0].notice == Word(*WHO)


async def test_freeze_that_fails_half_way_says_which_zones_are_frozen_and_goes_on_next_time(opened):
    """One zone cannot be changed: the others are frozen, it is named with the reason, and the next run goes on."""
    first, *others = opened.region.endpoint_names
    broken = faulty(opened, *[StoreUnavailable("no way in")] * 1000, patience_s=0.05)

    done = await broken.freeze(WHO)

    assert not done.complete
    assert [(held.zone, held.error) for held in done.zones if not held.done] == [(first, "no way in")]
    assert [await frozen(opened, zone) for zone in (first, *others)] == [None, *[WHO] * 5]
    opened.zones.errors.clear()
    again = await broken.freeze(WHO)
    assert again.complete
    assert await frozen(opened, first) == WHO


async def test_freeze_of_a_zone_that_there_is_not_is_no_success(opened, redis_url):
    """A name of the region without a zone: nothing can commit there, but nothing holds it either."""
    client = open_client(redis_url)
    zone = opened.region.endpoint_names[0]
    await client.delete(*[f"{{{zone}}}:{part}" for part in ("records", "order", "counts", "meta", "stream")])
    await client.aclose()

    done = await Freezer(opened, SystemClock(), EventBus(), patience_s=5).freeze(WHO)

    assert [held.error for held in done.zones if not held.done] == [str(NoSuchHostedZone(zone))]


async def test_busy_zone_is_waited_for(opened, redis_url):
    """A zone that still processes somebody's batch refuses ours for a while; that is no failure."""
    zone = opened.region.endpoint_names[0]
    slow = RedisZoneStore(open_client(redis_url), Actor("use1-az1-enactor"), processing_s=0.2)
    await slow.change(ChangeBatch(zone, (upsert(txt(f"x.{zone}", "y")),)))

    done = await Freezer(opened, SystemClock(), EventBus()).freeze(WHO)

    assert done.complete
    assert done.zones[0].took_ms > 100
    await slow.close()


async def test_no_automation_commits_between_freeze_and_thaw_under_load(opened, redis_url):
    """I9 from the zones' own streams: ten freezes while three enactors commit as fast as they can."""
    zones = opened.region.endpoint_names
    running = True

    async def automation(name):
        store = RedisZoneStore(open_client(redis_url), Actor(name), processing_s=0.001)
        for number in itertools.count():
            if not running:
                break
            for zone in zones:
                batch = ChangeBatch(zone, (upsert(txt(f"{name}.{zone}", str(number))),))
                await asyncio.gather(store.change(batch), return_exceptions=True)
        await store.close()

    tasks = [asyncio.create_task(automation(f"use1-az{n}-enactor")) for n in (1, 2, 3)]
    freezer = Freezer(opened, SystemClock(), EventBus())
    clock = SystemClock()
    spans = {zone: [] for zone in zones}
    for number in range(10):
        done = await freezer.freeze(Notice("ada", number, ""))
        assert done.complete
        held = {h.zone: h.serial for h in done.zones}
        at_return = {zone: (await opened.zones.read(zone, [])).serial for zone in zones}
        await clock.sleep(0.02)
        assert {zone: (await opened.zones.read(zone, [])).serial for zone in zones} == at_return == held
        thawed = await freezer.thaw()
        for each in thawed.zones:
            spans[each.zone].append((held[each.zone], each.serial))
        await clock.sleep(0.02)
    running = False
    await asyncio.gather(*tasks)

    for zone in zones:
        commits = await opened.zones.commits(zone, limit=100_000)
        by_automation = [commit.serial for commit in commits if not commit.actor.operator]
        for start, end in spans[zone]:
            assert [serial for serial in by_automation if start < serial < end] == []
        assert len(by_automation) > 10


async def test_refusal_that_will_not_pass_is_not_tried_again(opened):
    """What no patience can help with is said at once."""
    broken = faulty(opened, ChangeRefused("a.test.", "never"), patience_s=60)

    done = await broken.freeze(WHO)

    assert [held.error for held in done.zones if not held.done] == ["ChangeRefused: never"]
