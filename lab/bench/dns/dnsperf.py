"""`dnsperf`, which asks as fast as it is answered, or at a fixed rate: how it is run, and what it says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Final, NamedTuple

from fencepost.clock import Clock
from fencepost.settings import LOOPBACK
from lab.bench.cores import Cores, pinned
from lab.bench.peers.peer import Peer
from lab.bench.processes import found
from lab.bench.programs import BenchFailed, timed

DNSPERF: Final = Peer("dnsperf", ("dnsperf",), "apt-get install dnsperf", ("-h",))
CLIENTS: Final = 4
"""Sockets that ask."""
OUTSTANDING: Final = 100
"""Queries on their way at one time: few enough for the receive buffer of servers that have the system's default."""
UNBOUNDED: Final = 10_000
"""The same at a fixed rate: a late answer must not hold up the next query, or its lateness would count once only."""
BUFFER_KB: Final = 1024
ANSWERED_S: Final = 5.0
"""After that a query counts as lost."""
LONGER_S: Final = 60.0
PERCENT: Final = 100

COUNT: Final = re.compile(r"Queries (sent|completed|lost): +([0-9]+)")
RATE: Final = re.compile(r"Queries per second: +([0-9.]+)")
CODES: Final = re.compile(r"Response codes: +(.+)")
CODE: Final = re.compile(r"([A-Z0-9]+) ([0-9]+)")
ANSWER: Final = re.compile(r"^> \S+ \S+ \S+ ([0-9.]+)$", re.MULTILINE)


class Load(NamedTuple):
    """What a load came to.

    Attributes:
        sent, completed, lost: queries.
        per_s: answers a second.
        codes: how often each response code came.
    """

    sent: int
    completed: int
    lost: int
    per_s: float
    codes: Mapping[str, int]


class Latencies(NamedTuple):
    """How long answers took, in milliseconds, and how many there were."""

    p50_ms: float
    p99_ms: float
    most_ms: float
    answers: int


@dataclass(frozen=True, slots=True)
class Loader:
    """Asks one server after the other in the same way.

    Attributes:
        queries: the file of what is asked.
        place: a directory for its output.
        cores: where it runs.
        edns: whether queries carry EDNS0.
    """

    queries: Path
    place: Path
    cores: Cores
    clock: Clock
    edns: bool = False

    async def flat_out(self, port: int, seconds: float) -> Load:
        """Ask as fast as answers come. Raises: BenchFailed if any query was lost, or answered with an error."""
        return checked(parse(await self._run(port, seconds, "-q", str(OUTSTANDING))))

    async def warm(self, port: int, seconds: float, per_s: int) -> None:
        """Ask so many queries a second without looking at times. Raises: BenchFailed as `flat_out`."""
        checked(parse(await self._run(port, seconds, "-q", str(UNBOUNDED), "-Q", str(per_s))))

    async def at_rate(self, port: int, seconds: float, per_s: int) -> tuple[Load, Latencies]:
        """Ask so many queries a second, and see how long each answer takes. Raises: BenchFailed as `flat_out`."""
        output = await self._run(port, seconds, "-q", str(UNBOUNDED), "-Q", str(per_s), "-v")
        return checked(parse(output)), latencies(output)

    async def _run(self, port: int, seconds: float, *more: str) -> str:
        argv = (
            *(str(found("dnsperf")), "-s", LOOPBACK, "-p", str(port), "-d", str(self.queries), "-T", "1"),
            *("-c", str(CLIENTS), "-b", str(BUFFER_KB), "-t", f"{ANSWERED_S:g}"),
            *("-l", f"{seconds:g}", *(("-e",) if self.edns else ()), *more),
        )
        into = self.place / "dnsperf.txt"
        longest_s = seconds + ANSWERED_S + LONGER_S
        ended = await timed(
            pinned(argv, self.cores.load), self.place, self.clock, timeout_s=longest_s, into=into, tied=True
        )
        if ended.exit_code != 0:
            raise BenchFailed(f"dnsperf ended with {ended.exit_code}: {ended.last_words}")
        return ended.output


def parse(output: str) -> Load:
    """Return what dnsperf's summary says. Raises: BenchFailed if there is none."""
    counts = {what: int(number) for what, number in COUNT.findall(output)}
    rate, codes = RATE.search(output), CODES.search(output)
    if set(counts) != {"sent", "completed", "lost"} or rate is None:
        raise BenchFailed(f"dnsperf's summary cannot be read: {output.strip()[-300:]}")
    found_codes = {code: int(number) for code, number in CODE.findall(codes[1])} if codes else {}
    return Load(counts["sent"], counts["completed"], counts["lost"], float(rate[1]), found_codes)


def checked(load: Load) -> Load:
    """Return a load of which nothing was lost and all was answered well. Raises: BenchFailed otherwise."""
    if load.lost or load.completed != load.sent:
        raise BenchFailed(f"{load.sent - load.completed} of {load.sent} queries got no answer within {ANSWERED_S:g} s")
    if load.codes.get("NOERROR", 0) != load.completed:
        raise BenchFailed(f"not every answer is NOERROR: {dict(load.codes)}")
    if not load.completed:
        raise BenchFailed("dnsperf asked nothing")
    return load


def latencies(output: str) -> Latencies:
    """Return how long the answers that `dnsperf -v` lists took. Raises: BenchFailed if it lists too few."""
    return latencies_of([1000 * float(seconds) for seconds in ANSWER.findall(output)])


def latencies_of(taken_ms: Sequence[float]) -> Latencies:
    """Return how long some answers took, each in milliseconds. Raises: BenchFailed if they are too few."""
    if len(taken_ms) < PERCENT:
        raise BenchFailed(f"{len(taken_ms)} answers were timed, too few for a 99th percentile; ask for longer")
    cuts = quantiles(taken_ms, n=PERCENT, method="inclusive")
    return Latencies(cuts[49], cuts[98], max(taken_ms), len(taken_ms))
