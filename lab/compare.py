"""`fencepost compare`: both protocols, one after the other, on the same seed, network, world and load.

What it starts for each mode is a whole system of real processes. The world's changes are made by a task of this
process: they have to begin and end at instants that the history knows. Load and canary are processes of their own, so
that neither the display nor the world can hold up a probe or a request.
"""

import asyncio
import shlex
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.text import Text

from deploy.guide import next_steps, write_environment
from deploy.topology import Mode
from fencepost.clock import Clock, SystemClock
from fencepost.errors import StartupError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from lab.clients import Target
from lab.compare_options import CompareOptions
from lab.compare_progress import Display, Phase, Status
from lab.compare_run import ModeRun, Recorded, mode_run, while_alive
from lab.last_answers import dig_command
from lab.load_command import write_json
from lab.report import Judged, document, judge, page, table

__all__ = ["CompareOptions", "Outputs", "modes_of", "run_compare"]

PAGE_FILE: Final = "fencepost-compare.html"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go: `json_path` None means nowhere, `html_path` None a file in the run's directory."""

    json_path: Path | None = None
    html_path: Path | None = None

    def check(self) -> None:
        """Find out before a run, and not after it, that a result cannot be written. Raises: StartupError."""
        for flag, path in (("--json", self.json_path), ("--html", self.html_path)):
            if path is None:
                continue
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab"):
                    pass
            except OSError as error:
                raise StartupError(f"{flag} {path} cannot be written ({error.strerror}); name another file") from error


@dataclass(slots=True)
class Comparison:
    """A comparison under way: what it runs on, and the modes that are done."""

    options: CompareOptions
    outputs: Outputs
    console: Console
    progress: Console
    clock: Clock = field(default_factory=SystemClock)
    status: Status = field(default_factory=Status)
    recorded: dict[str, Recorded] = field(default_factory=dict)
    judged: dict[str, Judged] = field(default_factory=dict)

    async def run(self) -> int:
        """Run every mode, show and write the results, and return the exit code."""
        last = self.options.modes[-1]
        for mode in self.options.modes:
            async with AsyncExitStack() as system:
                async with Display(self.status, self.progress, self.clock):
                    run = await system.enter_async_context(
                        mode_run(self.options, mode, clock=self.clock, status=self.status)
                    )
                    await while_alive(self._one(mode, run), run.system.supervisor)
                if mode is last and self.options.keep_running:
                    self.report()
                    await self._hold(run)
                self.status.enter(Phase.STOPPING, self.clock)
        if not self.options.keep_running:
            self.report()
        return self.exit_code

    async def _one(self, mode: Mode, run: ModeRun) -> None:
        recorded = await run.record()
        bound_s = self.options.bound_s
        self.judged[mode.value] = await asyncio.to_thread(judge, recorded.history, convergence_bound_s=bound_s)
        self.recorded[mode.value] = recorded

    @property
    def exit_code(self) -> int:
        """0 when the fixed protocol broke nothing, whatever the buggy one did; else 1."""
        fixed = self.judged.get(Mode.FIXED.value)
        return EXIT_CHECK_FAILED if fixed and fixed.violations else EXIT_FINE

    def report(self) -> None:
        """Show the results of the modes that are done, and write them where they are wanted."""
        self.console.print(table(self.judged))
        for mode, recorded in self.recorded.items():
            for line in closing_lines(mode, recorded):
                self.console.print(Text(line), soft_wrap=True)
        html_path = self.outputs.html_path or self.options.run_dir / PAGE_FILE
        html_path.write_text(page(self.judged, command=command_line(self.options)), "utf-8")
        self.console.print(Text(f"report: {html_path}"), soft_wrap=True)
        if self.outputs.json_path is not None:
            write_json(self.outputs.json_path, self.document())
            self.console.print(Text(f"figures: {self.outputs.json_path}"), soft_wrap=True)
        self.console.print(Text(f"histories and logs: {self.options.run_dir}"), soft_wrap=True)

    def document(self) -> dict[str, Any]:
        """Return the results for programs: the report's document, and beside each mode's figures what the lab did."""
        found = document(self.judged)
        for mode, recorded in self.recorded.items():
            found["modes"][mode] |= {"lab": recorded.extras()}
        return found

    async def _hold(self, run: ModeRun) -> None:
        """Leave the system up until Ctrl-C, and say what one may type."""
        for line in invitation(run, self.recorded[run.mode.value]):
            self.console.print(Text(line), soft_wrap=True)
        await run.system.supervisor.run()

    def interrupted(self) -> None:
        """Say what there was when Ctrl-C came."""
        here = (
            f"{self.status.mode}: {self.status.phase}; {self.status.words}" if self.status.mode else "nothing started"
        )
        self.console.print(Text(f"interrupted. {here}. Every process is stopped."), soft_wrap=True)
        if self.judged:
            self.console.print(table(self.judged))
        self.console.print(Text(f"histories and logs so far: {self.options.run_dir}"), soft_wrap=True)


def modes_of(word: str) -> tuple[Mode, ...]:
    """Return the modes that `--mode` stands for, in the order in which they run."""
    return (Mode.BUGGY, Mode.FIXED) if word == "both" else (Mode(word),)


def run_compare(options: CompareOptions, outputs: Outputs) -> int:
    """Run a comparison and return its exit code: 0, 1, or 130 after Ctrl-C. Progress goes to standard error.

    Raises: StartupError, and other errors of ours, after everything was stopped.
    """
    options.check()
    outputs.check()
    comparison = Comparison(options, outputs, Console(), Console(stderr=True))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(interruptible(comparison.run()))
        except asyncio.CancelledError:
            pass
    if options.keep_running and len(comparison.judged) == len(options.modes):
        return comparison.exit_code
    comparison.interrupted()
    return EXIT_INTERRUPTED


async def interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Do some work. The first SIGINT or SIGTERM cancels it; another one cancels the orderly stop, which then kills."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await task


def closing_lines(mode: str, recorded: Recorded) -> list[str]:
    """Return what the figures do not say: the last real answers, and what the lab itself did."""
    empty = [answer.words for answer in recorded.last_answers if not answer.answers]
    total = len(recorded.last_answers)
    lines = [f"{mode}: at the end, {total - len(empty)} of {total} questions are answered with addresses"]
    lines += [f"  {words}" for words in empty]
    lines += [f"  {line}" for line in recorded.dig]
    if recorded.settled_s is None:
        lines += [f"  not at the last plan: {name}: {problem}" for name, problem in recorded.unsettled.items()]
    else:
        lines.append(f"  at the last plan everywhere {recorded.settled_s:.1f} s after the last change")
    world, load = recorded.world, recorded.load
    lines.append(f"  the world made {world.made} changes, {world.per_s:g} a second ({world.failed} refused)")
    if load.overloaded:
        lines.append(f"  the load generator itself could not send {load.overloaded} requests; they count nowhere else")
    lines += [f"  {name} died and was started again {count} x" for name, count in recorded.restarts.items()]
    return lines


def invitation(run: ModeRun, recorded: Recorded) -> list[str]:
    """Return what one may type while the last mode's system is still up."""
    system, settings = run.system, run.system.settings
    empty = [answer for answer in recorded.last_answers if not answer.answers]
    shown = (empty or recorded.last_answers)[0]
    target = Target(shown.endpoint, shown.type)
    return [
        f"\nThe {run.mode.value} system is still up, without load and changes.",
        next_steps(system, settings.region(), write_environment(system)),
        f"And for {target.endpoint}, once the environment is told:",
        f"  {shlex.join(dig_command(target, settings.dns_port))}",
        f"  {shlex.join(dig_command(target, settings.cache_port))}",
        f"      # the caching resolver: an empty answer lives on there for up to {settings.region().negative_ttl_s} s",
        f"  fencepost zone show {target.endpoint}",
        f"  fencepost repair {target.endpoint}",
    ]


def command_line(options: CompareOptions) -> str:
    """Return what to type to run the same comparison again."""
    defaults = CompareOptions(run_dir=options.run_dir)
    words = ["fencepost", "compare"]
    for name, flag in (
        ("seed", "--seed"),
        ("profile", "--profile"),
        ("duration_s", "--duration"),
        ("settle_s", "--settle"),
        ("enactors", "--enactors"),
        ("keep", "--keep"),
        ("plan_rate", "--plan-rate"),
        ("load_rate", "--load-rate"),
        ("canary_rate", "--canary-rate"),
        ("world", "--world"),
        ("without", "--without"),
        ("region_file", "--region"),
        ("lock_ttl_s", "--lock-ttl"),
        ("poll_s", "--poll"),
        ("backoff_base_s", "--backoff-base"),
        ("backoff_cap_s", "--backoff-cap"),
    ):
        value = getattr(options, name)
        if name == "seed" or value != getattr(defaults, name):
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    if len(options.modes) == 1:
        words += ["--mode", options.modes[0].value]
    return shlex.join(words)
