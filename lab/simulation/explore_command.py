"""What the options of `fencepost explore` mean, and what becomes of a failure. `explore` and `workers` do the work."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.text import Text

from fencepost.client import write_json
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from fencepost.guards import parse_guards
from fencepost.show import console
from lab.simulation.exhaustive import Search
from lab.simulation.explore import By, Explorer, Failure, Options, Tally
from lab.simulation.explored import Result, Watched, lines, progress_line, search_line
from lab.simulation.scenario import NAMES, Scenario
from lab.simulation.space import Space
from lab.simulation.stage import Stage
from lab.simulation.workers import BLOCK, Blocks, explore

EMPTY_AND_STUCK: Final = frozenset({"I1", "I5"})
"""What the protocol that broke is searched for: an endpoint without addresses that the automation cannot repair."""

MOST_ENACTORS: Final = 16

GoOn = Callable[[], bool]


class Request(NamedTuple):
    """What a command line asks for; None: what suits the mode and the strategy."""

    mode: str
    by: By | None
    schedules: int | None
    seed: int
    enactors: int | None
    endpoints: int | None
    generations: int | None
    balancers: int
    keep: int
    faults: int | None
    rounds: int
    without: str
    planner: bool
    operator: bool
    skew_s: float
    steps: int
    preemptions: int


class Outputs(NamedTuple):
    """Where a result goes, besides the screen; None: nowhere."""

    json: Path | None = None
    html: Path | None = None
    save: Path | None = None


def options_of(asked: Request) -> Options:
    """Return what is to be explored. Raises: UsageError."""
    if asked.mode == "buggy" and asked.without:
        raise UsageError("--without is for --mode fixed: buggy has no guards; leave it out")
    parse_guards(asked.without)
    buggy = asked.mode == "buggy"
    by: By = asked.by or ("random" if buggy else "mixed")
    small = buggy or by in {"bounded", "exhaustive"}
    scenario = Scenario(
        mode="buggy" if buggy else "fixed",
        enactors=_within("--enactors", asked.enactors, 2 if small else 3, MOST_ENACTORS),
        endpoints=_within("--endpoints", asked.endpoints, 1 if small else 3, len(NAMES)),
        generations=_within("--generations", asked.generations, 3 if small and not buggy else 4, 1000),
        balancers=_within("--balancers", asked.balancers, 3, 200),
        keep=_within("--keep", asked.keep, 1, 1000),
        faults=_within("--faults", asked.faults, 0 if small else 3, 100, least=0),
        rounds=_within("--rounds", asked.rounds, 2, 100),
        without=asked.without,
        planner=asked.planner,
        operator=asked.operator,
        poll_s=4.0,
        lock_ttl_s=12.0,
        skew_s=asked.skew_s,
        seed=asked.seed,
    )
    schedules = asked.schedules if asked.schedules is not None else (0 if by == "bounded" else 10_000)
    seek = EMPTY_AND_STUCK if buggy and by in {"random", "pct", "mixed"} else frozenset[str]()
    return Options(
        scenario=scenario,
        by=by,
        schedules=schedules,
        seed=asked.seed,
        steps=asked.steps,
        preemptions=asked.preemptions,
        seek=seek,
    )


def _within(option: str, given: int | None, default: int, most: int, *, least: int = 1) -> int:
    found = default if given is None else given
    if not least <= found <= most:
        raise UsageError(f"{option} {found} is outside {least} to {most}")
    return found


def run_explore(options: Options, outputs: Outputs, *, jobs: int | None, minutes: float | None) -> int:
    """Explore, tell what came of it, and return the exit code. Raises: UsageError, StartupError."""
    if minutes is not None and minutes <= 0:
        raise UsageError(f"--minutes {minutes:g} is no time; name more than 0")
    screen, began_s = console(), time.monotonic()
    until_s = began_s + 60 * minutes if minutes is not None else float("inf")

    def go_on() -> bool:
        return time.monotonic() < until_s

    with Watched(screen, options.schedules, began_s) as watched:
        how = {"exhaustive": _exhaustive, "bounded": _bounded}.get(options.by)
        result = how(options, watched, began_s, go_on) if how else _schedules(options, watched, began_s, go_on, jobs)
    write_json(outputs.json, result.document)
    for line in lines(result):
        screen.print(Text(line), soft_wrap=True)
    if result.tally.failure is not None:
        present(screen, options, result.tally.failure, outputs)
        return EXIT_CHECK_FAILED
    return EXIT_INTERRUPTED if result.interrupted else EXIT_FINE


def present(screen: Console, options: Options, failure: Failure, _: Outputs) -> None:
    """Tell a failure. All that is made of one goes through here: shrinking, the time line, a file, a page."""
    where = f"schedule {failure.schedule} of seed {options.seed}" if options.by != "exhaustive" else "the search"
    screen.print(Text(f"found by {where}, after {len(failure.trace)} choices:", style="bold red"), soft_wrap=True)
    for violation in failure.violations:
        screen.print(Text(f"  {violation.invariant} {violation.endpoint}: {violation.detail}"), soft_wrap=True)


def _schedules(options: Options, watched: Watched, began_s: float, go_on: GoOn, jobs: int | None) -> Result:
    """Explore by chance. One process suffices for what soon fails: others would not be up before it is found."""
    blocks = Blocks(options.schedules, lambda: not go_on())

    def tell(tally: Tally) -> None:
        now_s = time.monotonic()
        watched.tell(tally.schedules, progress_line(options, tally, now_s - began_s), now_s)

    interrupted = False
    count = jobs if jobs is not None else 1 if options.seek else (os.cpu_count() or 1)
    try:
        explore(options, blocks, jobs=min(count, -(-options.schedules // BLOCK)), tell=tell)
    except KeyboardInterrupt:
        interrupted = True
    return _result(options, blocks.tally, began_s, complete=False, interrupted=interrupted)


def _bounded(options: Options, watched: Watched, began_s: float, go_on: GoOn) -> Result:
    explorer, seen, interrupted, complete = Explorer(options), Tally(), False, False

    def tell(tally: Tally) -> bool:
        nonlocal seen
        seen, now_s = tally, time.monotonic()
        watched.tell(tally.schedules, progress_line(options, tally, now_s - began_s), now_s)
        return go_on()

    try:
        seen, complete = explorer.bounded(tell)
    except KeyboardInterrupt:
        interrupted = True
    return _result(options, seen, began_s, complete=complete, interrupted=interrupted)


def _exhaustive(options: Options, watched: Watched, began_s: float, go_on: GoOn) -> Result:
    stage, began_cpu_s = Stage(options.scenario), time.process_time()
    search = Search(Space(stage), healing_s=stage.scene.heal_s)

    def going_on() -> bool:
        watched.tell(search.extent.states, search_line(search.extent), time.monotonic())
        return go_on()

    interrupted = False
    try:
        search.run(going_on)
    except KeyboardInterrupt:
        interrupted = True
    tally = Tally(schedules=search.extent.ends, cpu_s=time.process_time() - began_cpu_s, healed_s=search.longest_heal_s)
    for number, found in enumerate(search.found[:1]):
        tally.failure = Failure(number, options.scenario, found.violations, found.trace)
        tally.broken.update(tally.failure.broken)
    return _result(options, tally, began_s, complete=search.complete, interrupted=interrupted)._replace(
        extent=search.extent
    )


def _result(options: Options, tally: Tally, began_s: float, *, complete: bool, interrupted: bool) -> Result:
    bound_s = Stage(options.scenario).scene.heal_s
    return Result(options, tally, complete, time.monotonic() - began_s, interrupted, bound_s)
