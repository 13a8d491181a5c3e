"""Which runs an ablation makes: each guard's scenario, with it, without it, and with it alone. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from fencepost.guards import Guard

ALL_ON: Final = "all on"
ALL_OFF: Final = "all off"

SCENARIO_OF: Final = {
    Guard.FENCE: "hands",
    Guard.CLEANER_CHECK: "hands",
    Guard.PLAN_RECHECK: "hands",
    Guard.THROTTLING: "race",
    Guard.PROTECTIVE_CHECKS: "observer",
    Guard.VELOCITY: "flapping",
    Guard.ROLLBACK_TOLERANCE: "dangling",
    Guard.SELF_REPAIR: "dangling",
    Guard.WHOLE_TREES: "lost-writes",
    Guard.TREE_CHECK: "lost-writes",
    Guard.FAIRNESS: "stuck-lock",
}
"""Which scenario each guard is for."""

TOGETHER: Final = (
    (Guard.FENCE, Guard.PLAN_RECHECK),
    (Guard.FENCE, Guard.CLEANER_CHECK),
    (Guard.FENCE, Guard.CLEANER_CHECK, Guard.ROLLBACK_TOLERANCE),
    (Guard.FENCE, Guard.PLAN_RECHECK, Guard.CLEANER_CHECK, Guard.ROLLBACK_TOLERANCE),
    (Guard.WHOLE_TREES, Guard.TREE_CHECK),
)
"""Guards that are switched off together, too, in the scenario of the first one.

Fence and plan recheck, like whole trees and tree check, stand in for each other: an enactor that looks at the plan once
more under the lock is stale only where the lock is not enough. The sets between are what the outage needs.
"""


class Case(msgspec.Struct, frozen=True):
    """One line of the table: a scenario, and the guards that are off, in order of their names."""

    scenario: str
    label: str
    without: tuple[str, ...] = ()


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One run: a case with one seed, and where it is made.

    `duration_s` is for how long the scenario plays, `bound_s` how long the system may then take to come to rest;
    `port_base` is the first of its ports, and what it leaves goes below `run_dir`.
    """

    case: Case
    seed: int
    duration_s: float
    bound_s: float
    port_base: int
    run_dir: str
    keep: bool = False


def without(guard: Guard) -> str:
    """Return the label of the case in which one guard is off."""
    return f"without {guard}"


def pair(first: Guard, second: Guard) -> str:
    """Return the label of the case in which two guards are off, in the order of `TOGETHER`."""
    return f"without {first} + {second}"


def alone(guard: Guard) -> str:
    """Return the label of the case in which all others are off."""
    return f"{guard} alone"


def cases(guards: Sequence[Guard]) -> tuple[Case, ...]:
    """Return the lines of the table for some guards, scenario by scenario, each once."""
    chosen = [guard for guard in SCENARIO_OF if guard in guards]
    scenarios = dict.fromkeys(SCENARIO_OF[guard] for guard in chosen)
    return tuple(case for scenario in scenarios for case in _cases(scenario, chosen))


def _cases(scenario: str, chosen: Sequence[Guard]) -> Iterator[Case]:
    mine = [guard for guard in chosen if SCENARIO_OF[guard] == scenario]
    yield Case(scenario, ALL_ON)
    for guard in mine:
        yield Case(scenario, without(guard), (guard.value,))
    for together in TOGETHER:
        # Of interest when all of it that is for this scenario was asked for.
        if SCENARIO_OF[together[0]] == scenario and {g for g in together if SCENARIO_OF[g] == scenario} <= set(mine):
            yield Case(scenario, "without " + " + ".join(together), tuple(sorted(guard.value for guard in together)))
    for guard in mine:
        yield Case(scenario, alone(guard), tuple(sorted(other.value for other in Guard if other is not guard)))
    yield Case(scenario, ALL_OFF, tuple(sorted(guard.value for guard in Guard)))
