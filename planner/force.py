"""What operators take out by force: a plan of its own, which protective checks let pass. Pure.

It takes exactly what the forced requests ask for from the last plan, and changes nothing else: so force never lets
anything else through that happens at the same time.
"""

from collections.abc import Mapping

import msgspec

from fencepost.plan import Content, Draft, Lane, content
from planner.build import Built
from planner.draft import draft_changes
from planner.requests import Requests


def draft_forced(built: Built, requests: Requests, last: Mapping[str, Content]) -> Draft | None:
    """Return what one operator's forced requests take from the last plan, None if they have it all.

    Args:
        built: what the world asks for; an endpoint that could not be built has nothing taken from it.
        requests: those in force.
        last: endpoint -> what the last plan has.
    Returns: a draft of one operator, the first by name, of the endpoints that the requests touch. None of them loses
        its last address of a type.
    """
    forced = {name: request.by for name, view in built.views.items() if (request := requests.forced(name, view.zone))}
    for by in sorted(set(forced.values())):
        asked = {name for name, who in forced.items() if who == by}
        contents = {
            name: _without(last[name], desired, asked) for name, desired in built.contents.items() if name in last
        }
        allowed = {name: value for name, value in contents.items() if _serving(value) == _serving(last[name])}
        if draft := draft_changes(allowed, built.views, last):
            reason = f"{draft.reason} (forced by {by})"
            return msgspec.structs.replace(draft, reason=reason, lane=Lane.FAST, by=by, force=True)
    return None


def _without(existing: Content, desired: Content, asked: set[str]) -> Content:
    """Return a content with the load balancers that were asked for as light as they are desired, or gone."""
    weights = {(target.identifier, target.type): target.weight for target in desired.targets}
    kept = []
    for target in existing.targets:
        if target.identifier not in asked:
            kept.append(target)
        elif weight := min(target.weight, weights.get((target.identifier, target.type), 0)):
            kept.append(msgspec.structs.replace(target, weight=weight))
    return content(existing.ttl, kept)


def _serving(value: Content) -> set[str]:
    return {target.type for target in value.targets if target.weight}
