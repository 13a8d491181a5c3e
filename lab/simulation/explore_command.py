"""What the options of `fencepost explore` mean, and what becomes of a failure. `explore` and `workers` do the work."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.text import Text

from fencepost.client import write_json
from fencepost.errors import StartupError, UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from fencepost.guards import parse_guards
from fencepost.show import console
from lab.invariants.violation import Violation
from lab.simulation.exhaustive import Search, coarse
from lab.simulation.explore import By, Explorer, Failure, Options, Tally
from lab.simulation.explored import Result, Watched, lines, progress_line, search_line
from lab.simulation.replay_command import write_page
from lab.simulation.saved import save
from lab.simulation.scenario import NAMES, Scenario
from lab.simulation.seal import sealed
from lab.simulation.shrink import shrink
from lab.simulation.space import Space
from lab.simulation.stage import Stage
from lab.simulation.timeline import tell
from lab.simulation.told import print_story
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
    wants: str
    installed: int
    balancers: int
    keep: int
    faults: int | None
    rounds: int | None
    without: str
    planner: bool
    operator: bool
    skew_s: float
    forgets: int
    batch_records: int
    steps: int
    preemptions: int


class Outputs(NamedTuple):
    """Where a result goes, besides the screen; None: nowhere."""

    json: Path | None = None
    html: Path | None = None
    save: Path = Path("fencepost-failure.json")

    def check(self) -> None:
        """Find out before the work, and not after it, that a result cannot be written. Raises: StartupError."""
        for flag, path in (("--json", self.json), ("--html", self.html), ("--save", self.save)):
            if path is None:
                continue
            if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
                raise StartupError(f"{flag} {path} cannot be written; name another file")


def options_of(asked: Request) -> Options:
    """Return what is to be explored. Raises: UsageError."""
    if asked.mode == "buggy" and asked.without:
        raise UsageError("--without is for --mode fixed: buggy has no guards; leave it out")
    parse_guards(asked.without)
    if asked.by == "exhaustive" and (asked.planner or asked.operator or asked.batch_records):
        raise UsageError("an exhaustive search knows neither --planner, --operator nor --batch-records; draw schedules")
    if asked.by in {"bounded", "exhaustive"} and asked.forgets:
        raise UsageError("--forgets is drawn: use --strategy random, pct or mixed")
    letters = "." + NAMES[: asked.balancers + 1].upper()
    if set(asked.wants) - set(letters) or asked.wants.startswith("."):
        raise UsageError(f"--wants {asked.wants} has letters that are not among {letters}, or begins with a dot")
    if (asked.wants or asked.installed) and (asked.planner or asked.operator):
        raise UsageError("--wants and --installed say what a script publishes; leave out --planner and --operator")
    if asked.forgets and (asked.operator or not asked.planner):
        raise UsageError("--forgets is for --planner without --operator: nobody would publish, or thaw, once more")
    buggy = asked.mode == "buggy"
    by: By = asked.by or ("random" if buggy else "mixed")
    systematic = by in {"bounded", "exhaustive"}
    small = buggy or systematic
    scenario = Scenario(
        mode="buggy" if buggy else "fixed",
        enactors=_within("--enactors", asked.enactors, 2 if small else 3, MOST_ENACTORS),
        endpoints=_within("--endpoints", asked.endpoints, 1 if small else 3, len(NAMES)),
        generations=_within("--generations", asked.generations, 4 if buggy and not systematic else 3, 1000),
        wants=asked.wants,
        installed=_within("--installed", asked.installed, 0, 10, least=0),
        balancers=_within("--balancers", asked.balancers, 3, 200, least=3),
        keep=_within("--keep", asked.keep, 1, 1000),
        faults=_within("--faults", asked.faults, 0 if small else 3, 100, least=0),
        rounds=_within("--rounds", asked.rounds, 1, 100),
        forgets=_within("--forgets", asked.forgets, 0, 10, least=0),
        batch_records=_within("--batch-records", asked.batch_records, 0, 100, least=0),
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
        scenario=coarse(scenario) if by == "exhaustive" else scenario,
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
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes {minutes:g} is no time; name more than 0")
    outputs.check()
    screen, began_s = console(), time.monotonic()
    until_s = began_s + 60 * minutes if minutes is not None else float("inf")

    def go_on() -> bool:
        return time.monotonic() < until_s

    with Watched(screen, options.schedules, began_s) as watched:
        how = {"exhaustive": _exhaustive, "bounded": _bounded}.get(options.by)
        result = how(options, watched, began_s, go_on) if how else _schedules(options, watched, began_s, go_on, jobs)
    if result.tally.worst is not None:
        result = result._replace(shrunk=present(screen, options, result.tally.worst, outputs))
    for line in lines(result):
        screen.print(Text(line), soft_wrap=True)
    write_json(outputs.json, result.document)
    if result.violations:
        return EXIT_CHECK_FAILED
    return EXIT_INTERRUPTED if result.interrupted else EXIT_FINE


def present(screen: Console, options: Options, failure: Failure, outputs: Outputs) -> tuple[Violation, ...]:
    """Shrink a failure, tell it, and keep it for `fencepost replay`; return what the shrunk one breaks."""
    wanted = options.seek if options.seek <= failure.broken else frozenset()
    wanted = wanted or frozenset(violation.invariant for violation in failure.violations[:1])
    shrunk = shrink(failure.scenario, failure.trace, wanted)
    story = tell(shrunk.scenario, shrunk.trace, wanted)
    print_story(screen, story)
    save(outputs.save, story)
    command = f"fencepost replay {outputs.save}"
    where = f"schedule {failure.schedule} of seed {options.seed}" if options.by != "exhaustive" else "the search"
    said = f"found by {where}; of its {len(failure.trace)} choices {len(shrunk.trace)} are left: {command} --step"
    screen.print(Text(said), soft_wrap=True)
    if outputs.html is not None:
        write_page(outputs.html, story, command)
    return tuple(story.violations)


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
    space = Space(stage)
    search = Search(space, healing_s=stage.scene.heal_s)

    def going_on() -> bool:
        watched.tell(search.extent.states, search_line(search.extent), time.monotonic())
        return go_on()

    interrupted = False
    try:
        with sealed():
            search.run(going_on)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        space.close()
    tally = Tally(
        schedules=search.extent.ends,
        cpu_s=time.process_time() - began_cpu_s,
        healed_s=search.longest_heal_s,
        paths=space.coverage.counts,
    )
    for number, found in enumerate(search.found[:1]):
        tally.failure = Failure(number, options.scenario, found.violations, found.trace)
        tally.broken.update(tally.failure.broken)
    return _result(options, tally, began_s, complete=search.complete, interrupted=interrupted)._replace(
        extent=search.extent
    )


def _result(options: Options, tally: Tally, began_s: float, *, complete: bool, interrupted: bool) -> Result:
    bound_s = Stage(options.scenario).scene.heal_s
    return Result(options, tally, complete, time.monotonic() - began_s, interrupted, bound_s)
