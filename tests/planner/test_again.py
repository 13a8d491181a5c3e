"""Deciding again costs what has changed, and comes to the same as deciding afresh."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencepost.notice import Notice
from fencepost.plan import Content, Contents, Lane, Plan, Target, content, digest
from fencepost.region import AvailabilityZone, Endpoint, LoadBalancer, Region
from fencepost.safety import Limits
from fencepost.stores import Controls
from planner import each
from planner.decide import Decider, Snapshot, decide
from planner.each import Lately
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import NONE, Kind, Request, Requests

BALANCERS = tuple(
    LoadBalancer(f"az{zone}-lb-{n}", f"az{zone}", f"127.1.{zone}.{n}", f"::ffff:127.1.{zone}.{n}")
    for zone in (1, 2)
    for n in (1, 2, 3)
)
LAYOUT = Layout.of(
    Region(
        "test",
        5,
        (AvailabilityZone("az1"), AvailabilityZone("az2")),
        BALANCERS,
        (
            Endpoint("a.test.", "dual-stack", ("*",), ("A", "AAAA")),
            Endpoint("b.test.", "x", ("az1-*",)),
            Endpoint("c.test.", "x", ("az2-*",)),
        ),
    )
)
LIMITS = Limits(max_removal_fraction=0.4, min_healthy=2, small_fleet=2)
NAMES, ENDPOINTS = tuple(LAYOUT.balancers), tuple(LAYOUT.endpoints)
FLEET = dict.fromkeys(NAMES, Observed(healthy=True, capacity=100))

capacities = st.sampled_from([(0, 0), (100, 0), (300, 300), (600, 600), (900, 0)])
observed = st.builds(
    Observed, healthy=st.sampled_from([True, True, False, None]), capacity=st.sampled_from([0, 50, 400])
)
strangers = st.sampled_from(["az1-lb-1", "az2-lb-2", "nobody"])
targets = st.builds(
    Target, strangers, st.just("A"), st.sampled_from(["127.1.1.1", "127.1.2.2"]), st.sampled_from([9, 300])
)
asked = st.builds(Request, st.just(Kind.DRAIN), st.sampled_from(NAMES), force=st.booleans(), by=st.sampled_from("ab"))
steps = st.one_of(
    st.tuples(st.just("publish")),
    st.tuples(st.just("observe"), st.sampled_from(NAMES), observed),
    st.tuples(st.just("ask"), st.lists(asked, max_size=2)),
    st.tuples(st.just("by hand"), st.sampled_from(ENDPOINTS), st.lists(targets, max_size=3)),
    st.tuples(st.just("leave"), st.sampled_from(ENDPOINTS)),
    st.tuples(st.just("had"), st.sampled_from(ENDPOINTS), capacities, capacities),
    st.tuples(st.just("pin"), st.lists(st.sampled_from(ENDPOINTS), max_size=1)),
)


def plan_of(contents):
    """Return a plan with some contents."""
    named = {name: digest(value) for name, value in sorted(contents.items())}
    return Plan(1, 0, Lane.SLOW, "any", named, Contents.of({digest(value): value for value in contents.values()}))


class World:
    """Everything that a decision goes by."""

    def __init__(self):
        self.fleet, self.requests, self.contents, self.pins = dict(FLEET), NONE, {}, {}
        self.highest, self.live, self.decision = {}, {}, None

    def take(self, step):
        """Let something happen."""
        what, *rest = step
        if what == "publish" and self.decision and self.decision.draft:
            # As a store gives them back: equal, and not the same.
            self.contents |= {n: Content(v.ttl, tuple(v.targets)) for n, v in self.decision.draft.changes.items()}
        elif what == "observe":
            self.fleet[rest[0]] = rest[1]
        elif what == "ask":
            self.requests = Requests({request.key: request for request in rest[0]})
        elif what == "by hand":
            self.contents[rest[0]] = content(5, rest[1])
        elif what == "leave":
            self.contents.pop(rest[0], None)
        elif what == "had":
            self.highest[rest[0]], self.live[rest[0]] = rest[1:]
        elif what == "pin":
            self.pins = dict.fromkeys(rest[0], Notice("ada", 0, "held"))

    def sight(self):
        """Return what a decision is given."""
        latest = plan_of(self.contents) if self.contents else None
        return (
            self.fleet,
            Snapshot(latest, self.requests, Controls(None, self.pins)),
            Lately({}, self.highest, self.live),
        )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=12))
def test_deciding_again_comes_to_the_same_as_deciding_afresh(found):
    """Whatever happens in between, in whatever order: what is remembered is what would be made again."""
    world, decider = World(), Decider(LAYOUT, LIMITS)
    for step in (("look",), *found):
        world.take(step)

        world.decision = decider.decide(*world.sight())
        assert world.decision == decide(LAYOUT, *world.sight(), LIMITS)


def test_deciding_again_makes_only_what_has_changed(monkeypatch):
    """One load balancer costs its endpoints, and what was published as it was made costs nothing."""
    made = []

    def noted(layout, names, *args, **kwargs):
        names = list(names)
        made.append(names)
        return make(layout, names, *args, **kwargs)

    make = each.make
    monkeypatch.setattr(each, "make", noted)
    world, decider = World(), Decider(LAYOUT, LIMITS)
    for step in (("look",), ("publish",), ("observe", "az1-lb-1", Observed(healthy=True, capacity=60)), ("publish",)):
        world.take(step)
        world.decision = decider.decide(*world.sight())
    world.take(("had", "c.test.", (900, 0), (900, 0)))
    decider.decide(*world.sight())

    assert made == [["a.test.", "b.test.", "c.test."], [], ["a.test.", "b.test."], [], []]
