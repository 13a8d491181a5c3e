"""Operator requests: how they are kept, and on which conditions they are put in force."""

from http import HTTPStatus

import pytest

from fencepost.errors import PlanInvalid
from fencepost.region import MAX_CAPACITY
from planner.admission import Admitted, Refused, Wanted, World, admit
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import NONE, Kind, Request, Requests, decode_requests, encode_request

DRAIN = Request(Kind.DRAIN, "az1-lb-1", 0, "disk", 5)
HEALTHY = Observed(healthy=True, capacity=100)
DEAD = Observed(healthy=False, capacity=100)


@pytest.fixture
def world(region):
    """Makes a world of this region with requests in force, parts of the fleet replaced."""

    def make(*asked: Request, **seen: Observed) -> World:
        fleet = {lb.name: seen.get(lb.name.replace("-", "_"), HEALTHY) for lb in region.load_balancer}
        return World(Layout.of(region), fleet, Requests({request.key: request for request in asked}), {})

    return make


def test_requests_come_back_from_the_store_as_they_were():
    """Every field survives."""
    asked = [DRAIN, Request(Kind.ZONE_DRAIN, "az2"), Request(Kind.CAPACITY, "az1-lb-1", -7, "why", 9)]
    asked.append(Request(Kind.CAPACITY, "az1-lb-2", -7, "why", 9, force=True, by="ada", leaves=93))
    texts = {request.key: encode_request(request) for request in asked}

    assert list(decode_requests(texts).by_key.values()) == sorted(asked, key=lambda request: request.key)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind":"drain"}', '{"kind":"explode","subject":"x"}', '{"more":1}'])
def test_requests_that_cannot_be_read_stop_planning(text):
    """It may be a drain: going on without it would send customers to a machine that somebody works on."""
    with pytest.raises(PlanInvalid, match=r"'drain/x' in the plan store cannot be read .* corrected or deleted"):
        decode_requests({"drain/x": text})


def test_requests_kept_under_another_ones_key_stop_planning():
    """Ending one by its key would end another."""
    with pytest.raises(PlanInvalid, match="says that it is 'drain/az1-lb-1'"):
        decode_requests({"drain/az1-lb-2": encode_request(DRAIN)})


def test_admission_of_a_drain_keeps_who_asked_why_and_when(world):
    """All of it is stored."""
    admitted = admit(world(), Wanted(Kind.DRAIN, "az1-lb-1", reason="disk"), 5)

    assert admitted == Admitted(DRAIN, DRAIN, changes=True)


def test_admission_of_what_is_in_force_already_changes_nothing(world):
    """Nor does ending what is not in force; the first reason stays."""
    again = admit(world(DRAIN), Wanted(Kind.DRAIN, "az1-lb-1", reason="other"), 9)
    ended = admit(world(), Wanted(Kind.DRAIN, "az1-lb-1", ends=True), 9)

    assert again == Admitted(DRAIN, DRAIN, changes=False)
    assert isinstance(ended, Admitted)
    assert (ended.stored, ended.changes) == (None, False)


def test_admission_adds_capacity_to_what_is_in_force(world):
    """+20 after +10 is +30; back to 0 ends the request; adding 0 changes nothing."""
    before = Request(Kind.CAPACITY, "az1-lb-1", 10, "load", 1)
    more = admit(world(before), Wanted(Kind.CAPACITY, "az1-lb-1", add=20), 2)
    back = admit(world(before), Wanted(Kind.CAPACITY, "az1-lb-1", add=-10), 2)
    none = admit(world(before), Wanted(Kind.CAPACITY, "az1-lb-1", add=0), 2)

    assert more == Admitted(*[Request(Kind.CAPACITY, "az1-lb-1", 30, "load", 2)] * 2, changes=True)
    assert isinstance(back, Admitted)
    assert (back.request.add, back.stored, back.changes) == (0, None, True)
    assert none == Admitted(before, before, changes=False)


@pytest.mark.parametrize(
    ("wanted", "status", "words"),
    [
        (Wanted(Kind.DRAIN, "az9-lb-1"), 404, "no load balancer 'az9-lb-1'; GET /v1/load-balancers"),
        (Wanted(Kind.DRAIN, "az9-lb-1", ends=True), 404, "no load balancer"),
        (Wanted(Kind.CAPACITY, "az1", add=1), 404, "no load balancer"),
        (Wanted(Kind.ZONE_DRAIN, "az9"), 404, "no Availability Zone 'az9'; use az1, az2"),
        (Wanted(Kind.CAPACITY, "az1-lb-2", add=-91), 409, "add between -90 and 999910"),
        (Wanted(Kind.CAPACITY, "az1-lb-2", add=MAX_CAPACITY), 409, "outside 0 to 1000000: add between"),
        (Wanted(Kind.DRAIN, "az2-lb-2"), 409, "this would leave b.test. without a load balancer"),
        (Wanted(Kind.ZONE_DRAIN, "az2"), 409, "this would leave b.test. without"),
        (Wanted(Kind.CAPACITY, "az2-lb-2", add=-100), 409, "this would leave b.test. without"),
    ],
)
def test_admission_refuses_with_the_remedy(world, wanted, status, words):
    """Unknown, impossible, or leaving an endpoint bare: refused."""
    existing = world(Request(Kind.CAPACITY, "az1-lb-2", -10), Request(Kind.DRAIN, "az2-lb-1"))

    refused = admit(existing, wanted, 0)

    assert isinstance(refused, Refused)
    assert refused.status is HTTPStatus(status)
    assert words in refused.error


def test_admission_counts_unhealthy_load_balancers_as_gone(world):
    """The last healthy one cannot be drained."""
    refused = admit(world(az2_lb_1=DEAD), Wanted(Kind.DRAIN, "az2-lb-2"), 0)

    assert isinstance(refused, Refused)


def test_admission_is_not_blocked_by_an_endpoint_that_has_nothing_left_anyway(world):
    """b.test is dead already: a zone must still be taken out for the others' sake."""
    dead = world(az2_lb_1=DEAD, az2_lb_2=DEAD)

    assert isinstance(admit(dead, Wanted(Kind.DRAIN, "az2-lb-1"), 0), Admitted)
    assert isinstance(admit(dead, Wanted(Kind.ZONE_DRAIN, "az2"), 0), Admitted)
    assert isinstance(admit(dead, Wanted(Kind.ZONE_DRAIN, "az1"), 0), Refused)


def test_admission_measures_one_that_never_reported_by_the_region_file(world):
    """Its capacity there is 100."""
    never = world(az1_lb_1=Observed(healthy=False))

    assert isinstance(admit(never, Wanted(Kind.CAPACITY, "az1-lb-1", add=-100), 0), Admitted)
    assert isinstance(admit(never, Wanted(Kind.CAPACITY, "az1-lb-1", add=-101), 0), Refused)


def test_admission_can_end_a_request_whose_subject_the_region_has_lost(world):
    """A load balancer leaves the region file while it is drained: its request must not stay for ever."""
    left = Request(Kind.DRAIN, "az9-lb-1")

    assert admit(world(left), Wanted(Kind.DRAIN, "az9-lb-1", ends=True), 0) == Admitted(left, None, changes=True)


def test_requests_are_replaced_and_ended_by_their_keys():
    """One of a kind for a subject."""
    other = Request(Kind.DRAIN, "az1-lb-1", reason="other")

    assert NONE.with_request(DRAIN).with_request(other).by_key == {"drain/az1-lb-1": other}
    assert NONE.with_request(DRAIN).without("drain/az1-lb-1") == NONE
