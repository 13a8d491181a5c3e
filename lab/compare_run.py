"""One mode of a comparison: a fresh system, the world and the customers on it, time to settle, and the history."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from deploy.launch import RunningSystem, running_system
from deploy.supervisor import Supervisor, logs_dir
from deploy.topology import Mode, ProcessSpec
from fencepost.clock import Clock, stream
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import StartupError
from fencepost.events import EventBus, Events
from fencepost.log import json_logger
from fencepost.sinks import LogSink
from fencepost.stores import Actor, PlanStore, ZoneStore
from lab.clients import Tally, Target, targets_of
from lab.compare_options import INSTALL_BOUND_S, CompareOptions, watcher_specs
from lab.compare_progress import Phase, Status
from lab.history import History, RunInfo, collect, load, save
from lab.last_answers import LastAnswer, dig, last_answers
from lab.lines import LinesFile
from lab.settle import Settled, settle
from lab.shown import REFRESH_S
from lab.world import World, rules_of

ACTOR: Final = Actor("compare", operator=True)
STATE_TIMEOUT_S: Final = 2.0

T = TypeVar("T")


class WorldFigures(msgspec.Struct, frozen=True):
    """What the world did: changes made and failed, turns left out since the one before was not done, reached rate."""

    made: int
    failed: int
    left_out: int
    per_s: float


class Recorded(msgspec.Struct, frozen=True):
    """A mode's run, not judged yet.

    Attributes:
        history: everything.
        last_answers: of the authoritative server, just before the end.
        dig: what the real dig shows for the first endpoint that has no address; empty if there is none, or no dig.
        settled_s: how long after the last change every root was at the last plan; None: not within the bound.
        unsettled: the endpoints that were not, in words.
        world, load: what the lab did; `load.overloaded` requests were the generator's own failures.
        restarts: processes that died and were started again.
    """

    history: History
    last_answers: tuple[LastAnswer, ...]
    dig: tuple[str, ...]
    settled_s: float | None
    unsettled: dict[str, str]
    world: WorldFigures
    load: Tally
    restarts: dict[str, int]

    def extras(self) -> dict[str, Any]:
        """Return what the document carries besides the figures, JSON-able."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "history"}
        extras: dict[str, Any] = msgspec.to_builtins(fields)
        return extras


class ModeRun:
    """Runs one mode on a system that is up.

    Use: `async with running(options, mode, ...) as run`, then `await run.record()`.
    """

    def __init__(
        self,
        options: CompareOptions,
        mode: Mode,
        system: RunningSystem,
        *,
        events: Events,
        clock: Clock,
        status: Status,
        session: aiohttp.ClientSession,
    ) -> None:
        self.options, self.mode, self.system = options, mode, system
        self._events, self._clock, self._status, self._session = events, clock, status, session
        self._specs = watcher_specs(options, system.settings, mode)
        self._targets = targets_of(system.settings.region())
        self._watchers: dict[str, Supervisor] = {}

    async def record(self) -> Recorded:
        """Run the whole mode.

        Raises: StartupError if endpoints do not answer within `INSTALL_BOUND_S`; ChildAbandoned if a process died too
            often, HistoryUnusable if the zones' histories are not whole.
        """
        async with AsyncExitStack() as resources:
            zones, plans = await self._stores(resources)
            await self._watch(resources, "canary")
            await self._until_installed()
            async with AsyncExitStack() as customers:
                await self._watch(customers, "load")
                run, world = await self._change_world(plans)
                settled, answers = await self._settle(zones, plans)
                tally = msgspec.convert((await self._state("load")).get("load", {}), Tally)
            run = msgspec.structs.replace(run, stopped_us=self._now_us())
            shown = await self._dig(answers)
            restarts = self._restarts()
            await self._watchers["canary"].stop()
            self._status.enter(Phase.JUDGING, self._clock)
            zone_names = self.system.settings.region().endpoint_names
            collected = await collect(zones, plans, zone_names, until_us=run.stopped_us)
        history = History(run=run, **collected._asdict())
        directory = self.options.mode_dir(self.mode)
        await asyncio.to_thread(save, history, directory)
        whole = await asyncio.to_thread(load, directory)
        return Recorded(whole, answers, shown, settled.after_s, settled.left, world, tally, restarts)

    async def _stores(self, resources: AsyncExitStack) -> tuple[ZoneStore, PlanStore]:
        """Open the stores without any link between: the lab reads the truth, at no cost to the enactors' budget."""
        zones, plans = open_zone_store(self.system.settings, ACTOR), open_plan_store(self.system.settings)
        resources.push_async_callback(zones.close)
        resources.push_async_callback(plans.close)
        return zones, plans

    async def _watch(self, resources: AsyncExitStack, name: str) -> None:
        """Start one of the lab's own processes; it is stopped with `resources`."""
        self._watchers[name] = await self._started(self._specs[name])
        resources.push_async_callback(self._watchers[name].stop)

    async def _started(self, spec: ProcessSpec) -> Supervisor:
        supervisor = Supervisor(
            (spec,),
            run_dir=self.system.run_dir,
            events=self._events,
            echo=None,
            clock=self._clock,
            rng=stream(self.options.seed, "compare", spec.name),
        )
        await supervisor.start()
        return supervisor

    async def _until_installed(self) -> None:
        """Wait until the canary has had an address for everything: only then is there something to lose."""
        deadline_s = self._clock.monotonic() + INSTALL_BOUND_S
        while silent := [
            name
            for name, health in (await self._state("canary")).get("health", {"canary": "not started"}).items()
            if health != "answering"
        ]:
            if self._clock.monotonic() > deadline_s:
                raise StartupError(
                    f"no first plan within {INSTALL_BOUND_S:g} s: {', '.join(silent)} have no address yet; "
                    f"see the logs in {logs_dir(self.system.run_dir)}"
                )
            await self._clock.sleep(0.1)

    async def _change_world(self, plans: PlanStore) -> tuple[RunInfo, WorldFigures]:
        """Let the world change for as long as it should."""
        options, clock = self.options, self._clock
        with LinesFile(self.system.run_dir / "world.jsonl") as lines:
            world = World(
                self.system.settings,
                rules_of(options.world),
                rate=options.plan_rate,
                rng=stream(options.seed, "world"),
                clock=clock,
                events=self._events,
                note=lines.add,
            )
            started_us, started_s = self._now_us(), clock.monotonic()
            self._status.enter(Phase.RUNNING, clock, options.duration_s)
            changing = asyncio.create_task(world.run())
            try:
                await self._for_a_while(changing, world, plans)
            finally:
                changing.cancel()
                await asyncio.wait({changing})
            took_s = clock.monotonic() - started_s
        run = RunInfo(
            mode=self.mode.value,
            seed=options.seed,
            profile=options.profile,
            started_us=started_us,
            duration_s=options.duration_s,
            parameters=options.parameters(),
            world_stopped_us=self._now_us(),
        )
        return run, WorldFigures(world.made, world.failed, world.left_out, round(world.made / took_s, 2))

    async def _for_a_while(self, changing: asyncio.Task[None], world: World, plans: PlanStore) -> None:
        """Keep the status fresh until the time is over. Raises what `changing` raises, should it end by itself."""
        assert self._status.until_s is not None
        while (left_s := self._status.until_s - self._clock.monotonic()) > 0:
            done, _ = await asyncio.wait({changing}, timeout=min(REFRESH_S, left_s))
            for task in done:
                task.result()
            self._status.changes, self._status.generation = world.made, await plans.latest_generation()
            await self._look()

    async def _settle(self, zones: ZoneStore, plans: PlanStore) -> tuple[Settled, tuple[LastAnswer, ...]]:
        """Wait until every root is at the last plan and the data plane has it, or the bound is over; ask DNS then.

        Where a plan came while DNS was asked, what it said is not the end yet.
        """
        self._status.enter(Phase.SETTLING, self._clock, self.options.bound_s)
        deadline_s = self._clock.monotonic() + self.options.bound_s
        began_s = self._clock.monotonic()
        while True:
            before_s = self._clock.monotonic() - began_s
            settled = await settle(
                zones,
                plans,
                self._clock,
                deadline_s=deadline_s,
                quiet_s=2 * self.options.network.propagation.p99_s,
                meanwhile=self._look,
            )
            answers = await last_answers(self._targets, self.system.settings.dns_port)
            is_last = settled.generation == await plans.latest_generation()
            if is_last or self._clock.monotonic() >= deadline_s:
                after_s = None if settled.after_s is None else round(before_s + settled.after_s, 3)
                return settled._replace(after_s=after_s), answers

    async def _look(self) -> None:
        self._status.seen(await self._state("canary"), await self._state("load"))

    async def _dig(self, answers: tuple[LastAnswer, ...]) -> tuple[str, ...]:
        empty = [Target(answer.endpoint, answer.type) for answer in answers if not answer.answers]
        return await dig(empty[0], self.system.settings.dns_port) if empty else ()

    async def _state(self, name: str) -> Mapping[str, Any]:
        """Return what one of the lab's processes says of itself; nothing if it is being restarted."""
        try:
            async with self._session.get(f"{self._watchers[name].admin_url(name)}/state") as response:
                state: Mapping[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return {"health": {name: "no answer on /state"}}
        return state

    def _restarts(self) -> dict[str, int]:
        supervisors = (self.system.supervisor, *self._watchers.values())
        counts = {name: supervisor.restarts(name) for supervisor in supervisors for name in supervisor.names()}
        return {name: count for name, count in sorted(counts.items()) if count}

    def _now_us(self) -> int:
        return int(self._clock.epoch_s() * 1e6)


@asynccontextmanager
async def mode_run(options: CompareOptions, mode: Mode, *, clock: Clock, status: Status) -> AsyncIterator[ModeRun]:
    """Start a mode's system and yield the run on it; the system is stopped again whatever happens."""
    status.begin(mode.value, clock)
    async with AsyncExitStack() as resources:
        system = await resources.enter_async_context(running_system(options.system(mode)))
        log = resources.enter_context((logs_dir(system.run_dir) / "compare.jsonl").open("a"))
        events = EventBus(LogSink(json_logger("compare", log)))
        timeout = aiohttp.ClientTimeout(total=STATE_TIMEOUT_S)
        session = await resources.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        yield ModeRun(options, mode, system, events=events, clock=clock, status=status, session=session)


async def while_alive(work: Coroutine[Any, Any, T], supervisor: Supervisor) -> T:
    """Do some work as long as a system lives. Raises: ChildAbandoned, at once, when a process of it died too often."""
    working, living = asyncio.create_task(work), asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait({working, living}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            living.result()
        return await working
    finally:
        for task in (working, living):
            task.cancel()
        await asyncio.gather(working, living, return_exceptions=True)
