"""An exploration by several processes: each runs blocks of schedules, and which one ran a block makes no difference."""

import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final, Self

from fencepost.errors import StartupError
from lab.simulation.explore import Explorer, Options, Tally, settle_memory

BLOCK: Final = 50
"""Schedules in a block: less than a second's work, so that an end is not waited for."""

LOOK_S: Final = 0.5
"""At least this often somebody is told how far it is."""


def explore(options: Options, blocks: "Blocks", *, jobs: int, tell: Callable[[Tally], None]) -> None:
    """Run blocks of schedules until all are run, or one has failed, or the time is up; `blocks` has what came of it.

    Args:
        options: what is explored.
        blocks: none of them is run yet.
        jobs: how many processes; 1: this one.
        tell: is given what there is so far, now and then.

    Raises: StartupError if a process dies.
    """
    if jobs > 1:
        with Crew(options, jobs) as crew:
            crew.work(blocks, tell)
        return
    explorer = Explorer(options)
    while (first := blocks.following()) is not None:
        blocks.done(first, explorer.block(first, blocks.size(first)))
        tell(blocks.tally)


class Blocks:
    """Which blocks are to be run, and what those came to that were.

    Args:
        schedules: how many there are to run.
        is_over: whether no more are to be begun.

    Attributes:
        tally: of the schedules from 0 on, without a gap, up to the first that failed: the same however many processes
            there are, and whichever was faster.
    """

    def __init__(self, schedules: int, is_over: Callable[[], bool]) -> None:
        self._schedules, self._is_over = schedules, is_over
        self._next = self._counted = 0
        self._waiting: dict[int, Tally] = {}
        self._failed: int | None = None
        self.tally = Tally()

    def size(self, first: int) -> int:
        """Return how many schedules a block has."""
        return min(BLOCK, self._schedules - first)

    def following(self) -> int | None:
        """Return the number of the next block's first schedule, None if no more is to be run."""
        if self._failed is not None or self._next >= self._schedules or self._is_over():
            return None
        first, self._next = self._next, self._next + BLOCK
        return first

    def done(self, first: int, tally: Tally) -> None:
        """Take in what a block came to."""
        self._waiting[first] = tally
        if tally.failure is not None:
            self._failed = first if self._failed is None else min(first, self._failed)
        while self.tally.failure is None and self._counted in self._waiting:
            self.tally.add(self._waiting.pop(self._counted))
            self._counted += BLOCK


class Crew:
    """Processes that run blocks; all are gone at the end of the `with`."""

    def __init__(self, options: Options, jobs: int) -> None:
        self._options, self._jobs = options, jobs
        self._workers: list[BaseProcess] = []
        self._pipes: list[Connection] = []

    def __enter__(self) -> Self:
        try:
            # Ctrl-C in between would leave a worker that nobody knows of.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        # A fork is there at once; where the system's libraries do not take it, each worker imports all anew.
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        for number in range(self._jobs):
            ours, theirs = context.Pipe()
            forked = (*self._pipes, ours) if sys.platform == "linux" else ()
            arguments = (self._options, theirs, forked)
            worker = context.Process(target=run_blocks, args=arguments, name=f"explore-{number + 1}", daemon=True)
            worker.start()
            theirs.close()
            self._workers.append(worker)
            self._pipes.append(ours)

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join()

    def work(self, blocks: Blocks, tell: Callable[[Tally], None]) -> None:
        """Have all blocks run. Raises: StartupError if a worker dies."""
        running: dict[Connection, int] = {}
        for pipe in self._pipes:
            self._hand_out(pipe, blocks, running)
        while running:
            ready = wait(list(running), LOOK_S)
            for pipe in self._pipes:
                if pipe in ready:
                    blocks.done(running.pop(pipe), self._received(pipe))
                    self._hand_out(pipe, blocks, running)
            tell(blocks.tally)

    def _hand_out(self, pipe: Connection, blocks: Blocks, running: dict[Connection, int]) -> None:
        if (first := blocks.following()) is None:
            return
        try:
            pipe.send((first, blocks.size(first)))
        except ConnectionError as error:
            raise self._died(pipe) from error
        running[pipe] = first

    def _received(self, pipe: Connection) -> Tally:
        try:
            found = pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise self._died(pipe) from error
        assert isinstance(found, Tally), found
        return found

    def _died(self, pipe: Connection) -> StartupError:
        worker = self._workers[self._pipes.index(pipe)]
        worker.join()
        return StartupError(f"{worker.name} died (exit code {worker.exitcode}); explore with fewer --jobs")


def run_blocks(options: Options, pipe: Connection, forked: Sequence[Connection]) -> None:
    """Run the blocks that come through a pipe until it is closed: what a worker does.

    Args:
        options: what is explored.
        pipe: it sends a block's first number and its size, and gets what came of it.
        forked: ends of other pipes that a fork has left open here; with these open nobody would see them closed.
    """
    # Ctrl-C reaches all of a terminal's processes; the one that has us ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in forked:
        other.close()
    explorer = Explorer(options)
    settle_memory()
    try:
        while True:
            first, count = pipe.recv()
            pipe.send(explorer.block(first, count))
    except (EOFError, ConnectionError):
        return
