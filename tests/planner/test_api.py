"""The operator API over real HTTP, real stores and a real fleet."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import generate_latest

from fencepost.errors import OutcomeUnknown, StoreUnavailable
from fencepost.notice import Notice
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore
from fencepost.service import Context
from planner.api import api_app
from planner.loop import Planner
from planner.publish import Settled
from planner.requests import Kind, Request, encode_request
from planner.safety import Limited
from planner.service import build as build_service


class FailingPlanStore(RedisPlanStore):
    """The real store; operations named in `failing` raise instead, as if the connection broke before or after them."""

    failing: dict[str, Exception]

    async def publish(self, *args, **named):
        self._fail("publish")
        return await super().publish(*args, **named)

    async def set_requests(self, *args):
        self._fail("set_requests")
        return await super().set_requests(*args)

    async def requests(self):
        self._fail("requests")
        return await super().requests()

    def _fail(self, name: str) -> None:
        if name in self.failing:
            raise self.failing[name]


@pytest.fixture
async def failing(settings) -> AsyncIterator[FailingPlanStore]:
    store = FailingPlanStore(open_client(settings.redis_url))
    store.failing = {}
    yield store
    await store.close()


@pytest.fixture
async def serving(failing, new_planner, fleet, running, until) -> AsyncIterator[Planner]:
    """A planner that runs and has published plan 1."""
    planner = new_planner(failing)
    async with running(planner):
        await until(lambda: planner.not_ready() is None)
        yield planner


@pytest.fixture
async def api(serving) -> AsyncIterator[TestClient]:
    """The API of that planner."""
    async with TestClient(TestServer(api_app(serving))) as client:
        yield client


@pytest.fixture
def call(api):
    """Calls the API; returns (status, JSON)."""

    async def send(method: str, path: str, body: object = None):
        kind = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        async with api.request(method, f"/v1/{path}", **kind) as response:
            return response.status, await response.json()

    return send


async def test_api_shows_every_load_balancer_as_the_planner_sees_it(call):
    """Name, zone, addresses, health, requests, capacities and endpoints."""
    await call("POST", "load-balancers/az2-lb-1/capacity", {"add": 20})
    await call("POST", "availability-zones/az1/drain")
    status, shown = await call("GET", "load-balancers")

    views = {view["name"]: view for view in shown["load_balancers"]}
    assert status == 200
    assert list(views) == ["az1-lb-1", "az1-lb-2", "az2-lb-1", "az2-lb-2"]
    assert views["az2-lb-1"] == {
        "name": "az2-lb-1",
        "zone": "az2",
        "addresses": ["127.1.2.1", "::ffff:127.1.2.1"],
        "healthy": True,
        "drained": False,
        "zone_out": False,
        "reported_capacity": 100,
        "added_capacity": 20,
        "effective_capacity": 120,
        "endpoints": ["a.test.", "b.test."],
        "trouble": "",
    }
    assert [view["zone_out"] for view in views.values()] == [True, True, False, False]


async def test_api_answers_a_drain_after_its_plan_is_published(call, published):
    """The generation in the answer is in the store, and holds it; ending it brings the load balancer back."""
    drained = await call("POST", "load-balancers/az2-lb-1/drain", {"reason": "disk"})
    without = await published()
    ended = await call("DELETE", "load-balancers/az2-lb-1/drain")

    assert drained[0] == ended[0] == 200
    assert drained[1]["generation"] == 2
    assert {key: drained[1]["request"][key] for key in ("kind", "subject", "reason", "in_force")} == {
        "kind": "drain",
        "subject": "az2-lb-1",
        "reason": "disk",
        "in_force": True,
    }
    assert without["b.test."] == {"az2-lb-2/A": 100}
    assert (ended[1]["generation"], ended[1]["request"]["in_force"]) == (3, False)
    assert len((await published())["b.test."]) == 2


async def test_api_takes_an_availability_zone_out_and_brings_it_back(call, published, plans):
    """One call, one plan in the fast lane, every endpoint."""
    status, answer = await call("POST", "availability-zones/az1/drain", {"reason": "power"})
    plan = await plans.latest()
    out = await published()
    await call("DELETE", "availability-zones/az1/drain")

    assert (status, answer["generation"], answer["held"]) == (200, 2, {})
    assert (plan.lane.value, plan.reason) == ("fast", "az1-lb-1 and 1 more out (az1 is out)")
    assert all(key.startswith("az2") for key in out["a.test."])
    assert len((await published())["a.test."]) == 8


async def test_api_adds_capacity_to_what_is_in_force(call, published):
    """+20, then -5: 115 of 100."""
    first = await call("POST", "load-balancers/az2-lb-1/capacity", {"add": 20, "reason": "load"})
    second = await call("POST", "load-balancers/az2-lb-1/capacity", {"add": -5})

    assert [answer["generation"] for _, answer in (first, second)] == [2, 3]
    assert [answer["request"]["add"] for _, answer in (first, second)] == [20, 15]
    assert (await published())["b.test."]["az2-lb-1/A"] == 115


async def test_api_answers_the_current_generation_where_nothing_had_to_change(call):
    """Asking twice, adding 0, ending what is not in force: 200, no new plan, nothing stored twice."""
    await call("POST", "load-balancers/az1-lb-1/drain")
    again = await call("POST", "load-balancers/az1-lb-1/drain")
    ended = await call("DELETE", "availability-zones/az2/drain")
    added = await call("POST", "load-balancers/az1-lb-2/capacity", {"add": 0})
    unseen = await call("POST", "load-balancers/az1-lb-1/capacity", {"add": 5})

    assert [status for status, _ in (again, ended, added, unseen)] == [200] * 4
    assert [answer["generation"] for _, answer in (again, ended, added, unseen)] == [2] * 4
    _, in_force = await call("GET", "requests")
    assert [(r["kind"], r["subject"], r["add"]) for r in in_force["requests"]] == [
        ("capacity", "az1-lb-1", 5),
        ("drain", "az1-lb-1", 0),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "load-balancers/az9-lb-1/drain", None, 404, "no load balancer 'az9-lb-1'; GET /v1/load-balancers"),
        ("POST", "load-balancers/az9-lb-1/capacity", {"add": 1}, 404, "no load balancer"),
        ("DELETE", "load-balancers/az1/drain", None, 404, "no load balancer"),
        ("POST", "availability-zones/az9/drain", None, 404, "use az1, az2"),
        ("DELETE", "availability-zones/az1-lb-1/drain", None, 404, "no Availability Zone"),
        ("POST", "load-balancers/az1-lb-1/capacity", None, 400, "send a JSON object with add, reason"),
        ("POST", "load-balancers/az1-lb-1/capacity", b"not json", 400, "malformed"),
        ("POST", "load-balancers/az1-lb-1/capacity", b"\xff\xfe", 400, "send a JSON object"),
        ("POST", "load-balancers/az1-lb-1/capacity", [1], 400, "Expected `object`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {}, 400, "missing required field `add`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": "1"}, 400, "Expected `int`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": True}, 400, "Expected `int`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": 1.5}, 400, "Expected `int`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": None}, 400, "Expected `int`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": 10**7}, 400, "<= 1000000"),
        ("POST", "load-balancers/az1-lb-1/capacity", b'{"add": 1' + b"0" * 400 + b"}", 400, "send a JSON object"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": 1, "more": True}, 400, "unknown field `more`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": 1, "force": True}, 400, "force is for taking something"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": -1, "by": "a b"}, 400, "Expected `str` matching regex"),
        ("DELETE", "load-balancers/az1-lb-1/drain", {"force": True}, 400, "force is for taking something out"),
        ("POST", "load-balancers/az1-lb-1/drain?wait=maybe", None, 400, "wait is 'maybe'; it may be true or false"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": 1, "reason": 7}, 400, "Expected `str`"),
        ("POST", "load-balancers/az1-lb-1/capacity", {"add": -101}, 409, "add between -100 and 999900"),
        ("POST", "load-balancers/az1-lb-1/drain", {"reason": "x" * 501}, 400, "length <= 500"),
        ("POST", "load-balancers/az1-lb-1/drain", {"why": "x"}, 400, "unknown field `why`"),
        ("POST", "load-balancers/az1-lb-1/drain", b"{", 400, "send a JSON object with reason"),
        ("DELETE", "load-balancers/az1-lb-1/drain", b"{", 400, "send a JSON object with reason"),
        ("POST", "load-balancers/az1-lb-1/drain", b"[" * 20_000, 413, ""),
        ("POST", "availability-zones/az2/drain", None, 409, "this would leave b.test. without a load balancer"),
        ("PUT", "load-balancers/az1-lb-1/drain", None, 405, ""),
        ("GET", "nothing", None, 404, ""),
    ],
)
async def test_api_given_bad_input_says_so_and_changes_nothing(*, call, plans, method, path, body, status, words):
    """One sentence with the remedy; no request is stored, and no plan is published."""
    got, answer = await call(method, path, body)

    assert got == status
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert await plans.requests() == {}
    assert await plans.latest_generation() == 1


async def test_api_refuses_to_drain_the_last_load_balancer_of_an_endpoint(call, plans):
    """409, and only the first drain is stored."""
    await call("POST", "load-balancers/az2-lb-1/drain")
    status, answer = await call("POST", "load-balancers/az2-lb-2/drain")

    assert status == 409
    assert answer["error"] == (
        "this would leave b.test. without a load balancer; bring another one back or add one first"
    )
    assert list(await plans.requests()) == ["drain/az2-lb-1"]


async def test_api_takes_a_request_although_another_endpoint_has_nothing_left(call, set_fleet, serving, until):
    """b.test. is dead already and held; the answer says so, and a.test. follows the request."""
    for name in ("az2-lb-1", "az2-lb-2"):
        await set_fleet(name, healthy=False)
    await until(lambda: sum(bool(seen.healthy) for seen in serving.observer.fleet.values()) == 2)

    status, answer = await call("POST", "load-balancers/az1-lb-2/drain")

    assert status == 200
    assert list(answer["held"]) == ["b.test."]


async def test_api_of_a_planner_that_is_not_ready_says_so(new_planner, fleet):
    """Before the fleet is known nobody can say what a request would do."""
    async with TestClient(TestServer(api_app(new_planner()))) as client:
        async with client.post("/v1/load-balancers/az1-lb-1/drain") as response:
            assert response.status == 503
            assert "not all load balancers have been observed yet" in (await response.json())["error"]
        async with client.get("/v1/load-balancers") as response:
            assert [view["healthy"] for view in (await response.json())["load_balancers"]] == [None] * 4


async def test_api_without_a_store_answers_503_and_stores_nothing(call, failing, plans):
    """Every page that needs it says why, and the planner goes on when it is back."""
    failing.failing = {"requests": StoreUnavailable("the store is down")}
    answers = [
        await call("GET", "load-balancers"),
        await call("GET", "requests"),
        await call("POST", "load-balancers/az1-lb-1/drain"),
    ]
    failing.failing = {}

    assert [status for status, _ in answers] == [503] * 3
    assert all(answer["error"] == "nothing was changed: the store is down; try again" for _, answer in answers)
    assert await plans.requests() == {}
    assert (await call("POST", "load-balancers/az1-lb-1/drain"))[0] == 200


async def test_api_says_when_it_does_not_know_whether_a_request_is_in_force(call, failing):
    """An addition must not be repeated blindly."""
    failing.failing = {"set_requests": OutcomeUnknown("no answer within 5 s")}
    status, answer = await call("POST", "load-balancers/az1-lb-1/capacity", {"add": 1})

    assert status == 503
    assert "look at GET /v1/requests whether it is in force before repeating it" in answer["error"]


async def test_api_says_when_a_request_is_stored_and_its_plan_is_late(*, call, failing, plans, serving, until):
    """503, but not lost: the plan follows when the store takes it."""
    failing.failing = {"publish": StoreUnavailable("the store is full")}
    status, answer = await call("POST", "load-balancers/az1-lb-1/drain")
    stored = list(await plans.requests())
    failing.failing = {}

    assert status == 503
    assert "drain/az1-lb-1 is in force), but no plan is published yet: the store is full" in answer["error"]
    assert stored == ["drain/az1-lb-1"]
    await until(lambda: serving.publisher.snapshot.generation == 2)


async def test_api_of_requests_that_cannot_be_read_says_which(call, plans):
    """An operator learns what to correct."""
    await plans.set_requests({"drain/az1-lb-1": "garbage"})
    status, answer = await call("GET", "requests")

    assert status == 503
    assert "'drain/az1-lb-1' in the plan store cannot be read" in answer["error"]


async def test_api_requests_survive_a_restart_of_the_planner(plans, new_planner, fleet, published):
    """A drain that was stored, and never planned, is in the first plan of the next planner."""
    await plans.set_requests({"drain/az2-lb-1": encode_request(Request(Kind.DRAIN, "az2-lb-1", 0, "disk", 7))})
    planner = new_planner()
    await planner.observer.round()

    await planner.tick()

    assert (await published())["b.test."] == {"az2-lb-2/A": 100}


async def test_api_sustains_forty_plans_a_second_for_one_client(call):
    """Single changes one after the other, each a plan of its own; the best of three windows counts."""
    loop, rates, generations = asyncio.get_running_loop(), [], []
    for _ in range(3):
        started_s = loop.time()
        for _ in range(20):
            _, answer = await call("POST", "load-balancers/az2-lb-1/capacity", {"add": 1})
            generations.append(answer["generation"])
        rates.append(20 / (loop.time() - started_s))

    assert generations == list(range(2, 62))
    assert max(rates) >= 40, f"{rates} plans a second"


async def test_api_that_is_not_to_wait_answers_as_soon_as_the_request_is_durable(call, plans):
    """202, no generation yet; the plan follows."""
    status, answer = await call("POST", "load-balancers/az2-lb-1/capacity?wait=false", {"add": 5})
    stored = list(await plans.requests())
    later = await call("POST", "load-balancers/az2-lb-1/capacity", {"add": 0})

    assert (status, answer["generation"], answer["request"]["add"]) == (202, None, 5)
    assert stored == ["capacity/az2-lb-1"]
    assert (later[0], later[1]["generation"]) == (200, 2)


async def test_api_of_a_frozen_planner_stores_the_request_and_says_who_froze(call, plans):
    """202: the plan comes with the thaw."""
    await plans.freeze(Notice("ada", 7, "looking"))
    status, answer = await call("POST", "load-balancers/az2-lb-1/drain")

    assert (status, answer["generation"], answer["frozen"]) == (202, None, "ada 7 looking")
    assert list(await plans.requests()) == ["drain/az2-lb-1"]
    assert await plans.latest_generation() == 1


async def test_api_answers_a_request_whose_plan_is_held_back_after_a_while(failing, new_planner, fleet, running, until):
    """202 with the reason, instead of a caller that waits for ever; nothing is lost."""
    planner = new_planner(failing, without="", slow_interval_s=60, fast_share=0.0, answer_within_s=0.1)
    async with running(planner), TestClient(TestServer(api_app(planner))) as client:
        await until(lambda: planner.not_ready() is None)
        path = "/v1/load-balancers/az1-lb-1/capacity"
        async with client.post(path, json={"add": 3}) as first, client.post(path, json={"add": 4}) as second:
            answers = [await first.json(), await second.json()]
            statuses = [first.status, second.status]

    assert statuses == [202, 202]
    assert [answer["generation"] for answer in answers] == [None, None]
    assert "the slow lane's next plan goes in" in answers[1]["why"]
    assert (await planner.requests()).added("az1-lb-1") == 7


async def test_api_with_too_many_waiting_answers_429_and_when_to_try_again(failing, new_planner, fleet):
    """Bounded: a storm does not fill the memory."""
    planner = new_planner(failing, max_waiting=1, answer_within_s=0.3)
    await planner.observer.round()
    await planner.tick()
    async with TestClient(TestServer(api_app(planner))) as client:
        answers = await asyncio.gather(*(client.post("/v1/load-balancers/az1-lb-1/drain") for _ in range(2)))
        refused = next(answer for answer in answers if answer.status == 429)

        assert sorted(answer.status for answer in answers) == [202, 429]
        assert refused.headers["Retry-After"] == "1"
        assert "1 requests are waiting, which is the limit; try again in 1 s" in (await refused.json())["error"]


async def test_api_records_who_forced_a_drain(call, plans):
    """In the request, and in the plan that follows."""
    status, answer = await call("POST", "load-balancers/az1-lb-1/drain", {"force": True, "by": "ada", "reason": "disk"})
    _, shown = await call("GET", "requests")

    assert (status, answer["request"]["force"], answer["request"]["by"]) == (200, True, "ada")
    assert [(request["force"], request["by"]) for request in shown["requests"]] == [(True, "ada")]
    (summary,) = await plans.history(1)
    assert (summary.force, summary.by, summary.lane.value, list(summary.changed)) == (True, "ada", "fast", ["a.test."])


async def test_planner_service_has_its_gauges(settings, redis_url, region, plans):
    """Queue, lanes, freeze and limits are among the metrics, read from the planner when somebody asks."""
    context = Context(settings.model_copy(update={"without": ""}))
    service = build_service(context)
    zone = service._settings.region().endpoint_names[0]
    service.planner.outcome = service.planner.outcome._replace(
        settled=Settled(7, "", limited={zone: Limited("text", (), {})}, frozen="ada")
    )
    service.planner.publisher.lanes = service.planner.publisher.lanes.seeing(5)

    text = generate_latest(context.registry).decode()
    await service.stop()

    for line in (
        "fencepost_queue_size 5.0",
        "fencepost_frozen 1.0",
        'fencepost_plans_held{lane="slow"} 1.0',
        'fencepost_plans_held{lane="fast"} 0.0',
        f'fencepost_removal_limited{{zone="{zone}"}} 1.0',
    ):
        assert line in text.splitlines()
    assert text.count("fencepost_removal_limited{") == 6
