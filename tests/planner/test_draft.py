"""Drafts: only what changed, how urgent, and in which words."""

import pytest

from fencepost.plan import Content, Lane, Target, content
from planner.build import Built, build
from planner.draft import draft_changes, draft_everything
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import NONE, Kind, Request

HEALTHY = Observed(healthy=True, capacity=100)
DEAD = Observed(healthy=False, capacity=100, reason="answered 503")


@pytest.fixture
def world(region):
    """Builds with parts of the fleet replaced and requests in force, over the contents of a healthy region."""
    fleet = {lb.name: HEALTHY for lb in region.load_balancer}
    last = build(Layout.of(region), fleet, NONE, {}).contents

    def make(*asked: Request, **seen: Observed) -> tuple[Built, dict[str, Content]]:
        requests = NONE
        for request in asked:
            requests = requests.with_request(request)
        parts = {name.replace("_", "-"): value for name, value in seen.items()}
        return build(Layout.of(region), {**fleet, **parts}, requests, last), dict(last)

    return make


def test_draft_of_an_unchanged_world_is_none(world):
    """A plan is never published for nothing."""
    built, last = world()

    assert draft_changes(built.contents, built.views, last) is None


def test_draft_of_an_empty_store_is_the_whole_region(world):
    """The first plan is routine."""
    built, _ = world()
    draft = draft_changes(built.contents, built.views, {})

    assert draft is not None
    assert (draft.changes, draft.lane) == (built.contents, Lane.SLOW)
    assert draft.reason == "first plan: 2 endpoints over 4 load balancers"


@pytest.mark.parametrize(
    ("asked", "seen", "lane", "reason"),
    [
        ([Request(Kind.DRAIN, "az1-lb-1")], {}, Lane.FAST, "az1-lb-1 out (drained)"),
        ([Request(Kind.ZONE_DRAIN, "az1")], {}, Lane.FAST, "az1-lb-1 and 1 more out (az1 is out)"),
        ([Request(Kind.CAPACITY, "az1-lb-1", 7)], {}, Lane.SLOW, "az1-lb-1 weight 100 to 107"),
        ([Request(Kind.CAPACITY, "az1-lb-1", -100)], {}, Lane.SLOW, "az1-lb-1 out (no capacity)"),
        ([], {"az1_lb_2": DEAD}, Lane.FAST, "az1-lb-2 out (unhealthy: answered 503)"),
        (
            [Request(Kind.CAPACITY, "az1-lb-1", 7), Request(Kind.DRAIN, "az2-lb-1")],
            {"az1_lb_2": DEAD},
            Lane.FAST,
            "az1-lb-2 out (unhealthy: answered 503); az2-lb-1 out (drained); az1-lb-1 weight 100 to 107",
        ),
    ],
)
def test_draft_says_what_moves_and_how_urgent_it_is(world, asked, seen, lane, reason):
    """Health loss, a drain and a zone taken out are fast, all else is slow; those that go are named first."""
    built, last = world(*asked, **seen)
    draft = draft_changes(built.contents, built.views, last)

    assert draft is not None
    assert (draft.lane, draft.reason) == (lane, reason)


def test_draft_holds_only_the_endpoints_that_change(world):
    """az1 is no member of b.test."""
    built, last = world(Request(Kind.DRAIN, "az1-lb-1"))
    draft = draft_changes(built.contents, built.views, last)

    assert draft is not None
    assert list(draft.changes) == ["a.test."]


def test_draft_of_a_return_is_slow(world):
    """Coming back is routine, even after an emergency."""
    (out, _), (well, _) = world(az1_lb_2=DEAD), world()
    draft = draft_changes(well.contents, well.views, out.contents)

    assert draft is not None
    assert (draft.lane, draft.reason) == (Lane.SLOW, "az1-lb-2 in (weight 100)")


def test_draft_of_many_different_moves_says_the_first_and_counts_the_rest(world):
    """One sentence stays one sentence; a member that the region has lost is named first."""
    built, last = world(*(Request(Kind.CAPACITY, f"az{z}-lb-{n}", z + n * 2) for z in (1, 2) for n in (1, 2)))
    last["a.test."] = content(5, [*last["a.test."].targets, Target("gone-lb", "A", "127.1.9.9", 1)])
    draft = draft_changes(built.contents, built.views, last)

    assert draft is not None
    assert draft.reason == (
        "gone-lb out (no longer a member); az1-lb-1 weight 100 to 103; az1-lb-2 weight 100 to 105; "
        "az2-lb-1 weight 100 to 104; and 1 more"
    )


def test_draft_leaves_an_endpoint_alone_that_the_region_does_not_have(world):
    """A file that does not mention it is no reason to delete it."""
    built, last = world()

    assert draft_changes(built.contents, built.views, {**last, "other.test.": last["b.test."]}) is None


def test_draft_of_everything_keeps_held_endpoints_as_they_are(world):
    """Published again, numbered anew, and nothing of it emptied; endpoints of other regions stay out of it."""
    built, last = world(az2_lb_1=DEAD, az2_lb_2=DEAD)
    draft = draft_everything(built.contents, {**last, "other.test.": last["b.test."]}, ["b.test."], "lost")

    assert draft is not None
    assert list(draft.changes) == ["a.test.", "b.test."]
    assert draft.changes["b.test."] == last["b.test."]
    assert (draft.lane, draft.reason) == (Lane.FAST, "lost")


def test_draft_of_everything_with_nothing_to_publish_is_none(region):
    """An empty region is never published."""
    assert draft_everything(build(Layout.of(region), {}, NONE, {}).contents, {}, ["a.test."], "lost") is None
