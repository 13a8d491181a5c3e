"""A region as the planner goes through it: who is behind which endpoint, found once instead of in every round."""

from collections.abc import Mapping
from dataclasses import dataclass

from fencepost.region import Endpoint, LoadBalancer, Members, Region


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything in order of names, so that what is built from it does not depend on the region file's order.

    Attributes:
        region: what it is the layout of.
        endpoints: by name.
        balancers: by name.
        members: endpoint -> the load balancers behind it.
        endpoints_of: load balancer -> the endpoints that it is a member of.
    """

    region: Region
    endpoints: Mapping[str, Endpoint]
    balancers: Mapping[str, LoadBalancer]
    members: Mapping[str, tuple[LoadBalancer, ...]]
    endpoints_of: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, region: Region) -> "Layout":
        """Return the layout of a region; its cost grows with the members of all endpoints together."""
        endpoints = {e.name: e for e in sorted(region.endpoint, key=lambda endpoint: endpoint.name)}
        balancers = {lb.name: lb for lb in sorted(region.load_balancer, key=lambda lb: lb.name)}
        found = Members(region.load_balancer)
        members = {name: found.of(endpoint.load_balancers) for name, endpoint in endpoints.items()}
        endpoints_of: dict[str, list[str]] = {name: [] for name in balancers}
        for name, behind in members.items():
            for lb in behind:
                endpoints_of[lb.name].append(name)
        return cls(region, endpoints, balancers, members, {name: tuple(of) for name, of in endpoints_of.items()})
