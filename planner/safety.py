"""Cutting a plan short: load balancers that would take too much capacity with them stay for a while. Pure.

A plan is cut until `fencepost.safety.check_removal` passes it, which is what the enactors refuse by: so what the
planner publishes, they install. Observations can be wrong about many load balancers at once, and each plan by itself
may look harmless; what counts is the endpoint's capacity within a window of time.
Source: docs/invariants.md, I1 and I7; aws.amazon.com/message/101925 ("velocity control").
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

from fencepost.capacity import NOTHING, Capacity, capacity_of
from fencepost.errors import PlanUnsafe
from fencepost.plan import Content, Target, content
from fencepost.records import ADDRESS_TYPES
from fencepost.safety import Baseline, Limits, check_removal
from planner.build import Built, View
from planner.layout import Layout


class Keep(IntEnum):
    """Why a load balancer would go, or shrink, in the order in which they are kept."""

    SHRINKS = 0
    UNHEALTHY = 1
    NO_CAPACITY = 2
    TAKEN_OUT = 3


class Limited(NamedTuple):
    """An endpoint whose plan was cut short.

    Attributes:
        text: one sentence: counts, limit, who stays, remedy.
        kept: who stays, in the order in which they were kept.
        counts: the numbers of what was built, by name.
    """

    text: str
    kept: tuple[str, ...]
    counts: Mapping[str, float]


class Cut(NamedTuple):
    """What is left of a plan.

    Attributes:
        contents: endpoint -> what may be published; without those of `stuck`.
        limited: endpoint -> what was cut short.
        stuck: endpoint -> why it is left out: it is in no plan, and would begin with far less than its zone has.
    """

    contents: Mapping[str, Content]
    limited: Mapping[str, Limited]
    stuck: Mapping[str, str]


def cut_short(
    layout: Layout, built: Built, last: Mapping[str, Content], highest: Mapping[str, Capacity], limits: Limits
) -> Cut:
    """Cut each endpoint short by itself.

    Args:
        layout: the region; only who is in it can be kept.
        built: what the world asks for.
        last: endpoint -> what the last plan has.
        highest: endpoint -> the most capacity that it had within the window; may be missing or less than `last` has.
        limits: what may be taken away.
    Returns: contents that `check_removal` passes; one that passes as it is built is not touched.
    """
    contents, limited, stuck = {}, {}, {}
    for name, desired in built.contents.items():
        allowed = limits.for_fleet(len(layout.members[name]))
        existing = _known(layout, name, last.get(name))
        if existing is None:
            if why := _why_not_begin(layout, name, desired, highest.get(name, NOTHING), limits):
                stuck[name] = why
            else:
                contents[name] = desired
            continue
        baseline = Baseline(existing, _most(capacity_of(existing), highest.get(name, NOTHING)))
        unsafe = _problem(name, desired, baseline, allowed)
        if unsafe is None:
            contents[name] = desired
            continue
        offers = _in_order(layout, name, desired, existing, built.views)
        contents[name], who = _kept(name, desired, baseline, offers, allowed)
        limited[name] = Limited(_sentence(unsafe, who, limits), who, unsafe.counts)
    return Cut(contents, limited, stuck)


def _known(layout: Layout, name: str, value: Content | None) -> Content | None:
    """Return what of a content the region has; None if nothing.

    Strangers in a plan that somebody else has published are nothing that an endpoint could lose; enactors refuse them.
    """
    kinds = layout.endpoints[name].types
    addresses = {(lb.name, kind, lb.address_of(kind)) for lb in layout.members[name] for kind in kinds}
    targets = [t for t in value.targets if (t.identifier, t.type, t.address) in addresses] if value else []
    return content(value.ttl, targets) if value and targets else None


def _most(first: Capacity, second: Capacity) -> Capacity:
    return max(first[0], second[0]), max(first[1], second[1])


def _problem(name: str, desired: Content, baseline: Baseline, limits: Limits) -> PlanUnsafe | None:
    try:
        check_removal(name, desired, baseline, limits)
    except PlanUnsafe as unsafe:
        return unsafe
    return None


def _why_not_begin(layout: Layout, name: str, desired: Content, highest: Capacity, limits: Limits) -> str | None:
    """Say why an endpoint that is in no plan, but whose zone has more, is not begun with so little; None if it may."""
    if len(layout.members[name]) <= limits.small_fleet:
        return None
    for kind, had, has in zip(ADDRESS_TYPES, highest, capacity_of(desired), strict=True):
        if has < had * (1 - limits.max_removal_fraction):
            return (
                f"{name} is in no plan, and its zone has {had} {kind} capacity: a plan with {has} would take away "
                f"{1 - has / had:.0%}, the limit is {limits.max_removal_fraction:.0%}; bring capacity back, or publish "
                "what it should have with `fencepost plan publish --force`"
            )
    return None


Offer = tuple[str, list[Target]]
"""A load balancer that would leave or shrink, and the targets that keep it as it is."""


def _kept(
    name: str, desired: Content, baseline: Baseline, offers: Iterable[Offer], limits: Limits
) -> tuple[Content, tuple[str, ...]]:
    """Return the content with as few load balancers kept as it takes, and their names."""
    kept: list[str] = []
    for who, targets in offers:
        others = [target for target in desired.targets if target.identifier != who]
        desired = content(desired.ttl, [*others, *targets])
        kept.append(who)
        if _problem(name, desired, baseline, limits) is None:
            return desired, tuple(kept)
    raise AssertionError(f"{name}: with everything kept nothing is taken away")


def _in_order(layout: Layout, name: str, desired: Content, existing: Content, views: Mapping[str, View]) -> list[Offer]:
    """Return who would leave or shrink, in order of keeping, the heaviest first.

    Each is kept with its existing weight, all types together.
    """
    desired_weight = {(target.identifier, target.type): target.weight for target in desired.targets}
    existing_weight = {(target.identifier, target.type, target.address): target.weight for target in existing.targets}
    found: list[tuple[Keep, int, Offer]] = []
    for lb in layout.members[name]:
        targets, shrinks = [], False
        for kind in layout.endpoints[name].types:
            address = lb.address_of(kind) or ""
            after, before = desired_weight.get((lb.name, kind)), existing_weight.get((lb.name, kind, address), 0)
            if after or before:
                targets.append(Target(lb.name, kind, address, max(after or 0, before)))
            shrinks = shrinks or after is not None
        if any(target.weight > desired_weight.get((lb.name, target.type), 0) for target in targets):
            heaviest = max(target.weight for target in targets)
            found.append((_rank(views[lb.name], shrinks=shrinks), -heaviest, (lb.name, targets)))
    return [offer for _, _, offer in sorted(found, key=lambda entry: (entry[0], entry[1], entry[2][0]))]


def _rank(view: View, *, shrinks: bool) -> Keep:
    if shrinks:
        return Keep.SHRINKS
    if view.drained or view.zone_out:
        return Keep.TAKEN_OUT
    return Keep.UNHEALTHY if view.healthy is False else Keep.NO_CAPACITY


def _problem_of(unsafe: PlanUnsafe) -> str:
    """Return the counts and the limit, without the remedy, which is for whoever publishes by hand."""
    return str(unsafe).partition(";")[0].replace("the plan ", "what is asked for ", 1)


def _sentence(unsafe: PlanUnsafe, kept: tuple[str, ...], limits: Limits) -> str:
    stay = f"{kept[0]} stays" if len(kept) == 1 else f"{kept[0]} and {len(kept) - 1} more stay"
    wait = f"wait {limits.window_s:g} s for more to go, " if limits.window_s else ""
    return f'{_problem_of(unsafe)}, so {stay} in for now; {wait}bring capacity back, or force a drain ("force": true)'
