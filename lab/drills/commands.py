"""`fencepost drill`: faults and operators' acts on purpose, on real systems. Each imports what it needs when run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fencepost.settings import DEFAULT_PORT_BASE
from lab.options import Enactors, JsonFile, PortBase, RegionFile, RunDir

app = typer.Typer(
    no_args_is_help=True,
    help="Make a fault, or an operator's act, on purpose on a real system; measure, judge, and say whether it held.",
    epilog="Exit codes: 0 held, 1 not held, 3 could not start, 130 after Ctrl-C.",
)

Seed = Annotated[int, typer.Option(help="Fixes every draw.")]
Network = Annotated[
    Literal["none", "lan", "region", "accelerated"],
    typer.Option(help="Delays, losses and limits of the network: docs in fencepost/network.py."),
]


def register(parent: typer.Typer) -> None:
    """Add `drill` and what belongs to it to the command line."""
    parent.add_typer(app, name="drill")


@app.command()
def freeze(
    *,
    rounds: Annotated[int, typer.Option(help="How often to freeze and thaw.")] = 200,
    rate: Annotated[float, typer.Option(help="Changes of the world a second, all the time.")] = 40.0,
    seed: Seed = 1,
    profile: Network = "accelerated",
    enactors: Enactors = 3,
    region: RegionFile = None,
    port_base: PortBase = DEFAULT_PORT_BASE,
    run_dir: RunDir = None,
    json: JsonFile = None,
) -> int:
    """Freeze and thaw a busy region again and again: nothing automated may commit in between (I9).

    Each round lets planner and enactors run for 0.1 to 0.4 s, freezes, waits 0.05 to 0.3 s, and thaws. Judged from the
    zones' own streams. About two minutes for 200 rounds.

    Exit code: 0 when the freeze held, 1 when it did not, 3 when something could not start.
    """
    from deploy.up import fresh_run_dir
    from lab.drills.freeze_run import FreezeDrill
    from lab.drills.run import run_drill
    from lab.drills.stage import DrillOptions

    drill = FreezeDrill(rounds, rate)
    drill.check()
    options = DrillOptions(
        run_dir or fresh_run_dir(Path.cwd()),
        profile=profile,
        seed=seed,
        enactors=enactors,
        port_base=port_base,
        region_file=region,
    )
    return run_drill("freeze", options, drill, json_path=json)


@app.command()
def heal(
    *,
    rate: Annotated[float, typer.Option(help="Changes of the world a second, until something is stuck.")] = 40.0,
    timeout: Annotated[float, typer.Option(help="Within how many seconds something has to be stuck.")] = 180.0,
    bound: Annotated[float, typer.Option(help="Within how many seconds it has to be healed.")] = 30.0,
    seed: Seed = 1,
    profile: Network = "accelerated",
    enactors: Enactors = 3,
    region: RegionFile = None,
    port_base: PortBase = DEFAULT_PORT_BASE,
    run_dir: RunDir = None,
    json: JsonFile = None,
) -> int:
    """Run `buggy` until endpoints are stuck, restart its enactors as `fixed`, and touch nothing else: does it heal?

    Nothing is scripted: delays and the rate of plans break it. The world is stopped before the restart, so that no new
    plan comes to help, and planner, stores and resolvers stay the processes that they are.

    Exit code: 0 when everything stuck was healed within the bound, 1 when it was not, 3 when nothing got stuck.
    """
    from deploy.topology import Mode
    from deploy.up import fresh_run_dir
    from lab.drills.heal_run import HealDrill
    from lab.drills.run import run_drill
    from lab.drills.stage import DrillOptions

    drill = HealDrill(rate, timeout, bound)
    drill.check()
    options = DrillOptions(
        run_dir or fresh_run_dir(Path.cwd()),
        profile=profile,
        seed=seed,
        enactors=enactors,
        port_base=port_base,
        region_file=region,
        mode=Mode.BUGGY,
    )
    return run_drill("heal", options, drill, json_path=json)


@app.command()
def storm(
    *,
    rate: Annotated[float, typer.Option(help="Capacity changes a second, open loop, from a process of its own.")] = 500,
    duration: Annotated[float, typer.Option(help="For how long, seconds.")] = 20.0,
    quiet: Annotated[float, typer.Option(help="How long the fast lane is measured before, seconds.")] = 20.0,
    fast_rate: Annotated[float, typer.Option(help="Drains by the fast lane a second, all along.")] = 4.0,
    queue_bound: Annotated[int, typer.Option(help="How many generations may wait to be installed.")] = 16,
    settle: Annotated[float, typer.Option(help="Bound for the last change to be live everywhere, seconds.")] = 10.0,
    seed: Seed = 1,
    profile: Network = "lan",
    enactors: Enactors = 3,
    region: RegionFile = None,
    port_base: PortBase = DEFAULT_PORT_BASE,
    run_dir: RunDir = None,
    json: JsonFile = None,
) -> int:
    """Send hundreds of changes a second to the operator API: does the queue stay short, and the fast lane fast?

    The fast lane is measured by taking one load balancer after the other out of service, from the request until every
    zone concerned has it: first with a few routine changes about, then in the storm.

    Exit code: 0 when every bound held, 1 when one did not, 3 when something could not start.
    """
    from deploy.up import fresh_run_dir
    from lab.drills.run import run_drill
    from lab.drills.stage import DrillOptions
    from lab.drills.storm_run import StormDrill

    drill = StormDrill(
        rate, duration, quiet_s=quiet, quick_rate=fast_rate, queue_bound=queue_bound, settle_bound_s=settle
    )
    drill.check()
    options = DrillOptions(
        run_dir or fresh_run_dir(Path.cwd()),
        profile=profile,
        seed=seed,
        enactors=enactors,
        port_base=port_base,
        region_file=region,
    )
    return run_drill("storm", options, drill, json_path=json)


@app.command()
def observations(
    *,
    hold: Annotated[float, typer.Option(help="How long each wrong observation lasts, seconds.")] = 4.0,
    window: Annotated[float, typer.Option(help="The velocity window of planner and enactors, seconds.")] = 5.0,
    seed: Seed = 1,
    profile: Network = "lan",
    enactors: Enactors = 3,
    region: RegionFile = None,
    port_base: PortBase = DEFAULT_PORT_BASE,
    run_dir: RunDir = None,
    json: JsonFile = None,
) -> int:
    """Feed wrong observations and wrong plans to a system: it may lose a bounded share of capacity, and must say why.

    The real fleet says that it is unhealthy, or has no capacity; plans that no planner should publish are put into the
    plan store past it. Capacity is read from the zones' own streams. About two minutes.

    Exit code: 0 when every promise held, 1 when one did not, 3 when something could not start.
    """
    from deploy.up import fresh_run_dir
    from lab.drills.observations_run import ObservationsDrill
    from lab.drills.run import run_drill
    from lab.drills.stage import DrillOptions

    drill = ObservationsDrill(hold, window)
    drill.check()
    options = DrillOptions(
        run_dir or fresh_run_dir(Path.cwd()),
        profile=profile,
        seed=seed,
        enactors=enactors,
        port_base=port_base,
        region_file=region,
        extra=drill.extra(),
    )
    return run_drill("observations", options, drill, json_path=json)
