"""Who runs on which processor: what is measured on some, whatever measures it on another; the same for every side."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

TASKSET: Final = "taskset"
LEAST: Final = 19
"""The nice value that gives way to all others."""


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


def pinned(argv: tuple[str, ...], cores: tuple[int, ...], *, yields: bool = False) -> tuple[str, ...]:
    """Return the command that runs `argv` on some processors only; unchanged where nothing can pin it.

    With `yields` it runs there when nobody else has anything to do (SCHED_IDLE; where there is no chrt, as nice as can
    be). All of these programs become `argv` by exec, so nothing stays between. See `give_way`, too.
    """
    taskset = shutil.which(TASKSET)
    command = (taskset, "-c", ",".join(map(str, cores)), *argv) if taskset else argv
    if not yields:
        return command
    if chrt := shutil.which("chrt"):
        return (chrt, "--idle", "0", *command)
    nice = shutil.which("nice")
    return (nice, "-n", str(LEAST), *command) if nice else command


def give_way(session: int) -> None:
    """Let a session's processes give way to those of all other sessions, as far as the system lets us.

    Where sessions are scheduled as groups (autogroup), a process is idle or nice within its own session only, and a
    server of one's own session with nothing beside it gives way to nobody. Source: sched(7), "The autogroup feature".
    """
    with suppress(OSError):
        Path(f"/proc/{session}/autogroup").write_text(str(LEAST), "utf-8")


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
