"""Cutting plans short: whatever was observed, what is published takes no more from an endpoint than it may."""

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost.capacity import capacity_of
from fencepost.plan import Content, Draft, Target, check_draft, content
from fencepost.region import MAX_CAPACITY, load_region
from fencepost.safety import Baseline, Limits, check_removal, floors
from planner.build import build
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import NONE, Kind, Request, Requests
from planner.safety import cut_short

LAYOUT = Layout.of(load_region())
NAMES = tuple(LAYOUT.balancers)
LIMITS = Limits()
WELL, DEAD = Observed(healthy=True, capacity=100), Observed(healthy=False, capacity=100, reason="answered 503")
FLEET = dict.fromkeys(NAMES, WELL)
WHOLE = build(LAYOUT, FLEET, NONE, {}).contents
MAIN, FIPS = "dynamodb.us-east-1.fencepost.test.", "dynamodb-fips.us-east-1.fencepost.test."
MEMBERS = tuple(lb.name for lb in LAYOUT.members[MAIN])


def cut(fleet, requests=NONE, *, last=WHOLE, highest=None, limits=LIMITS):
    """Cut short what a fleet and requests ask for."""
    return cut_short(LAYOUT, build(LAYOUT, fleet, requests, last), last, highest or {}, limits)


def seen(value, *names):
    """Return the default fleet with some load balancers observed otherwise."""
    return {**FLEET, **dict.fromkeys(names, value)}


def drains(kind, *subjects):
    """Return drains in force."""
    return Requests({f"{kind}/{subject}": Request(kind, subject) for subject in subjects})


def shrunk(*, without=(), types=None):
    """Return the default layout after its region file has lost load balancers, or one endpoint its other types."""
    region = LAYOUT.region
    balancers = tuple(lb for lb in region.load_balancer if lb.name not in without)
    endpoints = tuple(msgspec.structs.replace(e, types=(types or {}).get(e.name, e.types)) for e in region.endpoint)
    return Layout.of(msgspec.structs.replace(region, load_balancer=balancers, endpoint=endpoints))


def cut_in(layout, fleet=FLEET, *, last=WHOLE, highest=None, live=None):
    """Cut short what a fleet asks for in another region."""
    return cut_short(layout, build(layout, fleet, NONE, last), last, highest or {}, LIMITS, live=live)


def who(value):
    """Return the load balancers of a content."""
    return {target.identifier for target in value.targets}


capacities = st.integers(0, 300) | st.integers(0, MAX_CAPACITY)
observed = st.builds(Observed, healthy=st.sampled_from([True, True, False, False, None]), capacity=capacities)
fleets = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, observed))
requests = st.lists(
    st.builds(Request, st.just(Kind.DRAIN), st.sampled_from(NAMES))
    | st.builds(Request, st.just(Kind.ZONE_DRAIN), st.sampled_from(["use1-az1", "use1-az2", "use1-az3"]))
    | st.builds(Request, st.just(Kind.CAPACITY), st.sampled_from(NAMES), st.integers(-MAX_CAPACITY, MAX_CAPACITY)),
    max_size=6,
).map(lambda found: Requests({request.key: request for request in found}))
pasts = st.tuples(st.integers(0, 4000), st.integers(0, 4000))


@given(fleets, fleets, requests, pasts)
def test_cut_plan_keeps_every_floor_whatever_was_observed(before, fleet, asked, past):
    """What is left passes the enactors' own check, is never empty, can be published, and touches nothing needlessly."""
    last = {**WHOLE, **build(LAYOUT, before, NONE, WHOLE).contents}
    built = build(LAYOUT, fleet, asked, last)
    found = cut_short(LAYOUT, built, last, dict.fromkeys(last, past), LIMITS)

    assert (found.contents.keys(), found.stuck) == (built.contents.keys(), {})
    check_draft(Draft(found.contents, "a draft"), frozenset(LAYOUT.endpoints))
    for name, value in found.contents.items():
        existing = last[name]
        now = capacity_of(existing)
        baseline = Baseline(existing, (max(past[0], now[0]), max(past[1], now[1])))
        check_removal(name, value, baseline, LIMITS)
        floor = floors(baseline, LIMITS.for_fleet(len(LAYOUT.members[name])))
        assert all(has >= min(needs, had) for has, needs, had in zip(capacity_of(value), floor, now, strict=True))
        assert name in found.limited or value == built.contents[name]


@given(fleets, st.sampled_from(sorted(LAYOUT.endpoints)))
def test_cut_of_one_endpoint_does_not_affect_another(fleet, name):
    """What an endpoint gets depends on its own members, its own last content and its own past."""
    built = build(LAYOUT, fleet, NONE, WHOLE)
    alone = cut_short(LAYOUT, built, WHOLE, {name: (9000, 9000)}, LIMITS)
    none = cut_short(LAYOUT, built, WHOLE, {}, LIMITS)

    assert {k: v for k, v in alone.contents.items() if k != name} == {
        k: v for k, v in none.contents.items() if k != name
    }


@given(fleets, requests)
def test_cut_plan_asks_for_nothing_more_the_second_time(fleet, asked):
    """Who stays in is the same from round to round: no plan is published for nothing."""
    first = {**WHOLE, **cut(fleet, asked).contents}
    highest = {name: capacity_of(value) for name, value in WHOLE.items()}

    again = {**first, **cut(fleet, asked, last=first, highest=highest).contents}
    assert {**again, **cut(fleet, asked, last=again, highest=highest).contents} == again


def test_zone_of_three_may_go_at_once():
    """A third is what the fast lane is for; nothing is cut short."""
    found = cut(FLEET, drains(Kind.ZONE_DRAIN, "use1-az1"))

    assert found.limited == {}
    assert len(who(found.contents[MAIN])) == 12


def test_ninety_percent_gone_in_one_step_is_cut_to_the_limit_and_explained():
    """Sixteen of eighteen are reported dead: ten of eighteen would be too few, eleven stay; others are not held up."""
    found = cut(seen(DEAD, *MEMBERS[:16]))

    assert len(who(found.contents[MAIN])) == 11
    assert {"use1-az3-lb-005", "use1-az3-lb-006"} <= who(found.contents[MAIN])
    assert found.limited[MAIN].text == (
        f"{MAIN}: what is asked for takes away 1600 of 1800 A capacity within 30 s (89%), the limit is 40%, so "
        "use1-az1-lb-001 and 8 more stay in for now; wait 30 s for more to go, bring capacity back, or force a drain "
        '("force": true)'
    )
    assert found.limited[MAIN].counts == {"removed": 1600, "highest": 1800, "limit": 0.4}
    assert FIPS not in found.limited


def test_what_shrinks_is_kept_first_then_the_unhealthy_then_the_drained():
    """A drained load balancer is somebody's word, a dead one only an observation."""
    shrunk = dict.fromkeys(MEMBERS[:4], Observed(healthy=True, capacity=10))
    fleet = {**seen(DEAD, *MEMBERS[4:8]), **shrunk, **dict.fromkeys(MEMBERS[8:10], Observed(healthy=True, capacity=0))}
    found = cut(fleet, drains(Kind.DRAIN, *MEMBERS[10:14]))

    assert found.limited[MAIN].kept == MEMBERS[:7]  # 400 + 40 are left; 4 at 100 again, then 3 of the dead
    further = cut({**fleet, **dict.fromkeys(MEMBERS[14:17], DEAD)}, drains(Kind.DRAIN, *MEMBERS[10:14]))
    assert further.limited[MAIN].kept[4:] == (*MEMBERS[4:8], *MEMBERS[14:16])
    last_resort = cut(seen(DEAD, *MEMBERS[:5]), drains(Kind.DRAIN, *MEMBERS[5:17]))
    assert last_resort.limited[MAIN].kept == MEMBERS[:10]


def test_kept_load_balancer_keeps_all_its_types_and_its_weight():
    """A and AAAA stay together."""
    name = "dynamodb.dualstack.us-east-1.fencepost.test."
    found = cut(seen(DEAD, *MEMBERS[:16])).contents[name]

    assert len(found.targets) == 22
    assert {target.weight for target in found.targets} == {100}


def test_absurd_capacity_of_one_load_balancer_does_not_take_the_others_weight():
    """A million requests a second would leave all others with a weight of 1."""
    found = cut(seen(Observed(healthy=True, capacity=MAX_CAPACITY), MEMBERS[0])).contents[MAIN]

    assert capacity_of(found)[0] >= 1080
    assert max(target.weight for target in found.targets) == 255
    assert sum(target.weight == 100 for target in found.targets) == 9


def test_endpoint_that_loses_more_than_the_window_allows_waits_for_it():
    """Less than the limit by this plan, but too much with what went before."""
    last = {**WHOLE, **cut(seen(DEAD, *MEMBERS[:6])).contents}
    fleet = seen(DEAD, *MEMBERS[:8])

    within = cut(fleet, last=last, highest={MAIN: (1800, 0)})
    assert len(who(within.contents[MAIN])) == 11
    assert len(who(cut(fleet, last=last).contents[MAIN])) == 10


def test_too_few_load_balancers_are_kept_though_their_capacity_would_do():
    """Capacity in one place is no redundancy."""
    name = "dynamodb-fips.us-east-1.fencepost.test."
    members = [lb.name for lb in LAYOUT.members[name]]
    fleet = {**seen(DEAD, *members[1:]), members[0]: Observed(healthy=True, capacity=255)}
    last = {**WHOLE, name: content(5, [Target(n, "A", LAYOUT.balancers[n].address, 40) for n in members])}

    found = cut(fleet, last=last)
    assert len(who(found.contents[name])) == 2
    assert "leaves 1 load balancers with A addresses, the limit is 2" in found.limited[name].text


def test_small_fleet_may_lose_all_but_one():
    """A share says nothing there."""
    small = dataclasses.replace(LIMITS, small_fleet=18)

    assert cut(seen(DEAD, *MEMBERS[:17]), limits=small).limited == {}


def test_endpoint_that_has_few_load_balancers_left_is_not_small_because_of_that():
    """Four of six are left: they are not exempt, or the next plan could leave one."""
    members = [lb.name for lb in LAYOUT.members[FIPS]]
    last = {**WHOLE, **cut(seen(DEAD, *members[:2])).contents}
    assert len(who(last[FIPS])) == 4

    assert len(who(cut(seen(DEAD, *members[:5]), last=last).contents[FIPS])) == 3


def test_endpoint_in_no_plan_is_not_begun_with_far_less_than_its_zone_has():
    """The plan store has lost everything, and most of the fleet cannot be seen: the zone stays as it is."""
    found = cut(seen(DEAD, *MEMBERS[:16]), last={}, highest={MAIN: (1800, 0)})

    assert MAIN not in found.contents
    assert "its zone has 1800 A capacity: a plan with 200 would take away 89%" in found.stuck[MAIN]
    assert FIPS in found.contents
    assert cut(FLEET, last={}, highest={MAIN: (1800, 0)}).stuck == {}


def test_strangers_of_the_last_plan_are_not_kept():
    """Somebody else's plan had load balancers that the region does not have: they go, whatever they weigh."""
    strange = [Target(f"gone-lb-{n}", "A", f"127.1.9.{n}", 200) for n in range(1, 10)]
    last = {**WHOLE, MAIN: content(5, [*WHOLE[MAIN].targets, *strange])}

    assert cut(FLEET, last=last).contents[MAIN] == WHOLE[MAIN]
    only = {**WHOLE, MAIN: content(5, strange)}
    assert cut(FLEET, last=only).contents[MAIN] == WHOLE[MAIN]


def test_strangers_that_never_were_live_go_though_the_zone_has_a_history():
    """The zone was never at what the last plan says: all that it had is still there without them."""
    strange = [Target(f"gone-lb-{n}", "A", f"127.1.9.{n}", 255) for n in range(1, 20)]
    live = {MAIN: (1800, 0)}
    for targets in ([*WHOLE[MAIN].targets, *strange], strange):
        found = cut_in(LAYOUT, last={**WHOLE, MAIN: content(5, targets)}, highest={MAIN: (6645, 0)}, live=live)

        assert (found.contents[MAIN], found.stuck) == (WHOLE[MAIN], {})


def test_region_file_that_has_lost_half_of_an_endpoint_holds_it_and_names_the_remedy():
    """Enactors would refuse this and every later plan: it is not published, and the other endpoints go on."""
    layout = shrunk(without=MEMBERS[:9])
    live = {name: capacity_of(value) for name, value in WHOLE.items()}
    found = cut_in(layout, {**FLEET, MEMBERS[9]: DEAD}, live=live)

    assert MAIN not in found.contents
    assert MAIN not in found.limited
    assert found.stuck[MAIN] == (
        f"{MAIN}: the region file does not have {MEMBERS[0]} and 8 more as the last plan has, and its zone has 1800 A "
        "capacity: a plan with 900 would take away 50%, the limit is 40%; bring that back into the region file, or "
        "publish what it should have with `fencepost plan publish --force`"
    )
    one = LAYOUT.endpoints_of[MEMBERS[0]]
    assert set(found.contents) | set(found.stuck) == set(layout.endpoints)
    assert set(found.stuck) <= set(one)
    forced = {**WHOLE, MAIN: content(5, [t for t in WHOLE[MAIN].targets if t.identifier in MEMBERS[9:]])}
    assert MAIN not in cut_in(layout, last=forced, live=live).stuck


def test_region_file_that_has_lost_few_load_balancers_counts_them_as_gone():
    """A third may go at once; with others reported dead, as many of those stay as it takes."""
    layout = shrunk(without=MEMBERS[:6])
    live = {MAIN: (1800, 0)}

    assert len(who(cut_in(layout, live=live).contents[MAIN])) == 12
    found = cut_in(layout, seen(DEAD, *MEMBERS[6:10]), live=live)
    assert len(who(found.contents[MAIN])) == 11
    assert MAIN in found.limited


def test_endpoint_that_has_lost_a_type_in_the_region_file_is_held():
    """No plan takes the last address of a type; without the zone's word the last plan's AAAA may be made up."""
    name = "dynamodb.dualstack.us-east-1.fencepost.test."
    layout = shrunk(types={name: ("A",)})
    found = cut_in(layout, live={name: capacity_of(WHOLE[name])})

    assert "its zone has 1800 AAAA capacity: a plan with 0 would take away 100%" in found.stuck[name]
    assert list(found.stuck) == [name]
    assert cut_in(layout).stuck == {}


def malformed(*extra, weight=100):
    """Return the default contents with the main endpoint's first weight changed, and targets more."""
    first, *rest = WHOLE[MAIN].targets
    return {**WHOLE, MAIN: Content(5, (msgspec.structs.replace(first, weight=weight), *rest, *extra))}


@pytest.mark.parametrize(
    "last",
    [
        malformed(*WHOLE[MAIN].targets),
        malformed(Target("other", "A", WHOLE[MAIN].targets[-1].address, 100)),
        malformed(weight=60_000),
        malformed(weight=-5),
    ],
    ids=["all twice", "an address twice", "heavy", "less than nothing"],
)
@pytest.mark.parametrize("dead", [MEMBERS, MEMBERS[:17], MEMBERS[:2]])
def test_malformed_last_plan_is_mended_and_nothing_of_it_is_kept(last, dead):
    """Somebody else has published it past the checks: what comes next can be published, and is cut short as ever."""
    fleet = seen(DEAD, *dead) if dead != MEMBERS else dict.fromkeys(NAMES, Observed(healthy=True, capacity=10))
    found = cut(fleet, last=last, highest={MAIN: capacity_of(last[MAIN])})

    check_draft(Draft(found.contents, "a draft"), frozenset(LAYOUT.endpoints))
    assert found.stuck == {}
    assert capacity_of(found.contents[MAIN])[0] >= 1080


def test_renamed_address_is_kept_where_the_region_has_it_now():
    """A load balancer that has moved and shrinks is kept at its present address, never at both."""
    moved = msgspec.structs.replace(LAYOUT.balancers[MEMBERS[0]], address="127.1.9.9")
    region = LAYOUT.region
    balancers = tuple(moved if lb.name == moved.name else lb for lb in region.load_balancer)
    layout = Layout.of(msgspec.structs.replace(region, load_balancer=balancers))
    fleet = dict.fromkeys(NAMES, Observed(healthy=True, capacity=10))
    found = cut_short(layout, build(layout, fleet, NONE, WHOLE), WHOLE, {}, LIMITS).contents[MAIN]

    assert [t.address for t in found.targets if t.identifier == moved.name] == ["127.1.9.9"]
    assert capacity_of(found)[0] >= 1080


@pytest.mark.parametrize("fleet", [dict.fromkeys(NAMES, DEAD), {}])
def test_fleet_that_is_wholly_unhealthy_or_unknown_changes_nothing(fleet):
    """Fail open: what is built is nothing, or what the last plan has."""
    found = cut(fleet)

    assert {**WHOLE, **found.contents} == WHOLE
    assert found.limited == {}
