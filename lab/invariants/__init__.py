"""The checker: replays what real processes committed and answered, and says which invariants were broken.

docs/invariants.md gives the reasons for each invariant, and the code and the tests that hold it.
"""

from typing import Final

from lab.history import History
from lab.invariants.answers import never_empty_answer
from lab.invariants.convergence import converged
from lab.invariants.replay import replay
from lab.invariants.rules import never_empty, no_dangling, no_regression, only_holder, referenced_kept
from lab.invariants.violation import Violation

__all__ = ["RULES", "Violation", "check"]

RULES: Final = (never_empty, no_regression, no_dangling, referenced_kept, only_holder)
"""What a zone's commits alone can break."""


def check(history: History, *, convergence_bound_s: float) -> tuple[Violation, ...]:
    """Return every violation of I1 to I6 in a history, in order of time; the same history gives the same answer.

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
