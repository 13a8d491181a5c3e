"""Workers on all CPUs, and the runs that they make."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from deploy.tether import tethered
from fencepost.errors import StartupError
from lab.odds.model import Run
from lab.odds.schedule import Runs

STOP_S: Final = 10.0
"""A worker that is told to stop says within this how far it has got, or is killed."""


async def make_runs(todo: Sequence[Runs], *, jobs: int, note: Callable[[], None]) -> None:
    """Make runs until it is enough of each; `note` is called after each run.

    When it is cancelled, runs under way are stopped and count as far as they got. Raises: StartupError if a worker
    cannot be started, or fails.
    """
    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(_work(todo, note))


async def _work(todo: Sequence[Runs], note: Callable[[], None]) -> None:
    async with _worker() as worker:
        while (runs := _next(todo)) is not None:
            number, order = runs.order()
            assert worker.stdin is not None, "it was asked for"
            try:
                worker.stdin.write(msgspec.json.encode(order) + b"\n")
                run = await _answer(worker)
            except asyncio.CancelledError:
                worker.stdin.close()
                with suppress(TimeoutError, StartupError):
                    async with asyncio.timeout(STOP_S):
                        runs.take(number, await _answer(worker))
                raise
            runs.take(number, run)
            note()


def _next(todo: Sequence[Runs]) -> Runs | None:
    """Return whose turn it is: who had the fewest, so that an interrupted sweep knows something of every setting."""
    return min((runs for runs in todo if runs.wants_more), key=lambda runs: runs.ordered, default=None)


async def _answer(worker: Process) -> Run:
    assert worker.stdout is not None, "it was asked for"
    line = await worker.stdout.readline()
    if not line:
        raise StartupError(f"a worker ended with exit code {await worker.wait()}; what it said is above")
    return msgspec.json.decode(line, type=Run)


@asynccontextmanager
async def _worker() -> AsyncIterator[Process]:
    """Start a worker that dies with us, and end it."""
    program, *arguments = tethered((sys.executable, "-m", "lab.odds.worker"))
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=PIPE, stdout=PIPE, stderr=None, start_new_session=True
    )
    try:
        yield process
    finally:
        assert process.stdin is not None, "it was asked for"
        process.stdin.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
