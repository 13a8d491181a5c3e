"""Every process of a system is killed in turn while plans keep coming: it returns, and no promise is broken."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import aiohttp
import dns.asyncquery
import dns.exception
import dns.message
import pytest

from deploy.launch import RunningSystem, running_system
from deploy.topology import Mode, SystemOptions
from fencepost.clock import SystemClock, stream
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import StoreError
from fencepost.events import EventBus
from fencepost.fence import fence_key
from fencepost.stores import Actor, PlanStore, ZoneStore
from lab.compare_options import STREAM_LIMIT, settle_bound_s
from lab.history import History, RunInfo, collect
from lab.invariants import check
from lab.settle import settle
from lab.world import Made, World, rules_of

T = TypeVar("T")
SEED = 11
PLANS_PER_S = 8.0
RETURN_S = 25.0
POLL_S = 0.05


@dataclass
class Run:
    """A system whose world changes all the time, and the stores as they are, without a network between."""

    system: RunningSystem
    zones: ZoneStore
    plans: PlanStore
    clock: SystemClock = field(default_factory=SystemClock)
    made: list[Made] = field(default_factory=list)
    returned_us: dict[str, int] = field(default_factory=dict)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self.system.settings.region().endpoint_names

    def now_us(self) -> int:
        return int(self.clock.epoch_s() * 1e6)

    @asynccontextmanager
    async def changing_world(self) -> AsyncIterator[None]:
        """Ask the planner for changes, one after the other; what it cannot take while something is down is noted."""
        world = World(
            self.system.settings,
            rules_of("graceful"),
            rate=PLANS_PER_S,
            rng=stream(SEED, "world"),
            clock=self.clock,
            events=EventBus(),
            note=self.made.append,
        )
        changing = asyncio.create_task(world.run())
        try:
            yield
            assert not changing.done(), changing.exception()
        finally:
            changing.cancel()
            await asyncio.wait({changing})

    async def until(self, condition: Callable[[], Awaitable[T]], what: str, within_s: float = RETURN_S) -> T:
        """Return what a condition finds; it is asked again while that is false, or while the store is down."""
        deadline_s = self.clock.monotonic() + within_s
        while True:
            said = ""
            try:
                if found := await condition():
                    return found
            except StoreError as error:
                said = str(error)
            assert self.clock.monotonic() < deadline_s, f"not within {within_s:g} s: {what}. {said}"
            await self.clock.sleep(POLL_S)

    async def kill(self, name: str) -> None:
        """Kill a process; return when it is back, and a plan that was published after that answers everywhere."""
        supervisor = self.system.supervisor
        assert supervisor.restarts(name) == 0, name
        os.kill(supervisor.pid(name), signal.SIGKILL)

        async def is_back() -> bool:
            return supervisor.restarts(name) == 1 and await self.is_ready(name)

        await self.until(is_back, f"{name} is back")
        self.returned_us[name] = self.now_us()
        before = await self.until(self.plans.latest_generation, f"the store answers after the death of {name}")

        async def is_installed() -> bool:
            return min([await self.answered_generation(endpoint) for endpoint in self.endpoints]) > before

        await self.until(is_installed, f"a plan above {before} answers everywhere after the death of {name}")

    async def is_ready(self, name: str) -> bool:
        """Say whether /readyz of a process is 200; the server, which has none, is asked by every read of the store."""
        if name == "server":
            return True
        url = f"{self.system.supervisor.admin_url(name)}/readyz"
        try:
            async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(1)) as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def answered_generation(self, endpoint: str) -> int:
        """Return the generation that the authoritative server says a zone is at; -1 if it says nothing."""
        query = dns.message.make_query(fence_key(endpoint).name, "TXT")
        try:
            answer = await dns.asyncquery.udp(query, "127.0.0.1", timeout=1, port=self.system.settings.dns_port)
        except (OSError, dns.exception.DNSException):
            return -1
        texts = [rdata.strings[0].decode() for found in answer.answer for rdata in found]
        return int(texts[0].split()[0]) if texts else -1

    async def history(self, started_us: int, bound_s: float) -> History:
        """Wait until every endpoint has the last plan, and return everything that was committed."""
        world_stopped_us = self.now_us()

        deadline_s = self.clock.monotonic() + bound_s
        settled = await settle(self.zones, self.plans, self.clock, deadline_s=deadline_s, quiet_s=1.0)
        assert settled.left == {}, f"not every endpoint is at the last plan after {bound_s:g} s"
        stopped_us = self.now_us()
        collected = await collect(self.zones, self.plans, self.endpoints, until_us=stopped_us)
        run = RunInfo(
            mode="fixed",
            seed=SEED,
            profile=self.system.settings.profile,
            started_us=started_us,
            duration_s=(world_stopped_us - started_us) / 1e6,
            stopped_us=stopped_us,
            faults_ended_us=world_stopped_us,
            world_stopped_us=world_stopped_us,
        )
        return History(run=run, **collected._asdict())


@pytest.fixture
async def run(tmp_path: Path, port_base: int) -> AsyncIterator[Run]:
    """A ready system in fixed mode, with customers; its zones keep all of their commits."""
    options = SystemOptions(
        tmp_path / "run",
        mode=Mode.FIXED,
        profile="lan",
        seed=SEED,
        port_base=port_base,
        load_rate=20,
        extra={"enactor": {"FENCEPOST_STREAM_LIMIT": str(STREAM_LIMIT)}},
    )
    async with AsyncExitStack() as resources:
        system = await resources.enter_async_context(running_system(options))
        zones = open_zone_store(system.settings, Actor("test", operator=True))
        resources.push_async_callback(zones.close)
        plans = open_plan_store(system.settings)
        resources.push_async_callback(plans.close)
        yield Run(system, zones, plans)


@pytest.mark.timeout(180)
async def test_kill_of_each_process_while_plans_come_breaks_no_promise(run: Run) -> None:
    """Enactors, planner, resolver, fleet, server: each returns, newer plans reach every endpoint, nothing is broken."""
    supervisor, started_us = run.system.supervisor, run.now_us()
    victims = [name for name in reversed(supervisor.names()) if name not in ("load", "watch")]
    assert len(victims) == 7, victims

    async with run.changing_world():
        for name in victims:
            await run.kill(name)
    bound_s = settle_bound_s(run.system.settings.network)
    history = await run.history(started_us, bound_s)

    assert check(history, convergence_bound_s=bound_s) == ()
    # Nobody died of another's death, and there was something to check: plans came and were installed all the time.
    assert {name: supervisor.restarts(name) for name in supervisor.names()} == {
        **dict.fromkeys(victims, 1),
        "watch": 0,
        "load": 0,
    }
    assert any(change.error for change in run.made), "nobody noticed that the planner was gone"
    assert sum(change.error is None for change in run.made) > len(victims), run.made
    every = [commit for commits in history.commits.values() for commit in commits]
    for name in (name for name in victims if name.endswith("enactor")):
        later = [commit for commit in every if commit.actor.name == name and commit.at_us > run.returned_us[name]]
        assert later, f"{name} wrote nothing after its return"
    for endpoint, commits in history.commits.items():
        installed = {commit.generation for commit in commits if commit.generation is not None}
        assert len(installed) > len(victims), (endpoint, installed)
