"""Protective checks: what a plan may take away from an endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost.capacity import CapacityHistory, capacity_of
from fencepost.errors import PlanUnsafe
from fencepost.plan import Target, content
from fencepost.region import load_region
from fencepost.safety import Baseline, Limits, check_known, check_removal, check_wellformed, floors, known_addresses

NAME = "dynamodb.us-east-1.fencepost.test."
LIMITS = Limits()
NOW_S = 1_792_000_000.0


def endpoint(count, *, weight=100, kinds=("A",)):
    """Return a content of `count` load balancers."""
    address = {"A": "127.1.0.{}", "AAAA": "fd00::{}"}
    return content(
        5, [Target(f"lb-{n:03d}", k, address[k].format(n), weight) for n in range(1, count + 1) for k in kinds]
    )


def against(existing, history=CapacityHistory(), limits=LIMITS):  # noqa: B008  -- immutable
    """Return the baseline of what is live."""
    return Baseline.of(existing, history, NOW_S, limits)


def test_removal_of_a_zone_of_three_passes():
    """One Availability Zone of three may go at once: that is what the fast lane is for."""
    check_removal(NAME, endpoint(12), against(endpoint(18)), LIMITS)


def test_removal_of_exactly_the_limit_passes_and_of_more_does_not():
    """Four of ten are 40 %, whatever binary fractions make of it."""
    check_removal(NAME, endpoint(6), against(endpoint(10)), LIMITS)
    with pytest.raises(PlanUnsafe, match="500 of 1000"):
        check_removal(NAME, endpoint(5), against(endpoint(10)), LIMITS)


def test_removal_of_half_is_refused_with_counts_limit_and_remedy():
    """Half of the fleet gone in one step is more likely a mistake than an emergency."""
    with pytest.raises(PlanUnsafe) as caught:
        check_removal(NAME, endpoint(9), against(endpoint(18)), LIMITS)

    assert str(caught.value) == (
        f"{NAME}: the plan takes away 900 of 1800 A capacity within 30 s (50%), the limit is 40%; "
        "if it is meant, publish it with `fencepost plan publish --force`"
    )
    assert (caught.value.endpoint, caught.value.rule, caught.value.counts["removed"]) == (NAME, "removal", 900)


def test_removal_in_small_steps_is_refused_within_the_window():
    """Velocity: what one plan may not take, many plans may not take either, until the window has passed."""
    history = CapacityHistory().noted(NOW_S - 5, (1800, 0), 30).noted(NOW_S - 2, (1200, 0), 30)

    with pytest.raises(PlanUnsafe, match="800 of 1800 A capacity within 30 s"):
        check_removal(NAME, endpoint(10), against(endpoint(12), history), LIMITS)
    check_removal(NAME, endpoint(10), Baseline.of(endpoint(12), history, NOW_S + 60, LIMITS), LIMITS)
    check_removal(NAME, endpoint(10), against(endpoint(12), history, Limits(window_s=0)), Limits(window_s=0))


def test_more_than_now_is_never_refused():
    """Capacity that comes back passes, however far below its best the endpoint still is."""
    history = CapacityHistory().noted(NOW_S - 5, (1800, 0), 30).noted(NOW_S - 2, (300, 0), 30)

    check_removal(NAME, endpoint(4, weight=90), against(endpoint(6, weight=50), history), LIMITS)


def test_weights_that_fall_count_as_removal():
    """Load balancers that stay with a tenth of their weight are capacity gone."""
    with pytest.raises(PlanUnsafe, match="1620 of 1800 A capacity"):
        check_removal(NAME, endpoint(18, weight=10), against(endpoint(18)), LIMITS)


def test_each_address_type_counts_by_itself():
    """Losing all of AAAA is an outage for those who use it, though half of the records stay."""
    with pytest.raises(PlanUnsafe, match="no AAAA address of 18 load balancers"):
        check_removal(NAME, endpoint(18), against(endpoint(18, kinds=("A", "AAAA"))), LIMITS)


@pytest.mark.parametrize("existing", [1, 2, 4, 18])
def test_an_endpoint_without_addresses_is_refused_whatever_its_size(existing):
    """The last address is protected in small fleets too, and a weight of 0 is no address."""
    for left in (content(5, []), endpoint(existing, weight=0)):
        with pytest.raises(PlanUnsafe) as caught:
            check_removal(NAME, left, against(endpoint(existing)), LIMITS)
        assert caught.value.rule == "empty"


def test_small_fleet_may_lose_all_but_one():
    """One of two is half of everything; a share says nothing there."""
    check_removal(NAME, endpoint(1), against(endpoint(4)), LIMITS)


def test_too_few_load_balancers_are_refused():
    """Capacity in one place is no redundancy."""
    with pytest.raises(PlanUnsafe, match="leaves 1 load balancers with A addresses, the limit is 2"):
        check_removal(NAME, endpoint(1, weight=200), against(endpoint(6, weight=50)), LIMITS)


def test_an_endpoint_that_has_nothing_takes_anything():
    """There is nothing to lose: the first plan, and the repair of an outage, pass."""
    check_removal(NAME, endpoint(1), against(None), LIMITS)


@given(existing=st.integers(5, 40), left=st.integers(1, 40), weight=st.integers(1, 255))
def test_what_passes_keeps_the_floor(existing, left, weight):
    """Whatever passes has its floor, or more than there is now."""
    baseline = against(endpoint(existing))
    desired = endpoint(left, weight=weight)
    try:
        check_removal(NAME, desired, baseline, LIMITS)
    except PlanUnsafe:
        return
    assert capacity_of(desired)[0] >= min(floors(baseline, LIMITS)[0], capacity_of(baseline.existing)[0])
    assert floors(baseline, LIMITS)[0] >= existing * 100 * 0.6


def test_strangers_are_refused_by_name():
    """A load balancer that the region does not have, and a known one at another address, are named."""
    known = known_addresses(load_region())[NAME]
    targets = [Target(name, "A", address["A"], 100) for name, address in known.items()]
    check_known(NAME, content(5, targets), known)

    strange = [Target("use1-az9-lb-001", "A", "127.1.9.1", 1), Target(targets[0].identifier, "A", "127.1.9.2", 1)]
    with pytest.raises(PlanUnsafe) as caught:
        check_known(NAME, content(5, [*targets[1:], *strange]), known)
    assert "2 load balancers that the region file does not have here" in str(caught.value)
    assert "use1-az9-lb-001 (127.1.9.1)" in str(caught.value)


def test_fleet_that_has_shrunk_is_not_small_for_that():
    """Smallness goes by the region's members: six that have become four are still protected as six."""
    history = CapacityHistory().noted(NOW_S - 5, (600, 0), 30).noted(NOW_S - 2, (400, 0), 30)
    limits = LIMITS.for_fleet(6)

    with pytest.raises(PlanUnsafe, match="400 of 600 A capacity"):
        check_removal(NAME, endpoint(2), against(endpoint(4), history, limits), limits)
    assert LIMITS.for_fleet(4) == LIMITS


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (Target("lb-999", "A", "127.1.0.200", -1), "lb-999 has weight -1, outside 0 to 255"),
        (Target("lb-999", "A", "127.1.0.1", 5), "address 127.1.0.1 occurs twice"),
        (Target("lb-001", "A", "127.1.0.200", 5), r"load balancer lb-001 \(A\) occurs twice"),
        (Target("lb-999", "A", "nowhere", 5), "'nowhere' is not an address of type A"),
    ],
)
def test_malformed_content_is_refused_by_name(target, problem):
    """What no zone would take is explained before it is tried."""
    check_wellformed(NAME, endpoint(3))

    with pytest.raises(PlanUnsafe, match=problem) as caught:
        check_wellformed(NAME, content(5, [*endpoint(3).targets, target]))
    assert (caught.value.rule, caught.value.counts["problems"]) == ("malformed", 1)
