"""From the region, the fleet and the operators' requests to what every endpoint should answer. Pure.

Weights: a load balancer's weight is its effective capacity (what it reports plus what operators added) as long as the
largest in the endpoint is at most 255. Above that, all weights of the endpoint are scaled by 255 / largest and rounded
half up, but never below 1. So a weight reads as a capacity where it can, one change of capacity changes one weight, and
relative shares are right to within half a step of the scale. Equal inputs give equal plans, whatever their order.

Left out: a load balancer that is drained, in an Availability Zone that is out, unhealthy, or without capacity. One that
could not be observed yet keeps exactly the target that the last plan has for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from fencepost.batch import MAX_WEIGHT
from fencepost.plan import Content, Target, content
from fencepost.region import MAX_CAPACITY, Endpoint, LoadBalancer
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import Kind, Requests


class View(msgspec.Struct, frozen=True):
    """One load balancer as the planner sees it.

    Attributes:
        name, zone, addresses: as the region file has them.
        healthy: None as long as it could not be observed.
        drained, zone_out: whether an operator has taken it, or its whole Availability Zone, out.
        reported_capacity: by its own health page, requests per second; None if it never reported.
        added_capacity: by operators, may be negative.
        effective_capacity: the sum, within 0 and `MAX_CAPACITY`; 0 if it never reported.
        endpoints: the endpoints that it is a member of.
        trouble: what its last health check said, "" if it was good.
    """

    name: str
    zone: str
    addresses: tuple[str, ...]
    healthy: bool | None
    drained: bool
    zone_out: bool
    reported_capacity: int | None
    added_capacity: int
    effective_capacity: int
    endpoints: tuple[str, ...]
    trouble: str

    @property
    def taken_out(self) -> str:
        """Why it must not be in any plan, "" if it may."""
        if self.drained:
            return "drained"
        if self.zone_out:
            return f"{self.zone} is out"
        if self.healthy is False:
            return f"unhealthy: {self.trouble}" if self.trouble else "unhealthy"
        return "no capacity" if self.healthy and self.effective_capacity == 0 else ""

    @property
    def emergency(self) -> bool:
        """Whether its removal is urgent: it is unhealthy, or an operator has taken it or its whole zone out."""
        return self.drained or self.zone_out or self.healthy is False


class Built(NamedTuple):
    """What was built.

    Attributes:
        contents: endpoint -> what it should answer, for every endpoint that has at least one target.
        held: endpoint -> why nothing could be built for it; it stays as the last plan has it.
        views: load balancer -> what the planner knows of it.
    """

    contents: Mapping[str, Content]
    held: Mapping[str, str]
    views: Mapping[str, View]


def view_fleet(layout: Layout, fleet: Mapping[str, Observed], requests: Requests) -> dict[str, View]:
    """Return every load balancer of the region as the planner sees it, in order of their names."""
    return view_some(layout, layout.balancers, fleet, requests)


def view_some(
    layout: Layout, names: Iterable[str], fleet: Mapping[str, Observed], requests: Requests
) -> dict[str, View]:
    """Return some load balancers of the region as the planner sees them."""
    return {
        name: _view(layout.balancers[name], fleet.get(name, Observed()), requests, layout.endpoints_of[name])
        for name in names
    }


def _view(lb: LoadBalancer, seen: Observed, requests: Requests, endpoints: tuple[str, ...]) -> View:
    added = requests.added(lb.name)
    return View(
        name=lb.name,
        zone=lb.zone,
        addresses=tuple(filter(None, (lb.address, lb.address6))),
        healthy=seen.healthy,
        drained=requests.get(Kind.DRAIN, lb.name) is not None,
        zone_out=requests.get(Kind.ZONE_DRAIN, lb.zone) is not None,
        reported_capacity=seen.capacity,
        added_capacity=added,
        effective_capacity=0 if seen.capacity is None else min(max(seen.capacity + added, 0), MAX_CAPACITY),
        endpoints=endpoints,
        trouble=seen.reason,
    )


def build(layout: Layout, fleet: Mapping[str, Observed], requests: Requests, last: Mapping[str, Content]) -> Built:
    """Build what every endpoint should answer.

    Args:
        layout: the region's endpoints and load balancers.
        fleet: load balancer -> what was observed; one that is missing counts as not observed yet.
        requests: what operators have asked for.
        last: endpoint -> what the last plan has; empty if there is none.
    Returns: never a content without a target: an endpoint that would have none is in `held` instead (fail open).
    Source: docs/invariants.md, I1.
    """
    return build_each(layout, layout.endpoints, view_fleet(layout, fleet, requests), last)


def build_each(layout: Layout, names: Iterable[str], views: Mapping[str, View], last: Mapping[str, Content]) -> Built:
    """Build what some endpoints should answer, by the views of all their load balancers; see `build`."""
    contents, held = {}, {}
    for name in names:
        endpoint, members = layout.endpoints[name], layout.members[name]
        targets = list(_targets(endpoint, members, views, last.get(name)))
        if any(target.weight for target in targets):
            contents[name] = content(layout.region.ttl_s, targets)
        else:
            held[name] = _why_none(name, [views[lb.name] for lb in members], last)
    return Built(contents, held, views)


def _targets(
    endpoint: Endpoint, members: Sequence[LoadBalancer], views: Mapping[str, View], last: Content | None
) -> Iterator[Target]:
    usable = [lb for lb in members if not views[lb.name].taken_out]
    largest = max((views[lb.name].effective_capacity for lb in usable if views[lb.name].healthy), default=0)
    existing = {
        (target.identifier, target.type, target.address): target.weight for target in (last.targets if last else ())
    }
    for lb in usable:
        view = views[lb.name]
        for kind in endpoint.types:
            address = lb.address_of(kind)
            assert address, "the region file is checked for this when it is read"
            if view.healthy:
                yield Target(lb.name, kind, address, weight_of(view.effective_capacity, largest))
            elif (lb.name, kind, address) in existing:
                yield Target(lb.name, kind, address, existing[lb.name, kind, address])


def weight_of(capacity: int, largest: int) -> int:
    """Return a weight from 1 to 255 for a capacity, given the largest of its endpoint (>= capacity >= 1)."""
    assert 1 <= capacity <= largest, (capacity, largest)
    if largest <= MAX_WEIGHT:
        return capacity
    return max(1, (2 * capacity * MAX_WEIGHT + largest) // (2 * largest))


def _why_none(endpoint: str, members: Sequence[View], last: Mapping[str, Content]) -> str:
    reasons = sorted({view.taken_out or "not observed yet" for view in members})
    keeps = "keeps what the last plan has" if endpoint in last else "is in no plan yet"
    return f"{endpoint} {keeps}: none of its {len(members)} load balancers can be used ({'; '.join(reasons)})"
