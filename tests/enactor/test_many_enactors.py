"""Three enactors at once on a real server, over slow links that stall and lose calls, while plans come quickly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from enactor.fixed import FixedEnactor
from enactor.protocol import Tools
from enactor.settings import EnactorSettings
from fencepost.clock import SystemClock, stream
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import StoreError
from fencepost.events import EventBus, Recorder
from fencepost.network import Link, LinkSpec
from fencepost.stores import Actor

SEED = 5
PLANS = 150
PLANS_PER_S = 50.0
CONVERGED_S = 30.0
ZONES = ("a.test.", "b.test.", "c.test.")
LOCK_TTL_S = 0.15
CONTROL = LinkSpec(0.001, 0.01, loss=0.02, stall=0.03, stall_min_s=0.05, stall_max_s=0.6, timeout_s=0.6)
"""Ten times as fast as the profile `accelerated`, with more trouble: a stalled or lost call may outlive its lock."""


class Running:
    """An enactor that does rounds until it is told to stop, as its process does."""

    def __init__(self, name: str, url: str, resources: AsyncExitStack) -> None:
        self.settings = EnactorSettings(name=name, redis_url=url, keep=2, lock_ttl_s=LOCK_TTL_S, backoff_cap_s=0.1)
        self.clock, self.recorder, self.stopping = SystemClock(), Recorder(), asyncio.Event()
        link = Link(CONTROL, self.clock, stream(SEED, name, "control"))
        zones = open_zone_store(self.settings, Actor(name), link=link)
        plans = open_plan_store(self.settings)
        resources.push_async_callback(zones.close)
        resources.push_async_callback(plans.close)
        tools = Tools.of(
            self.settings,
            plans=plans,
            zones=zones,
            clock=self.clock,
            rng=stream(SEED, name),
            events=EventBus(self.recorder),
        )
        self.enactor = FixedEnactor(tools)

    async def run(self) -> None:
        while not self.stopping.is_set():
            try:
                wait_s = (await self.enactor.tick()).wait_s
            except StoreError:
                wait_s = self.settings.pauses.backoff_cap_s
            await self.clock.sleep(wait_s)

    def count(self, name: str) -> int:
        """Return how many events of a name it has emitted."""
        return sum(event.name == name for event in self.recorder.events)


@pytest.fixture
async def enactors(redis_url: str) -> AsyncIterator[list[Running]]:
    """Three enactors that do not run yet."""
    async with AsyncExitStack() as resources:
        yield [Running(f"use1-az{number}-enactor", redis_url, resources) for number in (1, 2, 3)]


async def publish_plans(world) -> int:
    """Publish plan after plan; each changes one zone, the last one all, so that none may stay behind."""
    clock, generation = SystemClock(), 0
    start_s = clock.monotonic()
    first = {zone.partition(".")[0]: world.targets(4) for zone in world.zones}
    for number in range(PLANS):
        value = world.targets(4, weight=2 + number)
        moved = [[*first][number % len(first)]] if number < PLANS - 1 else first
        generation = await world.publish(**(dict.fromkeys(moved, value) if number else first))
        await clock.sleep(max(0.0, start_s + (number + 1) / PLANS_PER_S - clock.monotonic()))
    return generation


async def until_fenced(world, generation: int) -> None:
    """Wait until every zone is at a generation."""
    clock = SystemClock()
    deadline_s = clock.monotonic() + CONVERGED_S
    while set(fences := [await world.fenced(zone) for zone in world.zones]) != {generation}:
        assert clock.monotonic() < deadline_s, (generation, fences)
        await clock.sleep(0.05)


async def test_many_enactors_on_bad_links_while_plans_come_quickly_keep_every_promise(world, enactors):
    """All zones get to the last plan, and the history of 150 plans breaks none of I1 to I6."""
    await world.add_zones(*ZONES)

    async with asyncio.TaskGroup() as group:
        for enactor in enactors:
            group.create_task(enactor.run())
        try:
            await until_fenced(world, await publish_plans(world))
        finally:
            for enactor in enactors:
                enactor.stopping.set()

    # Everything happened on one machine: its clock is the enactors' and the server's.
    assert await world.violations(clock_skew_s=0.0) == ()
    for enactor in enactors:
        assert enactor.count("enactor.flip_committed") > 0, f"{enactor.settings.name} never had its turn"
    for rare in ("enactor.lock_missed", "enactor.outcome_unknown", "enactor.trees_cleaned"):
        assert sum(enactor.count(rare) for enactor in enactors) > 0, f"{rare}: the test tests less than it says"
