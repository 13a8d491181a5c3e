"""What one load of one server came to: answers, and the processor time that the server spent on them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from lab.bench.dns.dnsperf import Load
from lab.bench.figures import Spread, Unit
from lab.bench.usage import TICKS_PER_S

PER_CPU_SECOND: Final = Unit("per_cpu_s", "/CPU s", more_is_better=True, digits=0)
BUSY: Final = 0.95
"""Of its processors' time; a server that had less to do waited for questions."""


class Loaded(NamedTuple):
    """One load.

    Attributes:
        per_s: answers a second.
        cpu_s: processor time of all of the server's processes meanwhile, the kernel's work for them included.
        wall_s: how long it lasted.
        workers: how many processors the server could use.
    """

    per_s: float
    cpu_s: float
    wall_s: float
    workers: int = 1

    @property
    def busy(self) -> float:
        """Which part of its processors' time the server used, 0 to about 1."""
        return self.cpu_s / (self.wall_s * self.workers)

    @property
    def per_cpu_s(self) -> float:
        """Answers for a second of the server's processor time, which is counted in ticks: one at least."""
        return self.per_s * self.wall_s / max(self.cpu_s, 1 / TICKS_PER_S)


def loaded(load: Load, cpu_s: float, workers: int) -> Loaded:
    """Return what a load of which nothing was lost came to."""
    return Loaded(load.per_s, cpu_s, load.completed / load.per_s, workers)


def busy(runs: Sequence[Loaded]) -> float:
    """Return which part of its processors' time a server used in its loads: the median."""
    return Spread(tuple(run.busy for run in runs)).median


def not_busy(runs: Sequence[Loaded]) -> bool:
    """Say whether a server waited for questions in most of its loads: then its figure is dnsperf's limit."""
    return busy(runs) < BUSY
