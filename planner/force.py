"""What operators take out by force: a plan of its own, which protective checks let pass. Pure.

It takes exactly what the forced requests ask for from the last plan, and changes nothing else: so force never lets
anything else through that happens at the same time, or later. Only a drain takes a load balancer out. Less capacity
makes it as light as was asked, by what it reported when it was asked; what it reports since, and how well it is, are
observations, which the ordinary plan follows as far as protective checks let it.
"""

from collections.abc import Mapping

import msgspec

from fencepost.plan import Content, Draft, Lane, Target, content, content_problems
from planner.build import Built, View, weight_of
from planner.draft import draft_changes
from planner.requests import Kind, Request, Requests


def draft_forced(built: Built, requests: Requests, last: Mapping[str, Content]) -> Draft | None:
    """Return what one operator's forced requests take from the last plan, None if they have it all.

    Args:
        built: what the world asks for; an endpoint that could not be built has nothing taken from it.
        requests: those in force.
        last: endpoint -> what the last plan has.
    Returns: a draft of one operator, the first by name, of the endpoints that the requests touch. None of them loses
        its last address of a type. One whose last plan is malformed waits for the ordinary plan that mends it.
    """
    forced = {name: found for name, view in built.views.items() if (found := requests.forced(name, view.zone))}
    for by in sorted({request.by for request in forced.values()}):
        asked = {name: request for name, request in forced.items() if request.by == by}
        contents = {
            name: _without(last[name], desired, asked, built.views)
            for name, desired in built.contents.items()
            if name in last and any(target.identifier in asked for target in last[name].targets)
        }
        allowed = {name: value for name, value in contents.items() if _may_go(value, last[name])}
        if draft := draft_changes(allowed, built.views, last):
            reason = f"{draft.reason} (forced by {by})"
            return msgspec.structs.replace(draft, reason=reason, lane=Lane.FAST, by=by, force=True)
    return None


def _without(existing: Content, desired: Content, asked: Mapping[str, Request], views: Mapping[str, View]) -> Content:
    """Return a content with the load balancers that were asked for as light as was asked, or gone."""
    weights = {(target.identifier, target.type): target.weight for target in desired.targets}
    healthy = (views[name] for name, _ in weights if views[name].healthy)
    largest = max((view.effective_capacity for view in healthy), default=0)
    kept = []
    for target in existing.targets:
        request = asked.get(target.identifier)
        if request is None:
            kept.append(target)
        elif request.kind is Kind.CAPACITY:
            after = weights.get((target.identifier, target.type), 0)
            weight = _lightest(request, views[target.identifier], after, largest)
            kept.append(target if weight is None else _lightened(target, weight))
    return content(existing.ttl, kept)


def _lightest(request: Request, view: View, desired: int, largest: int) -> int | None:
    """Return how light a request for less capacity may make a load balancer by force; None: no lighter than it is.

    Args:
        request: of kind `capacity`.
        view: the load balancer; out of the plan for another reason, it is none of this request's.
        desired: its weight by what is observed now, 0 if it would be out.
        largest: the largest effective capacity of its endpoint.
    """
    if isinstance(request.leaves, msgspec.UnsetType) or not view.healthy or view.drained or view.zone_out:
        return None
    left = max(1, request.leaves)  # less capacity takes nobody out: the ordinary plan does, if there is none left
    return max(desired, weight_of(left, max(left, largest)))


def _lightened(target: Target, weight: int) -> Target:
    return msgspec.structs.replace(target, weight=min(target.weight, weight))


def _may_go(value: Content, existing: Content) -> bool:
    return _serving(value) == _serving(existing) and not any(content_problems(value))


def _serving(value: Content) -> set[str]:
    return {target.type for target in value.targets if target.weight}
