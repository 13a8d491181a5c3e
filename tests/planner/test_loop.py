"""The planner's rounds over real stores and a real fleet: when it publishes, when it does not, and what it survives."""

import asyncio
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from deploy.embedded import server_binary, server_command, server_url
from fencepost.connect import open_plan_store
from fencepost.errors import OutcomeUnknown, PlanInvalid, StoreError
from fencepost.notice import Notice
from fencepost.plan import Content, Draft, Lane
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore
from planner.admission import Refused, Wanted
from planner.loop import Submitted
from planner.observe import Reading, Verdict
from planner.requests import Kind


async def test_planner_publishes_nothing_before_the_first_complete_round(new_planner, fleet, plans):
    """No plan from a fleet that is half known; then the first plan, and the planner is ready."""
    planner = new_planner()
    planner.observer.take("az2-lb-1", Reading(Verdict.WELL, 100))
    early = await planner.tick()
    assert (early.generation, await plans.latest_generation()) == (0, 0)
    assert planner.not_ready() == "not all load balancers have been observed yet"

    await planner.observer.round()
    assert planner.not_ready() == f"no plan is in the store yet: {early.why}"
    outcome = await planner.tick()

    assert (outcome.generation, outcome.error) == (1, None)
    assert outcome.why == "published plan 1: first plan: 2 endpoints over 4 load balancers"
    assert planner.not_ready() is None


async def test_planner_of_an_unchanged_world_publishes_nothing(planner, new_planner, plans):
    """Not on the next ticks, and not after a restart."""
    await planner.tick()
    outcome = await planner.tick()
    restarted = new_planner()
    await restarted.observer.round()
    after = await restarted.tick()

    assert (outcome.generation, after.generation, await plans.latest_generation()) == (1, 1, 1)
    assert after.why == "plan 1 is what the world asks for"


async def test_planner_follows_health_and_capacity_while_it_runs(
    *, planner, running, set_fleet, plans, published, until
):
    """Health loss is a fast plan, a capacity change and the recovery are slow ones; each holds what changed alone."""
    async with running(planner):
        await until(lambda: planner.publisher.snapshot.generation == 1)
        await set_fleet("az1-lb-1", failure="refuse")
        await until(lambda: planner.publisher.snapshot.generation == 2)
        await set_fleet("az2-lb-1", capacity=60)
        await until(lambda: planner.publisher.snapshot.generation == 3)
        await set_fleet("az1-lb-1", failure="none")
        await until(lambda: planner.publisher.snapshot.generation == 4)

    history = (await plans.history())[::-1]
    assert [(plan.lane, plan.reason) for plan in history[1:]] == [
        (Lane.FAST, "az1-lb-1 out (unhealthy: refused the connection)"),
        (Lane.SLOW, "az2-lb-1 weight 100 to 60"),
        (Lane.SLOW, "az1-lb-1 in (weight 100)"),
    ]
    assert [sorted(plan.changed) for plan in history[1:]] == [["a.test."], ["a.test.", "b.test."], ["a.test."]]
    assert (await published())["b.test."] == {"az2-lb-1/A": 60, "az2-lb-2/A": 100}


async def test_planner_of_a_fleet_that_is_wholly_unhealthy_fails_open(planner, set_fleet, plans, recorder):
    """Every endpoint stays as the last plan has it; one refusal each, not one a round."""
    await planner.tick()
    for name in planner.observer.fleet:
        await set_fleet(name, healthy=False)
    for _ in range(3):
        await planner.observer.round()

    outcome = await planner.tick()
    await planner.tick()

    assert (outcome.generation, await plans.latest_generation()) == (1, 1)
    assert sorted(outcome.held) == ["a.test.", "b.test."]
    refusals = [event for event in recorder.events if event.name == "planner.plan_refused"]
    assert [event.zone for event in refusals] == ["a.test.", "b.test."]
    assert "b.test. keeps what the last plan has: none of its 2" in refusals[1].reason
    assert planner.state()["held"] == outcome.held


async def test_planner_after_somebody_elses_plan_brings_its_own_back(planner, plans, someone_publishes):
    """It builds on the latest plan, whoever made it."""
    await planner.tick()
    await someone_publishes(60)

    outcome = await planner.tick()

    assert outcome.generation == 3
    assert (await plans.latest()).content("a.test.").ttl == 5


class LossyPlanStore(RedisPlanStore):
    """The real store, from which one answer to `publish` gets lost, before or after it was carried out."""

    loses: str | None = None

    async def publish(self, draft: Draft, *, expected: int, floor: int = 0) -> int:
        loses, self.loses = self.loses, None
        if loses == "conflict":  # somebody else is first, between the snapshot and this call
            await super().publish(Draft({"b.test.": other(draft)}, "somebody else"), expected=expected)
        if loses != "request":
            generation = await super().publish(draft, expected=expected, floor=floor)
        if loses in {"request", "answer"}:
            raise OutcomeUnknown("the answer got lost")
        return generation


def other(draft: Draft) -> Content:
    """Return a content that differs from all others in its TTL."""
    value = draft.changes["a.test."]
    assert value is not None
    return Content(60, value.targets)


@pytest.fixture
async def lossy(settings):
    store = LossyPlanStore(open_client(settings.redis_url))
    yield store
    await store.close()


@pytest.mark.parametrize("loses", ["request", "answer"])
async def test_planner_that_gets_no_answer_to_a_plan_reads_before_it_acts_again(
    *, lossy, new_planner, fleet, plans, recorder, loses
):
    """Whether the plan was published or not, it is there once, and is reported once."""
    planner = new_planner(lossy)
    await planner.observer.round()
    lossy.loses = loses

    outcome = await planner.tick()

    assert (outcome.generation, outcome.error) == (1, None)
    assert [plan.generation for plan in await plans.history()] == [1]
    assert [event.generation for event in recorder.events if event.name == "planner.plan_published"] == [1]


async def test_planner_that_is_overtaken_builds_again_on_the_latest_plan(lossy, new_planner, fleet, plans, set_fleet):
    """A conflict is no error: read, build, publish."""
    planner = new_planner(lossy)
    await planner.observer.round()
    await planner.tick()
    await set_fleet("az1-lb-1", capacity=50)
    await planner.observer.round()
    lossy.loses = "conflict"

    outcome = await planner.tick()

    assert (outcome.generation, outcome.error) == (3, None)
    assert (await plans.latest()).content("b.test.").ttl == 5


async def test_planner_numbers_above_what_it_has_seen_when_the_store_forgets(planner, plans, settings, set_fleet):
    """No zone has plan 1 yet, but an enactor may have read it: the number is not used again."""
    await planner.tick()
    client = open_client(settings.redis_url)
    await client.flushall()
    await client.aclose()

    outcome = await planner.tick()

    assert outcome.generation == 2
    assert (await plans.latest()).generation == 2


async def test_planner_with_a_request_that_it_cannot_read_publishes_nothing_and_says_so(planner, plans, set_fleet):
    """It may be a drain."""
    await planner.tick()
    await plans.set_requests({"drain/az1-lb-1": "garbage"})
    await set_fleet("az2-lb-1", capacity=50)
    await planner.observer.round()

    outcome = await planner.tick()

    assert isinstance(outcome.error, PlanInvalid)
    assert "drain/az1-lb-1" in planner.state()["problem"]
    assert await plans.latest_generation() == 1
    await plans.set_requests({"drain/az1-lb-1": None})
    assert (await planner.tick()).generation == 2


async def test_planner_that_finds_a_content_damaged_publishes_it_again_and_tells_that_once(
    *, planner, new_planner, plans, damage, region, recorder
):
    """What the fleet says is all that it needs; a content that is in no plan can be compared with nothing."""
    await planner.tick()
    name = region.endpoint_names[0]
    first = await plans.latest()
    await damage(first.digests[name])
    restarted = new_planner()
    await restarted.observer.round()

    outcomes = [await restarted.tick() for _ in range(2)]

    assert [(outcome.generation, outcome.error) for outcome in outcomes] == [(2, None)] * 2
    assert (await plans.latest()).content(name) == planner.publisher.snapshot.contents[name]
    (told,) = [event for event in recorder.events if event.name == "planner.content_damaged"]
    assert (told.zone, told.generation) == (name, 1)
    assert f"content {first.digests[name]} is damaged in the plan store" in told.reason


async def test_planner_leaves_a_damaged_content_that_is_pinned_and_goes_on_with_the_others(
    *, planner, new_planner, plans, damage, region, set_fleet
):
    """What an operator holds is that one's to replace."""
    await planner.tick()
    name, other = region.endpoint_names
    pinned = (await plans.latest()).content(name)
    pinned = msgspec.structs.replace(pinned, ttl=pinned.ttl + 1)
    pin = Notice("ada", 1_792_000_000, "hands off")
    await plans.publish(Draft({name: pinned}, "held", by="ada", operator=True, pin=pin), expected=1)
    before = await plans.latest()
    await damage(before.digests[name])
    await set_fleet("az2-lb-1", failure="refuse")
    restarted = new_planner()
    for _ in range(3):
        await restarted.observer.round()

    outcome = await restarted.tick()

    after = await plans.latest()
    assert outcome.error is None
    assert after.generation == 3
    assert after.digests[name] == before.digests[name]
    assert after.digests[other] != before.digests[other]


async def test_planner_without_a_store_waits_longer_each_time_up_to_a_bound(new_planner, fleet, settings, recorder):
    """A store in trouble is left in peace, and its return is not slept through."""
    nowhere = open_plan_store(settings.model_copy(update={"redis_url": "unix:///nonexistent/redis.sock"}))
    planner = new_planner(nowhere, retry_min_s=0.1, retry_max_s=0.8)
    await planner.observer.round()

    waits = [(await planner.tick()).wait_s for _ in range(40)]
    await nowhere.close()

    for wait_s, longest_s in zip(waits, [0.1, 0.2, 0.4, *[0.8] * 37], strict=True):
        assert longest_s / 2 <= wait_s <= longest_s
    assert recorder.names().count("service.round_failed") == 40


async def test_submitted_requests_of_one_moment_are_all_in_the_plans_that_follow(planner, running, until, published):
    """Each gets the generation of a plan that holds it, and two drains never count on each other's load balancer."""
    async with running(planner):
        await until(lambda: planner.not_ready() is None)
        results = await asyncio.gather(
            *(planner.submit(Wanted(Kind.DRAIN, name)) for name in ("az2-lb-1", "az2-lb-2", "az1-lb-1"))
        )

    assert [type(result) for result in results] == [Submitted, Refused, Submitted]
    assert {key.partition("/")[0] for key in (await published())["a.test."]} == {"az1-lb-2", "az2-lb-2"}


async def test_planner_state_is_json_and_tells_a_person_on_call(planner, set_fleet):
    """Generation and why, who is in trouble, what was asked, and how old the observation is."""
    await planner.tick()
    await set_fleet("az1-lb-1", healthy=False)
    await planner.observer.round()
    submitting = asyncio.create_task(planner.submit(Wanted(Kind.DRAIN, "az2-lb-1", reason="disk")))
    while not submitting.done():
        await planner.tick()

    state = msgspec.json.decode(msgspec.json.encode(planner.state()))
    assert state["generation"] == 2
    assert state["why"] in {"published plan 2: az2-lb-1 out (drained)", "plan 2 is what the world asks for"}
    assert state["trouble"] == {"az1-lb-1": "answered 503"}
    assert [(request["subject"], request["reason"]) for request in state["requests"]] == [("az2-lb-1", "disk")]
    assert state["last_observation_age_s"] >= 0
    assert (state["problem"], state["held"]) == (None, {})


@pytest.fixture
def own_server() -> Iterator[tuple[str, Callable[[], subprocess.Popen[bytes]]]]:
    """A server of the test's own: its URL, and what starts it; a started one is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="fencepost-") as place:

        def start() -> subprocess.Popen[bytes]:
            command = server_command(server_binary(), Path(place))
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            return started[-1]

        yield server_url(Path(place)), start
        for server in started:
            server.kill()
            server.wait(10)


async def test_planner_survives_a_store_that_goes_away_and_comes_back(
    *, own_server, settings, new_planner, fleet, running, until, set_fleet, set_fence
):
    """While it is down: says so, tries with bounded waits, loses nothing. When it is back, the change is a plan.

    The server comes back with less than it had: a zone's fence, which is elsewhere here, has seen plan 77.
    """
    url, start = own_server
    server = start()
    store = open_plan_store(settings.model_copy(update={"redis_url": url}))
    planner = new_planner(store)
    async with running(planner):
        await until(lambda: planner.publisher.snapshot.generation == 1)
        server.kill()
        server.wait(10)
        await set_fleet("az1-lb-1", capacity=50)
        await until(lambda: planner.state()["problem"] is not None)
        with pytest.raises(StoreError):
            await planner.submit(Wanted(Kind.DRAIN, "az1-lb-1"))
        assert planner.not_ready() is None
        await set_fence("a.test.", "77 cccccccc other/1/1")

        start()
        await until(lambda: planner.publisher.snapshot.generation == 78)

        assert planner.state()["problem"] is None
    await store.close()
