"""`fencepost explore`, as it is typed."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from lab.options import JsonFile

Mode = Annotated[Literal["buggy", "fixed"], typer.Option(help="The enactors' protocol.")]
Strategy = Annotated[
    Literal["random", "pct", "mixed", "bounded", "exhaustive"],
    typer.Option(
        help="random: by speeds that are drawn; pct: by priorities; mixed: these two in turn; bounded: every schedule "
        "with few preemptions and faults; exhaustive: every state of a small world."
    ),
]
Exhaustive = Annotated[bool, typer.Option("--exhaustive", help="The same as --strategy exhaustive.")]
Schedules = Annotated[int, typer.Option(min=1, help="How many schedules are drawn.")]
Seed = Annotated[int, typer.Option(help="Fixes every draw; schedule n of a seed is the same on every machine.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Worker processes. Default: one for each CPU; buggy is found by one.")
]
Minutes = Annotated[float, typer.Option(min=0, help="End after so many minutes, whatever is done; 0: no bound.")]
Steps = Annotated[int, typer.Option(min=1, help="Choices of a schedule, at most; then the world has to heal.")]
Enactors = Annotated[int | None, typer.Option(min=1, max=9, help="Default: 2 for buggy and exhaustive, else 3.")]
Endpoints = Annotated[int | None, typer.Option(min=1, max=26, help="Default: 1 for buggy and exhaustive, else 3.")]
Balancers = Annotated[int, typer.Option(min=2, max=99, help="Load balancers, each behind every endpoint.")]
Generations = Annotated[int | None, typer.Option(min=1, help="Plans. Default: 3 for exhaustive, else 4.")]
Keep = Annotated[int, typer.Option(min=1, help="How many generations' trees the cleaner leaves.")]
Faults = Annotated[
    int | None,
    typer.Option(
        min=0, help="Errors, lost replies and crashes of a schedule, at most. Default: 3 where fixed is drawn, else 0."
    ),
]
Rounds = Annotated[
    int, typer.Option(min=1, help="Rounds of each enactor in an exhaustive search, before the world only heals.")
]
Preemptions = Annotated[int, typer.Option(min=0, help="Of a schedule of the bounded strategy, at most.")]
Without = Annotated[str, typer.Option(metavar="GUARD[,GUARD]", help="Run fixed without these guards.")]
Planner = Annotated[bool, typer.Option("--planner", help="The real planner publishes, from changes of its fleet.")]
Operator = Annotated[
    bool, typer.Option("--operator", help="An operator freezes, thaws, rolls back and repairs meanwhile.")
]
Forgets = Annotated[int, typer.Option(min=0, help="Failovers of the store that forget its last writes, at most.")]
Batches = Annotated[
    int, typer.Option(min=0, help="Record sets of a tree in one batch; 0: as the API's limits have it.")
]
Skew = Annotated[float, typer.Option(min=0, help="Enactors' wall clocks are wrong by up to so many seconds.")]
HtmlFile = Annotated[Path | None, typer.Option(help="Draw the failure there as a page.")]
SaveFile = Annotated[Path, typer.Option(help="Keep the failure there, for `fencepost replay`.")]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(explore)


def explore(
    *,
    mode: Mode = "fixed",
    strategy: Strategy = "mixed",
    exhaustive: Exhaustive = False,
    schedules: Schedules = 10_000,
    seed: Seed = 1,
    enactors: Enactors = None,
    endpoints: Endpoints = None,
    generations: Generations = None,
    faults: Faults = None,
    keep: Keep = 1,
    balancers: Balancers = 3,
    rounds: Rounds = 1,
    preemptions: Preemptions = 2,
    steps: Steps = 200,
    without: Without = "",
    planner: Planner = False,
    operator: Operator = False,
    forgets: Forgets = 0,
    batch_records: Batches = 0,
    skew: Skew = 0.0,
    jobs: Jobs = None,
    minutes: Minutes = 0.0,
    json: JsonFile = None,
    html: HtmlFile = None,
    save: SaveFile = Path("fencepost-failure.json"),
) -> int:
    """Lead the shipped enactors, adapters and scripts through many orders of their store calls, or through all.

    They run in this process, on virtual time and without any socket. What is chosen is which store call is executed
    next, whether it meets a fault, and whether a timer goes off first. Every invariant is judged after every commit;
    when a schedule is over, the world must heal. In `buggy` an endpoint is to be emptied for good (I1 and I5); in
    `fixed` whatever is broken is a find. It is shrunk, told as a time line, and kept for `fencepost replay`.

    Exit code: 0 nothing found, 1 an invariant broken, 2 wrong usage.
    """
    from fencepost.guards import parse_guards
    from lab.simulation.explore_command import ExploreOptions, explore_world, scenario_for
    from lab.simulation.scenario import Scenario

    parse_guards(without)
    chosen = "exhaustive" if exhaustive else strategy
    small = mode == "buggy" or chosen in {"exhaustive", "bounded"}
    scenario = Scenario(
        mode=mode,
        enactors=enactors or (2 if small else 3),
        endpoints=endpoints or (1 if small else 3),
        balancers=balancers,
        generations=generations or (3 if chosen in {"exhaustive", "bounded"} else 4),
        planner=planner,
        operator=operator,
        faults=(0 if small else 3) if faults is None else faults,
        forgets=forgets,
        rounds=rounds,
        keep=keep,
        batch_records=batch_records,
        without=without,
        skew_s=skew,
        seed=seed,
    )
    options = ExploreOptions(
        scenario=scenario_for(scenario, chosen),
        strategy=chosen,
        schedules=schedules,
        steps=steps,
        seed=seed,
        jobs=jobs or (1 if small else len(os.sched_getaffinity(0))),
        preemptions=preemptions,
        minutes=minutes,
        json=json,
        html=html,
        save=save,
    )
    return explore_world(options)
