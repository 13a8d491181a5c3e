"""Cutting a plan short: load balancers that would take too much capacity with them stay for a while. Pure.

A plan is cut until `fencepost.safety.check_removal` passes it, which is what the enactors refuse by: so what the
planner publishes, they install. Observations can be wrong about many load balancers at once, and each plan by itself
may look harmless; what counts is the endpoint's capacity within a window of time.

Only load balancers of the region can be kept. Where the last plan has others, either a region file has lost them, and
they are live, or a broken planner has made them up, and they never were. The zone knows: what is left of the endpoint
must be enough for what the zone had lately by its own record, or it stays as it is until an operator has decided.

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
from planner.mend import mended


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
        stuck: endpoint -> why it is left out: its zone has far more than what the region could be kept with.
    """

    contents: Mapping[str, Content]
    limited: Mapping[str, Limited]
    stuck: Mapping[str, str]


def cut_short(
    layout: Layout,
    built: Built,
    last: Mapping[str, Content],
    highest: Mapping[str, Capacity],
    limits: Limits,
    *,
    live: Mapping[str, Capacity] | None = None,
) -> Cut:
    """Cut each endpoint short by itself.

    Args:
        layout: the region; only who is in it can be kept.
        built: what the world asks for.
        last: endpoint -> what the last plan has, well-formed or not.
        highest: endpoint -> the most capacity that it had within the window; may be missing or less than `last` has.
        limits: what may be taken away.
        live: endpoint -> the most that its zone had within the window, by its own record; missing where none is known.
    Returns: contents that `check_removal` passes; one that passes as it is built is not touched.
    """
    contents, limited, stuck = {}, {}, {}
    for name, desired in built.contents.items():
        known = _known(layout, name, last.get(name))
        had = (live or {}).get(name, NOTHING) if known.missing else NOTHING
        value: Content | None = desired
        if known.content is None:
            had = had if known.missing else highest.get(name, NOTHING)
        else:
            most = _most(capacity_of(known.content), _most(highest.get(name, NOTHING), had))
            value, short = _cut(layout, name, built, Baseline(known.content, most), limits)
            if short:
                limited[name] = short
        if why := _too_little(name, value, had, known, limits):
            stuck[name] = why
            limited.pop(name, None)
        elif value:
            contents[name] = value
    return Cut(contents, limited, stuck)


def _cut(
    layout: Layout, name: str, built: Built, baseline: Baseline, limits: Limits
) -> tuple[Content | None, Limited | None]:
    """Return what may be published for an endpoint, None if nothing, and how it was cut short, None if it was not."""
    desired, allowed = built.contents[name], limits.for_fleet(len(layout.members[name]))
    unsafe = _problem(name, desired, baseline, allowed)
    if unsafe is None:
        return desired, None
    assert baseline.existing is not None, "nothing is taken from nothing"
    offers = _in_order(layout, name, desired, baseline.existing, built.views)
    value, who = _kept(name, desired, baseline, offers, allowed)
    return value, Limited(_sentence(unsafe, who, limits), who, unsafe.counts) if value else None


class Known(NamedTuple):
    """What the last plan has for an endpoint, as far as it is well-formed.

    Attributes:
        content: what of it the region has; None if nothing.
        missing: the load balancers of which the region does not have (all of) it, by name.
        members: how many load balancers the endpoint has, by the region or by the last plan.
    """

    content: Content | None
    missing: tuple[str, ...]
    members: int


def _known(layout: Layout, name: str, value: Content | None) -> Known:
    members = len(layout.members[name])
    if value is None:
        return Known(None, (), members)
    kinds = layout.endpoints[name].types
    addresses = {(lb.name, kind, lb.address_of(kind)) for lb in layout.members[name] for kind in kinds}
    targets = mended(value).targets
    known, missing = [], set()
    for target in targets:
        if (target.identifier, target.type, target.address) in addresses:
            known.append(target)
        else:
            missing.add(target.identifier)
    members = max(members, len({target.identifier for target in targets}))
    return Known(content(value.ttl, known) if known else None, tuple(sorted(missing)), members)


def _most(first: Capacity, second: Capacity) -> Capacity:
    return max(first[0], second[0]), max(first[1], second[1])


def _problem(name: str, desired: Content, baseline: Baseline, limits: Limits) -> PlanUnsafe | None:
    try:
        check_removal(name, desired, baseline, limits)
    except PlanUnsafe as unsafe:
        return unsafe
    return None


def _too_little(name: str, value: Content | None, had: Capacity, known: Known, limits: Limits) -> str | None:
    """Say why an endpoint stays as it is: its zone has far more than the plan would leave; None if it may go.

    Args:
        name: the endpoint.
        value: what would be published; None: nothing that may be.
        had: the most that it had lately, by what the last plan does not say.
        known: what the last plan has.
        limits: what may be taken away; a small fleet keeps the types that it has.
    """
    remedy = "publish what it should have with `fencepost plan publish --force`"
    if value is None:
        return f"{name} stays as the last plan has it: nothing that may be published can be made of it; {remedy}"
    begins = f"{name} is in no plan that can be read"
    if known.missing:
        more = f" and {len(known.missing) - 1} more" if len(known.missing) > 1 else ""
        begins = f"{name}: the region file does not have {known.missing[0]}{more} as the last plan has"
        remedy = f"bring that back into the region file, or {remedy}"
    else:
        remedy = f"bring capacity back, or {remedy}"
    share = 1 - limits.max_removal_fraction if known.members > limits.small_fleet else 0.0
    for kind, most, has in zip(ADDRESS_TYPES, had, capacity_of(value), strict=True):
        if has < round(most * share, 6) or has == 0 < most:
            limit = f", the limit is {1 - share:.0%}" if share else ""
            # No force takes the last address of a type.
            help_out = remedy if has else f"bring load balancers with {kind} addresses back, in region file or health"
            return (
                f"{begins}, and its zone has {most} {kind} capacity: a plan with {has} would take away "
                f"{1 - has / most:.0%}{limit}; {help_out}"
            )
    return None


Offer = tuple[str, list[Target]]
"""A load balancer that would leave or shrink, and the targets that keep it as it is."""


def _kept(
    name: str, desired: Content, baseline: Baseline, offers: Iterable[Offer], limits: Limits
) -> tuple[Content | None, tuple[str, ...]]:
    """Return the content with as few load balancers kept as it takes, None if all are not enough, and their names."""
    kept: list[str] = []
    for who, targets in offers:
        others = [target for target in desired.targets if target.identifier != who]
        desired = content(desired.ttl, [*others, *targets])
        kept.append(who)
        if _problem(name, desired, baseline, limits) is None:
            return desired, tuple(kept)
    return None, tuple(kept)


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
