"""One run with what the checker and the measures say of it."""

from collections.abc import Mapping
from typing import NamedTuple

from lab.history import History
from lab.invariants import Violation, check
from lab.invariants.replay import Step, replay
from lab.invariants.timeline import Timeline, timeline
from lab.measures import ModeResult, measure


class Judged(NamedTuple):
    """A run, judged; `steps` and `timelines` are by endpoint, in order of their names."""

    history: History
    violations: tuple[Violation, ...]
    result: ModeResult
    steps: Mapping[str, tuple[Step, ...]]
    timelines: Mapping[str, Timeline]

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return self.history.run.seconds(self.history.end_us)

    @property
    def empty_at_end(self) -> tuple[str, ...]:
        """Endpoints whose root has lost its addresses and not got them back."""
        return tuple(name for name, line in self.timelines.items() if line.points and line.points[-1].is_empty)


def judge(history: History, *, convergence_bound_s: float) -> Judged:
    """Check and measure a run."""
    violations = check(history, convergence_bound_s=convergence_bound_s)
    steps = {zone: replay(zone, commits) for zone, commits in sorted(history.commits.items())}
    lines = {zone: timeline(zone, zone_steps) for zone, zone_steps in steps.items()}
    return Judged(history, violations, measure(history, violations), steps, lines)
