"""The guards of the fixed system: each can be switched off by itself, so that the lab can show what it is worth."""

from enum import StrEnum
from functools import lru_cache
from typing import Final

from fencepost.errors import UsageError


class Guard(StrEnum):
    """One guard, by the name that `--without` takes. `GUARDS` says what each does, and where."""

    FENCE = "fence"
    WHOLE_TREES = "whole-trees"
    PLAN_RECHECK = "plan-recheck"
    CLEANER_CHECK = "cleaner-check"
    ROLLBACK_TOLERANCE = "rollback-tolerance"
    TREE_CHECK = "tree-check"
    PROTECTIVE_CHECKS = "protective-checks"
    VELOCITY = "velocity"
    THROTTLING = "throttling"
    FAIRNESS = "fairness"
    SELF_REPAIR = "self-repair"


GUARDS: Final = {
    Guard.FENCE: "a flip carries the zone's generation by compare-and-swap, so that the zone refuses a stale plan",
    Guard.WHOLE_TREES: "a flip carries the tree's manifest, so that half a tree never goes live",
    Guard.PLAN_RECHECK: "an enactor looks at the latest plan before and after every wait, and drops a superseded one",
    Guard.CLEANER_CHECK: "the cleaner leaves root's and rollback's trees, and proves that nothing was flipped since",
    Guard.ROLLBACK_TOLERANCE: "a missing rollback target means that there is nothing to roll back to, not a failure",
    Guard.TREE_CHECK: "a tree is read back, and resolved under its plan's name, before it goes live",
    Guard.PROTECTIVE_CHECKS: "a plan that takes too much from an endpoint at once is cut short, or refused",
    Guard.VELOCITY: "protective checks look at a window of time, so that many plans may not take more than one may",
    Guard.THROTTLING: "plans are held back by what is not installed yet, calls and deletes go at a bounded rate",
    Guard.FAIRNESS: "an enactor that cannot get a lock goes on with the other endpoints",
    Guard.SELF_REPAIR: "every zone is looked at now and then, and a live tree that was damaged is made whole",
}
"""What each guard does, in one line."""


@lru_cache(maxsize=64)
def parse_guards(text: str) -> frozenset[Guard]:
    """Return the guards that a comma-separated list names; "" names none.

    Raises: UsageError naming the unknown ones and all that there are.
    """
    names = [name for name in (part.strip() for part in text.split(",")) if name]
    if unknown := sorted(set(names) - set(Guard)):
        raise UsageError(f"no guard {', '.join(unknown)}; there are {', '.join(Guard)}")
    return frozenset(map(Guard, names))
