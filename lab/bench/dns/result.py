"""What `fencepost bench dns` came to: figures for people, programs, and a page."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import RenderableType

from lab.bench.cores import Cores
from lab.bench.dns.dnsperf import CLIENTS, OUTSTANDING
from lab.bench.dns.options import DnsOptions
from lab.bench.dns.replan import REPLANNING, Replan
from lab.bench.figures import PER_SECOND, Spread, document, table
from lab.bench.peers.servers import DNS_PEERS
from lab.bench.plot import OURS, Bars, Chart
from lab.bench.programs import BenchFailed
from lab.bench.report import Result
from lab.bench.rounds import Rounds

ABOUT: Final = (
    "Ours chooses by weight among {balancers} record sets of each of {endpoints:,} zones; peers serve the same names "
    "as plain A records of one zone, which favours them. Each has {workers}; logs are off, PowerDNS has its packet "
    f"cache on. The load is dnsperf with {OUTSTANDING} queries on their way from {CLIENTS} sockets; none may be lost, "
    "and every answer is checked before and after each load. echo looks nothing up: it is this machine's ceiling "
    "for a recvfrom and a sendto each, echo_batched the one for batches of datagrams."
)


def result_of(
    options: DnsOptions, rounds: Rounds[float], replan: Replan | None, cores: Cores, versions: Mapping[str, str]
) -> Result:
    """Return the result. Raises: BenchFailed if ours failed every round."""
    spreads = {name: Spread(tuple(runs), PER_SECOND) for name, runs in rounds.counted.items() if runs}
    if OURS not in spreads:
        raise BenchFailed(f"{OURS} failed every round: {rounds.failed[OURS][-1]}")
    ours = spreads[OURS]
    peers = {name: spread for name, spread in spreads.items() if name != OURS}
    more: dict[str, Any] = {"replan": replan.document()} if replan else {}
    figures = document(
        "dns",
        ours,
        peers,
        rounds=options.rounds,
        seconds=options.seconds,
        endpoints=options.endpoints,
        balancers=options.balancers,
        workers=options.workers,
        edns=options.edns,
        seed=options.seed,
        cores=cores._asdict() | {"shared": cores.shared},
        versions=dict(versions),
        failed={name: reasons for name, reasons in rounds.failed.items() if reasons},
        not_installed={peer.name: peer.install for peer in DNS_PEERS if peer.missing},
        **more,
    )
    title = f"answers a second, {options.rounds} rounds of {options.seconds:g} s"
    tables: list[RenderableType] = [table(tuple(spreads.items()), title=title, ours=ours)]
    charts: list[Chart] = [Bars(title, spreads, cores.words)]
    if replan and replan.spreads:
        timed = replan.spreads
        words = f"99th percentile of answers, {replan.rate:,} queries a second"
        tables.append(table(tuple(timed.items()), title=words))
        charts.append(Bars(words, timed))
    workers = f"{options.workers} worker{'s' if options.workers > 1 else ''}"
    about = ABOUT.format(balancers=options.balancers, endpoints=options.endpoints, workers=workers)
    return Result("dns", figures, tables, charts, tuple(_said(ours, peers, rounds, replan)), f"{about} {cores.words}.")


def _said(ours: Spread, peers: Mapping[str, Spread], rounds: Rounds[float], replan: Replan | None) -> Iterator[str]:
    """Yield what the figures say, and what went wrong."""
    ratios = {name: ours.ratio(spread) for name, spread in peers.items()}
    known = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio is not None)
    if known:
        yield f"ours / theirs: {known} ({PER_SECOND.better})"
    yield from (f"{name}: {reason}" for name, reasons in rounds.failed.items() for reason in reasons)
    if not any(rounds.failed.values()):
        yield "no query was lost, and no answer was wrong"
    if replan:
        yield from _said_of(replan)


def _said_of(replan: Replan) -> Iterator[str]:
    runs = replan.rounds.counted[REPLANNING]
    if replan.ratio is not None:
        yield (
            f"p99 while every endpoint is re-planned / quiet: {replan.ratio:.2f} (at {replan.rate:,} queries a second; "
            f"{sum(run.plans for run in runs)} plans of the whole region and {sum(run.batches for run in runs):,} "
            f"batches in {len(runs)} rounds)"
        )
    yield from (f"{side}: {reason}" for side, reasons in replan.rounds.failed.items() for reason in reasons)
