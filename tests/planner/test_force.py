"""Force: whose word it is, what it takes, and nothing besides."""

import pytest
from msgspec import UNSET

from fencepost.plan import Lane
from fencepost.region import load_region
from fencepost.safety import Limits
from planner.admission import Admitted, Refused, Wanted, World, admit, admit_all
from planner.build import build
from planner.force import draft_forced
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import NONE, Kind, Request, Requests

LAYOUT = Layout.of(load_region())
FLEET = dict.fromkeys(LAYOUT.balancers, Observed(healthy=True, capacity=100))
DEAD = Observed(healthy=False, capacity=100)
WHOLE = build(LAYOUT, FLEET, NONE, {}).contents
MAIN, FIPS = "dynamodb.us-east-1.fencepost.test.", "dynamodb-fips.us-east-1.fencepost.test."
ONE, SEVEN = "use1-az1-lb-001", "use1-az1-lb-007"


def requests(*found: Request) -> Requests:
    """Return requests in force."""
    return Requests({request.key: request for request in found})


def less(capacity: int) -> Request:
    """Return a forced request for less capacity, as it is admitted for `ONE`, which reported 100."""
    answer = admit(world(), Wanted(Kind.CAPACITY, ONE, add=-capacity, force=True), 0)
    assert isinstance(answer, Admitted)
    return answer.request


def forced(asked: Requests, fleet=FLEET, last=WHOLE):
    """Return the draft of what is forced."""
    return draft_forced(build(LAYOUT, fleet, asked, last), asked, last)


def weight(draft, endpoint: str, name: str) -> int | None:
    """Return the weight of a load balancer in a draft, None if it is not there."""
    return next((t.weight for t in draft.changes[endpoint].targets if t.identifier == name), None)


def test_nothing_is_forced_by_requests_without_force():
    """An ordinary drain is the ordinary plan's."""
    assert forced(requests(Request(Kind.DRAIN, ONE))) is None


def test_forced_drain_takes_its_load_balancer_and_leaves_everything_else_as_it_was():
    """Only its endpoints, only it; another's failure at the same time is not in it."""
    draft = forced(requests(Request(Kind.DRAIN, ONE, force=True, by="ada")), {**FLEET, "use1-az2-lb-001": DEAD})

    assert (draft.force, draft.by, draft.lane, draft.operator) == (True, "ada", Lane.FAST, False)
    assert draft.reason == f"{ONE} out (drained) (forced by ada)"
    assert sorted(draft.changes) == sorted(LAYOUT.endpoints_of[ONE])
    assert len(draft.changes[MAIN].targets) == 17
    assert weight(draft, MAIN, "use1-az2-lb-001") == 100


def test_forced_capacity_lowers_one_weight_and_raises_none():
    """A tenth is left of one; a forced request that takes nothing makes no plan."""
    draft = forced(requests(less(90)))

    assert weight(draft, MAIN, ONE) == 10
    assert len(draft.changes[MAIN].targets) == 18
    assert forced(requests(Request(Kind.CAPACITY, ONE, 50, force=True))) is None


@pytest.mark.parametrize("observed", [DEAD, Observed(), Observed(healthy=True, capacity=60)])
def test_forced_capacity_takes_nothing_that_is_only_observed(observed):
    """It left 50: one that dies since, or reports less, is left to the ordinary plan and its limits."""
    asked = requests(less(50))
    last = {**WHOLE, **forced(asked).changes}

    assert forced(asked, {**FLEET, ONE: observed}, last) is None
    at_once = forced(asked, {**FLEET, ONE: observed})
    assert at_once is None or weight(at_once, MAIN, ONE) == 50


def test_forced_capacity_takes_no_load_balancer_out_even_if_it_leaves_nothing():
    """It is as light as can be, the rest is the ordinary plan's; one drained besides, without force, stays as well."""
    assert weight(forced(requests(less(100))), MAIN, ONE) == 1
    assert forced(requests(less(100), Request(Kind.DRAIN, ONE))) is None


def test_forced_capacity_follows_a_load_balancer_that_reports_more():
    """The last plan has what was forced; more than that is never taken away by force."""
    assert weight(forced(requests(less(90)), {**FLEET, ONE: Observed(healthy=True, capacity=150)}), MAIN, ONE) == 60


def test_force_waits_for_the_plan_that_mends_a_malformed_one():
    """It would pass the planner's checks, and no enactor's: with it, nothing of the endpoint could be installed."""
    twice = WHOLE[MAIN].__class__(5, (*WHOLE[MAIN].targets, WHOLE[MAIN].targets[-1]))
    draft = forced(requests(Request(Kind.DRAIN, ONE, force=True)), last={**WHOLE, MAIN: twice})

    assert MAIN not in draft.changes
    assert len(draft.changes) == len(LAYOUT.endpoints_of[ONE]) - 1


def test_forced_requests_of_two_operators_are_two_plans():
    """Each says whose word it is."""
    asked = requests(
        Request(Kind.DRAIN, ONE, force=True, by="bob"), Request(Kind.ZONE_DRAIN, "use1-az3", force=True, by="ada")
    )
    first = forced(asked)
    second = forced(asked, last={**WHOLE, **first.changes})

    assert [draft.by for draft in (first, second)] == ["ada", "bob"]
    assert forced(asked, last={**WHOLE, **first.changes, **second.changes}) is None


def test_forced_drain_never_takes_the_last_load_balancer():
    """The others have died since it was asked: the endpoint is held as it is, or keeps one."""
    members = [lb.name for lb in LAYOUT.members[FIPS]]
    asked = requests(Request(Kind.DRAIN, SEVEN, force=True))
    dead = {**FLEET, **dict.fromkeys(members[1:], DEAD)}
    draft = forced(asked, dead)
    assert draft is None or FIPS not in draft.changes

    alone = {**WHOLE, FIPS: WHOLE[FIPS].__class__(5, WHOLE[FIPS].targets[:1])}
    assert alone[FIPS].targets[0].identifier == SEVEN
    left = forced(asked, FLEET, alone)
    assert left is None or FIPS not in left.changes


def world(asked: Requests = NONE) -> World:
    """Return what admission looks at, with the default limits."""
    return World(LAYOUT, FLEET, asked, WHOLE, Limits())


def test_second_zone_is_refused_without_force_even_in_the_same_group():
    """Each is decided on the state after the one before: a third may go, half of the rest may not."""
    wanted = [Wanted(Kind.ZONE_DRAIN, f"use1-az{n}") for n in (1, 2)]
    first, second = admit_all(world(), wanted, 0)

    assert isinstance(first, Admitted)
    assert isinstance(second, Refused)
    assert "this takes away 600 of 1200 A capacity (50%), the limit is 40%" in second.error
    assert isinstance(admit_all(world(), [wanted[0], wanted[1]._replace(force=True)], 0)[1], Admitted)
    assert isinstance(admit(world()._replace(limits=None, requests=requests(first.request)), wanted[1], 0), Admitted)


@pytest.mark.parametrize("ends", [True, False])
def test_what_brings_capacity_is_never_refused_for_what_others_took(ends):
    """Ending a drain, and adding capacity, stay possible however little is left."""
    little = requests(*(Request(Kind.ZONE_DRAIN, f"use1-az{n}") for n in (1, 2)), Request(Kind.DRAIN, ONE))
    wanted = Wanted(Kind.DRAIN, ONE, ends=True) if ends else Wanted(Kind.CAPACITY, ONE, add=5)

    assert isinstance(admit(world(little), wanted, 0), Admitted)


def test_capacity_added_ends_the_force_of_capacity_taken():
    """What is forced is the last word alone."""
    taken = admit(world(), Wanted(Kind.CAPACITY, ONE, add=-90, force=True, by="ada"), 0)
    assert isinstance(taken, Admitted)
    assert (taken.request.force, taken.request.by, taken.request.leaves) == (True, "ada", 10)

    added = admit(world(requests(taken.request)), Wanted(Kind.CAPACITY, ONE, add=10), 0)
    assert isinstance(added, Admitted)
    assert (added.request.add, added.request.force, added.request.leaves) == (-80, False, UNSET)
