"""`fencepost up`: a system in the foreground, until somebody has had enough of it."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from deploy.guide import next_steps, write_environment
from deploy.launch import running_system
from deploy.topology import Mode, SystemOptions
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_FINE
from fencepost.guards import parse_guards

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP comes when the terminal is closed."""


def run_until_stopped(options: SystemOptions, *, verbose: bool) -> int:
    """Run a system until one of `STOP_SIGNALS`, and return the exit code.

    Raises: StartupError, ChildAbandoned; nothing is left running then.
    """
    if options.mode is Mode.BUGGY and parse_guards(options.without):
        # Not `check_options`: a comparison runs both modes with the same words, which are the fixed one's.
        raise UsageError(f"a buggy system has no guards to be without ({options.without}); leave --without out")
    return asyncio.run(_Up(options, verbose=verbose).run())


class _Up:
    """The first signal stops the system in order, wherever its start has got to; the second one kills it."""

    def __init__(self, options: SystemOptions, *, verbose: bool) -> None:
        self._options, self._verbose = options, verbose
        self._stopping = False

    async def run(self) -> int:
        """Return the exit code once a signal has ended it."""
        with self._signals(asyncio.current_task()):
            try:
                await self._serve()
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
        return EXIT_FINE

    async def _serve(self) -> None:
        screen = Screen()
        screen.show(f"starting; logs and data go to {self._options.run_dir}")
        async with running_system(
            self._options, echo=screen.show, verbose=self._verbose, colours=screen.colours
        ) as system:
            screen.show(next_steps(system, system.settings.region(), write_environment(system)))
            await system.supervisor.run()

    @contextmanager
    def _signals(self, task: "asyncio.Task[int] | None") -> Iterator[None]:
        loop = asyncio.get_running_loop()
        assert task is not None
        ours = [number for number in STOP_SIGNALS if not _is_nohup(number)]
        for number in ours:
            loop.add_signal_handler(number, self._signalled, task)
        try:
            yield
        finally:
            for number in ours:
                loop.remove_signal_handler(number)

    def _signalled(self, task: "asyncio.Task[int]") -> None:
        self._stopping = True
        task.cancel()  # the second time it is the orderly stop that is cancelled, which then kills


def _is_nohup(number: signal.Signals) -> bool:
    """Say whether this process was started under nohup: it is to outlive its terminal."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class Screen:
    """Standard output, for people; one that is gone (a closed terminal, `| head`) is no reason to stop a system."""

    def __init__(self) -> None:
        self.colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._gone = False

    def show(self, text: str) -> None:
        """Write a line, or several."""
        if self._gone:
            return
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except OSError:
            self._gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fresh_run_dir(place: Path) -> Path:
    """Return the path of a run directory that does not exist yet: `runs/<n>` in `place`, else a temporary one."""
    if not os.access(place, os.W_OK):
        return Path(tempfile.mkdtemp(prefix="fencepost-run-"))
    return next(path for number in count(1) if not (path := place / "runs" / f"{number:04d}").exists())
