"""Commands of this room."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.freeze_command import freeze, thaw
from deploy.repair_command import repair, rollback
from deploy.status_command import status
from fencepost.guards import Guard


def register(app: typer.Typer) -> None:
    """Add this room's commands to the command line."""
    app.command("up")(up)
    for command in (freeze, thaw, rollback, repair, status):
        app.command(command.__name__)(command)


def up(
    *,
    mode: Annotated[
        Literal["fixed", "buggy"],
        typer.Option(help="The enactors' protocol: the fenced one, or the one that took us-east-1 down."),
    ] = "fixed",
    profile: Annotated[
        Literal["none", "lan", "region", "accelerated", "rough"],
        typer.Option(help="Delays, losses and limits of the network: docs in fencepost/network.py."),
    ] = "lan",
    enactors: Annotated[int, typer.Option(min=1, max=99, help="How many, over the Availability Zones in turn.")] = 3,
    workers: Annotated[
        int, typer.Option(min=1, max=32, help="Resolver processes that answer on the DNS port together.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Fixes every draw.")] = 1,
    port_base: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_000,
            help="DNS is served here (UDP and TCP), the cache on +1, the operator API on +2, the load balancers on +3, "
            "their control on +4, and each process's admin pages from +10 on.",
        ),
    ] = 5300,
    region: Annotated[Path | None, typer.Option(help="The region file; the default region is us-east-1.")] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="A server that runs already: redis://HOST:PORT/DB or unix:///PATH. Default: one of our own, "
            "with its data in the run directory."
        ),
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse", help="Go on with the zones and plans that the store has; refused without, to lose none."
        ),
    ] = False,
    load: Annotated[float | None, typer.Option(min=0.1, help="Send this many requests a second to the fleet.")] = None,
    without: Annotated[
        str,
        typer.Option(
            metavar="GUARD[,GUARD]",
            help="Switch these guards of the fixed protocol off, to see what they are worth: " + ", ".join(Guard) + ".",
        ),
    ] = "",
    run_dir: Annotated[
        Path | None, typer.Option(help="Where logs and data go. Default: a fresh directory under ./runs.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show routine events too.")] = False,
) -> int:
    """Run the whole system: server, fleet, resolver, planner, enactors, watch, and load if asked.

    Every process is started in order, watched, and started again if it dies. Their logs are shown as one, and kept as
    JSON lines in the run directory. Ctrl-C and SIGTERM stop all of it within 5 s.

    Settings of the processes that have no option here are taken from the environment, e.g. `FENCEPOST_KEEP=20`.

    Exit codes: 0 after Ctrl-C or SIGTERM, 1 when a process died too often, 3 when something could not start: a port
    in use, no server at --redis-url, a bad region file.
    """
    from deploy.topology import Mode, SystemOptions
    from deploy.up import fresh_run_dir, run_until_stopped

    options = SystemOptions(
        run_dir=run_dir or fresh_run_dir(Path.cwd()),
        mode=Mode(mode),
        profile=profile,
        enactors=enactors,
        workers=workers,
        seed=seed,
        port_base=port_base,
        region_file=region,
        redis_url=redis_url,
        reuse=reuse,
        load_rate=load,
        without=without,
    )
    return run_until_stopped(options, verbose=verbose)
