"""Fixtures of the planner: a small region, a real fleet of it, real stores, and a planner over them."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import aiohttp
import pytest

from fencepost.batch import ChangeBatch, delete, upsert
from fencepost.clock import SystemClock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.events import EventBus, Recorder
from fencepost.names import fence_name
from fencepost.plan import Draft
from fencepost.records import txt
from fencepost.region import AvailabilityZone, Endpoint, LoadBalancer, Region
from fencepost.service import Context
from fencepost.settings import Settings
from fencepost.stores import Actor, PlanStore, ZoneStore
from lab.fleet import Fleet
from planner.loop import Planner
from planner.settings import PlannerSettings

PORTS_FROM = 12_000


def _is_free(port: int) -> bool:
    with socket.socket() as tcp:
        try:
            tcp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def port_base() -> int:
    """A port base whose ports for API, fleet and control, and one more, are free as far as can be known."""
    for base in range(PORTS_FROM + os.getpid() % 500 * 10, 19_990, 10):
        if all(_is_free(base + offset) for offset in (2, 3, 4, 5)):
            return base
    raise AssertionError("no free ports in a row")


@pytest.fixture
def region() -> Region:
    """Two endpoints over four load balancers, two in each of two Availability Zones; `b.test.` is in one alone."""
    balancers = tuple(
        LoadBalancer(f"az{zone}-lb-{n}", f"az{zone}", f"127.1.{zone}.{n}", f"::ffff:127.1.{zone}.{n}")
        for zone in (1, 2)
        for n in (1, 2)
    )
    return Region(
        name="test",
        ttl_s=5,
        availability_zone=(AvailabilityZone("az1"), AvailabilityZone("az2")),
        load_balancer=balancers,
        endpoint=(
            Endpoint("a.test.", "dual-stack", ("az?-lb-?",), ("A", "AAAA")),
            Endpoint("b.test.", "x", ("az2-*",)),
        ),
    )


@pytest.fixture
def settings(redis_url, port_base) -> PlannerSettings:
    """Settings of a quick planner that looks for nothing by itself: what it does, something woke it for.

    Nothing is installed here, so the planner is not throttled; tests of the lanes switch that on.
    """
    return PlannerSettings(
        redis_url=redis_url,
        port_base=port_base,
        observe_interval_s=0.01,
        check_timeout_s=0.5,
        look_interval_s=60,
        retry_max_s=0.1,
        without="throttling",
    )


@pytest.fixture
async def plans(settings) -> AsyncIterator[PlanStore]:
    store = open_plan_store(settings)
    yield store
    await store.close()


@pytest.fixture
async def zones(settings) -> AsyncIterator[ZoneStore]:
    store = open_zone_store(settings, Actor("test"))
    yield store
    await store.close()


@pytest.fixture
async def fleet(region, port_base) -> AsyncIterator[Fleet]:
    fleet = Fleet(Context(Settings(port_base=port_base)), region, SystemClock())
    await fleet.start()
    yield fleet
    await fleet.stop()


@pytest.fixture
def recorder() -> Recorder:
    """Every event of the planner."""
    return Recorder()


@pytest.fixture
def new_planner(settings, region, plans, zones, recorder) -> Callable[..., Planner]:
    """Makes planners over the same stores, as a restart does; another plan store and settings may be given."""

    def make(plan_store: PlanStore | None = None, **changed: object) -> Planner:
        return Planner(
            settings.model_copy(update=changed),
            region,
            plan_store or plans,
            zones,
            events=EventBus(recorder),
            clock=SystemClock(),
        )

    return make


@pytest.fixture
async def planner(new_planner, fleet) -> Planner:
    """A planner that has observed the whole fleet once and has published nothing yet; its ticks are the test's."""
    planner = new_planner()
    await planner.observer.round()
    return planner


@pytest.fixture
def running() -> Callable[[Planner], AbstractAsyncContextManager[None]]:
    """Runs a planner in the background; an error of it fails the test."""

    @asynccontextmanager
    async def run(planner: Planner) -> AsyncIterator[None]:
        task = asyncio.create_task(planner.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return run


@pytest.fixture
def published(plans) -> Callable[[], Awaitable[dict[str, dict[str, int]]]]:
    """Reads the latest plan as endpoint -> "load balancer/type" -> weight."""

    async def read() -> dict[str, dict[str, int]]:
        plan = await plans.latest()
        assert plan is not None
        return {
            name: {f"{target.identifier}/{target.type}": target.weight for target in plan.content(name).targets}
            for name in plan.digests
        }

    return read


@pytest.fixture
def set_fleet(port_base) -> Callable[..., Awaitable[None]]:
    """Sets a load balancer's condition by the fleet's control API."""

    async def put(name: str, **wish: object) -> None:
        url = f"http://127.0.0.1:{port_base + 4}/v1/balancers/{name}"
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            await session.put(url, json=wish)

    return put


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition, for 5 seconds at most."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  -- what is waited for does not know that somebody waits
                await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def someone_publishes(plans) -> Callable[..., Awaitable[int]]:
    """Publishes a plan past the planner: the latest one's contents with another TTL."""

    async def publish(ttl: int) -> int:
        plan = await plans.latest()
        assert plan is not None
        changed = {name: plan.content(name).__class__(ttl, plan.content(name).targets) for name in plan.digests}
        return await plans.publish(Draft(changed, "somebody else"), expected=plan.generation)

    return publish


@pytest.fixture
def set_fence(zones, region):
    """Writes a zone's fence as an enactor would, creating the zone when needed; None takes the fence away."""

    async def write(zone: str, text: str | None) -> None:
        await zones.create_zone(zone, region.zone_records(zone))
        key = txt(fence_name(zone), "-").key
        existing = (await zones.read(zone, [key])).records.get(key)
        changes = () if existing is None else (delete(existing),)
        await zones.change(ChangeBatch(zone, (*changes, *([upsert(txt(key.name, text))] if text else []))))

    return write
