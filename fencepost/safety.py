"""Protective checks: what a plan may take away from an endpoint, at once and within a window of time. Pure.

The planner cuts a plan short by them before it is published; an enactor refuses a plan that breaks them all the same,
whoever made it. What counts is the endpoint's capacity: the sum of its weights, each address type by itself.
Source: docs/invariants.md, I1 and I7; aws.amazon.com/message/101925 ("velocity control").
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from fencepost.capacity import NOTHING, Capacity, CapacityHistory, capacity_of
from fencepost.errors import PlanUnsafe
from fencepost.plan import Content, content_problems
from fencepost.records import ADDRESS_TYPES
from fencepost.region import LoadBalancer, Members, Region


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be taken away.

    Attributes:
        max_removal_fraction: of an endpoint's capacity, at most this share may go, in one plan and within the window.
        window_s: how long the window is, seconds; 0 looks at each plan by itself.
        min_healthy: no plan leaves an endpoint with fewer load balancers than this, unless it has fewer already.
        small_fleet: of an endpoint with up to so many load balancers only the last one is protected: one of two is half
            of everything.
    """

    max_removal_fraction: float = 0.4
    window_s: float = 30.0
    min_healthy: int = 2
    small_fleet: int = 4

    def for_fleet(self, members: int) -> "Limits":
        """Return the limits of an endpoint that has so many load balancers in the region.

        Smallness goes by members, not by those that are left: otherwise one of six that has lost two would count as
        small from then on, and could lose all but one.
        """
        return self if members <= self.small_fleet else replace(self, small_fleet=0)


NO_FORCE: Final = Limits(max_removal_fraction=1.0, window_s=0.0, min_healthy=1)
"""What not even an operator's force gets past: an endpoint keeps an address of each type that it has."""


class Baseline(NamedTuple):
    """What a plan is compared with.

    Attributes:
        existing: what the endpoint answers now, None if nothing.
        highest: the most capacity that it had within the window, its own included.
    """

    existing: Content | None
    highest: Capacity

    @classmethod
    def of(cls, existing: Content | None, history: CapacityHistory, now_s: float, limits: Limits) -> "Baseline":
        """Return what an endpoint had, by its history; a window of 0 leaves only what it has now."""
        now = capacity_of(existing)
        before = history.highest(now_s, limits.window_s) if limits.window_s > 0 else NOTHING
        return cls(existing, (max(now[0], before[0]), max(now[1], before[1])))


def floors(baseline: Baseline, limits: Limits) -> Capacity:
    """Return the capacity that each type must keep; 0 where a small fleet is exempt."""
    kept = [
        0 if serving <= limits.small_fleet else _floor(highest, limits)
        for serving, highest in zip(_serving(baseline.existing), baseline.highest, strict=True)
    ]
    return kept[0], kept[1]


def _floor(highest: int, limits: Limits) -> int:
    # Rounded first: 0.4 of 10 is 4, whatever binary fractions make of it.
    return math.ceil(round(highest * (1 - limits.max_removal_fraction), 6))


def check_removal(endpoint: str, desired: Content, baseline: Baseline, limits: Limits) -> None:
    """Refuse a content that takes too much away.

    More capacity than the endpoint has now is never refused, however much it once had.
    Raises: PlanUnsafe with the counts, the limit and the remedy.
    """
    existing_capacity, desired_capacity = capacity_of(baseline.existing), capacity_of(desired)
    needed = floors(baseline, limits)
    serving = zip(ADDRESS_TYPES, _serving(baseline.existing), _serving(desired), strict=True)
    for index, (kind, existing, left) in enumerate(serving):
        if existing and not left:
            raise PlanUnsafe.empty(endpoint, kind, existing=existing)
        if desired_capacity[index] < min(needed[index], existing_capacity[index]):
            raise PlanUnsafe.removal(
                endpoint,
                kind,
                removed=baseline.highest[index] - desired_capacity[index],
                highest=baseline.highest[index],
                limit=limits.max_removal_fraction,
                window_s=limits.window_s,
            )
        if existing > limits.small_fleet and left < min(limits.min_healthy, existing):
            raise PlanUnsafe.too_few(endpoint, kind, left=left, needed=limits.min_healthy)


@lru_cache(maxsize=256)
def _serving(content: Content | None) -> tuple[int, int]:
    """Return how many targets of a content get queries, of A and of AAAA; none for None."""
    a, aaaa = ([t.weight > 0 for t in content.targets if t.type == kind] if content else [] for kind in ADDRESS_TYPES)
    return a.count(True), aaaa.count(True)


def check_wellformed(endpoint: str, desired: Content) -> None:
    """Refuse what no zone would take, or no endpoint could want. Raises: PlanUnsafe naming every problem."""
    if problems := list(content_problems(desired)):
        raise PlanUnsafe.malformed(endpoint, problems)


def check_known(endpoint: str, desired: Content, known: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse load balancers and addresses that the region does not have; `known` is the endpoint's `known_addresses`.

    Raises: PlanUnsafe naming them.
    """
    nothing: Mapping[str, str] = {}
    strangers = [t for t in desired.targets if known.get(t.identifier, nothing).get(t.type) != t.address]
    if strangers:
        raise PlanUnsafe.strangers(endpoint, sorted(f"{t.identifier} ({t.address})" for t in strangers))


def known_addresses(region: Region) -> dict[str, Mapping[str, Mapping[str, str]]]:
    """Return endpoint -> load balancer -> type -> address, of all load balancers that each endpoint may have."""
    members = Members(region.load_balancer)
    # Where endpoints are many, most have the same load balancers: what is known of them is there once.
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], Mapping[str, Mapping[str, str]]] = {}
    for endpoint in region.endpoint:
        key = (endpoint.load_balancers, endpoint.types)
        if key not in known:
            known[key] = {lb.name: _addresses(lb, endpoint.types) for lb in members.of(endpoint.load_balancers)}
    return {endpoint.name: known[endpoint.load_balancers, endpoint.types] for endpoint in region.endpoint}


def _addresses(lb: LoadBalancer, types: Sequence[str]) -> Mapping[str, str]:
    return {kind: address for kind in types if (address := lb.address_of(kind))}
