"""A real system to measure, as `fencepost up` starts it, with the benchmark in the planner's place.

Server, resolver and enactors are the processes that ship, under the same supervisor. Fleet and planner are left out,
since plans come from the benchmark, at instants that it knows; so is the watch, which no peer has.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from deploy.launch import RunningSystem, running_system
from deploy.topology import SystemOptions
from fencepost.clock import Clock
from fencepost.connect import open_plan_store, open_zone_store, prepare
from fencepost.errors import OutcomeUnknown
from fencepost.plan import Content, Draft, digest, short
from fencepost.redis_client import open_client
from fencepost.settings import DEFAULT_PORT_BASE
from fencepost.stores import Actor, PlanStore, ZoneStore
from lab.bench.asker import PAUSE_S, Asker, asker, fence_question, shows
from lab.bench.many import Many
from lab.bench.processes import workplace
from lab.bench.programs import BenchFailed
from lab.bench.usage import Usage, usage

ACTOR: Final = Actor("bench", operator=True)
ABSENT: Final = frozenset({"fleet", "planner", "watch"})
RESOLVER: Final = "resolver"


@dataclass(frozen=True, slots=True)
class OurOptions:
    """A system to measure: profile `none`, protocol `fixed`; what is not here is as `fencepost up` has it.

    Attributes:
        many: the region.
        enactors: how many.
        port_base: the authoritative server's port; all others follow.
        enactor: further settings of the enactors, e.g. {"FENCEPOST_KEEP": "2"}.
    """

    many: Many
    enactors: int = 3
    port_base: int = DEFAULT_PORT_BASE
    enactor: Mapping[str, str] = field(default_factory=dict)

    def system(self, place: Path) -> SystemOptions:
        """Return the options of a system whose region file and data are under `place`. It writes the region file."""
        return SystemOptions(
            run_dir=place / "run",
            profile="none",
            enactors=self.enactors,
            port_base=self.port_base,
            region_file=self.many.write(place / "region.toml"),
            extra={"enactor": dict(self.enactor)},
            absent=ABSENT,
        )


@dataclass(slots=True)
class OurSystem:
    """A system that is ready, and the benchmark's own ways into it.

    Attributes:
        generation: of the last plan, 0 before the first.
        redis: a bare client of its server.
        dns: asks its authoritative server.
    """

    options: OurOptions
    running: RunningSystem
    zones: ZoneStore
    plans: PlanStore
    redis: Redis
    dns: Asker
    clock: Clock
    generation: int = 0
    _questions: dict[str, bytes] = field(default_factory=dict)

    async def publish(self, changes: Mapping[str, Content], reason: str = "bench") -> int:
        """Publish a plan as the planner does; return its generation. Raises: PlanError, StoreError."""
        draft = Draft(changes, reason, by=ACTOR.name)
        try:
            self.generation = await self.plans.publish(draft, expected=self.generation)
        except OutcomeUnknown:  # a large plan may take longer than the client waits for its answer
            latest = await self.plans.latest_generation()
            if latest != self.generation + 1:
                raise
            self.generation = latest
        return self.generation

    async def until_live(
        self, changes: Mapping[str, Content], generation: int, *, within_s: float, pause_s: float = PAUSE_S
    ) -> float:
        """Wait until the resolver shows every one of some endpoints at a plan; return that instant.

        Raises: BenchFailed naming the endpoints that are not, ProcessLookupError.
        """
        return await self._until(self._looked_for(changes), generation, within_s=within_s, pause_s=pause_s)

    async def install(self, changes: Mapping[str, Content], *, within_s: float) -> float:
        """Publish a plan and wait until the resolver shows all of it; return the seconds from one to the other.

        Raises: BenchFailed naming the endpoints that do not show it, PlanError, StoreError, ProcessLookupError.
        """
        looked_for = self._looked_for(changes)
        began_s = self.clock.monotonic()
        generation = await self.publish(changes)
        return await self._until(looked_for, generation, within_s=within_s) - began_s

    def _looked_for(self, changes: Mapping[str, Content]) -> list[tuple[str, bytes, str]]:
        """Return of each endpoint its name, the question for its fence, and the digest (8 hex) to be seen there."""
        return [(zone, self._question(zone), short(digest(content))) for zone, content in sorted(changes.items())]

    async def _until(
        self,
        looked_for: Sequence[tuple[str, bytes, str]],
        generation: int,
        *,
        within_s: float,
        pause_s: float = PAUSE_S,
    ) -> float:
        looks = [(zone, asked, shows(generation, text)) for zone, asked, text in looked_for]
        return await self.dns.until_all(looks, within_s=within_s, pause_s=pause_s)

    def _question(self, zone: str) -> bytes:
        if zone not in self._questions:
            self._questions[zone] = fence_question(zone)
        return self._questions[zone]

    def usage(self) -> dict[str, Usage]:
        """Return what each process has used so far; the benchmark's own as `bench`."""
        supervisor = self.running.supervisor
        return {name: usage(supervisor.pid(name)) for name in supervisor.names()} | {"bench": usage()}

    def check_alive(self) -> None:
        """Refuse to go on with a system in which a process died meanwhile. Raises: BenchFailed."""
        supervisor = self.running.supervisor
        if died := [name for name in supervisor.names() if supervisor.restarts(name)]:
            logs = self.running.run_dir / "logs"
            raise BenchFailed(f"{', '.join(died)} died and was started again while it was measured; see {logs}")

    @property
    def enactors(self) -> Sequence[str]:
        """The names of the enactors' processes."""
        return tuple(
            name for name in self.running.supervisor.names() if name.endswith("enactor") or "-enactor-" in name
        )


def used(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, Usage]:
    """Return what each process used between two looks."""
    return {name: look.since(before[name]) for name, look in after.items() if name in before}


@asynccontextmanager
async def our_system(options: OurOptions, clock: Clock, *, run_dir: Path | None = None) -> AsyncIterator[OurSystem]:
    """Start a system and yield it, with every zone there and no plan; it is stopped whatever happens.

    Its region file, data and logs are in `run_dir`; None: in a temporary directory. Raises: StartupError.
    """
    async with AsyncExitStack() as resources:
        place = run_dir or resources.enter_context(workplace())
        running = await resources.enter_async_context(running_system(options.system(place)))
        zones, plans = open_zone_store(running.settings, ACTOR), open_plan_store(running.settings)
        redis = open_client(running.redis_url)
        for closing in (zones.close, plans.close, redis.aclose):
            resources.push_async_callback(closing)
        dns = await resources.enter_async_context(asker(running.settings.dns_port, clock))
        # The benchmark is in the place of a planner, which does so when it starts.
        await prepare(zones, plans)
        yield OurSystem(options, running, zones, plans, redis, dns, clock)
