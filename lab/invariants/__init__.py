"""The checker: replays what real processes committed and answered, and says which invariants were broken.

docs/invariants.md gives the reasons for each invariant, and the code and the tests that hold it.
"""

from typing import Final

from lab.history import History
from lab.invariants.answers import never_empty_answer
from lab.invariants.convergence import converged
from lab.invariants.replay import replay
from lab.invariants.rules import frozen, never_empty, no_dangling, no_regression, only_holder, referenced_kept
from lab.invariants.velocity import velocity
from lab.invariants.violation import Violation

__all__ = ["CHECKED", "RULES", "Violation", "check"]

RULES: Final = (never_empty, no_regression, no_dangling, referenced_kept, only_holder, velocity, frozen)
"""What a zone's commits can break."""

CHECKED: Final = "I1 to I7 and I9"
"""What the checker looks for, in words; I8 is not to be seen in a recording."""


def check(history: History, *, convergence_bound_s: float) -> tuple[Violation, ...]:
    """Return every violation of I1 to I7 and I9 in a history, in order of time; the same one gives the same answer.

    `convergence_bound_s` says within how many seconds after the last change every endpoint has the last plan (I5).
    """
    found: list[Violation] = []
    for zone, commits in sorted(history.commits.items()):
        steps = replay(zone, commits)
        for rule in RULES:
            found += rule(history, steps)
    found += never_empty_answer(history)
    found += converged(history, convergence_bound_s)
    return tuple(sorted(found, key=lambda violation: violation.order))
