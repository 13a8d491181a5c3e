"""The figures of one run: what `compare` writes for each mode, and what the report shows."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from fencepost.plan import PlanSummary
from lab.history import History
from lab.invariants import Violation
from lab.invariants.answers import by_question
from lab.invariants.replay import ROOT, Step, replay
from lab.promises import promises

SLOW_S: Final = 5.0
"""A change that is not live after so long was held up by something else than the network."""

REFUSALS: Final = ("enactor.tree_refused", "enactor.flip_refused", "enactor.clean_refused")
"""What enactors say when the zone would not commit a batch that builds, flips or cleans."""


class Percentiles(msgspec.Struct, frozen=True):
    """Of a set of durations, milliseconds; None where there are none."""

    p50: float | None
    p99: float | None


class ViolationLine(msgspec.Struct, frozen=True):
    """A violation as results carry it."""

    invariant: str
    endpoint: str
    detail: str


class ModeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One mode's figures. Names and meanings are kept: programs read them.

    Attributes:
        plans_published, plans_per_s: by the planner, from the start of the run to the end of its world.
        flips: commits that let the root point elsewhere; `stale_flips` of them took it to an earlier generation.
        active_trees_deleted: commits that deleted from the tree that the root points to.
        stale_attempts_refused: stale flips that a zone refused.
        endpoints_emptied: endpoints that had addresses and then had none, in a committed state or an answer.
        seconds_to_first_empty: from the start of the run; None if that never happened.
        dns_queries, dns_empty_answers, dns_unanswered: of the canary, for types that the endpoint has. An empty answer
            is a denial after an answer with addresses; no answer at all is counted apart.
        requests, requests_failed, availability: of the customers; availability is None without requests.
        stuck_endpoints: their root dangles at the end, so that no flip can follow: rollback would have to dangle.
        convergence_ms: from publishing a plan to the first committed state that is at it or past it, for each plan and
            each endpoint that it changes; `unconverged_pairs` never got there.
        lock_streak_max: most losses of one lock in a row.
        batches_committed, batches_refused, trees_cleaned: of all zones, as far as refusals are in the logs.
        incomplete_flips: flips to a tree that was not what its plan says.
        slow_pairs, slow_endpoints: pairs as above that took longer than `SLOW_S` or were never reached, and of how many
            endpoints they are.
        plans_refused: plans that an enactor would not install on an endpoint for what they would take away or bring.
        removals_limited: times that the planner began to keep load balancers of an endpoint which would have left.
        velocity_violations, frozen_violations: of I7 and I9.
        freezes: zones that an operator has frozen, each time.
        alarms_raised: by the watch.
        plans_by_lane: slow and fast.
        queue_size_max: most generations not yet installed for which the planner held plans back; 0: it never did.
        repairs: damaged endpoints that automation found and made whole.
        violations: all that the checker found, in order of time.
    """

    plans_published: int
    plans_per_s: float
    flips: int
    stale_flips: int
    active_trees_deleted: int
    stale_attempts_refused: int
    endpoints_emptied: int
    seconds_to_first_empty: float | None
    dns_queries: int
    dns_empty_answers: int
    dns_unanswered: int
    requests: int
    requests_failed: int
    availability: float | None
    stuck_endpoints: int
    convergence_ms: Percentiles
    unconverged_pairs: int
    lock_streak_max: int
    batches_committed: int
    batches_refused: int
    trees_cleaned: int
    incomplete_flips: int
    slow_pairs: int
    slow_endpoints: int
    plans_refused: int
    removals_limited: int
    velocity_violations: int
    frozen_violations: int
    freezes: int
    alarms_raised: int
    plans_by_lane: dict[str, int]
    queue_size_max: int
    repairs: int
    violations: tuple[ViolationLine, ...]


def measure(history: History, violations: Sequence[Violation]) -> ModeResult:
    """Return the figures of a run, given what the checker found in it."""
    steps = {zone: replay(zone, commits) for zone, commits in sorted(history.commits.items())}
    durations, unconverged = convergence(history, steps)
    slow = list(slow_pairs(history, steps))
    return ModeResult(
        plans_published=len(history.plans),
        plans_per_s=round(_plans_per_s(history), 3),
        **_commits(steps),
        **_events(history.events),
        **_emptiness(history, violations),
        **_probes(history),
        **_requests(history),
        convergence_ms=Percentiles(percentile(durations, 0.5), percentile(durations, 0.99)),
        unconverged_pairs=unconverged,
        slow_pairs=len(slow),
        slow_endpoints=len(set(slow)),
        **promises(history, steps, violations),
        violations=tuple(ViolationLine(v.invariant, v.endpoint, v.detail) for v in violations),
    )


def _plans_per_s(history: History) -> float:
    run = history.run
    end_us = run.world_stopped_us or history.end_us
    count = sum(run.started_us <= plan.published_ms * 1000 <= end_us for plan in history.plans)
    return count / ((end_us - run.started_us) / 1e6) if end_us > run.started_us else 0.0


def _commits(steps: Mapping[str, Sequence[Step]]) -> dict[str, Any]:
    every = [step for zone in steps.values() for step in zone]
    return {
        "flips": sum(step.is_flip for step in every),
        "stale_flips": sum(step.is_stale_flip for step in every),
        "active_trees_deleted": sum(any(pointer.owner == ROOT for pointer in step.cut) for step in every),
        "stuck_endpoints": sum(is_stuck(zone) for zone in steps.values()),
        "trees_cleaned": sum(step.trees_gone for step in every),
        "batches_committed": len(every),
    }


def is_stuck(steps: Sequence[Step]) -> bool:
    """Say whether a zone's root dangles after its last commit."""
    return bool(steps) and any(not pointer.sets for pointer in steps[-1].after.root.values())


def _events(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    stale = refused = streak = 0
    for event in events:
        name = event.get("event")
        refused += name in REFUSALS
        stale += name == "enactor.flip_refused" and event.get("stale") is True
        if name == "enactor.lock_missed":
            streak = max(streak, int(event.get("streak", 1)))
    return {"stale_attempts_refused": stale, "batches_refused": refused, "lock_streak_max": streak}


def _emptiness(history: History, violations: Sequence[Violation]) -> dict[str, Any]:
    """Return what I1's violations amount to: the checker is the one place that knows what empty means."""
    empty = [violation for violation in violations if violation.invariant == "I1"]
    first_us = min((violation.at_us for violation in empty), default=None)
    return {
        "endpoints_emptied": len({violation.endpoint for violation in empty}),
        "seconds_to_first_empty": None if first_us is None else round(history.run.seconds(first_us), 3),
    }


def _probes(history: History) -> dict[str, Any]:
    answered = by_question(history)
    wanted = set(answered)
    if plan := history.last_plan:
        wanted |= {(endpoint, kind) for endpoint in plan.digests for kind in plan.content(endpoint).types}
    asked = [probe for probe in history.probes if (probe.endpoint, probe.type) in wanted]
    return {
        "dns_queries": len(asked),
        "dns_empty_answers": sum(probe.is_empty for probes in answered.values() for probe in probes),
        "dns_unanswered": sum(not probe.addresses and not probe.is_empty for probe in asked),
    }


def _requests(history: History) -> dict[str, Any]:
    total, ok = len(history.requests), sum(request.ok for request in history.requests)
    return {"requests": total, "requests_failed": total - ok, "availability": ok / total if total else None}


def convergence(history: History, steps: Mapping[str, Sequence[Step]]) -> tuple[list[float], int]:
    """Return how long each changed endpoint took to reach each plan, milliseconds, and how many never did.

    An endpoint is at a plan when its fence, or without one its root, shows its generation or a later one.
    """
    took = [took_ms for _, _, took_ms in pairs(history, steps)]
    return sorted(took_ms for took_ms in took if took_ms is not None), took.count(None)


def slow_pairs(history: History, steps: Mapping[str, Sequence[Step]]) -> Iterator[str]:
    """Yield the endpoint of each change that took longer than `SLOW_S`, or had longer and was not live in the end."""
    for plan, endpoint, took_ms in pairs(history, steps):
        had_ms = history.end_us / 1000 - plan.published_ms if took_ms is None else took_ms
        if had_ms > 1000 * SLOW_S:
            yield endpoint


def pairs(history: History, steps: Mapping[str, Sequence[Step]]) -> Iterator[tuple[PlanSummary, str, float | None]]:
    """Yield each plan with each endpoint that it changes, and how long that took, milliseconds; None: it never came."""
    reached = {zone: list(_records(zone_steps)) for zone, zone_steps in steps.items()}
    for plan in history.plans:
        for endpoint in plan.changed:
            firsts = reached.get(endpoint, [])
            index = bisect_left(firsts, plan.generation, key=lambda first: first[0])
            took_ms = firsts[index][1] / 1000 - plan.published_ms if index < len(firsts) else None
            yield plan, endpoint, None if took_ms is None else max(0.0, took_ms)


def _records(steps: Sequence[Step]) -> Iterator[tuple[int, int]]:
    """Yield (generation, epoch microseconds) each time that a zone is further than it ever was."""
    best = 0
    for step in steps:
        generation = step.after.fenced_generation or step.after.generation or 0
        if generation > best:
            best = generation
            yield generation, step.commit.at_us


def percentile(in_order: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of all values do not exceed; None if there are none."""
    if not in_order:
        return None
    return round(in_order[max(0, math.ceil(share * len(in_order)) - 1)], 3)
