"""What is built from region, fleet and requests: properties that hold for every input, and the rules one by one."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost.plan import Content, Draft, Target, check_draft, digest
from fencepost.region import MAX_CAPACITY, Region, load_region
from planner.build import build, weight_of
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import NONE, Kind, Request, Requests

REGION = load_region()
LAYOUT = Layout.of(REGION)
NAMES = tuple(lb.name for lb in REGION.load_balancer)
ZONES = tuple(zone.id for zone in REGION.availability_zone)
capacities = st.integers(0, 300) | st.integers(0, MAX_CAPACITY)

observed = st.builds(Observed, healthy=st.sampled_from([True, True, True, False, None]), capacity=capacities)
fleets = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, observed))
requests = st.lists(
    st.builds(Request, st.just(Kind.DRAIN), st.sampled_from(NAMES))
    | st.builds(Request, st.just(Kind.ZONE_DRAIN), st.sampled_from(ZONES))
    | st.builds(Request, st.just(Kind.CAPACITY), st.sampled_from(NAMES), st.integers(-MAX_CAPACITY, MAX_CAPACITY)),
    max_size=12,
).map(lambda found: Requests({request.key: request for request in found}))
WHOLE = build(LAYOUT, {name: Observed(healthy=True, capacity=100) for name in NAMES}, NONE, {}).contents
lasts = st.sampled_from([{}, WHOLE])


@given(fleets, requests, lasts)
def test_build_never_makes_an_endpoint_empty_and_every_content_can_be_published(fleet, asked, last):
    """Each endpoint is either built with at least one target of weight 1 to 255, or held back with a reason."""
    built = build(LAYOUT, fleet, asked, last)

    assert sorted([*built.contents, *built.held]) == list(REGION.endpoint_names)
    assert all(built.held.values())
    check_draft(Draft(built.contents, "a draft"), frozenset(REGION.endpoint_names))
    for value in built.contents.values():
        assert value.targets
        assert all(1 <= target.weight <= 255 for target in value.targets)


@given(fleets, requests, lasts, st.randoms())
def test_build_does_not_depend_on_any_order(fleet, asked, last, chance):
    """Region, fleet and requests shuffled give the same digests: no plan is ever published for nothing."""

    def shuffled(items):
        return tuple(chance.sample(list(items), len(items)))

    other_region = msgspec.structs.replace(
        REGION, load_balancer=shuffled(REGION.load_balancer), endpoint=shuffled(REGION.endpoint)
    )
    other = build(
        Layout.of(other_region), dict(shuffled(fleet.items())), Requests(dict(shuffled(asked.by_key.items()))), last
    )

    first = build(LAYOUT, fleet, asked, last)
    assert {name: digest(value) for name, value in other.contents.items()} == {
        name: digest(value) for name, value in first.contents.items()
    }
    assert other.held == first.held


@given(fleets, requests, lasts)
def test_build_holds_exactly_the_usable_load_balancers(fleet, asked, last):
    """Drained, zone out, unhealthy or without capacity: not in; all other healthy ones: in, with every type."""
    built = build(LAYOUT, fleet, asked, last)

    for endpoint in REGION.endpoint:
        if endpoint.name not in built.contents:
            continue
        present = {(target.identifier, target.type) for target in built.contents[endpoint.name].targets}
        for lb in REGION.members(endpoint):
            seen = fleet.get(lb.name, Observed())
            out = asked.get(Kind.DRAIN, lb.name) or asked.get(Kind.ZONE_DRAIN, lb.zone) or seen.healthy is False
            effective = (seen.capacity or 0) + asked.added(lb.name)
            for kind in endpoint.types:
                if out or (seen.healthy and effective <= 0):
                    assert (lb.name, kind) not in present
                elif seen.healthy:
                    assert (lb.name, kind) in present


@given(st.lists(st.integers(1, MAX_CAPACITY), min_size=1, max_size=30))
def test_weights_keep_order_and_shares_of_the_capacities(found):
    """A larger capacity never weighs less, and each weight is within half a step of its exact share, or 1."""
    largest = max(found)
    weights = {capacity: weight_of(capacity, largest) for capacity in found}

    assert [weights[c] for c in sorted(weights)] == sorted(weights.values())
    for capacity, weight in weights.items():
        exact = capacity * min(Fraction(1), Fraction(255, largest))
        assert abs(weight - exact) <= Fraction(1, 2) or weight == 1 > exact
    assert weights[largest] == min(largest, 255)


def fleet_of(region: Region, **capacity: int) -> dict[str, Observed]:
    """Return a healthy fleet of capacity 100, but for those named (`az1_lb_1=50`)."""
    return {
        lb.name: Observed(healthy=True, capacity=capacity.get(lb.name.replace("-", "_"), 100))
        for lb in region.load_balancer
    }


def weights(value: Content) -> dict[str, int]:
    """Return "load balancer/type" -> weight."""
    return {f"{target.identifier}/{target.type}": target.weight for target in value.targets}


def request(kind: Kind, subject: str, add: int = 0) -> Requests:
    """Return one request in force."""
    return NONE.with_request(Request(kind, subject, add))


def test_build_of_a_healthy_fleet_has_every_member_with_its_types_and_addresses(region):
    """The identifier is the load balancer's name, the TTL the region's."""
    built = build(Layout.of(region), fleet_of(region, az2_lb_2=70), NONE, {})

    assert built.contents["b.test."] == Content(
        5, (Target("az2-lb-1", "A", "127.1.2.1", 100), Target("az2-lb-2", "A", "127.1.2.2", 70))
    )
    assert [(t.type, t.address) for t in built.contents["a.test."].targets[:2]] == [
        ("A", "127.1.1.1"),
        ("AAAA", "::ffff:127.1.1.1"),
    ]
    assert len(built.contents["a.test."].targets) == 8


def test_build_weighs_a_capacity_as_itself_until_one_exceeds_255(region):
    """Then the whole endpoint is scaled, and other endpoints are not."""
    fleet = fleet_of(region, az1_lb_1=1000, az1_lb_2=1, az2_lb_1=255, az2_lb_2=254)
    built = build(Layout.of(region), fleet, NONE, {})

    assert weights(built.contents["b.test."]) == {"az2-lb-1/A": 255, "az2-lb-2/A": 254}
    assert [w for key, w in weights(built.contents["a.test."]).items() if key.endswith("/A")] == [255, 1, 65, 65]


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        (request(Kind.DRAIN, "az1-lb-1"), {"az1-lb-1"}),
        (request(Kind.ZONE_DRAIN, "az1"), {"az1-lb-1", "az1-lb-2"}),
        (request(Kind.CAPACITY, "az1-lb-1", -100), {"az1-lb-1"}),
        (request(Kind.CAPACITY, "az1-lb-1", -500), {"az1-lb-1"}),
        (request(Kind.DRAIN, "no-such-one"), set()),
    ],
)
def test_build_leaves_out_what_operators_took_out(region, asked, gone):
    """And nothing else moves."""
    built = build(Layout.of(region), fleet_of(region), asked, {})

    assert {key.partition("/")[0] for key in weights(built.contents["a.test."])} == {
        lb.name for lb in region.load_balancer
    } - gone
    assert not built.held


def test_build_adds_operators_capacity_to_the_reported_one(region):
    """Within the bounds of a capacity, whatever was asked."""
    asked = request(Kind.CAPACITY, "az2-lb-1", 20).with_request(Request(Kind.CAPACITY, "az1-lb-1", MAX_CAPACITY))
    built = build(Layout.of(region), fleet_of(region), asked, {})

    assert weights(built.contents["b.test."]) == {"az2-lb-1/A": 120, "az2-lb-2/A": 100}
    assert built.views["az1-lb-1"].effective_capacity == MAX_CAPACITY


def test_build_of_an_endpoint_without_any_usable_load_balancer_fails_open(region):
    """The endpoint is held as the last plan has it, with a reason; the others follow the world."""
    last = build(Layout.of(region), fleet_of(region), NONE, {}).contents
    dead = Observed(healthy=False, capacity=100, reason="refused the connection")
    built = build(Layout.of(region), {**fleet_of(region), "az2-lb-1": dead, "az2-lb-2": dead}, NONE, last)

    assert list(built.contents) == ["a.test."]
    assert built.held == {
        "b.test.": "b.test. keeps what the last plan has: none of its 2 load balancers can be used "
        "(unhealthy: refused the connection)"
    }


def test_build_keeps_the_exact_target_of_a_load_balancer_that_could_not_be_observed_yet(region):
    """After a restart, one that answers nonsense stays as it is, as long as its address is the same."""
    last = build(Layout.of(region), fleet_of(region, az2_lb_2=33), NONE, {}).contents
    fleet = {**fleet_of(region), "az2-lb-2": Observed()}

    kept = build(Layout.of(region), fleet, NONE, last)
    drained = build(Layout.of(region), fleet, request(Kind.DRAIN, "az2-lb-2"), last)
    moved = msgspec.structs.replace(
        region,
        load_balancer=tuple(
            msgspec.structs.replace(lb, address="127.1.9.9") if lb.name == "az2-lb-2" else lb
            for lb in region.load_balancer
        ),
    )

    assert weights(kept.contents["b.test."]) == {"az2-lb-1/A": 100, "az2-lb-2/A": 33}
    assert weights(drained.contents["b.test."]) == {"az2-lb-1/A": 100}
    assert weights(build(Layout.of(moved), fleet, NONE, last).contents["b.test."]) == {"az2-lb-1/A": 100}


def test_build_with_nothing_observed_and_no_last_plan_publishes_nothing(region):
    """No guess is ever published."""
    built = build(Layout.of(region), {}, NONE, {})

    assert not built.contents
    assert built.held["b.test."] == (
        "b.test. is in no plan yet: none of its 2 load balancers can be used (not observed yet)"
    )
