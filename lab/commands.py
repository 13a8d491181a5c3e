"""Commands of this room: `compare`, `load` and `check`. Each imports what it needs when it is run."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from fencepost.settings import DEFAULT_PORT_BASE

JSON_HELP: Final = "Write the result there as JSON."
REGION_HELP: Final = "The region file; the default region is us-east-1."


def register(app: typer.Typer) -> None:
    """Add this room's commands to the command line."""
    app.command()(compare)
    app.command()(load)
    app.command()(check)


def compare(
    *,
    mode: Annotated[Literal["both", "buggy", "fixed"], typer.Option(help="Which protocols to run.")] = "both",
    seed: Annotated[int, typer.Option(help="Fixes every draw of world, load, delays and jitter.")] = 1,
    duration: Annotated[float, typer.Option(help="For how long the world changes in each mode, seconds.")] = 45.0,
    profile: Annotated[
        Literal["none", "lan", "region", "accelerated"],
        typer.Option(help="Delays, losses and limits of the network: docs in fencepost/network.py."),
    ] = "accelerated",
    world: Annotated[
        Literal["graceful", "failures"],
        typer.Option(
            help="graceful: capacity comes and goes, load balancers are drained and go on serving; "
            "failures: besides, some of them fail hard."
        ),
    ] = "graceful",
    plan_rate: Annotated[float, typer.Option(help="Changes of the world, and so plans, a second.")] = 30.0,
    load_rate: Annotated[float, typer.Option(help="Customers' requests a second, over all endpoints.")] = 100.0,
    canary_rate: Annotated[float, typer.Option(help="Probes a second of each endpoint and address type.")] = 10.0,
    enactors: Annotated[int, typer.Option(help="How many enactors, over the Availability Zones in turn.")] = 3,
    keep: Annotated[int, typer.Option(help="How many generations' trees the cleaner leaves.")] = 10,
    settle: Annotated[
        float | None,
        typer.Option(help="Bound for getting to the last plan, seconds; I5. Default: from the profile."),
    ] = None,
    lock_ttl: Annotated[float | None, typer.Option(help="A lock's life, seconds. Default: from the profile.")] = None,
    poll: Annotated[
        float | None, typer.Option(help="Pause between looks for a plan, seconds. Default: from the profile.")
    ] = None,
    backoff_base: Annotated[
        float | None, typer.Option(help="First pause after a lost lock, seconds. Default: from the profile.")
    ] = None,
    backoff_cap: Annotated[
        float | None, typer.Option(help="Longest pause after a lost lock, seconds. Default: from the profile.")
    ] = None,
    region: Annotated[Path | None, typer.Option(help=REGION_HELP)] = None,
    port_base: Annotated[int, typer.Option(help="DNS is served on it; other ports follow.")] = DEFAULT_PORT_BASE,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where histories and logs go. Default: a fresh directory under ./runs.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help=JSON_HELP)] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the page there. Default: fencepost-compare.html in the run directory.")
    ] = None,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave the last mode's system up until Ctrl-C.")
    ] = False,
) -> int:
    """Run both protocols under the same delays, contention and load, and say in numbers what became of DNS.

    For each mode a fresh system is started: a server, the planner, the enactors, the resolver, a fleet of load
    balancers, customers and a canary. The world changes for `--duration` seconds, then the system may settle; every
    committed state and every answer is checked against the invariants I1 to I6. Nothing is scripted: the network
    profile's delays, the contention for locks and the rate of plans alone decide what happens.

    Exit code: 0 when the fixed protocol broke nothing (whatever the buggy one did), 1 when it did, 3 when something
    could not start, 130 after Ctrl-C.
    """
    from rich.console import Console

    from deploy.topology import Mode
    from deploy.up import fresh_run_dir
    from lab.compare import Outputs
    from lab.compare import compare as run_comparison
    from lab.compare_options import CompareOptions

    options = CompareOptions(
        run_dir=run_dir or fresh_run_dir(Path.cwd()),
        modes=(Mode.BUGGY, Mode.FIXED) if mode == "both" else (Mode(mode),),
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
        port_base=port_base,
        region_file=region,
        lock_ttl_s=lock_ttl,
        poll_s=poll,
        backoff_base_s=backoff_base,
        backoff_cap_s=backoff_cap,
        keep_running=keep_running,
    )
    return run_comparison(options, Outputs(json, html), Console(), Console(stderr=True))


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
    json: Annotated[Path | None, typer.Option(help=JSON_HELP)] = None,
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
    json: Annotated[Path | None, typer.Option(help=JSON_HELP)] = None,
) -> int:
    """Check a recorded history of real processes against the invariants I1 to I6.

    Exit code: 0 when none is broken, 1 when one is, 3 when there is no usable history.
    """
    from lab.check_command import check_directory

    return check_directory(directory, bound_s=bound, json_path=json)
