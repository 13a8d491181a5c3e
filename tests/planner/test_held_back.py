"""What keeps the planner from publishing: freeze, pins and the queue; and what goes all the same: force."""

import asyncio

import msgspec
import pytest

from fencepost.batch import ChangeBatch, upsert
from fencepost.capacity import CapacityHistory
from fencepost.clock import SystemClock
from fencepost.errors import StoreUnavailable
from fencepost.events import EventBus
from fencepost.fence import Fence
from fencepost.notice import Notice
from fencepost.plan import Draft, Lane, content_problems
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore
from fencepost.region import AvailabilityZone, Endpoint, LoadBalancer, Region
from fencepost.stores import Report
from planner.admission import Refused, Wanted
from planner.loop import Planner
from planner.observe import Observed
from planner.requests import Kind, Request, encode_request

NOTICE = Notice("ada", 1_792_000_000, "checking the zones")


def observe(planner, **parts: Observed) -> None:
    """Let the planner have observed a healthy fleet, but for the load balancers named (`az1_lb_1=...`)."""
    well = dict.fromkeys(planner.observer.fleet, Observed(healthy=True, capacity=100))
    planner.observer.fleet = {**well, **{name.replace("_", "-"): seen for name, seen in parts.items()}}


WEAKER, DEAD = Observed(healthy=True, capacity=60), Observed(healthy=False, capacity=100, reason="answered 503")


@pytest.fixture
def planner(new_planner):
    """A planner that has published plan 1, whose observations are the test's."""
    planner = new_planner()
    observe(planner)
    return planner


async def test_frozen_planner_publishes_nothing_says_so_once_and_takes_requests(planner, plans, recorder):
    """The request is stored, its plan comes with the thaw."""
    await planner.tick()
    await plans.freeze(NOTICE)
    observe(planner, az1_lb_1=DEAD)
    frozen = await planner.tick()
    await planner.tick()
    submitting = asyncio.create_task(planner.submit(Wanted(Kind.DRAIN, "az2-lb-1")))
    while not submitting.done():
        await planner.tick()

    assert (frozen.generation, frozen.error) == (1, None)
    assert "frozen (by ada since 2026-10-14 17:46:40 UTC: checking the zones); `fencepost thaw` ends" in frozen.why
    assert planner.state()["frozen"] == NOTICE.text
    assert submitting.result().outcome.settled.frozen == NOTICE.text
    assert list(await plans.requests()) == ["drain/az2-lb-1"]
    await plans.thaw()
    thawed = await planner.tick()

    assert thawed.generation == 2
    assert planner.state()["frozen"] is None
    names = recorder.names()
    assert names.count("planner.automation_frozen") == names.count("planner.automation_thawed") == 1
    assert (await plans.reports())["planner"].generation == 2


class RacedPlanStore(RedisPlanStore):
    """The real store, in which an operator is quicker than the planner, once."""

    first: str | None = None

    async def publish(self, draft: Draft, *, expected: int, floor: int = 0) -> int:
        first, self.first = self.first, None
        if first == "freeze":
            await self.freeze(NOTICE)
        if first == "pin":
            await super().publish(
                Draft(await self._as_it_is("b.test."), "rolled back", by="ada", operator=True, pin=NOTICE),
                expected=expected,
            )
            expected += 1  # as if the pin had come without a plan: the store itself has to refuse
        return await super().publish(draft, expected=expected, floor=floor)

    async def _as_it_is(self, name: str) -> dict[str, object]:
        plan = await self.latest()
        return {name: plan.content(name)}


@pytest.fixture
async def raced(settings):
    store = RacedPlanStore(open_client(settings.redis_url))
    yield store
    await store.close()


@pytest.mark.parametrize("first", ["freeze", "pin"])
async def test_planner_that_is_overtaken_by_an_operator_looks_again(raced, new_planner, recorder, first):
    """No error, no storm of events: the next look says why."""
    planner = new_planner(raced)
    observe(planner)
    await planner.tick()
    observe(planner, az1_lb_1=WEAKER, az2_lb_1=WEAKER)
    raced.first = first

    outcome = await planner.tick()

    assert outcome.error is None
    assert "service.round_failed" not in recorder.names()
    if first == "freeze":
        assert (outcome.generation, outcome.settled.frozen) == (1, NOTICE.text)
    else:
        assert (outcome.generation, outcome.settled.pinned) == (3, {"b.test.": NOTICE.text})


async def test_pinned_endpoint_stays_as_it_is_and_the_others_follow_the_world(planner, plans, set_fence, published):
    """Not in an ordinary plan, and not changed by the whole region's; after the pin it follows again."""
    await planner.tick()
    plan = await plans.latest()
    rolled = plan.content("b.test.").__class__(60, plan.content("b.test.").targets)
    draft = Draft({"b.test.": rolled}, "rolled back", by="ada", operator=True, force=True, pin=NOTICE)
    await plans.publish(draft, expected=1)
    observe(planner, az2_lb_1=WEAKER)

    ordinary = await planner.tick()
    assert (ordinary.generation, (await plans.latest()).content("b.test.")) == (3, rolled)
    assert (await published())["a.test."]["az2-lb-1/A"] == 60
    assert planner.state()["pinned"] == {"b.test.": NOTICE.text}

    await set_fence("a.test.", Fence(77, "cccccccc", "x").record("a.test.").values[0].strip('"'))
    planner.publisher.distrust()
    floor = await planner.tick()
    assert (floor.generation, (await plans.latest()).content("b.test.")) == (78, rolled)

    await plans.unpin(["b.test."])
    await planner.tick()
    assert (await published())["b.test."]["az2-lb-1/A"] == 60


@pytest.fixture
def paced(new_planner):
    """Makes a planner with throttling on, and with a slow lane of its own pace."""

    def make(slow_interval_s: float = 0.05, **changed):
        planner = new_planner(**{"without": "", "fast_share": 0.0, "slow_interval_s": slow_interval_s, **changed})
        observe(planner)
        return planner

    return make


async def test_slow_lane_coalesces_what_changes_before_its_turn(paced, plans, published):
    """Three changes, one plan, and nothing before its time; an emergency goes at once and takes all along."""
    planner = paced(slow_interval_s=60)
    await planner.tick()
    for capacity in (60, 61, 62):
        observe(planner, az1_lb_1=Observed(healthy=True, capacity=capacity))
        waiting = await planner.tick()

    assert (waiting.generation, waiting.settled.waits, await plans.latest_generation()) == (1, True, 1)
    assert "but the slow lane's next plan goes in" in waiting.why
    assert 59 < planner.state()["next_slow_plan_s"] <= 60
    observe(planner, az1_lb_1=Observed(healthy=True, capacity=62), az2_lb_1=DEAD)
    assert (await planner.tick()).generation == 2
    assert (await plans.latest()).lane is Lane.FAST
    assert (await published())["a.test."]["az1-lb-1/A"] == 62


async def installed(plans, generation: int) -> None:
    """Report as an enactor that has installed so much."""
    await plans.report("az1-enactor", Report(role="enactor", generation=generation, text="installed"))


async def test_lanes_are_held_by_what_is_not_installed_and_go_on_when_it_is(paced, plans, recorder):
    """Nobody installs: the first plans go, then slow is held, then fast; when it is all installed, both go on."""
    planner = paced(slow_interval_s=0)
    for n in range(10):
        observe(planner, az1_lb_1=Observed(healthy=True, capacity=10 + n))
        await planner.tick()
    assert await plans.latest_generation() == 4
    for n in range(31):
        observe(planner, **{f"az{n % 2 + 1}_lb_1": DEAD})
        last = await planner.tick()

    assert await plans.latest_generation() == 16
    assert "the fast lane is held back: 16 plans are published and not installed, it goes on at 8" in last.why
    state = planner.state()
    assert (state["queue_size"], state["plans_held"]) == (16, ["fast", "slow"])
    await installed(plans, 7)
    assert (await planner.tick()).generation == 16
    await installed(plans, 16)
    assert (await planner.tick()).settled.waits is False
    assert planner.state()["plans_held"] == []
    told = [(e.name, e.fields["lane"]) for e in recorder.events if e.name.startswith("planner.plans_")]
    assert told == [
        ("planner.plans_held", "slow"),
        ("planner.plans_held", "fast"),
        ("planner.plans_resumed", "fast"),
        ("planner.plans_resumed", "slow"),
    ]


async def test_share_of_routine_plans_goes_by_the_fast_lane(paced, plans):
    """With a share of 1 each, but for the first; the plan says so."""
    planner = paced(slow_interval_s=60, fast_share=1.0)
    await planner.tick()
    observe(planner, az1_lb_1=WEAKER)
    await planner.tick()

    plan = await plans.latest()
    assert (plan.generation, plan.lane) == (2, Lane.FAST)
    assert plan.reason == "az1-lb-1 weight 100 to 60 (routine, by the fast lane)"


class CountingPlanStore(RedisPlanStore):
    """The real store; counts the calls that admission makes."""

    reads = writes = 0

    async def requests(self):
        self.reads += 1
        return await super().requests()

    async def set_requests(self, changes):
        self.writes += 1
        await super().set_requests(changes)


@pytest.fixture
async def counting(settings):
    store = CountingPlanStore(open_client(settings.redis_url))
    yield store
    await store.close()


async def test_storm_of_requests_is_admitted_in_groups_and_becomes_few_plans(counting, new_planner, running, until):
    """A thousand changes at once: two writes, every one of them in force, and a queue that stays bounded."""
    planner = new_planner(counting, without="", fast_share=0.0, slow_interval_s=0.05)
    observe(planner)
    planner.observer.run = lambda: asyncio.sleep(3600)
    async with running(planner):
        await until(lambda: planner.not_ready() is None)
        changes = [Wanted(Kind.CAPACITY, "az1-lb-1", add=1), Wanted(Kind.CAPACITY, "az2-lb-2", add=-1)]
        found = await asyncio.gather(*(planner.submit(changes[n % 2], wait=False) for n in range(180)))
        more = await asyncio.gather(*(planner.submit(changes[0], wait=False) for _ in range(820)))
        writes = counting.writes
        await until(lambda: planner.publisher.snapshot.generation >= 2 and not planner.outcome.settled.waits)
        generations = planner.publisher.snapshot.generation
        await planner.submit(Wanted(Kind.DRAIN, "az1-lb-2"))

    assert not any(isinstance(answer, Refused) for answer in (*found, *more))
    assert {answer.late for answer in found} == {"nobody waits for its plan"}
    assert writes <= 4
    assert generations <= 4
    in_force = await planner.requests()
    assert (in_force.added("az1-lb-1"), in_force.added("az2-lb-2")) == (910, -90)


async def test_more_requests_than_may_wait_are_turned_away(new_planner, plans):
    """429 at once, and nothing of them is stored."""
    planner = new_planner(max_waiting=2, answer_within_s=0.05)
    observe(planner)
    await planner.tick()
    names = ("az1-lb-1", "az1-lb-2", "az2-lb-1")

    found = await asyncio.gather(*(planner.submit(Wanted(Kind.CAPACITY, name, add=1)) for name in names))

    assert isinstance(found[2], Refused)
    assert (found[2].status, found[2].error) == (
        429,
        "2 requests are waiting, which is the limit; try again in 1 s",
    )
    assert all(answer.late.startswith("its plan is not published yet") for answer in found[:2])
    assert sorted(await plans.requests()) == ["capacity/az1-lb-1", "capacity/az1-lb-2"]


async def test_those_who_gave_up_on_a_plan_that_is_held_are_forgotten(paced, plans):
    """The slow lane's turn is far away: who asked has the answer that it is late, and nothing of them piles up."""
    planner = paced(slow_interval_s=60, answer_within_s=0.01)
    await planner.tick()
    late = [await planner.submit(Wanted(Kind.CAPACITY, "az1-lb-1", add=1)) for _ in range(3)]

    outcome = await planner.tick()

    assert outcome.settled.waits
    assert all(answer.late.startswith("its plan is not published yet") for answer in late)
    assert planner._waiting == []


async def test_report_that_cannot_be_left_is_an_event_and_no_failure(planner, plans, recorder, monkeypatch):
    """The plan counts, not the word about it."""

    async def report(*_):
        raise StoreUnavailable("the store is down")

    monkeypatch.setattr(plans, "report", report)
    outcome = await planner.tick()

    assert (outcome.generation, outcome.error) == (1, None)
    assert [e.reason for e in recorder.events if e.name == "service.round_failed"] == [
        "no report could be left in the plan store: the store is down"
    ]


@pytest.fixture
def region() -> Region:
    """As the room's region, with six load balancers more behind `a.test.`: a fleet that is not small."""
    balancers = tuple(
        LoadBalancer(f"az{zone}-lb-{n}", f"az{zone}", f"127.1.{zone}.{n}", f"::ffff:127.1.{zone}.{n}")
        for zone, count in ((1, 2), (2, 2), (3, 6))
        for n in range(1, count + 1)
    )
    return Region(
        name="test",
        ttl_s=5,
        availability_zone=tuple(AvailabilityZone(f"az{n}") for n in (1, 2, 3)),
        load_balancer=balancers,
        endpoint=(Endpoint("a.test.", "dual-stack", ("*",), ("A", "AAAA")), Endpoint("b.test.", "x", ("az2-*",))),
    )


async def submitted(planner, wanted: Wanted):
    """Submit while the test does the rounds."""
    submitting = asyncio.create_task(planner.submit(wanted))
    while not submitting.done():
        await planner.tick()
    return submitting.result()


async def test_drain_that_takes_too_much_is_refused_without_force_and_goes_with_it(planner, plans, published):
    """Six of ten: 409 with counts and remedy; by force it is a plan of its own, which says who, of one endpoint."""
    await planner.tick()
    observe(planner, az2_lb_1=WEAKER)
    refused = await submitted(planner, Wanted(Kind.ZONE_DRAIN, "az3"))
    nothing = await plans.requests()
    forced = await submitted(planner, Wanted(Kind.ZONE_DRAIN, "az3", force=True, by="ada", reason="flood"))

    assert isinstance(refused, Refused)
    assert (refused.status, nothing) == (409, {})
    assert "a.test.: this takes away 600 of 960 A capacity (62%), the limit is 40%" in refused.error
    assert 'if it is meant, send {"force": true}' in refused.error
    history = {plan.generation: plan for plan in await plans.history()}
    by_force = next(plan for plan in history.values() if plan.force)
    assert (by_force.by, by_force.lane, sorted(by_force.changed)) == ("ada", Lane.FAST, ["a.test."])
    assert by_force.reason == "az3-lb-1 and 5 more out (az3 is out) (forced by ada)"
    assert [plan.force for plan in history.values()].count(True) == 1
    assert forced.outcome.limited == {}
    assert {key.partition("-")[0] for key in (await published())["a.test."]} == {"az1", "az2"}
    assert (await plans.latest()).forced["a.test."].by == "ada"


async def test_force_lets_nothing_else_through_that_happens_at_the_same_time(planner, plans, published):
    """Four are drained by force while five others are reported dead: of those, only as many go as may."""
    await planner.tick()
    drained = ("az1-lb-1", "az1-lb-2", "az2-lb-1", "az3-lb-1")
    forced = (Request(Kind.DRAIN, name, force=True, by="ada") for name in drained)
    await plans.set_requests({request.key: encode_request(request) for request in forced})
    observe(planner, **{f"az3_lb_{n}": DEAD for n in range(2, 7)})

    outcome = await planner.tick()

    assert outcome.generation == 3
    assert [(plan.force, plan.by) for plan in await plans.history(2)] == [(False, "planner"), (True, "ada")]
    left = {key.partition("/")[0] for key in (await published())["a.test."]}
    assert left == {"az2-lb-2", "az3-lb-2", "az3-lb-3", "az3-lb-4"}  # 60 % of the six that force has left
    assert "takes away 500 of 600 A capacity" in outcome.limited["a.test."].text


async def test_force_never_leaves_an_endpoint_empty(planner, plans):
    """Refused at the door, whoever says so."""
    await planner.tick()
    refused = await submitted(planner, Wanted(Kind.ZONE_DRAIN, "az2", force=True))

    assert isinstance(refused, Refused)
    assert "this would leave b.test. without a load balancer" in refused.error
    assert await plans.requests() == {}


async def test_drain_in_force_that_is_kept_back_becomes_one_by_force(planner, plans):
    """Asked again with force: the request is changed, and its plan goes."""
    await planner.tick()
    observe(planner, **{f"az3_lb_{n}": DEAD for n in range(1, 5)})
    await planner.tick()
    await submitted(planner, Wanted(Kind.DRAIN, "az3-lb-5", reason="disk"))
    assert list(planner.outcome.limited) == ["a.test."]
    assert "az3-lb-5" in {target.identifier for target in (await plans.latest()).content("a.test.").targets}

    again = await submitted(planner, Wanted(Kind.DRAIN, "az3-lb-5", force=True, by="ada"))

    assert (again.admitted.request.force, again.admitted.request.by, again.admitted.request.reason) == (
        True,
        "ada",
        "disk",
    )
    assert "az3-lb-5" not in {target.identifier for target in (await plans.latest()).content("a.test.").targets}


async def test_planner_mends_a_malformed_plan_of_somebody_else(planner, plans, published):
    """Twice the targets, one of them far too heavy, while half of the fleet is reported dead: no crash, no deadlock."""
    await planner.tick()
    existing = (await plans.latest()).content("a.test.")
    heavy = msgspec.structs.replace(existing.targets[0], weight=60_000)
    broken = existing.__class__(5, (heavy, *existing.targets[1:], *existing.targets))
    await plans.publish(Draft({"a.test.": broken}, "somebody else"), expected=1)
    observe(planner, **{f"az3_lb_{n}": DEAD for n in range(1, 7)}, az1_lb_1=Observed(checks=3))

    outcome = await planner.tick()

    assert (outcome.generation, outcome.error, outcome.held) == (3, None, {})
    targets = (await plans.latest()).content("a.test.").targets
    assert list(content_problems((await plans.latest()).content("a.test."))) == []
    assert len({target.identifier for target in targets}) >= 6


@pytest.fixture
def restarted_with(settings, plans, zones, recorder):
    """Makes a planner of another region over the same stores, as a restart after an edit of the region file does."""

    def make(region: Region) -> Planner:
        planner = Planner(settings, region, plans, zones, events=EventBus(recorder), clock=SystemClock())
        observe(planner)
        return planner

    return make


async def test_planner_of_a_region_file_that_has_shrunk_publishes_no_plan_that_enactors_refuse(
    planner, plans, zones, region, restarted_with
):
    """Six of ten are gone from the file: its endpoint is held with the remedy, the other one follows the world."""
    await planner.tick()
    await zones.create_zone("a.test.", region.zone_records("a.test."))
    live = CapacityHistory().noted(SystemClock().epoch_s(), (1000, 1000), 30)
    await zones.change(ChangeBatch("a.test.", (upsert(live.record("a.test.")),)))
    left = tuple(lb for lb in region.load_balancer if lb.zone != "az3")
    restarted = restarted_with(msgspec.structs.replace(region, load_balancer=left))
    observe(restarted, az2_lb_1=WEAKER)

    outcome = await restarted.tick()

    assert (outcome.generation, outcome.error, sorted(outcome.held)) == (2, None, ["a.test."])
    assert "does not have az3-lb-1 and 5 more as the last plan has" in outcome.held["a.test."]
    assert sorted((await plans.history(1))[0].changed) == ["b.test."]
    assert (await plans.reports())["planner"].held == outcome.held
