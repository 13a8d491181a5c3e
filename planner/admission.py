"""Whether an operator's request is put in force: subject known, change possible, no endpoint left bare. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from fencepost.capacity import capacity_of
from fencepost.errors import PlanUnsafe
from fencepost.plan import Content, content
from fencepost.region import MAX_CAPACITY, Region
from fencepost.safety import Baseline, Limits, check_removal
from planner.build import Built, build_each, view_some
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import OPERATOR, Kind, Request, Requests


class Wanted(NamedTuple):
    """What an operator asks.

    Attributes:
        kind, subject: as a request has them.
        ends: whether it is to be in force no more.
        add: on top of what is in force.
        reason: in the operator's words.
        force: whether it may take more than protective checks allow.
        by: who asks.
    """

    kind: Kind
    subject: str
    ends: bool = False
    add: int = 0
    reason: str = ""
    force: bool = False
    by: str = OPERATOR

    @property
    def urgent(self) -> bool:
        """Whether the plan that follows from it goes by the fast lane."""
        return self.force or (self.kind is not Kind.CAPACITY and not self.ends)


class Refused(NamedTuple):
    """A request that is not put in force: an HTTP status and one sentence with the remedy."""

    status: HTTPStatus
    error: str


class Admitted(NamedTuple):
    """A request that may be put in force.

    Attributes:
        request: how it will be; for one that ends, how it was (or would have been).
        stored: what the plan store is to keep under its key, None for nothing.
        changes: whether that differs from what is in force.
    """

    request: Request
    stored: Request | None
    changes: bool


class World(NamedTuple):
    """What admission looks at.

    Attributes:
        layout: the region.
        fleet: load balancer -> what was observed.
        requests: those in force.
        last: endpoint -> what the last plan has.
        limits: what may be taken away; None: everything but the last load balancer.
    """

    layout: Layout
    fleet: Mapping[str, Observed]
    requests: Requests
    last: Mapping[str, Content]
    limits: Limits | None = None


def admit_all(world: World, group: Sequence[Wanted], now_ms: int) -> list[Admitted | Refused]:
    """Decide on requests one after the other, each on the state after the one before."""
    answers = []
    for wanted in group:
        answer = admit(world, wanted, now_ms)
        answers.append(answer)
        if isinstance(answer, Admitted) and answer.changes:
            world = world._replace(requests=_after(world.requests, answer.request, answer.stored))
    return answers


def admit(world: World, wanted: Wanted, now_ms: int) -> Admitted | Refused:
    """Decide on one request.

    Ending what is not in force, or asking for what already is, changes nothing and is no error.
    """
    existing = world.requests.get(wanted.kind, wanted.subject)
    forgotten = wanted.ends and existing is not None  # a request outlives its subject in the region file, and can end
    if not forgotten and (unknown := _unknown_subject(world.layout.region, wanted)):
        return Refused(HTTPStatus.NOT_FOUND, unknown)
    if wanted.kind is Kind.CAPACITY:
        desired = _capacity(world, existing, wanted, now_ms)
        if impossible := _out_of_bounds(world, wanted, desired.add):
            return Refused(HTTPStatus.CONFLICT, impossible)
    else:
        desired = _drain(existing, wanted, now_ms)
    stored = desired if desired.in_force and not wanted.ends else None
    if stored == existing:
        return Admitted(desired, stored, changes=False)
    if _takes_out(world, wanted, desired):
        after = _after(world.requests, desired, stored)
        if problem := _problem(world, after, wanted, forced=desired.force):
            return Refused(HTTPStatus.CONFLICT, problem)
    return Admitted(desired, stored, changes=True)


def _after(requests: Requests, desired: Request, stored: Request | None) -> Requests:
    return requests.without(desired.key) if stored is None else requests.with_request(stored)


def _unknown_subject(region: Region, wanted: Wanted) -> str | None:
    if wanted.kind is Kind.ZONE_DRAIN:
        zones = sorted(zone.id for zone in region.availability_zone)
        return None if wanted.subject in zones else f"no Availability Zone {wanted.subject!r}; use {', '.join(zones)}"
    if any(lb.name == wanted.subject for lb in region.load_balancer):
        return None
    return f"no load balancer {wanted.subject!r}; GET /v1/load-balancers lists them"


def _capacity(world: World, existing: Request | None, wanted: Wanted, now_ms: int) -> Request:
    """Return the request with more, or less, added; adding nothing leaves it as it is."""
    if existing and wanted.add == 0:
        return existing
    before, reason = (existing.add, existing.reason) if existing else (0, "")
    forced, add = wanted.force and wanted.add < 0, before + wanted.add
    leaves = max(0, _reported(world, wanted.subject) + add) if forced else msgspec.UNSET
    return Request(Kind.CAPACITY, wanted.subject, add, wanted.reason or reason, now_ms, forced, wanted.by, leaves)


def _reported(world: World, name: str) -> int:
    """Return what a load balancer reports; one that never did is measured by what the region file says of it."""
    lb = world.layout.balancers[name]
    seen = world.fleet.get(name, Observed())
    return lb.capacity if seen.capacity is None else seen.capacity


def _drain(existing: Request | None, wanted: Wanted, now_ms: int) -> Request:
    """Return the request; one that is in force already stays as it is, or becomes one by force."""
    if existing is None:
        return Request(wanted.kind, wanted.subject, 0, wanted.reason, now_ms, wanted.force, wanted.by)
    if wanted.force and not existing.force:
        return msgspec.structs.replace(existing, force=True, by=wanted.by)
    return existing


def _out_of_bounds(world: World, wanted: Wanted, added: int) -> str | None:
    lb = world.layout.balancers[wanted.subject]
    reported = _reported(world, lb.name)
    before = added - wanted.add
    if wanted.add == 0 or 0 <= reported + added <= MAX_CAPACITY:
        return None
    return (
        f"{lb.name} has a capacity of {reported} and {before:+d} added; {wanted.add:+d} would make {reported + added}, "
        f"outside 0 to {MAX_CAPACITY}: add between {-reported - before} and {MAX_CAPACITY - reported - before}"
    )


def _takes_out(world: World, wanted: Wanted, desired: Request) -> bool:
    """Say whether a request can take a load balancer out: nothing has to be built to see that the others do not."""
    if wanted.kind is not Kind.CAPACITY:
        return not wanted.ends
    reported = world.fleet.get(wanted.subject, Observed()).capacity
    return reported is not None and reported + desired.add <= 0


def _problem(world: World, after: Requests, wanted: Wanted, *, forced: bool) -> str | None:
    """Say what a request would do to the endpoints that stands in its way."""
    touched = _touched(world.layout, wanted.subject)
    before = _build(world, world.requests, touched)
    emptied = sorted(_build(world, after, touched).held.keys() - before.held.keys())
    # An endpoint that has no usable load balancer anyway does not stand in the way: taking an Availability Zone out
    # must stay possible for the others.
    if emptied:
        return f"this would leave {', '.join(emptied)} without a load balancer; bring another one back or add one first"
    if forced or world.limits is None or wanted.kind is Kind.CAPACITY:
        return None
    return _too_much(world, before, wanted)


def _touched(layout: Layout, subject: str) -> list[str]:
    """Return the endpoints that a load balancer, or one of a whole Availability Zone, is behind: no other can lose."""
    gone = {name for name, lb in layout.balancers.items() if subject in {name, lb.zone}}
    touched = {endpoint for name in gone for endpoint in layout.endpoints_of[name]}
    return [endpoint for endpoint in layout.endpoints if endpoint in touched]


def _build(world: World, requests: Requests, endpoints: Sequence[str]) -> Built:
    members = {lb.name for endpoint in endpoints for lb in world.layout.members[endpoint]}
    return build_each(world.layout, endpoints, view_some(world.layout, members, world.fleet, requests), world.last)


def _too_much(world: World, before: Built, wanted: Wanted) -> str | None:
    """Say from which endpoint a drain by itself takes more than it may; what others take is no part of it."""
    assert world.limits is not None, "without limits nothing is too much"
    gone = {name for name, lb in world.layout.balancers.items() if wanted.subject in {name, lb.zone}}
    for name, existing in before.contents.items():
        left = content(existing.ttl, [target for target in existing.targets if target.identifier not in gone])
        limits = replace(world.limits.for_fleet(len(world.layout.members[name])), window_s=0.0)
        try:
            check_removal(name, left, Baseline(existing, capacity_of(existing)), limits)
        except PlanUnsafe as unsafe:
            problem = str(unsafe).partition(";")[0].replace("the plan ", "this ", 1)
            return f'{problem}; drain less at once, or if it is meant, send {{"force": true}}'
    return None
