"""What `fencepost bench dns` came to: figures for people, programs, and a page."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import RenderableType

from lab.bench.cores import Cores
from lab.bench.dns.dnsperf import CLIENTS, OUTSTANDING
from lab.bench.dns.loads import BUSY, PER_CPU_SECOND, Loaded, busy, not_busy
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
    "and every answer is checked before and after each load. echo looks nothing up, by a recvfrom and a sendto each, "
    "echo_batched by batches of datagrams: their answers a second are dnsperf's limit on this machine."
)


def result_of(
    options: DnsOptions, rounds: Rounds[Loaded], replan: Replan | None, cores: Cores, versions: Mapping[str, str]
) -> Result:
    """Return the result; ours has no figure in it if it failed every round. Raises: BenchFailed if all sides did."""
    counted = {name: runs for name, runs in rounds.counted.items() if runs}
    if not counted:
        raise BenchFailed(f"every side failed every round: {OURS}: {rounds.failed[OURS][-1]}")
    spreads = {name: Spread(tuple(run.per_s for run in runs), PER_SECOND) for name, runs in counted.items()}
    per_cpu = {name: Spread(tuple(run.per_cpu_s for run in runs), PER_CPU_SECOND) for name, runs in counted.items()}
    ours = spreads.get(OURS)
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
        per_cpu_s={name: round(spread.median) for name, spread in per_cpu.items()},
        busy={name: round(busy(runs), 4) for name, runs in counted.items()},
        limited_by_dnsperf=[name for name, runs in counted.items() if not_busy(runs)],
        failed={name: reasons for name, reasons in rounds.failed.items() if reasons},
        not_installed={peer.name: peer.install for peer in DNS_PEERS if peer.missing},
        **more,
    )
    title = f"answers a second, {options.rounds} rounds of {options.seconds:g} s"
    cpu_title = "answers for a second of the server's processor time"
    tables: list[RenderableType] = [
        table(tuple(spreads.items()), title=title, ours=ours),
        table(tuple(per_cpu.items()), title=cpu_title, ours=per_cpu.get(OURS)),
    ]
    charts: list[Chart] = [Bars(title, spreads, cores.words), Bars(cpu_title, per_cpu)]
    if replan and replan.spreads:
        timed = replan.spreads
        words = f"99th percentile of answers, {replan.rate:,} queries a second"
        tables.append(table(tuple(timed.items()), title=words))
        charts.append(Bars(words, timed))
        if at_server := replan.spreads_at_server:
            tables.append(table(tuple(at_server.items()), title=f"{words}, by the kernel's clock at the server"))
    workers = f"{options.workers} worker{'s' if options.workers > 1 else ''}"
    about = ABOUT.format(balancers=options.balancers, endpoints=options.endpoints, workers=workers)
    return Result("dns", figures, tables, charts, tuple(_said(ours, peers, rounds, replan)), f"{about} {cores.words}.")


def _said(
    ours: Spread | None, peers: Mapping[str, Spread], rounds: Rounds[Loaded], replan: Replan | None
) -> Iterator[str]:
    """Yield what the figures say, and what went wrong."""
    ratios = {name: ours.ratio(spread) for name, spread in peers.items()} if ours else {}
    known = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio is not None)
    if known:
        yield f"ours / theirs: {known} ({PER_SECOND.better})"
    idle = {name: busy(runs) for name, runs in rounds.counted.items() if runs and not_busy(runs)}
    if idle:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in idle.items())
        yield f"dnsperf was the limit, as the server's core was not busy (less than {BUSY:.0%}): {shares}"
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
    if replan.control_ratio is not None and replan.ratio_to_control is not None:
        yield (
            f"echo, which has no plans, under the same re-plan / quiet: {replan.control_ratio:.2f}, which is the rig's "
            f"part; ours / echo's: {replan.ratio_to_control:.2f}"
        )
    if replan.ratio_at_server is not None:
        control = replan.control_ratio_at_server
        echoes = "" if control is None else f"; echo's: {control:.2f}"
        yield f"the same at the server, by the kernel's clock: {replan.ratio_at_server:.2f}{echoes}"
    yield from (f"{side}: {reason}" for side, reasons in replan.rounds.failed.items() for reason in reasons)
