"""`fencepost bench`: ours beside programs that people know, in the same run. Each imports what it needs when run."""

from pathlib import Path
from typing import Annotated

import typer

from fencepost.settings import DEFAULT_PORT_BASE
from lab.options import JsonFile

Rounds = Annotated[int, typer.Option(help="How often each side is measured, after one round that does not count.")]
HtmlFile = Annotated[Path | None, typer.Option(help="Write a page with plots there.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Measure ours and its peers in the same run, in turns, and say both figures and their ratio.",
    epilog="Exit codes: 0 measured, 1 a side did not do what is measured, 3 a peer is not installed, 130 after Ctrl-C.",
)


def register(parent: typer.Typer) -> None:
    """Add `bench` and what belongs to it to the command line."""
    parent.add_typer(app, name="bench")


@app.command()
def dns(
    *,
    rounds: Rounds = 5,
    seconds: Annotated[float, typer.Option(help="How long each load lasts.")] = 5.0,
    endpoints: Annotated[int, typer.Option(help="How many names; each is a zone of its own in ours.")] = 1_000,
    balancers: Annotated[int, typer.Option(help="Weighted addresses of each endpoint, in ours.")] = 24,
    peers: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help="Which to measure: echo, echo_batched, knot, nsd, pdns, dnsmasq, bind. Default: those installed.",
        ),
    ] = "",
    workers: Annotated[int, typer.Option(help="Of each server, a core for each; dnsmasq and echo have one.")] = 1,
    edns: Annotated[bool, typer.Option("--edns", help="Ask with EDNS0.")] = False,
    replan: Annotated[
        bool, typer.Option(help="Time answers of ours while every endpoint is re-planned, too, and quiet.")
    ] = True,
    rate: Annotated[
        int, typer.Option(help="Queries a second for that; at most a third of what ours answers.")
    ] = 20_000,
    capture: Annotated[
        bool, typer.Option("--capture", help="Take those times by the kernel's clock as well; needs tcpdump, and root.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Fixes weights, and the order of queries.")] = 1,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> int:
    """How many queries a second one core answers: our resolver, and DNS servers that people know.

    Ours is the resolver that `fencepost up` starts, over zones that the fixed enactor wrote: root alias, weighted
    record sets. The others serve the same names as plain A records, each with a configuration in lab/bench/peers.
    `echo` looks nothing up: its answers a second are dnsperf's limit, not the machine's. Each server is on core 0, the
    load on core 1. A server whose core is not busy waits for dnsperf: that is told, and for it answers for a second of
    processor time, which are printed too, say more. A load in which a query is lost, or an answer wrong, does not
    count, and is told.

    Needs dnsperf: `apt-get install dnsperf`; measures the peers that are installed, and says how to install the rest.

    Exit code: 0 when all was measured, 1 when a side failed a round, 3 when dnsperf or a peer that was named is
    missing.
    """
    from lab.bench.dns.bench import run_dns_bench
    from lab.bench.dns.options import DnsOptions
    from lab.compare import Outputs

    options = DnsOptions(
        rounds=rounds,
        seconds=seconds,
        endpoints=endpoints,
        balancers=balancers,
        peers=peers,
        workers=workers,
        edns=edns,
        replan=replan,
        rate=rate,
        capture=capture,
        seed=seed,
    )
    return run_dns_bench(options, Outputs(json, html))


@app.command()
def explore(
    *,
    rounds: Rounds = 5,
    promela: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A model of your own, or a published one, for Spin. Default: lab/bench/incident.pml."
        ),
    ] = None,
    claim: Annotated[str, typer.Option(help="Which of the model's claims. Default: its first.")] = "",
    json: JsonFile = None,
    html: HtmlFile = None,
) -> int:
    """How long until the outage is found: `fencepost explore --mode buggy`, and the model checker Spin.

    Ours is timed from the start of a fresh process to its end, and has to break I1 (an endpoint is empty) and I5 (it is
    stuck). Spin is timed from the model's text to its counterexample: `spin -a`, `gcc -O2`, `./pan -a`; the model needs
    a claim that is violated. Times are medians over rounds in which both run, each first in turn.

    Needs spin and gcc: `apt-get install spin gcc`.

    Exit code: 0 when both found it in every round, 1 when one did not, 3 when spin or gcc is missing.
    """
    from lab.bench.explore import MODEL, ExploreOptions, run_explore_bench
    from lab.compare import Outputs

    return run_explore_bench(ExploreOptions(rounds, promela or MODEL, claim), Outputs(json, html))


Enactors = Annotated[int, typer.Option(help="How many enactors ours has.")]
PortBase = Annotated[int, typer.Option(help="Where ours serves DNS; its other ports follow.")]
Peers = Annotated[
    str,
    typer.Option(
        metavar="NAME[,NAME]",
        help="Which to measure: knsupdate_knot, nsupdate_bind, octodns_bind. Default: those installed.",
    ),
]


@app.command()
def apply(
    *,
    rounds: Rounds = 5,
    endpoints: Annotated[int, typer.Option(help="How many endpoints.")] = 100,
    balancers: Annotated[int, typer.Option(help="How many load balancers each endpoint answers: records.")] = 100,
    enactors: Enactors = 3,
    peers: Peers = "",
    port_base: PortBase = DEFAULT_PORT_BASE,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> int:
    """How long until 10,000 records are answered, and a change of 1 %: ours, and updates to Knot and BIND.

    Ours is timed from publishing a plan until the resolver shows it on every endpoint. Peers are timed from the start
    of knsupdate, nsupdate or octodns-sync until the server answers: the same addresses as plain records in one zone.
    All of it runs on two processors, each side afresh in every round, each first in turn.

    Peers: `apt-get install knot knot-dnsutils bind9 bind9-dnsutils`, `pip install octodns octodns-bind` (octodns-sync
    has to be on PATH).

    Exit code: 0 when every side was right in every round, 1 when one was not, 3 when a peer that is named is missing.
    """
    from lab.bench.apply import ApplyOptions, run_apply_bench
    from lab.compare import Outputs

    options = ApplyOptions(rounds, endpoints, balancers, enactors, port_base, peers)
    return run_apply_bench(options, Outputs(json, html))


@app.command()
def latency(
    *,
    rate: Annotated[float, typer.Option(help="Plans a second, at fixed instants.")] = 20.0,
    duration: Annotated[float, typer.Option(help="For so many seconds.")] = 60.0,
    endpoints: Annotated[int, typer.Option(help="How many endpoints; each plan moves one of them, in turn.")] = 6,
    balancers: Annotated[int, typer.Option(help="How many load balancers each endpoint answers.")] = 24,
    enactors: Enactors = 3,
    port_base: PortBase = DEFAULT_PORT_BASE,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> int:
    """How long from the publication of a plan until the resolver answers with it, at a steady rate of plans.

    A real system, without delays of a network. The same run measures round trips of nothing, and counts the calls of
    which a lone plan's way is made, so that one sees how far the one is from the other.

    Exit code: 0 when every plan became visible, 1 when one did not, or an answer contradicted its plan.
    """
    from lab.bench.latency import LatencyOptions, run_latency_bench
    from lab.compare import Outputs

    options = LatencyOptions(rate, duration, endpoints, balancers, enactors, port_base)
    return run_latency_bench(options, Outputs(json, html))


@app.command()
def scale(
    *,
    sizes: Annotated[str, typer.Option(help="Records of each region, separated by commas.")] = (
        "1000,10000,100000,300000"
    ),
    rounds: Annotated[int, typer.Option(help="How often small changes and resolver starts are measured.")] = 5,
    balancers: Annotated[int, typer.Option(help="How many load balancers each endpoint answers.")] = 300,
    enactors: Enactors = 3,
    port_base: PortBase = DEFAULT_PORT_BASE,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> int:
    """What the size of a region costs: full install, 1 % change, one record, resolver start, clean, and memory.

    A real system of each size, one after the other, without delays of a network. Each cost gets the exponent with which
    it grows. Full install and clean are measured once at each size, every record again twice, the rest `--rounds`
    times. The largest size takes several minutes and gigabytes of memory.

    Exit code: 0 when all was measured, 1 when something did not come to be in its time, or the cleaner did not keep up.
    """
    from lab.bench.scale import ScaleOptions, run_scale_bench
    from lab.compare import Outputs

    return run_scale_bench(ScaleOptions(sizes, rounds, balancers, enactors, port_base), Outputs(json, html))
