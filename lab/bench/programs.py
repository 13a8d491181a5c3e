"""Other programs, timed from their start to their end: what a person waits for."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.tether import tethered
from fencepost.clock import Clock
from fencepost.errors import FencepostError

HANGS_AFTER_S: Final = 600.0
LAST_CHARACTERS: Final = 300


class BenchFailed(FencepostError):
    """A program that is measured did not do what it is measured for; its time would mean nothing."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended.

    Attributes:
        name: what to call it.
        exit_code: as shells have it; below 0 the signal that ended it.
        output: both its streams, in the order in which it wrote them.
        took_s: from just before its start until its end was seen.
    """

    name: str
    exit_code: int
    output: str
    took_s: float

    @property
    def last_words(self) -> str:
        """The end of its output, for a message; never empty."""
        return self.output.strip()[-LAST_CHARACTERS:] or "it wrote nothing"


async def timed(
    argv: Sequence[str],
    directory: Path,
    clock: Clock,
    *,
    timeout_s: float = HANGS_AFTER_S,
    into: Path | None = None,
    tied: bool = False,
) -> Ended:
    """Run a program to its end, in a session of its own; cancelled, it ends everything that it started.

    Args:
        argv: the program, by its absolute path, and its arguments.
        directory: where it runs.
        clock: measures.
        timeout_s: how long it may take.
        into: it writes to this file, so that one that writes much never waits for this process to read.
        tied: whether it ends even when this process is killed (`deploy.tether`). What does that starts a Python, about
            20 ms, which `took_s` has in it: a program that is timed from its start is not tied, and after `kill -9` of
            this process it goes on to its end.

    Raises: BenchFailed if it cannot be started, or takes longer than `timeout_s`.
    """
    name, began_s = Path(argv[0]).name, clock.monotonic()
    command = tethered(tuple(argv)) if tied else argv
    with ExitStack() as opened:
        to = asyncio.subprocess.PIPE if into is None else opened.enter_context(into.open("wb"))
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=to,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchFailed(f"{argv[0]} cannot be run: {error.strerror}; is it installed whole?") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
        took_s = clock.monotonic() - began_s
    except TimeoutError:
        raise BenchFailed(f"{name} had not ended after {timeout_s:g} s; give it less to do") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    written = output if into is None else await asyncio.to_thread(into.read_bytes)
    return Ended(name, process.returncode, written.decode("utf-8", "replace"), took_s)
