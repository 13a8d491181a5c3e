"""`fencepost explore`: schedules on all CPUs, or every schedule of a small world; what fails is shrunk and told."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from rich.console import Console
from rich.text import Text

from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from fencepost.show import console
from lab.invariants.violation import Violation
from lab.simulation.exhaustive import Search, coarse
from lab.simulation.explore import By, Explorer, Failure, Options, Tally, settle_memory
from lab.simulation.explored import Explored
from lab.simulation.scenario import Scenario, Scene
from lab.simulation.seal import sealed
from lab.simulation.space import Space
from lab.simulation.stage import Stage

BLOCK: Final = 250
"""Schedules that a worker makes at a time; a quarter of that before anything is known."""

REFRESH_S: Final = 0.5
PLAIN_EVERY_S: Final = 10.0
"""How often progress is told on a terminal, and elsewhere."""

OUTAGE: Final = frozenset({"I1", "I5"})
"""What is looked for in the protocol that broke: an endpoint is emptied, and nothing repairs it."""


class ExploreOptions(NamedTuple):
    """What is explored, and where the result goes.

    Attributes:
        schedules: how many are drawn.
        jobs: workers; 1: this process alone.
        minutes: of wall time at most; 0: no bound.
        save: where a failure is kept, to be replayed.
    """

    scenario: Scenario
    strategy: By
    schedules: int
    steps: int
    seed: int
    jobs: int
    preemptions: int = 2
    minutes: float = 0.0
    json: Path | None = None
    html: Path | None = None
    save: Path = Path("fencepost-failure.json")

    @property
    def seek(self) -> frozenset[str]:
        """What a schedule has to break to be a find."""
        drawn = self.strategy in {"random", "pct", "mixed"}
        return OUTAGE if self.scenario.mode == "buggy" and drawn else frozenset()

    @property
    def wanted(self) -> Options:
        """What an explorer is to do."""
        return Options(
            scenario=self.scenario,
            by=self.strategy,
            schedules=0 if self.strategy == "bounded" else self.schedules,
            seed=self.seed,
            steps=self.steps,
            preemptions=self.preemptions,
            seek=self.seek,
        )


class Progress:
    """Tells how far an exploration is, on standard error: one line that moves on a terminal, else one now and then."""

    def __init__(self) -> None:
        self._screen = Console(stderr=True)
        self._began_s = self._next_s = time.monotonic()
        self._next_s += REFRESH_S if self._screen.is_terminal else PLAIN_EVERY_S

    def __call__(self, words: Callable[[], str]) -> None:
        """Say it, if it is time."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        line = f"{now_s - self._began_s:,.0f} s: {words()}"
        if self._screen.is_terminal:
            self._next_s = now_s + REFRESH_S
            self._screen.file.write(f"\r\x1b[2K{line[: self._screen.width - 1]}")
            self._screen.file.flush()
        else:
            self._next_s = now_s + PLAIN_EVERY_S
            self._screen.print(line, highlight=False, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Leave nothing half-written."""
        if self._screen.is_terminal:
            self._screen.file.write("\r\x1b[2K")


def explore_world(options: ExploreOptions) -> int:
    """Do what the command does; return the exit code. Raises: StartupError, UsageError."""
    began_s, progress = time.monotonic(), Progress()
    found = Explored(
        mode=options.scenario.mode,
        strategy=options.strategy,
        seed=options.seed,
        scenario=options.scenario,
        heal_bound_s=Scene(options.scenario).heal_s,
    )
    search = {"exhaustive": _all, "bounded": _bounded}.get(options.strategy, _drawn)
    failure: Failure | None = None
    interrupted = False
    try:
        failure = next(search(options, found, progress), None)
    except KeyboardInterrupt:
        found.cut, interrupted = "interrupted", True
    finally:
        progress.end()
        found.wall_s = time.monotonic() - began_s
    screen = console()
    if failure is not None:
        found.failed_schedule, found.violations = failure.schedule, present(screen, options, failure)
    for line in found.lines():
        screen.print(Text(line), soft_wrap=True)
    _verdict(screen, found)
    if options.json is not None:
        from lab.simulation.saved import write_text

        write_text(options.json, msgspec.json.format(msgspec.json.encode(found.document())).decode() + "\n")
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_CHECK_FAILED if found.violations else EXIT_FINE


def _verdict(screen: Console, found: Explored) -> None:
    for violation in found.violations:
        screen.print(Text(f"{violation.invariant}  {violation.endpoint}  {violation.detail}"), soft_wrap=True)
    if not found.violations:
        screen.print(Text("no violation of I1 to I7 and I9"))


def present(screen: Console, options: ExploreOptions, failure: Failure) -> tuple[Violation, ...]:
    """Shrink a failure, tell it, and keep it for `fencepost replay`; return what the shrunk one breaks."""
    from lab.simulation.replay_command import write_page
    from lab.simulation.saved import save
    from lab.simulation.shrink import shrink
    from lab.simulation.timeline import tell
    from lab.simulation.told import print_story

    wanted = options.seek or frozenset(violation.invariant for violation in failure.violations[:1])
    scenario = options.scenario
    shrunk = shrink(scenario, failure.trace, wanted)
    story = tell(shrunk.scenario, shrunk.trace, wanted)
    print_story(screen, story)
    save(options.save, story)
    command = f"fencepost replay {options.save}"
    screen.print(Text(f"{len(failure.trace)} choices were found, {len(shrunk.trace)} are left; {command} --step"))
    if options.html is not None:
        write_page(options.html, story, command)
    return tuple(story.violations)


def _drawn(options: ExploreOptions, found: Explored, progress: Progress) -> Iterator[Failure]:
    """Run schedules until one fails, in order of their numbers."""
    began_s, tally = time.monotonic(), Tally()
    with _workers(options) as work:
        for came in work(_blocks(options.schedules)):
            tally.add(came)
            found.take(tally)
            if came.failure is not None:
                yield came.failure
            progress(lambda: _so_far(found, options, time.monotonic() - began_s))
            if options.minutes and time.monotonic() > began_s + 60 * options.minutes:
                found.cut = f"cut short after --minutes {options.minutes:g}"
                return


def _blocks(schedules: int) -> Iterator[tuple[int, int]]:
    for first in range(0, schedules, BLOCK):
        yield first, min(BLOCK, schedules - first)


def _so_far(found: Explored, options: ExploreOptions, took_s: float) -> str:
    return (
        f"{found.schedules:,} of {options.schedules:,} schedules, {found.schedules / took_s:,.0f} a second, "
        f"{found.simulated_s / 3600:,.1f} simulated hours, {len(found.rare_paths)} rare paths taken"
    )


@contextmanager
def _workers(options: ExploreOptions) -> Iterator[Callable[[Iterator[tuple[int, int]]], Iterator[Tally]]]:
    """Yield what makes blocks, results in their order; whatever happens, no worker is left."""
    if options.jobs <= 1:
        explorer = Explorer(options.wanted)
        yield lambda blocks: (explorer.block(*block) for block in blocks)
        return
    pool = ProcessPoolExecutor(
        options.jobs, mp_context=get_context("spawn"), initializer=_begin_worker, initargs=(options.wanted,)
    )
    try:
        yield lambda blocks: _in_order(pool, blocks, ahead=3 * options.jobs)
    finally:
        for process in list((pool._processes or {}).values()):  # noqa: SLF001  -- a block under way is not waited for
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, blocks: Iterator[tuple[int, int]], *, ahead: int) -> Iterator[Tally]:
    waiting: list[Future[Tally]] = [pool.submit(_run_block, *block) for block in islice(blocks, ahead)]
    while waiting:
        came = waiting.pop(0).result()
        waiting += [pool.submit(_run_block, *block) for block in islice(blocks, 1)]
        yield came


_explorers: list[Explorer] = []
"""A worker's own."""


def _begin_worker(options: Options) -> None:
    """Prepare a worker; Ctrl-C is heard by who gives the orders, and by nobody else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _explorers.append(Explorer(options))
    settle_memory()


def _run_block(first: int, count: int) -> Tally:
    return _explorers[0].block(first, count)


def _bounded(options: ExploreOptions, found: Explored, progress: Progress) -> Iterator[Failure]:
    """Run every schedule within the bounds; few preemptions first, so that what needs few is found early."""
    began_s = time.monotonic()

    def tell(tally: Tally) -> bool:
        found.take(tally)
        progress(lambda: f"{found.schedules:,} schedules")
        return not options.minutes or time.monotonic() < began_s + 60 * options.minutes

    tally, found.complete = Explorer(options.wanted).bounded(tell)
    found.take(tally)
    if tally.failure is not None:
        yield tally.failure
    elif not found.complete:
        found.cut = f"cut short after --minutes {options.minutes:g}"


def _all(options: ExploreOptions, found: Explored, progress: Progress) -> Iterator[Failure]:
    """Search the whole space."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    stage = Stage(options.scenario)
    space = Space(stage)
    search = Search(space, healing_s=stage.scene.heal_s)

    def go_on() -> bool:
        extent = search.extent
        progress(
            lambda: f"{extent.states:,} states, {extent.moves:,} moves, {extent.ends:,} ends, depth {extent.depth}"
        )
        return not options.minutes or time.monotonic() < began_s + 60 * options.minutes

    try:
        with sealed():
            search.run(go_on)
    finally:
        space.close()
        extent = search.extent
        found.schedules, found.states, found.moves, found.complete = (
            extent.ends,
            extent.states,
            extent.moves,
            search.complete,
        )
        found.longest_heal_s, found.cpu_s = search.longest_heal_s, time.process_time() - cpu_s
    if not search.complete and not search.found:
        found.cut = f"cut short after --minutes {options.minutes:g}"
    for one in search.found:
        yield Failure(0, one.violations, one.trace)


def scenario_for(scenario: Scenario, strategy: By) -> Scenario:
    """Return a scenario as a strategy runs it."""
    return coarse(scenario) if strategy == "exhaustive" else scenario
