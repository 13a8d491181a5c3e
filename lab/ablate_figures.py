"""What one run of an ablation came to: what went wrong in it, and whether it shows anything at all. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lab.ablate_cases import Case
from lab.history import History
from lab.invariants import Violation
from lab.invariants.replay import ROOT, Step
from lab.measures import ModeResult, measure

STARVED_BELOW: Final = 0.7
"""Of the changes that were asked for, at least this share has to be made; else the machine was too busy."""
MOST_LINES: Final = 5

FINE: Final = "fine"
STARVED: Final = "starved"
NOT_DONE: Final = "not done"
FAILED: Final = "failed"
"""Of a run: it shows what it is for; the world was held up; the lab could do nothing to it; it could not be made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something that can go wrong.

    Attributes:
        title: as the table's column says it.
        about: in a sentence, behind a count.
        floor: by more than this, in the mean over runs, a case has to be worse than another one to count as worse.
        is_count: whether totals and runs with any are shown; else the mean over the runs.
        only_in: the scenarios in which alone a difference says something; elsewhere it is chance. None named: in all.
    """

    title: str
    about: str
    floor: float = 0.0
    is_count: bool = True
    only_in: tuple[str, ...] = ()


_PLANS_RACE: Final = ("race", "hands")

OUTCOMES: Final = {
    "stale_flips": Outcome("stale flips", "stale flips committed"),
    "stale_attempts": Outcome("stale attempts", "stale flips tried, refused or committed", 1.0, only_in=_PLANS_RACE),
    "stale_rate": Outcome(
        "stale a second",
        "stale plans a second taken up for an endpoint, and dropped, refused or committed",
        0.2,
        is_count=False,
        only_in=_PLANS_RACE,
    ),
    "trees_deleted": Outcome("live trees deleted", "live trees deleted"),
    "emptied": Outcome("emptied", "endpoints emptied"),
    "stuck": Outcome("stuck", "endpoints stuck at the end"),
    "capacity": Outcome("I7", "steps that took too much capacity (I7)"),
    "incomplete": Outcome("half trees live", "flips to a tree that was not the plan's"),
    "held_up": Outcome("held up", "endpoints with a change that took more than 5 s", 0.5),
    "p99_ms": Outcome(
        "p99 ms", "ms from plan to live at the 99th percentile", 1500.0, is_count=False, only_in=("stuck-lock",)
    ),
    "violations": Outcome("violations", "violations by automation"),
}
"""What the table has a column for, by name."""


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        state: `fine`, `starved`, `not done` or `failed`; `problem` says why it is not fine.
        wall_s: how long it took, its start and its judgement included.
        done: what the scenario did to the system, counted.
        asked_per_s, changes_per_s: changes of the world, as asked for and as made.
        settled_s: how long after the last change all was at rest; None: not within the bound.
        outcomes: by the names of `OUTCOMES`; empty if the run could not be made.
        invariants: violations by automation, by number; what began with the lab's own batch is not one.
        lines: the first of them, in words.
        result: all of its figures, as `compare` has them, the lab's own doings included.
    """

    case: Case
    seed: int
    state: str = FINE
    problem: str = ""
    wall_s: float = 0.0
    done: int = 0
    asked_per_s: float = 0.0
    changes_per_s: float = 0.0
    settled_s: float | None = None
    outcomes: dict[str, float] = {}
    invariants: dict[str, int] = {}
    lines: tuple[str, ...] = ()
    result: dict[str, Any] = {}

    @property
    def counts(self) -> bool:
        """Whether the run says anything of its case."""
        return self.state in {FINE, STARVED}

    @property
    def judges(self) -> bool:
        """Whether the run may decide anything: a starved one has less to go wrong than what it is compared with."""
        return self.state == FINE


def figures_of(
    case: Case, history: History, violations: Sequence[Violation], steps: Mapping[str, Sequence[Step]]
) -> RunFigures:
    """Return what went wrong in a run, as far as it was the system's doing; the caller adds how it was made."""
    result = measure(history, violations)
    own = by_automation(history, violations)
    return RunFigures(
        case=case,
        seed=history.run.seed,
        outcomes=_outcomes(history, result, own, steps),
        invariants=dict(sorted(Counter(violation.invariant for violation in own).items())),
        lines=tuple(f"{v.invariant} {v.endpoint} {v.detail}" for v in own[:MOST_LINES]),
        result={key: value for key, value in msgspec.to_builtins(result).items() if key != "violations"},
    )


def by_automation(history: History, violations: Sequence[Violation]) -> list[Violation]:
    """Return the violations that did not begin with an operator's batch: the lab's own is no fault of the system."""
    operators = {
        (zone, commit.serial)
        for zone, commits in history.commits.items()
        for commit in commits
        if commit.actor.operator
    }
    return [found for found in violations if (found.endpoint, found.serial) not in operators]


def _outcomes(
    history: History, result: ModeResult, own: Sequence[Violation], steps: Mapping[str, Sequence[Step]]
) -> dict[str, float]:
    attempts = result.stale_attempts_refused + result.stale_flips
    dropped = sum(event.get("event") == "enactor.plan_superseded" for event in history.events)
    seconds = history.run.seconds(history.run.world_stopped_us or history.end_us)
    return {
        "stale_flips": result.stale_flips,
        "stale_attempts": attempts,
        "stale_rate": round((attempts + dropped) / seconds, 3) if seconds > 0 else 0.0,
        "trees_deleted": sum(
            not step.commit.actor.operator and any(pointer.owner == ROOT for pointer in step.cut)
            for zone in steps.values()
            for step in zone
        ),
        "emptied": len({violation.endpoint for violation in own if violation.invariant == "I1"}),
        "stuck": result.stuck_endpoints,
        "capacity": sum(violation.invariant == "I7" for violation in own),
        "incomplete": result.incomplete_flips,
        "held_up": result.slow_endpoints,
        "p99_ms": result.convergence_ms.p99 or 0.0,
        "violations": len(own),
    }


def state_of(*, done: int, asked_per_s: float, changes_per_s: float) -> tuple[str, str]:
    """Return whether a run shows what it is for, and why not."""
    if not done:
        return NOT_DONE, "the lab could do nothing to the system"
    if changes_per_s < STARVED_BELOW * asked_per_s:
        return STARVED, f"{changes_per_s:.1f} of {asked_per_s:g} changes a second were made"
    return FINE, ""
