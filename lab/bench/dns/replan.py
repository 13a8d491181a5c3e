"""How long answers take while every endpoint is re-planned, and while nothing is: at the same rate, in turns."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.topology import ProcessSpec
from fencepost.clock import Clock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.fence import fence_key
from fencepost.names import fence_name
from fencepost.settings import Settings
from fencepost.stores import Actor, PlanStore, ZoneStore
from lab.bench.cores import Cores, pinned
from lab.bench.dns.asking import check_all, judge_of, text_of
from lab.bench.dns.dnsperf import Latencies, Loader
from lab.bench.dns.endpoints import Endpoints
from lab.bench.dns.ours import YIELDS, Ours, installed_generation
from lab.bench.figures import MILLISECONDS, Spread
from lab.bench.processes import running
from lab.bench.programs import BenchFailed
from lab.bench.rounds import Rounds, measure_in_turn

QUIET: Final = "quiet"
REPLANNING: Final = "re-planning"
KEPT: Final = 0.95
"""Of the rate: with less it is the sender that is timed, or the server's limit."""
FOLLOWS_S: Final = 10.0
"""How long the resolver may take to have all commits, once there are no more."""
LOOKED_AT: Final = 50
"""Endpoints of which that is seen, about."""
LOOK_EVERY_S: Final = 0.05
ACTOR: Final = Actor("bench")


class Progress(NamedTuple):
    """How far a region is: the plan that every endpoint has, and batches committed since the zones were made."""

    generation: int
    batches: int


class Timed(NamedTuple):
    """One measurement: how long answers took, and what became of the region meanwhile."""

    took: Latencies
    plans: int
    batches: int


@dataclass(slots=True)
class Replan:
    """Answers timed at a fixed rate, quiet and re-planning in turns.

    Attributes:
        ours: our side, answering.
        loader: asks.
        rate: queries a second.
        seconds: for how long, each time.
        place: an empty directory.
    """

    ours: Ours
    endpoints: Endpoints
    loader: Loader
    rate: int
    seconds: float
    cores: Cores
    place: Path
    clock: Clock
    rounds: Rounds[Timed] = field(default_factory=lambda: Rounds.of((QUIET, REPLANNING)))

    async def run(self, rounds: int, tell: Callable[[int, str, Timed | None, str], None]) -> None:
        """Measure both in turns; what fails is in `rounds.failed`."""
        sides = {QUIET: self._quiet, REPLANNING: self._replanning}
        await measure_in_turn(sides, rounds, self.rounds, tell)

    async def _quiet(self, _: int) -> Timed:
        return await self._timed()

    async def _replanning(self, number: int) -> Timed:
        async with self._plans_coming(number):
            timed = await self._timed()
        if not timed.batches:
            raise BenchFailed("no zone was changed meanwhile, so nothing was re-planned")
        await self._caught_up()
        await check_all(
            self.ours.port,
            self.endpoints.names,
            judge_of(self.endpoints.weighted),
            edns=self.loader.edns,
            when="after a re-plan",
        )
        return timed

    async def _caught_up(self) -> None:
        """Wait until the resolver answers what the zones have; else it was quick as it did not follow them."""
        names = self.endpoints.names
        deadline_s = self.clock.monotonic() + FOLLOWS_S
        for name in names[:: max(1, len(names) // LOOKED_AT)]:
            expected = await fence(self.ours.settings, name)
            while await text_of(self.ours.port, fence_name(name)) != expected:
                if self.clock.monotonic() > deadline_s:
                    raise BenchFailed(f"{name}: the resolver does not answer {expected!r} {FOLLOWS_S:g} s after it")
                await self.clock.sleep(LOOK_EVERY_S)

    async def _timed(self) -> Timed:
        before = await progress(self.ours.settings, self.endpoints.names)
        load, took = await self.loader.at_rate(self.ours.port, self.seconds, self.rate)
        after = await progress(self.ours.settings, self.endpoints.names)
        if load.per_s < KEPT * self.rate:
            raise BenchFailed(f"{load.per_s:,.0f}/s were answered of {self.rate:,}/s; ask for less with --rate")
        return Timed(took, after.generation - before.generation, after.batches - before.batches)

    @asynccontextmanager
    async def _plans_coming(self, number: int) -> AsyncIterator[None]:
        """Have plans of every endpoint published and installed, one after the other, as long as this lasts."""
        place = self.place / f"replan-{number}"
        place.mkdir()
        settings, some = self.ours.settings, self.endpoints.names[:1]
        plan, began = await latest(settings), await progress(settings, some)

        async def published() -> bool:
            return await latest(settings) > plan

        async def moves() -> bool:
            return (await progress(settings, some)).batches > began.batches

        async with (
            running(self._replanner(), place, published, self.clock),
            running(self.ours.enactor, place, moves, self.clock),
        ):
            yield

    def _replanner(self) -> ProcessSpec:
        settings = self.ours.settings
        env = {
            "FENCEPOST_NAME": "bench",
            "FENCEPOST_REDIS_URL": settings.redis_url,
            "FENCEPOST_REGION_FILE": str(settings.region_file),
            "FENCEPOST_SEED": str(self.endpoints.seed),
            "FENCEPOST_ENDPOINTS": str(self.endpoints.count),
            "FENCEPOST_BALANCERS": str(self.endpoints.balancers),
        }
        argv = (sys.executable, "-P", "-m", "lab.bench.dns.replanner")
        return ProcessSpec("replanner", pinned(argv, self.cores.load, nice=YIELDS), env)

    @property
    def spreads(self) -> dict[str, Spread]:
        """The 99th percentiles of each side that has any."""
        counted = self.rounds.counted.items()
        return {
            side: Spread(tuple(timed.took.p99_ms for timed in those), MILLISECONDS) for side, those in counted if those
        }

    @property
    def ratio(self) -> float | None:
        """How many times longer than quiet the 99th percentile is while plans come; None if one has no figure."""
        spreads = self.spreads
        return spreads[REPLANNING].ratio(spreads[QUIET]) if len(spreads) == len(self.rounds.counted) else None

    def document(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {
            "rate_per_s": self.rate,
            "p99_ms": {side: round(spread.median, 4) for side, spread in self.spreads.items()},
            "ratio_p99": None if self.ratio is None else round(self.ratio, 4),
            "runs": {
                side: [{**timed.took._asdict(), "plans": timed.plans, "batches": timed.batches} for timed in those]
                for side, those in self.rounds.counted.items()
            },
            "failed": {side: reasons for side, reasons in self.rounds.failed.items() if reasons},
        }


async def latest(settings: Settings) -> int:
    """Return the generation of the latest plan."""
    plans: PlanStore = open_plan_store(settings)
    try:
        return await plans.latest_generation()
    finally:
        await plans.close()


async def progress(settings: Settings, names: tuple[str, ...]) -> Progress:
    """Return how far some endpoints are."""
    zones: ZoneStore = open_zone_store(settings, ACTOR)
    try:
        serials = [(await zones.read(name, (fence_key(name),))).serial for name in names]
    finally:
        await zones.close()
    return Progress(await installed_generation(settings), sum(serials))


async def fence(settings: Settings, name: str) -> str:
    """Return what an endpoint's fence says."""
    zones: ZoneStore = open_zone_store(settings, ACTOR)
    try:
        return (await zones.read(name, (fence_key(name),))).records[fence_key(name)].text
    finally:
        await zones.close()
