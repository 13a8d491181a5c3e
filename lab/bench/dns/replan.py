"""How long answers take while every endpoint is re-planned, and while nothing is: at the same rate, in turns.

dnsperf shares its core with whatever re-plans, so it is late by itself, too. How late, `echo` tells, which looks
nothing up and has no plans: it is timed in the same rounds, quiet and under the same re-plan, on the core of our
resolver, which is stopped meanwhile. What is longer with ours than with it comes from the resolver. Times by the
kernel's clock (`lab.bench.dns.capture`) have no lateness of dnsperf's in them, but what it asks late it asks in bursts.
"""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
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
from lab.bench.dns.capture import Capture
from lab.bench.dns.dnsperf import Latencies, Load, Loader
from lab.bench.dns.endpoints import Endpoints
from lab.bench.dns.ours import Ours, installed_generation, unverified
from lab.bench.dns.sides import Side
from lab.bench.figures import MILLISECONDS, Spread
from lab.bench.processes import awake, running, stopped
from lab.bench.programs import BenchFailed
from lab.bench.rounds import Measure, Rounds, measure_in_turn

QUIET: Final = "quiet"
REPLANNING: Final = "re-planning"
CONTROL_QUIET: Final = "echo, quiet"
CONTROL_REPLANNING: Final = "echo, re-planning"
KEPT: Final = 0.95
"""Of the rate: with less it is the sender that is timed, or the server's limit."""
FOLLOWS_S: Final = 10.0
"""How long the resolver may take to have all commits, once there are no more."""
LOOKED_AT: Final = 50
"""Endpoints of which that is seen, about."""
LOOK_EVERY_S: Final = 0.05
WARM_S: Final = 0.5
WARM_TIMES: Final = 5
"""How often each name is asked for before times are taken, at least."""
ACTOR: Final = Actor("bench")


class Timed(NamedTuple):
    """One measurement: how long answers took, and what became of the region meanwhile.

    Attributes:
        took: by dnsperf's clock.
        plans, batches: installed whole; committed.
        at_server: by the kernel's; None if nobody asked for that.
    """

    took: Latencies
    plans: int
    batches: int
    at_server: Latencies | None = None

    def document(self) -> dict[str, Any]:
        """Return the figures for programs."""
        at_server = {} if self.at_server is None else {"at_server": self.at_server._asdict()}
        return {**self.took._asdict(), "plans": self.plans, "batches": self.batches, **at_server}


@dataclass(slots=True)
class Replan:
    """Answers timed at a fixed rate, quiet and re-planning in turns.

    Attributes:
        ours: our side, answering.
        control: `echo`, answering; None where there is none.
        loader: asks.
        capture: takes the kernel's times as well; None: nobody does.
        rate: queries a second.
        seconds: for how long, each time.
        place: an empty directory.
    """

    ours: Ours
    control: Side | None
    endpoints: Endpoints
    loader: Loader
    capture: Capture | None
    rate: int
    seconds: float
    cores: Cores
    place: Path
    clock: Clock
    rounds: Rounds[Timed] = field(init=False)

    def __post_init__(self) -> None:
        """Begin without a round."""
        self.rounds = Rounds.of(tuple(self._sides))

    @property
    def _sides(self) -> Mapping[str, Measure[Timed]]:
        ours: dict[str, Measure[Timed]] = {QUIET: self._quiet, REPLANNING: self._replanning}
        if (control := self.control) is None:
            return ours

        async def quiet(_: int) -> Timed:
            return await self._calm(control.port)

        async def replanning(number: int) -> Timed:
            return await self._under_plans(number, control.port)

        return ours | {CONTROL_QUIET: quiet, CONTROL_REPLANNING: replanning}

    async def run(self, rounds: int, tell: Callable[[int, str, Timed | None, str], None]) -> None:
        """Measure all in turns; what fails is in `rounds.failed`."""
        await measure_in_turn(self._sides, rounds, self.rounds, tell)

    async def _quiet(self, _: int) -> Timed:
        return await self._calm(self.ours.port)

    async def _calm(self, port: int) -> Timed:
        """Time a server while nothing else happens; the load's processor is kept awake, as plans do it otherwise."""
        async with awake(set(self.cores.load) - set(self.cores.server), self.place, self.clock):
            return await self._timed(port)

    async def _replanning(self, number: int) -> Timed:
        return await self._under_plans(number, self.ours.port)

    async def _under_plans(self, number: int, port: int) -> Timed:
        """Time a server while plans come; then see that ours has come to where the zones are, and answers rightly."""
        alone = port != self.ours.port
        with stopped(self.ours.pids) if alone else nullcontext():
            async with self._plans_coming(
                f"{number}-{port}", unverified(self.ours.enactor) if alone else self.ours.enactor
            ):
                timed = await self._timed(port)
        await self._caught_up()
        if timed.plans < 1:
            raise BenchFailed(
                f"no plan was installed whole in {self.seconds:g} s, so it was not re-planned; ask for more --seconds"
            )
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

    async def _timed(self, port: int) -> Timed:
        """Time a load; the plans that were installed are those of its own span, the batches about those.

        Before, every name is asked for a few times: after plans that came while nobody asked, ours has to prepare all
        answers anew once, which would be most of what is late in a load that is quiet otherwise.
        """
        settings, names = self.ours.settings, self.endpoints.names
        await self.loader.warm(port, max(WARM_S, WARM_TIMES * len(names) / self.rate), self.rate)
        batches = await committed(settings, names)
        before = await installed_generation(settings)
        if self.capture is None:
            (load, took), at_server = await self._loaded(port), None
        else:
            (load, took), at_server = await self.capture.during(port, self._loaded)
        plans = await installed_generation(settings) - before
        batches = await committed(settings, names) - batches
        if load.per_s < KEPT * self.rate:
            raise BenchFailed(f"{load.per_s:,.0f}/s were answered of {self.rate:,}/s; ask for less with --rate")
        return Timed(took, plans, batches, at_server)

    async def _loaded(self, port: int) -> tuple[Load, Latencies]:
        return await self.loader.at_rate(port, self.seconds, self.rate)

    @asynccontextmanager
    async def _plans_coming(self, name: str, enactor: ProcessSpec) -> AsyncIterator[None]:
        """Have plans of every endpoint published and installed, one after the other, as long as this lasts."""
        place = self.place / f"replan-{name}"
        place.mkdir()
        settings, some = self.ours.settings, self.endpoints.names[:1]
        plan, began = await latest(settings), await committed(settings, some)

        async def published() -> bool:
            return await latest(settings) > plan

        async def moves() -> bool:
            return await committed(settings, some) > began

        async with (
            running(self._replanner(), place, published, self.clock, yields=True),
            running(enactor, place, moves, self.clock, yields=True),
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
        return ProcessSpec("replanner", pinned(argv, self.cores.load, yields=True), env)

    @property
    def spreads(self) -> dict[str, Spread]:
        """The 99th percentiles of each side that has any."""
        return self._spreads(lambda timed: timed.took)

    @property
    def spreads_at_server(self) -> dict[str, Spread]:
        """The same by the kernel's clock; nothing if nobody asked for that."""
        return self._spreads(lambda timed: timed.at_server)

    def _spreads(self, taken: Callable[[Timed], Latencies | None]) -> dict[str, Spread]:
        counted = {side: tuple(filter(None, map(taken, those))) for side, those in self.rounds.counted.items()}
        return {
            side: Spread(tuple(took.p99_ms for took in those), MILLISECONDS) for side, those in counted.items() if those
        }

    @property
    def ratio(self) -> float | None:
        """How many times longer than quiet the 99th percentile is while plans come; None if one has no figure."""
        return _ratio(self.spreads, REPLANNING, QUIET)

    @property
    def control_ratio(self) -> float | None:
        """The same of `echo`: what of it is the rig's; None where there is none."""
        return _ratio(self.spreads, CONTROL_REPLANNING, CONTROL_QUIET)

    @property
    def ratio_to_control(self) -> float | None:
        """Ours over echo's: what of it is the resolver's; None where one has no figure."""
        return self.ratio / self.control_ratio if self.ratio is not None and self.control_ratio else None

    @property
    def ratio_at_server(self) -> float | None:
        """As `ratio`, by the kernel's clock."""
        return _ratio(self.spreads_at_server, REPLANNING, QUIET)

    @property
    def control_ratio_at_server(self) -> float | None:
        """As `control_ratio`, by the kernel's clock."""
        return _ratio(self.spreads_at_server, CONTROL_REPLANNING, CONTROL_QUIET)

    def document(self) -> dict[str, Any]:
        """Return the figures for programs."""
        at_server = self.spreads_at_server
        more = {
            "p99_at_server_ms": _medians(at_server),
            "ratio_p99_at_server": _rounded(self.ratio_at_server),
            "control_ratio_p99_at_server": _rounded(self.control_ratio_at_server),
        }
        return {
            "rate_per_s": self.rate,
            "p99_ms": _medians(self.spreads),
            "ratio_p99": _rounded(self.ratio),
            "control_ratio_p99": _rounded(self.control_ratio),
            "ratio_to_control": _rounded(self.ratio_to_control),
            **(more if at_server else {}),
            "runs": {side: [timed.document() for timed in those] for side, those in self.rounds.counted.items()},
            "failed": {side: reasons for side, reasons in self.rounds.failed.items() if reasons},
        }


def _ratio(spreads: Mapping[str, Spread], side: str, quiet: str) -> float | None:
    return spreads[side].ratio(spreads[quiet]) if {side, quiet} <= spreads.keys() else None


def _medians(spreads: Mapping[str, Spread]) -> dict[str, float]:
    return {side: round(spread.median, 4) for side, spread in spreads.items()}


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 4)


async def latest(settings: Settings) -> int:
    """Return the generation of the latest plan."""
    plans: PlanStore = open_plan_store(settings)
    try:
        return await plans.latest_generation()
    finally:
        await plans.close()


async def committed(settings: Settings, names: tuple[str, ...]) -> int:
    """Return how many batches were committed to some endpoints since their zones were made."""
    zones: ZoneStore = open_zone_store(settings, ACTOR)
    try:
        return sum([(await zones.read(name, (fence_key(name),))).serial for name in names])
    finally:
        await zones.close()


async def fence(settings: Settings, name: str) -> str:
    """Return what an endpoint's fence says."""
    zones: ZoneStore = open_zone_store(settings, ACTOR)
    try:
        return (await zones.read(name, (fence_key(name),))).records[fence_key(name)].text
    finally:
        await zones.close()
