"""`fencepost bench latency`: how long a plan takes until customers can see it, at a steady rate of plans."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

from fencepost.clock import Clock
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from fencepost.settings import DEFAULT_PORT_BASE
from lab.bench.figures import MILLISECONDS, Spread, document, table
from lab.bench.fine_clock import FineClock
from lab.bench.latency_load import LatencyLoad, Sent
from lab.bench.latency_trips import Bare, Trips, bare_trips, lone_plans
from lab.bench.many import Many
from lab.bench.plot import Bars
from lab.bench.report import Result, run_interruptible, tell
from lab.bench.system import OurOptions, our_system, used
from lab.bench.usage import Usage
from lab.compare import Outputs

TURNS: Final = 64
"""Of the fleet: an answer tells a plan from the 63 before it of the same endpoint."""
INSTALLED_S: Final = 60.0
REST_S: Final = 1.0
LONE: Final = 6
"""Plans whose way is looked at closely."""
HALF: Final = 0.5
MOST: Final = 0.99
ABOUT: Final = (
    "From the instant at which a plan is due until the resolver answers with its generation and with an address that "
    "only this plan has, asked over UDP about once a millisecond; a plan that a newer one of its endpoint overtakes is "
    "visible with that one. Plans are published at fixed instants, whatever has become of the earlier ones. Each moves "
    "one endpoint to other load balancers."
)


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """A benchmark of latency: plans a second (`rate`) for `duration_s`, in a region of `endpoints` x `members`."""

    rate: float = 20.0
    duration_s: float = 60.0
    endpoints: int = 6
    members: int = 24
    enactors: int = 3
    port_base: int = DEFAULT_PORT_BASE

    def check(self) -> None:
        """Refuse what cannot be run. Raises: UsageError."""
        for value, name in ((self.endpoints, "--endpoints"), (self.members, "--balancers")):
            if value < 1:
                raise UsageError(f"{name} {value}: there is nothing to measure; it is 1 or more")
        if self.rate <= 0 or self.rate * self.duration_s < 1:
            raise UsageError(f"--rate {self.rate:g} and --duration {self.duration_s:g} make no plan; both are above 0")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run came to; `used` is what each process used under the load."""

    sent: Sequence[Sent]
    bare: Bare
    lone: Sequence[Trips]
    used: dict[str, Usage]

    @property
    def seen_s(self) -> list[float]:
        """Seconds of every plan that became visible, in order of length."""
        return sorted(plan.took_s for plan in self.sent if plan.visible_s is not None)

    @property
    def never_seen(self) -> int:
        """Plans that were not visible when time was over."""
        return len(self.sent) - len(self.seen_s)

    def quantile_s(self, share: float) -> float:
        """Return the latency that so many plans do not exceed; infinite if so many were never seen.

        Source: nearest rank, over all plans that were published.
        """
        rank = max(1, math.ceil(share * len(self.sent)))
        return self.seen_s[rank - 1] if rank <= len(self.seen_s) else math.inf

    @property
    def bare_path_s(self) -> float:
        """The median of what a lone plan's calls would take if each were a bare round trip."""
        return median(trips.bare_s(self.bare) for trips in self.lone)


@dataclass(slots=True)
class LatencyBench:
    """A benchmark under way."""

    options: LatencyOptions
    outputs: Outputs
    console: Console
    progress: Console
    clock: Clock = field(default_factory=FineClock)
    done: list[str] = field(default_factory=list)

    async def run(self) -> int:
        """Measure, show and write the result, and return the exit code. Raises: BenchFailed, StoreError."""
        options, clock = self.options, self.clock
        many = Many(options.endpoints, options.members, TURNS)
        async with our_system(OurOptions(many, options.enactors, options.port_base), clock) as system:
            await system.install(dict.fromkeys(many.names, many.content(0)), within_s=INSTALLED_S)
            await clock.sleep(REST_S)
            self._say(f"{options.endpoints} endpoints are live; measuring bare round trips, and {LONE} plans alone")
            turns = dict.fromkeys(many.names, 0)
            bare, lone = await bare_trips(system, clock), await lone_plans(system, LONE, turns, clock)
            await clock.sleep(REST_S)
            self._say(f"{options.rate:g} plans a second for {options.duration_s:g} s")
            before = system.usage()
            sent = await LatencyLoad(system, turns, clock).run(options.rate, options.duration_s)
            measured = Measured(sent, bare, lone, used(before, system.usage()))
            system.check_alive()
        self.done.append("load")
        tell(result(options, measured), self.outputs, self.console)
        return EXIT_CHECK_FAILED if measured.never_seen else EXIT_FINE

    def _say(self, words: str) -> None:
        self.progress.print(Text(words), soft_wrap=True)


def result(options: LatencyOptions, measured: Measured) -> Result:
    """Return what a run came to."""
    seen = Spread(tuple(1000 * took_s for took_s in measured.seen_s) or (math.inf,), MILLISECONDS)
    lone = Spread(tuple(1000 * trips.took_s for trips in measured.lone), MILLISECONDS)
    rows = [(f"{options.rate:g} plans a second", seen), ("one plan at a time, one enactor", lone)]
    title = "publish -> visible at the resolver"
    return Result(
        "latency",
        latency_document(options, measured),
        [table(rows, title=title)],
        [Bars(title, dict(rows), "Whiskers from least to most, a dot for each plan.")] if measured.seen_s else [],
        tuple(_said(measured)),
        ABOUT,
    )


def latency_document(options: LatencyOptions, measured: Measured) -> dict[str, Any]:
    """Return the result for programs: `ours` and whatever ends in `_s` is in seconds, None where it was never."""
    seen = Spread(tuple(measured.seen_s) or (math.inf,))
    figures = document("latency", seen, {}) | {"ours": _finite(measured.quantile_s(HALF))}
    return figures | {
        "p50_s": _finite(measured.quantile_s(HALF)),
        "p99_s": _finite(measured.quantile_s(MOST)),
        "max_s": _finite(measured.quantile_s(1.0)),
        "plans": len(measured.sent),
        "never_seen": measured.never_seen,
        "superseded": sum(plan.superseded for plan in measured.sent),
        "worst_late_s": round(max((plan.late_s for plan in measured.sent), default=0.0), 6),
        "bare": msgspec.to_builtins(measured.bare),
        "bare_path_s": round(measured.bare_path_s, 6),
        "lone": [msgspec.to_builtins(trips) for trips in measured.lone],
        "used": msgspec.to_builtins(measured.used),
        "rate": options.rate,
        "duration_s": options.duration_s,
        "endpoints": options.endpoints,
        "balancers": options.members,
        "enactors": options.enactors,
        "runs_s": {"ours": [round(took_s, 6) for took_s in measured.seen_s]},
    }


def _finite(seconds: float) -> float | None:
    return round(seconds, 6) if seconds < math.inf else None


def _said(measured: Measured) -> Iterator[str]:
    p50, p99, most = (MILLISECONDS.text(1000 * measured.quantile_s(share)) for share in (HALF, MOST, 1.0))
    overtaken = sum(plan.superseded for plan in measured.sent)
    yield f"p50 {p50}, p99 {p99}, max {most}, of {len(measured.sent)} plans"
    yield f"{overtaken} were overtaken by a newer one of their endpoint, {measured.never_seen} were never seen"
    late_ms = 1000 * max((plan.late_s for plan in measured.sent), default=0.0)
    yield f"the benchmark itself published {late_ms:.1f} ms late at worst, which counts"
    bare, trips = measured.bare, sorted(measured.lone, key=lambda one: one.took_s)[len(measured.lone) // 2]
    yield f"bare round trips: Redis {1000 * bare.redis_s:.3f} ms, DNS {1000 * bare.dns_s:.3f} ms"
    yield (
        f"a lone plan's way: 1 call to publish, {trips.enactor} of the enactor up to the flip, {trips.dns} questions, "
        f"{trips.resolver} calls of the resolver after it, 2 questions to see it; beside it {trips.beside} calls about "
        "other zones"
    )
    path_ms = 1000 * measured.bare_path_s
    times = measured.quantile_s(HALF) / measured.bare_path_s
    yield f"as bare round trips, one after the other: {path_ms:.1f} ms; p50 under load is {times:.1f} x that"
    yield "processor time under load: " + ", ".join(f"{name} {one.cpu_s:.1f} s" for name, one in measured.used.items())


def run_latency_bench(options: LatencyOptions, outputs: Outputs) -> int:
    """Do what `fencepost bench latency` does, and return its exit code. Progress goes to standard error.

    Raises: StartupError before anything is measured; BenchFailed if what is answered contradicts the plans.
    """
    options.check()
    outputs.check()
    bench = LatencyBench(options, outputs, Console(), Console(stderr=True))
    return run_interruptible(bench.run(), bench.progress, bench.done)
