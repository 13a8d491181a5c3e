"""The figures of what was promised after the incident: checks, limits, freezes, alarms, lanes, queue and repairs."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fencepost.plan import Lane, digest
from lab.history import History
from lab.invariants import Violation
from lab.invariants.replay import Step

ONCE_EACH: Final = {
    ("planner", "removal_limited"): "removals_limited",
    ("watch", "alarm_raised"): "alarms_raised",
    ("enactor", "endpoint_repaired"): "repairs",
}
"""Events, by service and what it says, of which each one counts, and the figure that it counts for."""


def promises(history: History, steps: Mapping[str, Sequence[Step]], violations: Sequence[Violation]) -> dict[str, Any]:
    """Return these figures by their names in `ModeResult`."""
    lanes = Counter(str(plan.lane) for plan in history.plans)
    broken = Counter(violation.invariant for violation in violations)
    return {
        **_from_events(history),
        "incomplete_flips": sum(map(len, incomplete_flips(history, steps).values())),
        "velocity_violations": broken["I7"],
        "frozen_violations": broken["I9"],
        "freezes": sum(
            step.before.frozen is None and step.after.frozen is not None for zone in steps.values() for step in zone
        ),
        "plans_by_lane": {lane.value: lanes[lane.value] for lane in Lane},
    }


def _from_events(history: History) -> dict[str, Any]:
    counts = dict.fromkeys(ONCE_EACH.values(), 0)
    refused: set[tuple[Any, Any]] = set()
    queue = 0
    for event in history.events:
        service, _, what = str(event.get("event", "")).partition(".")
        if figure := ONCE_EACH.get((service, what)):
            counts[figure] += 1
        elif (service, what) == ("enactor", "plan_refused"):
            # Each enactor refuses by itself: that is one plan refused, not three.
            refused.add((event.get("zone"), event.get("generation")))
        elif (service, what) == ("planner", "plans_held"):
            queue = max(queue, int(event.get("queue", 0)))
    return {**counts, "plans_refused": len(refused), "queue_size_max": queue}


def incomplete_flips(history: History, steps: Mapping[str, Sequence[Step]]) -> dict[str, list[Step]]:
    """Return, by zone, the flips after which the root answered something else than the plan that it then showed.

    A plan that is not in the history says nothing about its tree.
    """
    return {
        zone: [step for step in zone_steps if step.is_flip and _is_incomplete(step, wanted)]
        for zone, zone_steps in steps.items()
        if (wanted := list(_digests(history, zone)))
    }


def _digests(history: History, endpoint: str) -> Iterator[tuple[int, str | None]]:
    """Yield (generation, digest) of each plan that changes an endpoint, in order."""
    for plan in history.plans:
        if endpoint in plan.changed:
            yield plan.generation, plan.changed[endpoint][1]


def _is_incomplete(step: Step, wanted: Sequence[tuple[int, str | None]]) -> bool:
    if step.after.generation is None:
        return False
    index = bisect_right(wanted, step.after.generation, key=lambda known: known[0])
    return index > 0 and wanted[index - 1][1] != digest(step.after.live)
