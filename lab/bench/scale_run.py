"""One size of `bench scale`: a fresh system of so many records, and what each kind of change costs there."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from deploy.readiness import Probe
from deploy.topology import process_specs
from fencepost.clock import Clock
from fencepost.plan import Content
from fencepost.region import load_region
from lab.bench.many import WEIGHT, Many
from lab.bench.processes import running, workplace
from lab.bench.scale_clean import Cleaned, Trees, until_clean
from lab.bench.system import ABSENT, OurOptions, OurSystem, our_system
from lab.bench.usage import Usage, usage

FULL: Final = "full"
PERCENT: Final = "percent"
RECORD: Final = "record"
REPLAN: Final = "replan"
START: Final = "start"
CLEAN: Final = "clean"
METRICS: Final[Mapping[str, str]] = {
    FULL: "full install",
    PERCENT: "1 % of the endpoints",
    RECORD: "one record",
    REPLAN: "every record again",
    START: "resolver start",
    CLEAN: "clean",
}
TURNS: Final = 8
KEEP: Final = 1
"""Generations whose trees enactors keep here: fewer than the usual 10, so that there is something to clean early."""
REST_S: Final = 1.0
LEAST_S: Final = 60.0
RECORD_S: Final = 0.002
"""No step may take longer than `LEAST_S` and this for every record of the region."""
SECOND_RESOLVER: Final = 100
"""The fresh resolver's ports are so far above the running one's."""


@dataclass(slots=True)
class SizeRun:
    """What one size came to.

    Attributes:
        many: the region.
        took_s: metric -> seconds of every time that it was measured.
        cleaned: how the cleaner did.
        full_used: what each process has used when everything is installed for the first time, its start included.
        used: the same at the end.
        started: what fresh resolvers had used when they were ready.
    """

    many: Many
    took_s: dict[str, list[float]] = field(default_factory=dict)
    cleaned: Cleaned | None = None
    full_used: dict[str, Usage] = field(default_factory=dict)
    used: dict[str, Usage] = field(default_factory=dict)
    started: list[Usage] = field(default_factory=list)

    def median_s(self, metric: str) -> float | None:
        """Return the median of a metric, None if it never came to that."""
        return statistics.median(runs) if (runs := self.took_s.get(metric)) else None


async def measure_size(options: OurOptions, rounds: int, clock: Clock, say: Callable[[str], None]) -> SizeRun:
    """Run a system of one size and measure every metric.

    First everything is installed into empty zones; then, `rounds` times each, 1 % of the endpoints (at least one)
    change, one record changes, and a fresh resolver starts beside the running one; then every record changes twice, so
    that the first trees are nobody's, and the cleaner has to take those.

    Raises: BenchFailed naming the endpoints that did not become live in time, or why a resolver did not start.
    """
    measuring = _Measuring(options, clock, say, SizeRun(options.many))
    async with our_system(options, clock) as system:
        await measuring.all(system, rounds)
        system.check_alive()
    return measuring.run


@dataclass(slots=True)
class _Measuring:
    options: OurOptions
    clock: Clock
    say: Callable[[str], None]
    run: SizeRun
    trees: Trees = field(default_factory=Trees)

    @property
    def within_s(self) -> float:
        return LEAST_S + RECORD_S * self.run.many.records

    async def all(self, system: OurSystem, rounds: int) -> None:
        many, run = self.run.many, self.run
        await self.clock.sleep(REST_S)
        await self._install(system, FULL, many.all(0))
        run.full_used = system.usage()
        moved = max(1, round(many.endpoints / 100))
        for number in range(1, rounds + 1):
            turned = {name: many.own(place, number) for place, name in enumerate(many.names[:moved])}
            await self._install(system, PERCENT, turned)
            odd = many.own(many.endpoints - 1, 0, odd_one=0, odd_by=number)
            await self._install(system, RECORD, {many.names[-1]: odd})
        for _ in range(rounds):
            await self._start_resolver(system)
        for turn in (1, 0):  # with weights that no content had so far
            await self._install(system, REPLAN, many.all(turn, weight=WEIGHT + 2))
        run.cleaned = await until_clean(system, self.trees, self.clock, within_s=self.within_s)
        if run.cleaned.took_s is not None:
            run.took_s[CLEAN] = [run.cleaned.took_s]
        self.say(f"{METRICS[CLEAN]}: {run.cleaned.trees} trees, {run.cleaned.left} left")
        run.used = system.usage()

    async def _install(self, system: OurSystem, metric: str, changes: Mapping[str, Content]) -> None:
        took_s = await system.install(changes, within_s=self.within_s)
        self.trees.note(system.generation, changes)
        self._note(metric, took_s)
        await self.clock.sleep(REST_S)

    async def _start_resolver(self, system: OurSystem) -> None:
        """Start a fresh resolver beside the running one, wait until it has every zone, and end it."""
        settings = system.running.settings
        with workplace() as place:
            wanted = dataclasses.replace(self.options.system(place), absent=ABSENT | {"enactor"})
            wanted = dataclasses.replace(wanted, port_base=wanted.port_base + SECOND_RESOLVER)
            (spec,) = process_specs(wanted, load_region(wanted.region_file), settings.redis_url)
            probe = Probe()

            async def ready() -> bool:
                return await probe.problem(spec) is None

            began_s = self.clock.monotonic()
            try:
                async with running(spec, place, ready, self.clock, timeout_s=self.within_s) as child:
                    self._note(START, self.clock.monotonic() - began_s)
                    self.run.started.append(usage(child.pid))
            finally:
                await probe.close()

    def _note(self, metric: str, took_s: float) -> None:
        self.run.took_s.setdefault(metric, []).append(took_s)
        self.say(f"{METRICS[metric]}: {took_s:.3f} s")
