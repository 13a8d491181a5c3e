"""The command `explore`. It imports what it needs when it is run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fencepost.guards import Guard
from lab.options import JsonFile

By = Literal["random", "pct", "mixed", "bounded", "exhaustive"]


def register(app: typer.Typer) -> None:
    """Add this folder's commands to the command line."""
    app.command()(explore)


def explore(
    *,
    mode: Annotated[Literal["buggy", "fixed"], typer.Option(help="The enactors' protocol.")] = "fixed",
    strategy: Annotated[
        By | None,
        typer.Option(
            help="random: each process at a speed of its own, drawn for each schedule; pct: random priorities that "
            "change at a few places; mixed: both in turn; bounded: all schedules with few preemptions and faults; "
            "exhaustive: all schedules. Default: mixed; random for buggy."
        ),
    ] = None,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="The same as --strategy exhaustive.")] = False,
    schedules: Annotated[
        int | None,
        typer.Option(min=1, help="How many, at most. Default: 10000; with `bounded` all. No matter to `exhaustive`."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes every draw: schedule n of a seed is always the same.")] = 1,
    enactors: Annotated[
        int | None, typer.Option(help="How many. Default: 3; 2 for buggy, bounded and exhaustive.")
    ] = None,
    endpoints: Annotated[
        int | None, typer.Option(help="How many, each with a zone. Default: 3; 1 for buggy, bounded and exhaustive.")
    ] = None,
    generations: Annotated[
        int | None, typer.Option(help="How many plans are published. Default: 3; 4 where buggy is drawn.")
    ] = None,
    wants: Annotated[
        str,
        typer.Option(
            help="What the plans want, a letter for each: A, B, C or D is a content for all endpoints, a dot changes "
            "none; ABA changes and changes back. Default: drawn."
        ),
    ] = "",
    installed: Annotated[
        int, typer.Option(min=0, help="How many of the plans are on every endpoint when the world begins.")
    ] = 0,
    balancers: Annotated[int, typer.Option(help="How many load balancers are behind each endpoint, at most.")] = 3,
    keep: Annotated[int, typer.Option(help="How many generations' trees the cleaner leaves.")] = 1,
    faults: Annotated[
        int | None,
        typer.Option(
            help="How many faults a schedule may have: a call fails, its reply is lost or it is late, its caller dies. "
            "Default: 3; 0 for buggy, bounded and exhaustive."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="How many rounds an enactor makes before its world only heals: bounded, exhaustive. Default: 1; "
            "with 2 locks expire, and two plans are searched in minutes."
        ),
    ] = None,
    without: Annotated[
        str, typer.Option(metavar="GUARD[,GUARD]", help="Guards of fixed that are off: " + ", ".join(Guard) + ".")
    ] = "",
    planner: Annotated[bool, typer.Option("--planner", help="The real planner publishes, not a script.")] = False,
    operator: Annotated[
        bool, typer.Option("--operator", help="An operator acts, too: freezes, rolls back ...")
    ] = False,
    skew: Annotated[float, typer.Option(min=0, help="Enactors' wall clocks are wrong by up to so much, seconds.")] = 0,
    forgets: Annotated[
        int, typer.Option(help="How often the store may fail over and forget its last writes; with --planner.")
    ] = 0,
    batch_records: Annotated[
        int, typer.Option(help="How many record sets of a tree fit into a batch; 0: as many as Route 53 takes.")
    ] = 0,
    steps: Annotated[
        int, typer.Option(min=1, help="How many choices a schedule has, at most; then its world heals. By chance only.")
    ] = 200,
    preemptions: Annotated[
        int, typer.Option(min=0, help="How often a schedule takes a process's turn away, at most: bounded.")
    ] = 2,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="How many processes, by chance only. Default: one for each CPU; 1 for buggy."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="For how long, at most. Default: as long as it takes.")] = None,
    json: JsonFile = None,
    html: Annotated[Path | None, typer.Option(help="Write a failure's time line there, as a page.")] = None,
    save: Annotated[Path, typer.Option(help="Write a failure there, for `fencepost replay`.")] = Path(
        "fencepost-failure.json"
    ),
) -> int:
    """Run the shipped code through schedules of chance or of a search, and check every invariant after each step.

    The planner's and enactors' own code, and the scripts of the store, run in this process, on virtual time. All that
    is left open is which store call is executed next, which fault it meets, and when a timer goes off: that is a
    schedule. After the last step faults stop, and every endpoint must get to the latest plan in time (I5).

    By chance, a run says how often it was on each rare path, and on which never. Only `bounded` and `exhaustive` can be
    complete: then there is no other schedule within the stated bounds.

    Ctrl-C ends it, with what there is so far.

    Exit code: 0 when no invariant was broken, 1 when one was, 2 for a wrong option, 3 when something could not start,
    130 after Ctrl-C.
    """
    from fencepost.errors import UsageError
    from lab.simulation.explore_command import Outputs, Request, options_of, run_explore

    if exhaustive and strategy not in {None, "exhaustive"}:
        raise UsageError(f"--exhaustive and --strategy {strategy} contradict each other; leave one out")
    asked = Request(
        mode=mode,
        by="exhaustive" if exhaustive else strategy,
        schedules=schedules,
        seed=seed,
        enactors=enactors,
        endpoints=endpoints,
        generations=generations,
        wants=wants,
        installed=installed,
        balancers=balancers,
        keep=keep,
        faults=faults,
        rounds=rounds,
        without=without,
        planner=planner,
        operator=operator,
        skew_s=skew,
        forgets=forgets,
        batch_records=batch_records,
        steps=steps,
        preemptions=preemptions,
    )
    return run_explore(options_of(asked), Outputs(json, html, save), jobs=jobs, minutes=minutes)
