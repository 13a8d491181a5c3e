"""One process under the supervisor: started, watched, told to end, killed."""

import asyncio
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from deploy.tether import tethered
from deploy.topology import ProcessSpec

LAST_WORDS_BYTES: Final = 64 * 1024
"""How far from its end a log is searched for a process's last line."""


class Child:
    """A process and its log files.

    Its standard output and standard error are the files themselves, no pipes: a supervisor that is slow, stopped by
    Ctrl-Z or dead holds nobody up, and the last words of a process are on the disk whatever happens.
    It leads a session of its own, so that a terminal's Ctrl-C reaches the supervisor alone.
    """

    def __init__(self, spec: ProcessSpec, logs: Path) -> None:
        self.spec = spec
        self.out_path = logs / spec.log_name
        self.err_path = logs / spec.err_name
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._err_start = 0

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id. Raises: ProcessLookupError if it does not run."""
        if self._process is None or self._process.returncode is not None:
            raise ProcessLookupError(f"{self.spec.name} does not run")
        return self._process.pid

    async def spawn(self) -> int:
        """Start it, tied to this process's life; return its process id, which it may have given up again already."""
        assert threading.current_thread() is threading.main_thread(), (
            "the tether means the thread; see deploy/tether.py"
        )
        assert not self.alive, self.spec.name
        with self.out_path.open("ab") as out, self.err_path.open("ab") as err:
            self._err_start = err.tell()
            spawning = asyncio.create_task(self._exec(out, err))
            try:
                self._process = await asyncio.shield(spawning)
            except asyncio.CancelledError:
                self._process = await spawning  # a matter of milliseconds; whoever stops us must know of it
                raise
        return self._process.pid

    async def _exec(self, out: BinaryIO, err: BinaryIO) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *tethered(self.spec.argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **self.spec.env},
            start_new_session=True,
        )

    async def wait(self) -> int:
        """Wait for its end; return the exit status, negative for the number of the signal that killed it."""
        assert self._process is not None, self.spec.name
        return await self._process.wait()

    def terminate(self) -> None:
        """Ask it to end; one that is stopped by SIGSTOP is woken up for it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it and everything in its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Return the last line that it wrote to standard error since it was last started, "" if none."""
        with self.err_path.open("rb") as err:
            err.seek(max(self._err_start, self.err_path.stat().st_size - LAST_WORDS_BYTES))
            lines = err.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
