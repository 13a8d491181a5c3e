"""Customers: when requests are sent, how they resolve and connect, and what is said of those that fail."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fencepost.clock import SystemClock
from fencepost.region import load_region
from lab.clients import Answer, Arrival, Customers, OpenLoop, Target, arrivals, targets_of

A = Target("a.x.test.", "A")
AAAA = Target("a.x.test.", "AAAA")
SERVED = Answer("", "lb-1")


class Backend:
    """A real HTTP server on loopback that says at which address it was reached."""

    def __init__(self) -> None:
        self.connections: set[tuple[str, int]] = set()
        self.status = 200
        self.hang = False
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        if self.hang:
            await asyncio.Event().wait()
        reached = request.transport.get_extra_info("sockname")[0]
        return web.json_response({"load_balancer": f"lb-at-{reached}"}, status=self.status)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    app = web.Application()
    app.router.add_get("/", backend.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend.port = runner.addresses[0][1]
    await web.TCPSite(runner, "127.1.0.1", backend.port).start()
    yield backend
    await runner.cleanup()


@given(st.integers(), st.floats(1, 1000))
def test_arrivals_of_one_seed_are_the_same_and_in_order(seed: int, rate: float):
    """The load is a function of seed, rate and targets alone, and time never goes back."""
    first, second = (list(islice(arrivals(rate, (A, AAAA), random.Random(seed)), 50)) for _ in range(2))

    assert first == second
    assert [a.due_s for a in first] == sorted(a.due_s for a in first)


def test_arrivals_over_a_long_time_come_at_the_rate():
    """10,000 Poisson arrivals at 100 a second take 100 s, give or take four standard deviations (1 % each)."""
    last = list(islice(arrivals(100.0, (A,), random.Random(1)), 10_000))[-1]

    assert last.due_s == pytest.approx(100.0, abs=4.0)


def test_targets_of_the_default_region_are_every_endpoint_and_type():
    """A dual-stack endpoint is two targets, so that neither type's loss is hidden by the other."""
    targets = targets_of(load_region())

    assert len(targets) == 7
    assert {t.type for t in targets if t.endpoint.startswith("dynamodb.dualstack.")} == {"A", "AAAA"}


async def test_open_loop_with_slow_answers_sends_on_time_and_counts_from_the_intended_arrival():
    """Answers that take 50 ms hold back no arrival that is due every 5 ms."""
    latencies: list[float] = []
    most = 0

    async def slow(_: Target) -> Answer:
        nonlocal most
        most = max(most, loop.tally.in_flight)
        await asyncio.sleep(0.05)
        return SERVED

    loop = OpenLoop(slow, lambda _target, _answer, took_ms: latencies.append(took_ms), SystemClock(), limit=100)

    await loop.run(Arrival(0.005 * n, A) for n in range(20))

    assert loop.tally.served == loop.tally.sent == 20
    assert loop.tally.in_flight == loop.tally.overloaded == 0
    assert most >= 5
    assert all(took_ms >= 49 for took_ms in latencies)


async def test_open_loop_whose_start_was_late_counts_the_wait_in_the_latency():
    """No coordinated omission: a request that was due 30 ms ago has already taken 30 ms."""
    latencies: list[float] = []

    async def quick(_: Target) -> Answer:
        return SERVED

    def plan() -> Iterator[Arrival]:
        yield Arrival(-0.03, A)

    loop = OpenLoop(quick, lambda _target, _answer, took_ms: latencies.append(took_ms), SystemClock(), limit=1)

    await loop.run(plan())

    assert latencies[0] >= 30
    assert loop.tally.worst_late_ms >= 30


async def test_open_loop_over_its_limit_does_not_send_and_counts_it_apart(until):
    """What the generator cannot send is its own failure, not one of the service's."""
    release = asyncio.Event()

    async def stuck(_: Target) -> Answer:
        await release.wait()
        return SERVED

    loop = OpenLoop(stuck, lambda *_: None, SystemClock(), limit=3)

    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run(Arrival(0.0, A) for _ in range(10)))
        await until(lambda: loop.tally.overloaded == 7)
        release.set()

    assert (loop.tally.sent, loop.tally.served, loop.tally.failed) == (3, 3, 0)


async def test_open_loop_cancelled_leaves_nothing_in_flight(until):
    """Ctrl-C ends requests that hang."""

    async def stuck(_: Target) -> Answer:
        await asyncio.Event().wait()
        return SERVED

    before = asyncio.all_tasks()
    loop = OpenLoop(stuck, lambda *_: None, SystemClock(), limit=3)
    running = asyncio.create_task(loop.run(arrivals(1000.0, (A,), random.Random(1))))
    await until(lambda: loop.tally.sent > 0)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert asyncio.all_tasks() == before


async def test_customer_asks_the_resolver_on_its_port_and_reaches_the_address_of_each_type(name_server, backend):
    """Resolution goes to another port than 53, and IPv4-mapped AAAA answers are connected to."""
    name_server.addresses = {("a.x.test.", "A"): ["127.0.0.1"], ("a.x.test.", "AAAA"): ["::ffff:127.1.0.1"]}

    async with Customers(dns_port=name_server.port, http_port=backend.port, timeout_s=5) as customers:
        by_a, by_aaaa = await customers.ask(A), await customers.ask(AAAA)

    assert by_a == Answer("", "lb-at-127.0.0.1")
    assert by_aaaa == Answer("", "lb-at-127.1.0.1")
    assert set(name_server.asked) == {("a.x.test.", "A"), ("a.x.test.", "AAAA")}


async def test_customer_with_ttl_0_resolves_and_connects_for_every_request(name_server, backend):
    """Nothing of ours keeps an answer or a connection from one request to the next."""
    name_server.addresses = {("a.x.test.", "A"): ["127.0.0.1"]}

    async with Customers(dns_port=name_server.port, http_port=backend.port, timeout_s=5) as customers:
        for _ in range(5):
            assert (await customers.ask(A)).error == ""

    assert len(name_server.asked) == len(backend.connections) == 5


async def test_customer_within_the_ttl_is_answered_by_cares_own_cache(name_server, backend):
    """What is documented of c-ares is so: it keeps an answer for its TTL, and connections are still new."""
    name_server.addresses, name_server.ttl = {("a.x.test.", "A"): ["127.0.0.1"]}, 60

    async with Customers(dns_port=name_server.port, http_port=backend.port, timeout_s=5) as customers:
        for _ in range(5):
            assert (await customers.ask(A)).error == ""

    assert len(name_server.asked) == 1
    assert len(backend.connections) == 5


@pytest.mark.parametrize(
    ("set_up", "kind"),
    [
        pytest.param({"addresses": {}}, "dns DNS server returned answer with no data", id="nodata"),
        pytest.param({"rcode": 3}, "dns Domain name not found", id="nxdomain"),
        pytest.param({"silent": True}, "dns no answer within 0.15 s", id="silent"),
        pytest.param({"addresses": {("a.x.test.", "A"): ["127.1.0.9"]}}, "connect", id="refused"),
    ],
)
async def test_customer_whose_request_fails_says_at_which_layer(name_server, backend, set_up: dict[str, Any], kind):
    """Names, connections and answers fail differently, and a report must tell them apart."""
    for name, value in set_up.items():
        setattr(name_server, name, value)

    async with Customers(dns_port=name_server.port, http_port=backend.port, timeout_s=0.3) as customers:
        answer = await customers.ask(A)

    assert answer.error.startswith(kind)


@pytest.mark.parametrize(("set_up", "kind"), [({"status": 500}, "http 500"), ({"hang": True}, "timeout")])
async def test_customer_whose_load_balancer_is_ill_says_so(name_server, backend, set_up: dict[str, Any], kind):
    """An error page and a hanging connection are the load balancer's doing, not the name's."""
    name_server.addresses = {("a.x.test.", "A"): ["127.0.0.1"]}
    for name, value in set_up.items():
        setattr(backend, name, value)

    async with Customers(dns_port=name_server.port, http_port=backend.port, timeout_s=0.3) as customers:
        answer = await customers.ask(A)

    assert answer.error.startswith(kind)
