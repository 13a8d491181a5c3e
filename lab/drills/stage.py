"""A whole system with somebody on it who makes faults on purpose, sees everything, and is asked nothing.

The stores are opened without any link between: what a drill reads is the truth, and costs the enactors no budget.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import dns.asyncquery
import dns.exception
import dns.message

from deploy.guide import write_environment
from deploy.launch import RunningSystem, running_system
from deploy.supervisor import logs_dir
from deploy.topology import Mode, SystemOptions, check_options
from fencepost.client import Stores
from fencepost.clock import Clock, stream
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import FencepostError, StartupError
from fencepost.events import EventBus
from fencepost.log import json_logger
from fencepost.region import Region, load_region
from fencepost.settings import DEFAULT_PORT_BASE, LOOPBACK
from fencepost.sinks import LogSink
from fencepost.stores import Actor
from lab.clients import Target
from lab.compare_options import STREAM_LIMIT
from lab.drills.progress import Progress
from lab.history import History, RunInfo, collect, load, save
from lab.invariants import Violation, check
from lab.lines import LinesFile
from lab.settle import unconverged
from lab.world import World, rules_of

ACTOR: Final = Actor("drill", operator=True)
ASK_TIMEOUT_S: Final = 1.0
SETTLE_POLL_S: Final = 0.1
REST_S: Final = 4.0
"""So long no newer plan may come before a system counts as settled: the planner looks by itself every 3 s."""
CANCEL_AGAIN_S: Final = 0.2


class DrillFailed(FencepostError):
    """A drill could not go on; the message says why, and names the logs."""


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """What a drill runs on; `extra` is as in `SystemOptions`."""

    run_dir: Path
    profile: str
    seed: int = 1
    enactors: int = 3
    port_base: int = DEFAULT_PORT_BASE
    region_file: Path | None = None
    mode: Mode = Mode.FIXED
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what cannot be run, before anything is started. Raises: StartupError."""
        check_options(self.system)
        load_region(self.region_file)

    @property
    def system(self) -> SystemOptions:
        """The system to run; its zones keep every commit."""
        extra = {kind: dict(values) for kind, values in self.extra.items()}
        extra["enactor"] = {"FENCEPOST_STREAM_LIMIT": str(STREAM_LIMIT), **extra.get("enactor", {})}
        return SystemOptions(
            run_dir=self.run_dir,
            mode=self.mode,
            profile=self.profile,
            enactors=self.enactors,
            seed=self.seed,
            port_base=self.port_base,
            region_file=self.region_file,
            extra=extra,
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """A system that is ready, and what a drill works on it with.

    Attributes:
        stores: both stores, as an operator.
        session: for the processes' HTTP pages.
        started_us: when everything was ready, epoch microseconds.
    """

    options: DrillOptions
    system: RunningSystem
    stores: Stores
    session: aiohttp.ClientSession
    events: EventBus
    clock: Clock
    progress: Progress
    started_us: int

    @property
    def region(self) -> Region:
        """The region that the system serves."""
        return self.stores.region

    @property
    def planner_url(self) -> str:
        """Where the operator API is."""
        return f"http://{LOOPBACK}:{self.stores.settings.api_port}/v1"

    @property
    def fleet_url(self) -> str:
        """Where load balancers are made ill and well."""
        return f"http://{LOOPBACK}:{self.stores.settings.fleet_control_port}/v1/balancers"

    def now_us(self) -> int:
        """Return the time, epoch microseconds."""
        return int(self.clock.epoch_s() * 1e6)

    def enter(self, phase: str, takes_s: float | None = None) -> None:
        """Go on to another phase, which takes so long if that is known."""
        self.progress.enter(phase, takes_s)
        self.events.emit("drill.phase_started", reason=phase)

    async def state(self, name: str) -> Mapping[str, Any]:
        """Return what a process says of itself; nothing if it does not answer."""
        try:
            async with self.session.get(f"{self.system.supervisor.admin_url(name)}/state") as response:
                state: Mapping[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return {}
        return state

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        """Ask the operator API for something; return its status (0: no answer came) and its answer."""
        try:
            async with self.session.request(method, f"{self.planner_url}/{path}", json=body) as response:
                answer: Mapping[str, Any] = await response.json()
                return response.status, answer
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return 0, {"error": f"no answer to {method} {path}: {error!r}"}

    async def put_balancer(self, name: str, wish: Mapping[str, Any]) -> None:
        """Make a load balancer ill or well. Raises: DrillFailed."""
        try:
            async with self.session.put(f"{self.fleet_url}/{name}", json=wish) as response:
                response.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DrillFailed(f"the fleet's control API did not change {name}: {error}") from error

    @asynccontextmanager
    async def world(self, rate: float) -> AsyncIterator[World]:
        """Let the world change at a rate while the context lasts."""
        with LinesFile(self.system.run_dir / "world.jsonl") as lines:
            world = World(
                self.system.settings,
                rules_of("graceful"),
                rate=rate,
                rng=stream(self.options.seed, "world"),
                clock=self.clock,
                events=self.events,
                note=lines.add,
            )
            async with beside(world.run()):
                yield world

    async def settled_s(self, bound_s: float) -> float | None:
        """Wait until every root is at the last plan, and no newer plan comes for a while.

        Returns: how long it took until they were, without that while; None if it was longer than the bound.
        """
        began_s = self.clock.monotonic()
        there_s, generation = math.inf, -1
        while True:
            latest = await self.stores.plans.latest_generation()
            left, now_s = await unconverged(self.stores.zones, self.stores.plans), self.clock.monotonic()
            if left:
                there_s = math.inf
            elif there_s == math.inf or latest != generation:
                there_s, generation = now_s, latest
            if min(there_s, now_s) > began_s + bound_s:
                return None
            if now_s >= there_s + REST_S:
                return round(there_s - began_s, 3)
            await self.clock.sleep(SETTLE_POLL_S)

    async def history(self, parameters: dict[str, Any], *, world_stopped_us: int, faults_ended_us: int = 0) -> History:
        """Record everything that there is, in the run's directory, where `fencepost check` finds it.

        Raises: HistoryUnusable, StoreError.
        """
        run = RunInfo(
            mode=self.options.mode.value,
            seed=self.options.seed,
            profile=self.options.profile,
            started_us=self.started_us,
            duration_s=(world_stopped_us - self.started_us) / 1e6,
            parameters=parameters,
            stopped_us=self.now_us(),
            world_stopped_us=world_stopped_us,
            faults_ended_us=faults_ended_us,
        )
        collected = await collect(self.stores.zones, self.stores.plans, self.region.endpoint_names)
        directory = self.system.run_dir
        await asyncio.to_thread(save, History(run=run, **collected._asdict()), directory)
        return await asyncio.to_thread(load, directory)


async def judged(history: History, bound_s: float) -> tuple[Violation, ...]:
    """Return what the checker finds in a history, without holding up the loop."""
    return await asyncio.to_thread(check, history, convergence_bound_s=bound_s)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something all along while the context lasts. Raises what ended it early, at the end of the context."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        # Again and again: redis-py sends by `asyncio.wait_for`, which on Python 3.11 now and then drops a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
    if not task.cancelled():
        task.result()


@asynccontextmanager
async def staged(options: DrillOptions, progress: Progress, clock: Clock) -> AsyncIterator[Stage]:
    """Start a system and yield the stage on it; it is stopped whatever happens. Raises: StartupError."""
    async with running_system(options.system) as system:
        write_environment(system)
        settings = system.settings.model_copy(update={"name": ACTOR.name, "stream_limit": STREAM_LIMIT})
        zones, plans = open_zone_store(settings, ACTOR), open_plan_store(settings)
        timeout = aiohttp.ClientTimeout(total=10.0)
        with _log(system.run_dir) as events:
            try:
                async with aiohttp.ClientSession(
                    timeout=timeout, connector=aiohttp.TCPConnector(limit=0, resolver=aiohttp.ThreadedResolver())
                ) as session:
                    stores = Stores(settings, settings.region(), zones, plans)
                    started_us = int(clock.epoch_s() * 1e6)
                    yield Stage(options, system, stores, session, events, clock, progress, started_us)
            finally:
                await zones.close()
                await plans.close()


@contextmanager
def _log(run_dir: Path) -> Iterator[EventBus]:
    with (logs_dir(run_dir) / "drill.jsonl").open("a") as file:
        yield EventBus(LogSink(json_logger("drill", file)))


async def addresses(target: Target, port: int) -> int | None:
    """Ask a name server, or a resolver, on loopback; return how many addresses it gave, None for no answer."""
    query = dns.message.make_query(target.endpoint, target.type)
    try:
        answer = await dns.asyncquery.udp(query, LOOPBACK, ASK_TIMEOUT_S, port, ignore_unexpected=True)
    except (OSError, dns.exception.DNSException):
        return None
    return sum(len(rrset) for rrset in answer.answer)


async def silent(targets: Sequence[Target], port: int) -> tuple[str, ...]:
    """Return the targets that are not answered with an address, in words."""
    found = await asyncio.gather(*(addresses(target, port) for target in targets))
    return tuple(
        f"{target.endpoint} {target.type}: {'no answer' if count is None else 'no address'}"
        for target, count in zip(targets, found, strict=True)
        if not count
    )


async def first_time(
    condition: Callable[[], bool], clock: Clock, *, within_s: float, poll_s: float = 0.05
) -> float | None:
    """Wait for a condition; return after how many seconds it was true, None if it was not within the bound."""
    began_s = clock.monotonic()
    while not condition():
        if clock.monotonic() > began_s + within_s:
            return None
        await clock.sleep(poll_s)
    return clock.monotonic() - began_s


def required(value: float, option: str, *, above: float = 0.0) -> None:
    """Refuse an option that makes no sense. Raises: StartupError."""
    if value <= above:
        raise StartupError(f"{option} {value:g} makes no sense; it is above {above:g}")
