"""`fencepost mutants`: every small fault of the catalogue, one at a time; what is not caught is told.

First the code as it ships is tried in the same ways: where that is "caught", nothing is shown by what catches a fault.
"""

import asyncio
import shlex
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from fencepost.clock import Clock, SystemClock
from fencepost.errors import StartupError, UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from lab.compare import Outputs, interruptible
from lab.load_command import write_json
from lab.mutants.catalogue import ROOT, Mutant, load_catalogue
from lab.mutants.result import Result, document, line, result_of, summary, table
from lab.mutants.trial import Trial, Tried, Verdict, Way, make

PLAIN_WIDTH: Final = 180
BASELINE_LIMITS: Final = 5
"""The code as it ships is given so many times a mutant's limit: all tests are run, and to their end."""


@dataclass(frozen=True, slots=True)
class MutantsOptions:
    """A mutation check.

    Attributes:
        mutants: which ones, in the order of the catalogue.
        jobs: trials at a time.
        limit_s: how long a trial may take, seconds.
        explore_with: explore every mutant with these arguments, instead of what the catalogue asks for; None: do not.
    """

    mutants: tuple[Mutant, ...]
    jobs: int = 2
    limit_s: float = 120.0
    explore_with: str | None = None

    def check(self) -> None:
        """Refuse what cannot be run. Raises: StartupError."""
        if not (ROOT / "tests").is_dir():
            raise StartupError(f"there are no tests beside {ROOT / 'lab'}; run it from a checkout: .venv/bin/fencepost")

    def trials(self, mutant: Mutant) -> tuple[Trial, ...]:
        """Return how a mutant is tried: each of these has to catch it."""
        if self.explore_with is not None:
            return (Trial(mutant.id, Way.EXPLORER, tuple(shlex.split(self.explore_with))),)
        explorer = [Trial(mutant.id, Way.EXPLORER, tuple(shlex.split(mutant.explorer)))] if mutant.explorer else []
        tests = [Trial(mutant.id, Way.TESTS, mutant.tests)] if mutant.tests else []
        return (*explorer, *tests)

    def baseline(self) -> tuple[Trial, ...]:
        """Return the same trials on the code as it ships: all tests together, each exploration once."""
        trials = [trial for mutant in self.mutants for trial in self.trials(mutant)]
        tests = dict.fromkeys(test for trial in trials if trial.way is Way.TESTS for test in trial.arguments)
        explored = dict.fromkeys(trial.arguments for trial in trials if trial.way is Way.EXPLORER)
        together = [Trial("", Way.TESTS, tuple(tests))] if tests else []
        return (*together, *(Trial("", Way.EXPLORER, arguments) for arguments in explored))


def chosen(only: str) -> tuple[Mutant, ...]:
    """Return the mutants that a comma-separated list names; "" names all. Raises: UsageError naming unknown ones."""
    catalogue = load_catalogue()
    names = [name for name in (part.strip() for part in only.split(",")) if name]
    if unknown := sorted(set(names) - catalogue.keys()):
        raise UsageError(f"no mutant {', '.join(unknown)}; `fencepost mutants --list` shows all that there are")
    return tuple(mutant for mutant in catalogue.values() if not names or mutant.id in names)


@dataclass(slots=True)
class MutationCheck:
    """A mutation check under way."""

    options: MutantsOptions
    console: Console
    progress: Console
    clock: Clock = field(default_factory=SystemClock)
    baseline: list[Tried] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    _wall_s: float = 0.0

    async def run(self) -> int:
        """Try everything, and return the exit code."""
        began_s = self.clock.monotonic()
        try:
            return await self._run()
        finally:
            self._wall_s = round(self.clock.monotonic() - began_s, 1)

    async def _run(self) -> int:
        said = "the code as it ships: it has to pass whatever is to catch a fault"
        self.progress.print(Text(said), soft_wrap=True)
        limit_s = BASELINE_LIMITS * self.options.limit_s
        await self._all(self.options.baseline(), self.baseline, limit_s, "trials")
        if self.misleading:
            return EXIT_CHECK_FAILED
        trials = [trial for mutant in self.options.mutants for trial in self.options.trials(mutant)]
        await self._all(trials, self.tried, self.options.limit_s, "trials of faults")
        return self.exit_code

    async def _all(self, trials: Sequence[Trial], done: list[Tried], limit_s: float, what: str) -> None:
        """Make some trials, `jobs` at a time."""
        waiting = deque(trials)
        columns = (BarColumn(30), TextColumn("{task.completed}/{task.total} {task.fields[words]}"))
        hidden = not self.progress.is_terminal
        with Progress(*columns, console=self.progress, transient=True, disable=hidden) as bar:
            shown = bar.add_task("", total=len(trials), words=what)

            async def work() -> None:
                while waiting:
                    tried = await make(waiting.popleft(), self.clock, limit_s)
                    done.append(tried)
                    bar.update(shown, completed=len(done), words=f"{what}; last: {line(tried)}")
                    if hidden:
                        self.progress.print(Text(f"{len(done)}/{len(trials)} {line(tried)}"), soft_wrap=True)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.options.jobs, len(trials))):
                    group.create_task(work())

    @property
    def misleading(self) -> list[Tried]:
        """The trials of the code as it ships that did not pass."""
        return [tried for tried in self.baseline if tried.verdict is not Verdict.SURVIVED]

    @property
    def results(self) -> list[Result]:
        """What came of each mutant that was tried in every way, in the order of the catalogue."""
        return list(_results(self.options, self.tried))

    @property
    def exit_code(self) -> int:
        """1 if the code as it ships does not pass, or a mutant was not what the catalogue says of it; else 0."""
        wrong = self.misleading or any(result.wrong for result in self.results)
        return EXIT_CHECK_FAILED if wrong and self.options.explore_with is None else EXIT_FINE

    def report(self) -> None:
        """Show what is done: a table, then what is not as it should be, and every survivor with its reason."""
        for tried in self.misleading:
            words = f"the code as it ships does not pass its {tried.way}: {tried.by or tried.problem}"
            self.console.print(Text(f"{words}; no fault was planted", style="bold red"), soft_wrap=True)
        if not self.results:
            return
        self.console.print(table(self.results))
        for words, style in summary(self.results, judged=self.options.explore_with is None):
            self.console.print(Text(words, style=style), soft_wrap=True)

    def document(self) -> dict[str, Any]:
        """Return the results for programs."""
        return document(self.results, self.baseline, wall_s=self._wall_s)


def _results(options: MutantsOptions, tried: Iterable[Tried]) -> Iterable[Result]:
    found: Mapping[str, list[Tried]] = {mutant.id: [] for mutant in options.mutants}
    for one in tried:
        found[one.mutant].append(one)
    for mutant in options.mutants:
        if len(found[mutant.id]) == len(options.trials(mutant)):
            yield result_of(mutant, found[mutant.id])


def run_mutants(options: MutantsOptions, json_path: Path | None) -> int:
    """Run a mutation check and return its exit code: 0, 1, or 130 after Ctrl-C. Progress goes to standard error.

    Raises: StartupError, before anything is started.
    """
    options.check()
    Outputs(json_path).check()
    shown = Console() if Console().is_terminal else Console(width=PLAIN_WIDTH)
    check = MutationCheck(options, shown, Console(stderr=True))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            code = runner.run(interruptible(check.run()))
        except asyncio.CancelledError:
            code = EXIT_INTERRUPTED
            words = (
                f"interrupted after {len(check.results)} of {len(options.mutants)} mutants. Every process is stopped."
            )
            shown.print(Text(words), soft_wrap=True)
    check.report()
    if json_path is not None:
        write_json(json_path, check.document())
        shown.print(Text(f"results: {json_path}"), soft_wrap=True)
    return code
