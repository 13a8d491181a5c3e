"""Wrong observations, one by one: what the fleet can be made to say, and what a broken planner would publish. Pure."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fencepost.plan import Content, Target, content
from fencepost.region import Endpoint, Region
from fencepost.symptoms import Cause

STRANGER: Final = Target("use1-az9-lb-666", "A", "127.1.9.66", 100)


LIMITED: Final = ("takes away", "can be used")
"""How planner and enactors say that too much would go, or that nothing is left to build from."""


class FleetCase(msgspec.Struct, frozen=True):
    """A wrong observation that the fleet's control API can make.

    `wishes` maps load balancers to what they say of themselves; an explanation has one of `words`, and `fencepost
    status` gives `cause`: the planner keeps what would go, so that nothing is left for enactors to refuse.
    """

    name: str
    wishes: Mapping[str, Mapping[str, Any]]
    words: tuple[str, ...] = LIMITED
    cause: Cause = Cause.REMOVAL_LIMITED


class PlanCase(msgspec.Struct, frozen=True):
    """A wrong plan, published past the planner.

    Attributes:
        victims: endpoint -> what the plan says of it, which must not go live.
        words: an explanation has one of them.
        bystander: an endpoint that the same plan changes for the better, None if it leaves all others as they are.
        bystander_content: what the plan says of that one, which must go live.
        cause: what `fencepost status` gives: the enactors are the only ones who can refuse it.
    """

    name: str
    victims: Mapping[str, Content]
    words: tuple[str, ...]
    bystander: str | None = None
    bystander_content: Content | None = None
    cause: Cause = Cause.PLAN_REFUSED

    @property
    def changes(self) -> dict[str, Content]:
        """What the plan changes."""
        kind = (
            {} if self.bystander is None or self.bystander_content is None else {self.bystander: self.bystander_content}
        )
        return {**self.victims, **kind}


def fleet_cases(region: Region, rng: random.Random) -> tuple[FleetCase, ...]:
    """Return the wrong observations that the real fleet can be made to give."""
    everybody = [lb.name for lb in region.load_balancer]
    smallest = min(region.endpoint, key=lambda endpoint: (len(region.members(endpoint)), endpoint.name))
    half = rng.sample(everybody, len(everybody) // 2)
    tenth = {lb.name: {"capacity": lb.capacity // 10} for lb in region.load_balancer}
    return (
        FleetCase("everything unhealthy", _all_of(everybody, healthy=False)),
        FleetCase("one endpoint unhealthy", _all_of([lb.name for lb in region.members(smallest)], healthy=False)),
        FleetCase("90 % of capacity gone", tenth),
        FleetCase("no capacity anywhere", _all_of(everybody, capacity=0)),
        FleetCase("half of the fleet gone", _all_of(sorted(half), healthy=False)),
    )


def _all_of(names: Sequence[str], **wish: Any) -> dict[str, dict[str, Any]]:
    return {name: dict(wish) for name in names}


def restoring(region: Region) -> dict[str, dict[str, Any]]:
    """Return the wishes that make every load balancer as the region file has it."""
    return {lb.name: {"healthy": True, "capacity": lb.capacity, "failure": "none"} for lb in region.load_balancer}


def endpoints_of(region: Region, names: Sequence[str]) -> tuple[str, ...]:
    """Return the endpoints that have one of these load balancers, in order."""
    wanted = set(names)
    return tuple(sorted(e.name for e in region.endpoint if wanted & {lb.name for lb in region.members(e)}))


def plan_cases(region: Region, contents: Mapping[str, Content]) -> tuple[PlanCase, ...]:
    """Return the wrong plans that a broken planner would publish; `contents` is what the last right one has."""
    victim, bystander = _two_apart(region)
    existing, other = contents[victim], contents[bystander]
    harmless = _weighted(other, 0, other.targets[0].weight + 1)
    empty = Content(existing.ttl, ())
    stranger = content(existing.ttl, [*existing.targets, STRANGER])
    cases = (
        ("plan: 90 % gone", _kept(existing, 0.1), LIMITED),
        ("plan: no address at all", empty, ("no A address", "no address")),
        ("plan: all weights 0", _all_weighted(existing, 0), ("no A address", "weight")),
        ("plan: a negative weight", _weighted(existing, 0, -5), ("weight",)),
        ("plan: unknown load balancer", stranger, (STRANGER.identifier,)),
        ("plan: a duplicate address", _readdressed(existing), (existing.targets[0].address,)),
    )
    half = {name: _kept(value, 0.5) for name, value in contents.items()}
    return (
        *(PlanCase(name, {victim: value}, words, bystander, harmless) for name, value, words in cases),
        PlanCase("plan: half of all gone", half, LIMITED),
    )


def _two_apart(region: Region) -> tuple[str, str]:
    """Return the largest endpoint and the smallest."""
    ordered = sorted(
        region.endpoint, key=lambda endpoint: (len(region.members(endpoint)), _types(endpoint), endpoint.name)
    )
    return ordered[-1].name, ordered[0].name


def _types(endpoint: Endpoint) -> int:
    return -len(endpoint.types)


def _kept(existing: Content, share: float) -> Content:
    """Return what is left if only this share of the load balancers stays, one at least."""
    names = sorted({target.identifier for target in existing.targets})
    kept = set(names[: max(1, int(share * len(names)))])
    return content(existing.ttl, [target for target in existing.targets if target.identifier in kept])


def _all_weighted(existing: Content, weight: int) -> Content:
    return content(existing.ttl, [msgspec.structs.replace(target, weight=weight) for target in existing.targets])


def _weighted(existing: Content, index: int, weight: int) -> Content:
    targets = list(existing.targets)
    targets[index] = msgspec.structs.replace(targets[index], weight=weight)
    return content(existing.ttl, targets)


def _readdressed(existing: Content) -> Content:
    """Return a content in which two load balancers have one address."""
    first, second, *rest = existing.targets
    return content(existing.ttl, [first, msgspec.structs.replace(second, address=first.address), *rest])
