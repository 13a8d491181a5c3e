"""Running a drill from a command: checked first, shown while it goes on, told at the end, stopped by Ctrl-C."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console
from rich.text import Text

from fencepost.clock import SystemClock
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED
from lab.compare import Outputs, interruptible
from lab.compare_run import while_alive
from lab.drills.progress import Progress
from lab.drills.result import Result
from lab.drills.stage import DrillOptions, Stage, staged
from lab.load_command import write_json

Work = Callable[[Stage], Awaitable[Result]]


def run_drill(name: str, options: DrillOptions, work: Work, *, json_path: Path | None) -> int:
    """Run a drill and return the exit code: 0 held, 1 not held, 130 after Ctrl-C. Progress goes to standard error.

    Raises: StartupError, and other errors of ours, after everything was stopped.
    """
    options.check()
    Outputs(json_path).check()
    progress = Progress(name, Console(stderr=True), SystemClock())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(interruptible(_run(options, work, progress, json_path)))
        except asyncio.CancelledError:
            said = f"interrupted. {progress.phase}. Every process is stopped. Logs: {options.run_dir}"
            Console().print(Text(said), soft_wrap=True)
            return EXIT_INTERRUPTED


async def _run(options: DrillOptions, work: Work, progress: Progress, json_path: Path | None) -> int:
    async with progress, staged(options, progress, SystemClock()) as stage:
        result = await while_alive(_worked(work, stage), stage.system.supervisor)
        stage.enter("stopping")
    console = Console()
    console.print(result.shown())
    if json_path is not None:
        write_json(json_path, result.document())
        console.print(Text(f"figures: {json_path}"), soft_wrap=True)
    console.print(Text(f"history and logs: {options.run_dir}"), soft_wrap=True)
    return EXIT_FINE if result.held else EXIT_CHECK_FAILED


async def _worked(work: Work, stage: Stage) -> Result:
    result = await work(stage)
    for promise in result.promises:
        if not promise.held:
            stage.events.emit("drill.promise_failed", reason=f"{promise.claim}: {promise.detail}")
    return result
