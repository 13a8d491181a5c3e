"""`fencepost bench apply`: how long until a name server answers what it was told to, ours and its peers' in turn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

from fencepost.clock import Clock
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from fencepost.settings import DEFAULT_PORT_BASE
from lab.bench.apply_ours import RECORDS, REPLAN, OursRun, measure_ours
from lab.bench.apply_peers import APPLY_PEERS, ENDPOINTS, FULL, measure_peer
from lab.bench.apply_plain import BATCH, Plain
from lab.bench.cores import first_cores, on_cores
from lab.bench.figures import SECONDS, Spread, document, table
from lab.bench.fine_clock import FineClock
from lab.bench.many import Many
from lab.bench.peers.peer import Peer, chosen, installed
from lab.bench.plot import OURS, Bars, Curves
from lab.bench.programs import BenchFailed
from lab.bench.report import Result, run_interruptible, tell
from lab.bench.rounds import Rounds, measure_in_turn
from lab.bench.usage import Usage
from lab.compare import Outputs

CORES: Final = 2
TURNS: Final = 3
MOVED_FRACTION: Final = 0.01
ABOUT: Final = (
    "Ours: from the call that publishes a plan until the resolver shows it on every endpoint; in between enactors "
    "build each tree, read it back, resolve it, and flip. Peers: from the start of the command until the server "
    f"answers the last record; plain records in one zone, in updates of {BATCH:,}, without weights, trees and checks, "
    "which is less work. Each side starts afresh in every round, on the same two processors; that every record is "
    "right is seen afterwards."
)
STEPS: Final[Mapping[str, str]] = {
    FULL: "every record, into empty zones",
    ENDPOINTS: "1 % of the endpoints, all of their records",
    RECORDS: "1 record in each endpoint: each gets another tree",
    REPLAN: "every record again",
}


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """A benchmark of applying changes.

    Attributes:
        rounds: how often each side is measured, after one round that does not count.
        endpoints, members: how many endpoints, and records of each.
        enactors: of ours.
        port_base: of ours.
        peers: names of peers, separated by commas; "" means those that are installed.
    """

    rounds: int = 5
    endpoints: int = 100
    members: int = 100
    enactors: int = 3
    port_base: int = DEFAULT_PORT_BASE
    peers: str = ""

    def check(self) -> tuple[Peer, ...]:
        """Return the peers to measure. Raises: UsageError, StartupError naming what is missing, and the remedy."""
        for value, name in ((self.rounds, "--rounds"), (self.endpoints, "--endpoints"), (self.members, "--balancers")):
            if value < 1:
                raise UsageError(f"{name} {value}: there is nothing to measure; it is 1 or more")
        return installed(chosen(APPLY_PEERS, self.peers), named=bool(self.peers))

    @property
    def many(self) -> Many:
        """The region."""
        return Many(self.endpoints, self.members, TURNS)

    @property
    def moved(self) -> int:
        """How many endpoints 1 % of them are."""
        return max(1, round(self.endpoints * MOVED_FRACTION))


@dataclass(slots=True)
class ApplyBench:
    """A benchmark under way; `peers` are those that are installed."""

    options: ApplyOptions
    outputs: Outputs
    console: Console
    progress: Console
    peers: Sequence[Peer]
    clock: Clock = field(default_factory=FineClock)
    rounds: Rounds[dict[str, float]] = field(init=False)
    used: list[Mapping[str, Usage]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin without a round."""
        self.rounds = Rounds.of((OURS, *(peer.name for peer in self.peers)))

    async def run(self) -> int:
        """Measure every side, show and write the result, and return the exit code. Raises: BenchFailed."""
        for peer in APPLY_PEERS:
            if peer.missing:
                self.progress.print(Text(peer.absent_words), soft_wrap=True)
        sides = {OURS: self._ours} | {peer.name: self._measure_of(peer) for peer in self.peers}
        with on_cores(first_cores(CORES)):
            await measure_in_turn(sides, self.options.rounds, self.rounds, self._tell)
        if not self.rounds.counted[OURS]:
            raise BenchFailed(f"ours was right in no round; the last time: {self.rounds.failed[OURS][-1]}")
        tell(self.result(), self.outputs, self.console)
        return EXIT_CHECK_FAILED if any(self.rounds.failed.values()) else EXIT_FINE

    async def _ours(self, number: int) -> dict[str, float]:
        options = self.options
        run: OursRun = await measure_ours(
            options.many, options.moved, self.clock, enactors=options.enactors, port_base=options.port_base
        )
        if number:
            self.used.append(run.full_used)
        return dict(run.steps_s)

    def _measure_of(self, peer: Peer) -> Any:
        plain, moved = Plain(self.options.many), self.options.moved

        async def measure(_: int) -> dict[str, float]:
            return await measure_peer(peer, plain, moved, self.clock)

        return measure

    def _tell(self, number: int, side: str, steps_s: dict[str, float] | None, problem: str) -> None:
        where = f"round {number}/{self.options.rounds}" if number else "warm-up, not counted"
        came_to = ", ".join(f"{step} {took_s:.3f} s" for step, took_s in (steps_s or {}).items())
        self.progress.print(Text(f"{where}: {side} {came_to or f'failed: {problem}'}"), soft_wrap=True)

    def spread(self, side: str, step: str) -> Spread | None:
        """Return what a side took for a step; None if it never came to that, or does not have it."""
        runs = tuple(steps_s[step] for steps_s in self.rounds.counted[side] if step in steps_s)
        return Spread(runs) if runs else None

    def result(self) -> Result:
        """Return what it came to."""
        sides = (OURS, *(peer.name for peer in self.peers))
        spreads = {
            step: {side: spread for side in sides if (spread := self.spread(side, step)) is not None} for step in STEPS
        }
        tables = [
            table(list(those.items()), title=f"{STEPS[step]}, {self.options.rounds} rounds", ours=those[OURS])
            for step, those in spreads.items()
        ]
        charts: list[Bars | Curves] = [Bars(STEPS[step], those) for step, those in spreads.items()]
        full, change = spreads[FULL], spreads[ENDPOINTS]
        peers = {side: spread for side, spread in full.items() if side != OURS}
        figures = document(
            "apply",
            full[OURS],
            peers,
            records=self.options.many.records,
            endpoints=self.options.endpoints,
            enactors=self.options.enactors,
            enactors_ran=[name for name in self.cpu_s() if "enactor" in name],
            rounds=self.options.rounds,
            steps_s={step: {side: round(s.median, 6) for side, s in those.items()} for step, those in spreads.items()},
            steps_runs_s={step: {side: s.runs for side, s in those.items()} for step, those in spreads.items()},
            change_ratios={side: _ratio(change[OURS], spread) for side, spread in full.items()},
            full_cpu_s=self.cpu_s(),
            full_used=[msgspec.to_builtins(used) for used in self.used],
            failed=self.rounds.failed,
            versions={peer.name: peer.version for peer in self.peers},
            not_installed={peer.name: peer.install for peer in APPLY_PEERS if peer.missing},
        )
        return Result("apply", figures, tables, charts, tuple(self._said(full, change)), ABOUT)

    def _said(self, full: Mapping[str, Spread], change: Mapping[str, Spread]) -> Iterator[str]:
        ours = full[OURS]
        for side, spread in full.items():
            if side != OURS:
                yield f"ours / {side}: {_ratio(ours, spread):.3f} ({SECONDS.better})"
                yield f"ours, 1 % of the endpoints / {side}, everything: {_ratio(change[OURS], spread):.3f}"
                if side in change:
                    yield f"ours / {side}, 1 % of the endpoints: {_ratio(change[OURS], change[side]):.3f}"
        yield f"ours, 1 % of the endpoints / everything: {_ratio(change[OURS], ours):.3f}"
        processes = ", ".join(f"{name} {cpu_s:.2f} s" for name, cpu_s in self.cpu_s().items())
        yield f"processor time of ours for everything: {processes}"
        yield from (f"{side} failed: {problem}" for side, failed in self.rounds.failed.items() for problem in failed)

    def cpu_s(self) -> dict[str, float]:
        """Return the median processor time of each process of ours for the first step."""
        names = self.used[0] if self.used else {}
        return {name: Spread(tuple(used[name].cpu_s for used in self.used)).median for name in names}


def _ratio(one: Spread, other: Spread) -> float:
    ratio = one.ratio(other)
    assert ratio is not None, "nothing is applied in no time"
    return round(ratio, 4)


def run_apply_bench(options: ApplyOptions, outputs: Outputs) -> int:
    """Do what `fencepost bench apply` does, and return its exit code. Progress goes to standard error.

    Raises: StartupError before anything is measured; BenchFailed if ours was right in no round.
    """
    peers = options.check()
    outputs.check()
    bench = ApplyBench(options, outputs, Console(), Console(stderr=True), peers)
    return run_interruptible(bench.run(), bench.progress, bench.rounds.done)
