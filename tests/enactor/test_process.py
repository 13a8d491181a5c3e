"""The enactor's process: what it reports, and what its pages show."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from enactor.loop import SECOND_S, EnactorService, build
from enactor.protocol import Outcome
from enactor.settings import EnactorSettings
from fencepost.batch import create
from fencepost.clock import SystemClock
from fencepost.errors import StoreUnavailable
from fencepost.events import Recorder
from fencepost.notice import Notice
from fencepost.redis_client import load_script, open_client
from fencepost.service import Context
from fencepost.stores import Report

ZONE = "b.test."
OTHER = "a.test."
NAME = "use1-az1-enactor"


NOTHING = Report(role="enactor", generation=0, text="")


class Running:
    """A service that runs in this process."""

    def __init__(self, service: EnactorService, context: Context) -> None:
        self.service, self.context, self.recorder = service, context, Recorder()
        context.events.add(self.recorder)


@pytest.fixture(params=["fixed", "buggy"])
def protocol(request) -> str:
    return request.param


@pytest.fixture
async def running(world, protocol) -> AsyncIterator[Running]:
    """An enactor's service at work on the world."""
    context = Context(EnactorSettings(name=NAME, redis_url=world.url, protocol=protocol))
    service = build(context)
    running = Running(service, context)
    await service.start()
    task = asyncio.create_task(service.run())
    yield running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await service.stop()


async def until(condition, timeout_s: float = 10.0) -> None:
    """Wait until a condition that has to be awaited holds."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await SystemClock().sleep(0.01)


async def test_enactor_that_has_started_needs_to_load_no_script_later(world, protocol, redis_url):
    """What it would have to wait for with its first plan is done before it is ready."""
    client = open_client(redis_url)
    await client.script_flush()
    service = build(Context(EnactorSettings(name=NAME, redis_url=redis_url, protocol=protocol)))

    await service.start()

    names = ("read_plan", "read_records", "change_batch", "page_records", "set_report")
    hashes = [client.register_script(load_script(name)).sha for name in names]
    assert await client.script_exists(*hashes) == [True] * len(names)
    await service.stop()
    await client.aclose()


async def test_enactor_reports_the_generation_that_every_endpoint_has(world, running):
    """Its word is in the plan store a moment after the installation, for both protocols, and does not go back."""
    await world.add_zones(OTHER, ZONE)
    for weight in (1, 2):
        generation = await world.publish(a=world.targets(weight=weight), b=world.targets(weight=weight))

        async def reported(generation=generation) -> bool:
            return (await world.plans.reports()).get(NAME, NOTHING).generation == generation

        await until(reported)

    report = (await world.plans.reports())[NAME]
    assert (report.role, report.held) == ("enactor", {})


@pytest.mark.parametrize("protocol", ["fixed"], indirect=True)
async def test_enactor_shows_what_is_held_and_why(world, running):
    """The report, /state and the gauge say it of the frozen endpoint, and the queue does not count it."""
    await world.add_zones(OTHER, ZONE)
    await world.operate(ZONE, create(Notice("anna", 1, "looking").freezing(ZONE)))
    await world.publish(a=world.targets(), b=world.targets())

    async def held() -> bool:
        return bool((await world.plans.reports()).get(NAME, NOTHING).generation)

    await until(held)

    report = (await world.plans.reports())[NAME]
    assert report.generation == 1
    assert "by anna since 1970-01-01 00:00:01 UTC: looking" in report.held[ZONE]
    assert running.service.state()["endpoints"][ZONE]["held"] == report.held[ZONE]
    assert running.service.state()["endpoints"][OTHER]["held"] is None
    gauge = {
        zone: running.context.registry.get_sample_value("fencepost_endpoint_held", {"zone": zone})
        for zone in (ZONE, OTHER)
    }
    assert gauge == {ZONE: 1.0, OTHER: 0.0}


@pytest.mark.parametrize("protocol", ["fixed"], indirect=True)
async def test_enactor_whose_report_is_lost_goes_on(world, running):
    """A report is for people and for the planner's throttle; no plan waits for it."""
    await world.add_zones(ZONE)

    async def fail(*_) -> None:
        raise StoreUnavailable("not reached")

    running.service._plans.report = fail
    await world.publish(b=world.targets())

    async def installed() -> bool:
        return await world.fenced(ZONE) == 1 and "enactor.report_failed" in running.recorder.names()

    await until(installed)


async def test_enactor_that_came_second_turns_to_the_next_plan_a_moment_later(redis_url):
    """News wakes it, then it lets the others be first; until it was first itself, whatever rounds come in between."""
    service, slept = build(Context(EnactorSettings(name=NAME, redis_url=redis_url))), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    service._clock.sleep = sleep
    service._news.set()
    expected: list[float] = []
    for came_second, waits in ((None, False), (False, False), (True, True), (None, True), (False, False)):
        await service._pause(Outcome("", 10.0, until_news=True, came_second=came_second))
        expected += [SECOND_S] * waits
        assert slept == expected
    await service.stop()


@pytest.mark.timeout(10)
async def test_enactor_that_came_second_waits_no_longer_than_without_news(redis_url, monkeypatch):
    """News may cut a wait short and no more: whatever is due at its end is done then."""
    monkeypatch.setattr("enactor.loop.SECOND_S", 3600.0)
    service = build(Context(EnactorSettings(name=NAME, redis_url=redis_url)))
    service._news.set()

    await service._pause(Outcome("", 0.01, until_news=True, came_second=True))

    await service.stop()
