"""Who runs on which processor: what is measured on some, whatever measures it on another; the same for every side."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

TASKSET: Final = "taskset"


class Cores(NamedTuple):
    """The processors of a benchmark; `server` and `load` are the same where the machine has too few."""

    server: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether what is measured has to share a processor with what measures it."""
        return bool(set(self.server) & set(self.load))

    @property
    def words(self) -> str:
        """Who is where, for people."""
        text = f"servers on {_listed(self.server)}, load on {_listed(self.load)}"
        if self.shared:
            text += ": too few to keep them apart, so both sides' figures are lower than they could be"
        return text if shutil.which(TASKSET) else f"{text}; but nobody is pinned, as there is no {TASKSET} (util-linux)"


def first_cores(count: int) -> tuple[int, ...]:
    """Return the first processors of those that this process may use, all of them if there are no more."""
    return tuple(sorted(os.sched_getaffinity(0))[:count])


def choose(workers: int = 1) -> Cores:
    """Return which processors to use: the first ones for the server's workers, the next one for the load.

    Only those that this process may use count. With too few of them, the load has the last one, and shares it.
    """
    usable = sorted(os.sched_getaffinity(0))
    load = usable[min(workers, len(usable) - 1)]
    return Cores(tuple(usable[:workers]), (load,))


def pinned(argv: tuple[str, ...], cores: tuple[int, ...], *, nice: int = 0) -> tuple[str, ...]:
    """Return the command that runs `argv` on some processors only; unchanged where nothing can pin it.

    `nice` is how far it gives way to others there. Both programs become `argv` by exec, so nothing stays between.
    """
    taskset, nicer = shutil.which(TASKSET), shutil.which("nice")
    command = (taskset, "-c", ",".join(map(str, cores)), *argv) if taskset else argv
    return (nicer, "-n", str(nice), *command) if nice and nicer else command


@contextmanager
def on_cores(cores: tuple[int, ...]) -> Iterator[None]:
    """Run this process on some processors only, for as long as this lasts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _listed(cores: tuple[int, ...]) -> str:
    return f"core{'s' if len(cores) > 1 else ''} {', '.join(map(str, cores))}"
