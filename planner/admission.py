"""Whether an operator's request is put in force: subject known, change possible, no endpoint left bare. Pure."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from fencepost.plan import Content
from fencepost.region import MAX_CAPACITY, Region
from planner.build import build
from planner.observe import Observed
from planner.requests import Kind, Request, Requests


class Wanted(NamedTuple):
    """What an operator asks: that a request be in force, or (`ends`) no more. `add` is on top of what is in force."""

    kind: Kind
    subject: str
    ends: bool = False
    add: int = 0
    reason: str = ""


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
    """What admission looks at: the region, the fleet as observed, the requests in force, the last plan's contents."""

    region: Region
    fleet: Mapping[str, Observed]
    requests: Requests
    last: Mapping[str, Content]


def admit(world: World, wanted: Wanted, now_ms: int) -> Admitted | Refused:
    """Decide on one request.

    Ending what is not in force, or asking for what already is, changes nothing and is no error.
    """
    existing = world.requests.get(wanted.kind, wanted.subject)
    forgotten = wanted.ends and existing is not None  # a request outlives its subject in the region file, and can end
    if not forgotten and (unknown := _unknown_subject(world.region, wanted)):
        return Refused(HTTPStatus.NOT_FOUND, unknown)
    if wanted.kind is Kind.CAPACITY:
        desired = _capacity(existing, wanted, now_ms)
        if impossible := _out_of_bounds(world, wanted, desired.add):
            return Refused(HTTPStatus.CONFLICT, impossible)
    else:
        desired = existing or Request(wanted.kind, wanted.subject, 0, wanted.reason, now_ms)
    stored = desired if desired.in_force and not wanted.ends else None
    if stored == existing:
        return Admitted(desired, stored, changes=False)
    after = world.requests.without(desired.key) if stored is None else world.requests.with_request(stored)
    if emptied := _emptied(world, after):
        return Refused(HTTPStatus.CONFLICT, emptied)
    return Admitted(desired, stored, changes=True)


def _unknown_subject(region: Region, wanted: Wanted) -> str | None:
    if wanted.kind is Kind.ZONE_DRAIN:
        zones = sorted(zone.id for zone in region.availability_zone)
        return None if wanted.subject in zones else f"no Availability Zone {wanted.subject!r}; use {', '.join(zones)}"
    if any(lb.name == wanted.subject for lb in region.load_balancer):
        return None
    return f"no load balancer {wanted.subject!r}; GET /v1/load-balancers lists them"


def _capacity(existing: Request | None, wanted: Wanted, now_ms: int) -> Request:
    """Return the request with more, or less, added; adding nothing leaves it as it is."""
    if existing and wanted.add == 0:
        return existing
    before, reason = (existing.add, existing.reason) if existing else (0, "")
    return Request(Kind.CAPACITY, wanted.subject, before + wanted.add, wanted.reason or reason, now_ms)


def _out_of_bounds(world: World, wanted: Wanted, added: int) -> str | None:
    (lb,) = (lb for lb in world.region.load_balancer if lb.name == wanted.subject)
    seen = world.fleet.get(lb.name, Observed())
    # A load balancer that never reported is measured by what the region file says of it.
    reported = lb.capacity if seen.capacity is None else seen.capacity
    before = added - wanted.add
    if wanted.add == 0 or 0 <= reported + added <= MAX_CAPACITY:
        return None
    return (
        f"{lb.name} has a capacity of {reported} and {before:+d} added; {wanted.add:+d} would make {reported + added}, "
        f"outside 0 to {MAX_CAPACITY}: add between {-reported - before} and {MAX_CAPACITY - reported - before}"
    )


def _emptied(world: World, after: Requests) -> str | None:
    """Say which endpoints a change of the requests would leave without a target that have one now.

    An endpoint that has no usable load balancer anyway does not stand in the way: taking an Availability Zone out must
    stay possible for the others.
    """
    held = build(world.region, world.fleet, world.requests, world.last).held
    emptied = sorted(build(world.region, world.fleet, after, world.last).held.keys() - held.keys())
    if not emptied:
        return None
    return f"this would leave {', '.join(emptied)} without a load balancer; bring another one back or add one first"
