"""Commands of this room, and of the rooms below it. Each imports what it needs when it is run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fencepost.guards import Guard
from fencepost.settings import DEFAULT_PORT_BASE
from lab.bench.commands import register as register_bench
from lab.drills.commands import register as register_drills
from lab.mutants.commands import register as register_mutants
from lab.odds.commands import register as register_odds
from lab.options import REGION_HELP, Enactors, JsonFile, PortBase, RegionFile, RunDir
from lab.simulation.commands import register as register_explore

Seed = Annotated[int, typer.Option(help="Fixes every draw of world, load, delays and jitter.")]
Which = Annotated[Literal["both", "buggy", "fixed"], typer.Option(help="Which protocols to run.")]
Duration = Annotated[float, typer.Option(help="For how long the world changes in each mode, seconds.")]
Network = Annotated[
    Literal["none", "lan", "region", "accelerated", "rough"],
    typer.Option(help="Delays, losses and limits of the network: docs in fencepost/network.py."),
]
WorldName = Annotated[
    Literal["graceful", "failures"],
    typer.Option(
        help="graceful: capacity comes and goes, load balancers are drained and go on serving; "
        "failures: besides, some of them fail hard."
    ),
]
Without = Annotated[
    str,
    typer.Option(
        metavar="GUARD[,GUARD]",
        help="Run the fixed protocol without these guards: " + ", ".join(Guard) + ". `buggy` has none of them.",
    ),
]
PlanRate = Annotated[float, typer.Option(help="Changes of the world, and so plans, a second.")]
LoadRate = Annotated[float, typer.Option(help="Customers' requests a second, over all endpoints.")]
CanaryRate = Annotated[float, typer.Option(help="Probes a second of each endpoint and address type.")]
Keep = Annotated[int, typer.Option(help="How many generations' trees the cleaner leaves.")]
Settle = Annotated[
    float | None, typer.Option(help="Bound for getting to the last plan, seconds; I5. Default: from the profile.")
]
LockTtl = Annotated[float | None, typer.Option(help="A lock's life, seconds. Default: from the profile.")]
Poll = Annotated[float | None, typer.Option(help="Pause between looks for a plan, seconds. Default: from the profile.")]
BackoffBase = Annotated[
    float | None, typer.Option(help="First pause after a lost lock, seconds. Default: from the profile.")
]
BackoffCap = Annotated[
    float | None, typer.Option(help="Longest pause after a lost lock, seconds. Default: from the profile.")
]
HtmlFile = Annotated[
    Path | None, typer.Option(help="Write the page there. Default: fencepost-compare.html in the run directory.")
]
KeepRunning = Annotated[
    bool, typer.Option("--keep-running", help="Leave the last mode's system up until Ctrl-C, and say what to type.")
]


def register(app: typer.Typer) -> None:
    """Add this room's commands to the command line."""
    app.command()(compare)
    app.command()(load)
    app.command()(check)
    register_drills(app)
    app.command()(ablate)
    register_mutants(app)
    register_bench(app)
    register_explore(app)
    app.command()(replay)
    register_odds(app)


def compare(
    *,
    mode: Which = "both",
    seed: Seed = 1,
    duration: Duration = 45.0,
    profile: Network = "accelerated",
    world: WorldName = "graceful",
    without: Without = "",
    plan_rate: PlanRate = 40.0,
    load_rate: LoadRate = 100.0,
    canary_rate: CanaryRate = 10.0,
    enactors: Enactors = 3,
    keep: Keep = 10,
    settle: Settle = None,
    lock_ttl: LockTtl = None,
    poll: Poll = None,
    backoff_base: BackoffBase = None,
    backoff_cap: BackoffCap = None,
    region: RegionFile = None,
    port_base: PortBase = DEFAULT_PORT_BASE,
    run_dir: RunDir = None,
    json: JsonFile = None,
    html: HtmlFile = None,
    keep_running: KeepRunning = False,
) -> int:
    """Run both protocols under the same delays, contention and load, and say in numbers what became of DNS.

    For each mode a fresh system is started, its world changes for `--duration` seconds under load, and it may settle.
    Every committed state and every answer is checked against the invariants I1 to I7 and I9. Nothing is scripted:
    delays, contention for locks and the rate of plans alone decide what happens.

    Exit code: 0 when the fixed protocol broke nothing (whatever the buggy one did), 1 when it did, 3 when something
    could not start, 130 after Ctrl-C.
    """
    from deploy.up import fresh_run_dir
    from lab.compare import CompareOptions, Outputs, modes_of, run_compare

    options = CompareOptions(
        run_dir=run_dir or fresh_run_dir(Path.cwd()),
        modes=modes_of(mode),
        seed=seed,
        profile=profile,
        duration_s=duration,
        settle_s=settle,
        enactors=enactors,
        keep=keep,
        plan_rate=plan_rate,
        load_rate=load_rate,
        canary_rate=canary_rate,
        world=world,
        without=without,
        port_base=port_base,
        region_file=region,
        lock_ttl_s=lock_ttl,
        poll_s=poll,
        backoff_base_s=backoff_base,
        backoff_cap_s=backoff_cap,
        keep_running=keep_running,
    )
    return run_compare(options, Outputs(json, html))


def load(
    *,
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second over all endpoints (Poisson).")] = 100.0,
    duration: Annotated[float, typer.Option(min=0.1, help="For how long, seconds.")] = 10.0,
    timeout: Annotated[float, typer.Option(min=0.01, help="After how long a customer gives up, seconds.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Fixes arrivals and endpoints.")] = 1,
    region: Annotated[Path | None, typer.Option(help=REGION_HELP, envvar="FENCEPOST_REGION_FILE")] = None,
    port_base: Annotated[
        int, typer.Option(help="Of the running system.", envvar="FENCEPOST_PORT_BASE")
    ] = DEFAULT_PORT_BASE,
    json: JsonFile = None,
) -> int:
    """Send customers' requests to a running system (`fencepost up`), and say how many were served, and how fast.

    An open loop: requests are sent when they are due, whether or not earlier ones were answered, and latency counts
    from that instant. Each request resolves its endpoint through the caching resolver and makes a connection of its
    own. What the generator itself could not send is counted apart.

    Ctrl-C ends it early, with the summary of what there was.

    Exit code: 0 when every request was served, 1 when one failed or none was sent.
    """
    from lab.load import LoadSettings
    from lab.load_command import load_by_hand

    settings = LoadSettings(load_rate=rate, load_timeout_s=timeout, seed=seed, region_file=region, port_base=port_base)
    return load_by_hand(settings, duration_s=duration, json_path=json)


def check(
    directory: Annotated[Path, typer.Argument(help="A mode's directory, or the run directory above it.")],
    *,
    bound: Annotated[
        float | None, typer.Option(help="Bound of I5, seconds. Default: what the run was recorded with.")
    ] = None,
    json: JsonFile = None,
) -> int:
    """Check a recorded history of real processes against the invariants I1 to I7 and I9.

    Exit code: 0 when none is broken, 1 when one is, 3 when there is no usable history.
    """
    from lab.check_command import check_directory

    return check_directory(directory, bound_s=bound, json_path=json)


def ablate(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 1 on; each is a run of every case.")] = 5,
    duration: Annotated[float, typer.Option(min=1, help="For how long each scenario plays, seconds.")] = 12.0,
    guards: Annotated[
        str,
        typer.Option(metavar="GUARD[,GUARD]", help="Which guards. Default: all of them: " + ", ".join(Guard) + "."),
    ] = "",
    jobs: Annotated[int, typer.Option(min=1, max=8, help="Runs at a time; each takes about a core.")] = 2,
    settle: Annotated[
        float, typer.Option(min=1, help="Bound for getting to the last plan, seconds; I5. Stuck runs take it whole.")
    ] = 15.0,
    port_base: Annotated[int, typer.Option(help="First of the ports; each job has 60.")] = DEFAULT_PORT_BASE,
    run_dir: RunDir = None,
    keep_runs: Annotated[bool, typer.Option("--keep-runs", help="Keep every run's history and logs.")] = False,
    json: JsonFile = None,
) -> int:
    """Switch each guard off in turn, and each on alone, and say what then goes wrong, with counts over seeds.

    Each guard is tried in the scenario that it is for: delays alone, a broken observer, flapping health checks, a live
    tree that is deleted, a store that forgets its last write, a lock that nobody gives back. Every run is a real system
    with every guard on, without one, with one alone, or with none; what it did is judged as `compare` does it. In the
    end a table for each scenario, and a line on each guard: what it is worth.

    A cell `4/5: 37` says that it happened 37 times, in 4 of 5 runs. Runs that could not be made, or were starved by
    a busy machine, are marked; those decide nothing. Last come the expectations, held or BROKEN: the outage comes back
    without the guards against it, and with every guard on no invariant is broken. Only those of the guards asked for
    are measured; in fewer than 3 runs of a case, a broken one is told and not counted, as it may be chance.

    Exit code: 0 when every expectation that counts held, 1 when one did not, 3 when no run could be made, 130 after
    Ctrl-C.
    """
    from deploy.up import fresh_run_dir
    from fencepost.guards import parse_guards
    from lab.ablate import AblateOptions, run_ablate
    from lab.compare import Outputs

    chosen = parse_guards(guards) if guards else frozenset(Guard)
    options = AblateOptions(
        run_dir=run_dir or fresh_run_dir(Path.cwd()),
        guards=tuple(guard for guard in Guard if guard in chosen),
        seeds=seeds,
        duration_s=duration,
        bound_s=settle,
        jobs=jobs,
        port_base=port_base,
        keep=keep_runs,
    )
    return run_ablate(options, Outputs(json))


def replay(
    file: Annotated[
        Path,
        typer.Argument(help="What `fencepost explore --save FILE` has written, or a directory of `fencepost compare`."),
    ],
    *,
    step: Annotated[
        bool, typer.Option("--step", help="Step by step: Enter for the next, with all that the zone holds after it.")
    ] = False,
    at: Annotated[
        int | None, typer.Option(help="Show this step only, with all that every zone holds after it.")
    ] = None,
    json: JsonFile = None,
    html: Annotated[Path | None, typer.Option(help="Write the time line there, as one self-contained page.")] = None,
) -> int:
    """Replay a failure that `fencepost explore` has found and saved, exactly, and print it as a time line.

    The shipped enactors, adapters and scripts run in this process again, and the saved choices say what happens next.
    Each row is what one process did in a row; reads are told with the write that they lead to, as long as nobody else
    acts in between. A directory of `compare` is what real processes have recorded: their batches are sent again to the
    small server, each of which must have the same outcome.

    Exit code: 1 when the failure is still there, just as it was saved; 0 when it is not there any more; 3 when it is
    there, but came out otherwise, as the code has changed since; 2 when FILE is no such file.
    """
    from lab.simulation.replay_command import ReplayOptions, replay_path

    return replay_path(file, ReplayOptions(step, at, json, html))
