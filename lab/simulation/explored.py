"""What an exploration came to, as lines for people and as a document for programs."""

from collections.abc import Iterator
from typing import Any

import msgspec

from lab.invariants.violation import Violation
from lab.simulation.coverage import ALL
from lab.simulation.explore import Tally
from lab.simulation.scenario import Scenario


class Explored(msgspec.Struct, kw_only=True):
    """What an exploration came to.

    Attributes:
        strategy: random, pct, mixed, bounded or exhaustive.
        schedules: how many schedules were run; of an exhaustive search, how many ends it reached.
        complete: whether all of the space was searched; never, where schedules are drawn.
        violations: what the first schedule that failed has broken; `failed_schedule` is its number.
        rare_paths: path -> how often it was taken.
        simulated_s, cpu_s, wall_s: how long the worlds lasted, the workers worked, and a person waited.
        longest_heal_s, heal_bound_s: the longest that a world took to heal, and what it may take (I5).
        states, moves: of an exhaustive search; 0 else.
        cut: why it ended early, "" if it did not.
    """

    mode: str
    strategy: str
    seed: int
    scenario: Scenario
    schedules: int = 0
    steps: int = 0
    complete: bool = False
    violations: tuple[Violation, ...] = ()
    failed_schedule: int | None = None
    rare_paths: dict[str, int] = {}
    simulated_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    longest_heal_s: float = 0.0
    heal_bound_s: float = 0.0
    states: int = 0
    moves: int = 0
    cut: str = ""

    def take(self, tally: Tally) -> None:
        """Take over what all schedules so far came to."""
        self.schedules, self.steps, self.rare_paths = tally.schedules, tally.steps, dict(tally.paths)
        self.simulated_s, self.cpu_s, self.longest_heal_s = tally.simulated_s, tally.cpu_s, tally.healed_s

    @property
    def per_cpu_hour(self) -> float:
        """Simulated hours per hour of the processor's time."""
        return self.simulated_s / self.cpu_s if self.cpu_s else 0.0

    def document(self) -> dict[str, Any]:
        """Return it for programs; a violation's instant is in seconds of its world."""
        return {
            **msgspec.to_builtins(self),
            "schedules_per_s": round(self.schedules / self.wall_s, 3) if self.wall_s else 0.0,
            "simulated_hours_per_cpu_hour": round(self.per_cpu_hour, 1),
            "never_reached": self.never_reached,
        }

    @property
    def never_reached(self) -> list[str]:
        """The rare paths that were never taken."""
        return [] if self.states else [name for name in ALL if not self.rare_paths.get(name)]

    def lines(self) -> Iterator[str]:
        """Yield it in words, the violations apart."""
        if self.states:
            yield (
                f"{self.states:,} states, {self.moves:,} moves between them, {self.schedules:,} ends; "
                f"{self.wall_s:,.1f} s, {self.cpu_s:,.1f} s of CPU time"
            )
        else:
            yield (
                f"{self.schedules:,} schedules of {self.steps / max(1, self.schedules):.0f} steps on average "
                f"in {self.wall_s:,.1f} s: {self.schedules / max(self.wall_s, 1e-9):,.0f} a second"
            )
            yield (
                f"{self.simulated_s / 3600:,.1f} simulated hours in {self.cpu_s / 3600:,.4f} CPU hours: "
                f"{self.per_cpu_hour:,.0f} to 1"
            )
        if self.states or self.strategy == "bounded":
            yield f"complete: {'true' if self.complete else 'false'}"
        if not self.violations:
            yield f"longest healing {self.longest_heal_s:,.1f} s of the world, bound {self.heal_bound_s:,.0f} s (I5)"
        if self.cut:
            yield self.cut
        yield from self._paths()

    def _paths(self) -> Iterator[str]:
        if self.states:
            return
        taken = [f"{name} {self.rare_paths[name]:,}" for name in ALL if self.rare_paths.get(name)]
        yield f"rare paths: {', '.join(taken) or 'none'}"
        if self.never_reached and not self.violations:
            yield f"never reached: {', '.join(self.never_reached)}"
