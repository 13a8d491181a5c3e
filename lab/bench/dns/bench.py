"""`fencepost bench dns`: answers a second of our resolver and of DNS servers that people know, on one core each.

Every server is started once and stays; rounds load one after the other, each first in turn. Before and after each load
every name's answer is checked, during it one after the other. A load counts only if nothing was lost and nothing wrong.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from fencepost.clock import Clock, SystemClock
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from lab.bench.cores import Cores, choose, on_cores
from lab.bench.dns.asking import check_all, judge_of, sample, seen
from lab.bench.dns.capture import TCPDUMP, Capture
from lab.bench.dns.dnsperf import DNSPERF, Loader
from lab.bench.dns.endpoints import Endpoints
from lab.bench.dns.loads import Loaded, loaded
from lab.bench.dns.options import LEAST_RATE, DnsOptions
from lab.bench.dns.ours import Ours, serving
from lab.bench.dns.replan import Replan, Timed
from lab.bench.dns.result import result_of
from lab.bench.dns.sides import Side, Starter
from lab.bench.dns.weights import EXPECTED_EACH, check_weights
from lab.bench.figures import PER_SECOND, Spread
from lab.bench.peers.servers import ECHO, DnsPeer
from lab.bench.plot import OURS
from lab.bench.processes import workplace
from lab.bench.programs import BenchFailed
from lab.bench.report import run_interruptible, tell
from lab.bench.rounds import Measure, Rounds, measure_in_turn
from lab.bench.usage import session_cpu_s
from lab.compare import Outputs

QUERIES: Final = 20_000
"""Lines of the file of what is asked, at least; dnsperf goes through it again and again."""
SAMPLE_EVERY_S: Final = 0.05
WEIGHED: Final = 4
"""Endpoints whose answers are held against their weights, before the rounds and after them."""
CALM: Final = 3
"""How many times the fixed rate ours must be able to answer, so that it is not its limit that is timed."""


@dataclass(slots=True)
class DnsBench:
    """A benchmark under way."""

    options: DnsOptions
    peers: tuple[DnsPeer, ...]
    outputs: Outputs
    console: Console
    progress: Console
    clock: Clock = field(default_factory=SystemClock)
    rounds: Rounds[Loaded] = field(init=False)

    def __post_init__(self) -> None:
        self.rounds = Rounds.of((OURS, *(peer.name for peer in self.peers)))

    async def run(self) -> int:
        """Measure every side, show and write the result, and return the exit code. Raises: BenchFailed."""
        cores = choose(self.options.workers)
        tools = (DNSPERF, TCPDUMP) if self.options.capture else (DNSPERF,)
        versions = {peer.name: peer.version for peer in (*tools, *self.peers)}
        self._say(cores.words)
        with workplace() as place, on_cores(cores.load):
            replan = await self._measure_all(place, cores)
        tell(result_of(self.options, self.rounds, replan, cores, versions), self.outputs, self.console)
        failed = [*self.rounds.failed.values(), *(replan.rounds.failed.values() if replan else ())]
        return EXIT_CHECK_FAILED if any(failed) else EXIT_FINE

    async def _measure_all(self, place: Path, cores: Cores) -> Replan | None:
        options = self.options
        endpoints = Endpoints(options.endpoints, options.balancers, options.seed)
        queries = endpoints.write_queries(place / "queries.txt", -(-QUERIES // options.endpoints))
        loader = Loader(queries, place, cores, self.clock, options.edns)
        async with AsyncExitStack() as stack:
            ours = await stack.enter_async_context(
                serving(endpoints, place / OURS, cores, self.clock, workers=options.workers, tell=self._say)
            )
            sides = {OURS: Side(ours.port, judge_of(endpoints.weighted), ours.pids, options.workers)}
            starter = Starter(endpoints, place, cores, options.workers, self.clock)
            sides |= await self._start_peers(stack, starter)
            await self._weigh(endpoints, ours)
            measures = {name: self._measure(side, endpoints, loader) for name, side in sides.items()}
            await measure_in_turn(measures, options.rounds, self.rounds, self._tell)
            try:
                await self._weigh(endpoints, ours)
            except BenchFailed as error:
                self._fail(OURS, f"after the rounds: {error}")
            runs = self.rounds.counted[OURS]
            if not options.replan or not runs:
                return None
            rate = min(options.rate, calm_rate(runs))
            control = sides.get(ECHO.name) or await self._start_control(stack, starter)
            self._say(f"{OURS}: {rate:,} queries a second, quiet and while every endpoint is re-planned, in turns")
            capture = Capture(place, cores, self.clock) if options.capture else None
            replan = Replan(ours, control, endpoints, loader, capture, rate, options.seconds, cores, place, self.clock)
            await replan.run(options.rounds, self._tell_timed)
            return replan

    async def _start_control(self, stack: AsyncExitStack, starter: Starter) -> Side | None:
        """Start what tells how late dnsperf itself is; None, and that is told, where it cannot be had."""
        if ECHO.missing:
            self._say(f"the re-plan has no control: {ECHO.absent_words}")
        elif ECHO not in self.peers:
            try:
                return await starter.start(ECHO, stack)
            except BenchFailed as error:
                self._say(f"the re-plan has no control: {error}")
        return None

    def _fail(self, side: str, reason: str) -> None:
        self.rounds.failed[side].append(reason)
        self._say(f"{side}: {reason}")

    async def _start_peers(self, stack: AsyncExitStack, starter: Starter) -> dict[str, Side]:
        """Start every peer; one that does not start is told, has failed, and is not measured."""
        sides = {}
        for peer in self.peers:
            try:
                sides[peer.name] = await starter.start(peer, stack)
            except BenchFailed as error:
                self.rounds.failed[peer.name].append(f"start: {error}")
                self._say(f"{peer.name}: not measured: {error}")
        return sides

    async def _weigh(self, endpoints: Endpoints, ours: Ours) -> None:
        """Hold some endpoints' answers against their weights. Raises: BenchFailed if they do not follow them."""
        for name in endpoints.names[:: max(1, endpoints.count // WEIGHED)][:WEIGHED]:
            weights = endpoints.weighted[name].weights
            check_weights(name, weights, await seen(ours.port, name, EXPECTED_EACH * len(weights)))

    def _measure(self, side: Side, endpoints: Endpoints, loader: Loader) -> Measure[Loaded]:
        names, edns = endpoints.names, self.options.edns

        async def measure(_: int) -> Loaded:
            await check_all(side.port, names, side.judge, edns=edns, when="before the load")
            before_s = session_cpu_s(*side.pids)
            sampling = asyncio.create_task(sample(side.port, names, side.judge, self._pause, edns=edns))
            loading = asyncio.create_task(loader.flat_out(side.port, self.options.seconds))
            try:
                await asyncio.wait({sampling, loading}, return_when=asyncio.FIRST_COMPLETED)
                if sampling.done():
                    sampling.result()
                load = await loading
                cpu_s = session_cpu_s(*side.pids) - before_s
            finally:
                sampling.cancel()
                loading.cancel()
                await asyncio.gather(sampling, loading, return_exceptions=True)
            await check_all(side.port, names, side.judge, edns=edns, when="after the load")
            return loaded(load, cpu_s, side.workers)

        return measure

    async def _pause(self) -> None:
        await self.clock.sleep(SAMPLE_EVERY_S)

    def _tell(self, number: int, side: str, run: Loaded | None, reason: str) -> None:
        if run is None:
            self._told(number, f"{side} {reason}")
            return
        self._told(number, f"{side} {PER_SECOND.text(run.per_s)}, its core {run.busy:.0%} busy")

    def _tell_timed(self, number: int, side: str, timed: Timed | None, reason: str) -> None:
        if timed is None:
            self._told(number, f"{side}: {reason}")
            return
        took, done = timed.took, f", {timed.plans} plans and {timed.batches:,} batches" if timed.batches else ""
        at_server = f", {timed.at_server.p99_ms:.3f} at the server" if timed.at_server else ""
        self._told(number, f"{side}: p50 {took.p50_ms:.3f} ms, p99 {took.p99_ms:.3f} ms{at_server}{done}")

    def _told(self, number: int, words: str) -> None:
        where = f"round {number}/{self.options.rounds}" if number else "warm-up, not counted"
        self._say(f"{where}: {words}")

    def _say(self, words: str) -> None:
        self.progress.print(Text(words), soft_wrap=True)


def calm_rate(runs: Sequence[Loaded]) -> int:
    """Return the rate that a server has no trouble with."""
    return max(LEAST_RATE, int(Spread(tuple(run.per_s for run in runs)).median / CALM))


def run_dns_bench(options: DnsOptions, outputs: Outputs) -> int:
    """Do what `fencepost bench dns` does, and return its exit code. Progress goes to standard error.

    Raises: UsageError, StartupError before anything is measured; BenchFailed if ours cannot be measured at all.
    """
    peers, absent = options.check()
    outputs.check()
    bench = DnsBench(options, peers, outputs, Console(), Console(stderr=True))
    for peer in absent:
        bench.progress.print(Text(peer.absent_words), soft_wrap=True)
    return run_interruptible(bench.run(), bench.progress, bench.rounds.done)
