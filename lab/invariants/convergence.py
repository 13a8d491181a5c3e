"""I5: when faults and plans have stopped, every endpoint reaches the last plan within a bound."""

from collections.abc import Iterator

from fencepost.plan import Content, Plan
from fencepost.records import ADDRESS_TYPES, RecordSet, address
from lab.history import History, Probe
from lab.invariants.replay import ZoneState
from lab.invariants.violation import Violation, counted


def converged(history: History, bound_s: float) -> Iterator[Violation]:
    """Yield every endpoint that is not at the last plan's content when the bound is over, and stays there.

    The bound counts from the last change: of the world, of a fault, of the plan. Where the recording ends before the
    bound is over, the end is what counts.
    """
    plan = history.last_plan
    if plan is None:
        return
    quiet_us = max(history.run.world_stopped_us, history.run.faults_ended_us, plan.published_ms * 1000)
    deadline_us = quiet_us + round(bound_s * 1e6)
    for endpoint in sorted(plan.digests):
        yield from _zone_violations(history, plan, endpoint, quiet_us=quiet_us, deadline_us=deadline_us)
        yield from _answer_violations(history, plan, endpoint, deadline_us=deadline_us)


def _zone_violations(
    history: History, plan: Plan, endpoint: str, *, quiet_us: int, deadline_us: int
) -> Iterator[Violation]:
    end_us = history.end_us
    for when_us in sorted({min(deadline_us, end_us), end_us}):
        if problem := difference(state_at(history, endpoint, when_us), plan.content(endpoint)):
            after_s, bound_s = (when_us - quiet_us) / 1e6, (deadline_us - quiet_us) / 1e6
            detail = f"{after_s:.3f} s after the last change (the bound is {bound_s:g} s), plan {plan.generation}: "
            yield Violation("I5", endpoint, detail + problem, when_us)
            return


def state_at(history: History, endpoint: str, when_us: int) -> ZoneState:
    """Return the zone as it was at an instant; at the end of the recording, after its very last commit."""
    state = ZoneState(endpoint)
    for commit in history.commits.get(endpoint, ()):
        if commit.at_us > when_us and when_us < history.end_us:
            break
        state.apply(commit.changes)
    return state


def difference(state: ZoneState, wanted: Content) -> str | None:
    """Return how an endpoint's root differs from a content, in words; None if it answers exactly that."""
    problems = [problem for kind in ADDRESS_TYPES if (problem := _type_difference(state, wanted, kind))]
    return "; ".join(problems) or None


def _type_difference(state: ZoneState, wanted: Content, kind: str) -> str | None:
    place = next((found.alias for found in state.at(state.zone, kind) if found.alias), state.zone)
    desired = {
        address(place, kind, t.address, ttl=wanted.ttl, set_identifier=t.identifier, weight=t.weight)
        for t in wanted.targets
        if t.type == kind
    }
    existing: set[RecordSet] = set(state.at(place, kind))
    if desired == existing:
        return None
    if not existing:
        return (
            f"the root has no {kind} record"
            if place == state.zone
            else f"the root's {kind} target {place} is not there"
        )
    missing, extra = counted(len(desired - existing), f"{kind} record set"), len(existing - desired)
    return f"{missing} of the plan missing and {extra} too many at {place}"


def _answer_violations(history: History, plan: Plan, endpoint: str, *, deadline_us: int) -> Iterator[Violation]:
    """Yield the types of which the resolver still answers something else than the plan, after the bound."""
    wanted = plan.content(endpoint)
    for kind in wanted.types:
        allowed = {target.address for target in wanted.targets if target.type == kind}
        wrong = [
            probe
            for probe in history.probes
            if probe.at_us > deadline_us
            and (probe.endpoint, probe.type) == (endpoint, kind)
            and _is_wrong(probe, allowed)
        ]
        if wrong:
            said = ", ".join(sorted(set(wrong[0].addresses) - allowed)) or "nothing"
            answers = counted(len(wrong), f"{kind} answer")
            detail = f"after the bound {answers} did not fit plan {plan.generation}; the first said {said}"
            yield Violation("I5", endpoint, detail, wrong[0].at_us)


def _is_wrong(probe: Probe, allowed: set[str]) -> bool:
    return probe.is_empty or bool(set(probe.addresses) - allowed)
