"""The fleet: sockets of its own for every load balancer, health pages, failures that are real, and its control API."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import generate_latest

from fencepost.clock import SystemClock
from fencepost.errors import StartupError
from fencepost.events import Recorder
from fencepost.region import AvailabilityZone, Endpoint, LoadBalancer, Region
from fencepost.service import Context
from fencepost.settings import Settings
from lab.fleet import Fleet

ONE, TWO = "use1-az1-lb-001", "use1-az2-lb-001"


def region_of(*balancers: LoadBalancer) -> Region:
    """Return a region with one endpoint over these load balancers."""
    zones = tuple(AvailabilityZone(zone) for zone in sorted({lb.zone for lb in balancers}))
    return Region("test", 5, zones, balancers, (Endpoint("x.test.", "test", ("*",)),))


REGION = region_of(
    LoadBalancer(ONE, "use1-az1", "127.1.1.1", "::ffff:127.1.1.1", capacity=100),
    LoadBalancer(TWO, "use1-az2", "127.1.2.1", "::ffff:127.1.2.1", capacity=70),
)


@pytest.fixture
async def fleet(port_base) -> AsyncIterator[Fleet]:
    context = Context(Settings(name="fleet", port_base=port_base))
    fleet = Fleet(context, REGION, SystemClock())
    await fleet.start()
    yield fleet
    await fleet.stop()


@pytest.fixture
async def client(fleet) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


@pytest.fixture
def ask(client, port_base):
    """Asks a load balancer by its address; returns (status, JSON)."""

    async def get(address: str, path: str = "/", timeout_s: float = 5.0):
        url = f"http://{address}:{port_base + 3}{path}"
        async with client.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
            return response.status, await response.json()

    return get


@pytest.fixture
def put(client, port_base):
    """Sets a load balancer's condition by the control API; returns (status, JSON)."""

    async def send(name: str, body: object):
        url = f"http://127.0.0.1:{port_base + 4}/v1/balancers/{name}"
        kind = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with client.put(url, **kind) as response:
            return response.status, await response.json()

    return send


async def test_fleet_tells_load_balancers_apart_by_destination_address(ask):
    """One application serves all, and each answers as itself, over IPv4 and over its IPv4-mapped address."""
    assert await ask("127.1.1.1") == (200, {"load_balancer": ONE})
    assert await ask("127.1.2.1", "/any/path?x=1") == (200, {"load_balancer": TWO})
    assert await ask("[::ffff:127.1.2.1]") == (200, {"load_balancer": TWO})


async def test_health_page_says_name_status_and_capacity(ask, put):
    """200 when well, 503 when not; an unhealthy load balancer goes on serving customers."""
    well = await ask("127.1.2.1", "/health")
    await put(TWO, {"healthy": False, "capacity": 55})
    ill = await ask("127.1.2.1", "/health")

    assert well == (200, {"name": TWO, "status": "ok", "capacity": 70})
    assert ill == (503, {"name": TWO, "status": "unhealthy", "capacity": 55})
    assert await ask("127.1.2.1") == (200, {"load_balancer": TWO})


async def test_refuse_closes_the_socket_and_cuts_connections_until_it_ends(ask, put, port_base):
    """A hard failure refuses connections for real, also those kept open; other load balancers do not notice."""
    reader, writer = await asyncio.open_connection("127.1.1.1", port_base + 3)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"}")

    await put(ONE, {"failure": "refuse"})

    assert await reader.read() == b""
    writer.close()
    with socket.socket() as plain:
        assert plain.connect_ex(("127.1.1.1", port_base + 3)) == errno.ECONNREFUSED
    assert (await ask("127.1.2.1"))[0] == 200

    await put(ONE, {"failure": "none"})

    assert await ask("127.1.1.1") == (200, {"load_balancer": ONE})


async def test_hang_accepts_and_never_answers_until_it_ends(ask, put):
    """A hanging load balancer takes connections, health checks included, and says nothing."""
    await put(ONE, {"failure": "hang"})

    for path in ("/", "/health"):
        with pytest.raises(TimeoutError):
            await ask("127.1.1.1", path, timeout_s=0.1)

    await put(ONE, {"failure": "none"})
    assert (await ask("127.1.1.1"))[0] == 200


async def test_hang_lets_go_of_customers_who_give_up(ask, put, until):
    """A fleet that hangs for long does not collect what nobody waits for any more."""
    await put(ONE, {"failure": "hang"})
    before = len(asyncio.all_tasks())

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await ask("127.1.1.1", timeout_s=0.05)

    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_error_answers_500_to_everything(ask, put):
    """Health checks get the 500, too, and it does not count as served."""
    await put(ONE, {"failure": "error"})

    assert (await ask("127.1.1.1"))[0] == 500
    assert (await ask("127.1.1.1", "/health"))[0] == 500
    assert (await put(ONE, {}))[1]["served"] == 0


async def test_latency_delays_customers_and_not_health_checks(ask, put):
    """The set latency is the customer's."""
    await put(ONE, {"latency_ms": 120})
    loop = asyncio.get_running_loop()

    started_s = loop.time()
    await ask("127.1.1.1", "/health")
    checked_s = loop.time()
    await ask("127.1.1.1")

    assert checked_s - started_s < 0.1
    assert loop.time() - checked_s >= 0.119


async def test_served_requests_are_counted_in_state_and_metrics(client, fleet, ask, port_base):
    """Customers' requests count, health checks do not."""
    for path in ("/", "/", "/health"):
        await ask("127.1.1.1", path)

    async with client.get(f"http://127.0.0.1:{port_base + 4}/v1/balancers") as response:
        shown = await response.json()
    assert {b["name"]: b["served"] for b in shown["balancers"]} == {ONE: 2, TWO: 0}
    assert fleet.state() == {"load_balancers": shown["balancers"]}


async def test_fleet_metrics_name_the_load_balancer(port_base):
    """Prometheus sees one counter per load balancer."""
    context = Context(Settings(port_base=port_base))
    fleet = Fleet(context, REGION, SystemClock())
    await fleet.start()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.1.1.1:{port_base + 3}/") as response:
        assert response.status == 200
    await fleet.stop()

    assert f'fencepost_fleet_requests_total{{load_balancer="{ONE}"}} 1.0' in generate_latest(context.registry).decode()


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("use1-az9-lb-001", {"healthy": False}, 404),
        (ONE, b"not json", 400),
        (ONE, b"", 400),
        (ONE, b"\xff\xfe", 400),
        (ONE, [], 400),
        (ONE, {"unknown": 1}, 400),
        (ONE, {"healthy": "yes"}, 400),
        (ONE, {"healthy": None}, 400),
        (ONE, {"capacity": -1}, 400),
        (ONE, {"capacity": 1_000_001}, 400),
        (ONE, {"capacity": 1.5}, 400),
        (ONE, {"capacity": True}, 400),
        (ONE, {"latency_ms": -0.1}, 400),
        (ONE, b'{"latency_ms": 1e999}', 400),
        (ONE, b'{"latency_ms": NaN}', 400),
        (ONE, {"failure": "explode"}, 400),
        (ONE, {"failure": "refuse", "capacity": -1}, 400),
    ],
)
async def test_control_given_bad_input_says_so_and_changes_nothing(fleet, put, name, body, status):
    """400 or 404 with one sentence; every load balancer is as it was, its socket, too."""
    before = fleet.state()

    got, answer = await put(name, body)

    assert got == status
    assert list(answer) == ["error"]
    assert answer["error"]
    assert fleet.state() == before


async def test_control_of_an_unknown_path_answers_json(client, fleet, port_base):
    """Errors of the server itself look like all others."""
    async with client.get(f"http://127.0.0.1:{port_base + 4}/v2") as response:
        assert (response.status, await response.json()) == (404, {"error": "GET /v2: Not Found"})


async def test_control_reports_every_change_once(port_base):
    """An event tells what was set; setting what is set already is no change."""
    context, recorder = Context(Settings(port_base=port_base)), Recorder()
    context.events.add(recorder)
    fleet = Fleet(context, REGION, SystemClock())
    await fleet.start()
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            await session.put(f"http://127.0.0.1:{port_base + 4}/v1/balancers/{ONE}", json={"capacity": 120})
    await fleet.stop()

    assert recorder.names() == ["fleet.balancer_changed"]
    assert recorder.events[0].fields["capacity"] == 120


async def test_recovery_whose_port_was_taken_is_refused_and_can_be_repeated(put, port_base):
    """Somebody else on the address is a conflict, not a lie: the load balancer stays down until the port is free."""
    await put(ONE, {"failure": "refuse"})
    thief = socket.create_server(("127.1.1.1", port_base + 3))

    status, answer = await put(ONE, {"failure": "none"})
    thief.close()

    assert status == 409
    assert "cannot listen on 127.1.1.1" in answer["error"]
    assert await put(ONE, {"failure": "none"}) == (
        200,
        {
            "name": ONE,
            "address": "127.1.1.1",
            "healthy": True,
            "capacity": 100,
            "latency_ms": 0.0,
            "failure": "none",
            "served": 0,
        },
    )


async def test_fleet_with_its_port_in_use_cannot_start(port_base):
    """One clear error names address and port."""
    with socket.create_server(("127.1.2.1", port_base + 3)):
        fleet = Fleet(Context(Settings(port_base=port_base)), REGION, SystemClock())
        with pytest.raises(StartupError, match=rf"cannot listen on 127.1.2.1 port {port_base + 3}"):
            await fleet.start()
        await fleet.stop()


async def test_fleet_never_listens_on_an_address_that_is_not_loopback(port_base):
    """A region file of real addresses is refused before anything of it is bound."""
    public = region_of(LoadBalancer(ONE, "use1-az1", "0.0.0.0"))  # noqa: S104  -- this is what must be refused
    fleet = Fleet(Context(Settings(port_base=port_base)), public, SystemClock())

    with pytest.raises(StartupError, match="not loopback"):
        await fleet.start()
    await fleet.stop()


async def test_fleet_with_hanging_customers_stops_at_once(fleet, put, port_base):
    """A process that is told to end does not wait for those whom it never meant to answer."""
    await put(ONE, {"failure": "hang"})
    reader, writer = await asyncio.open_connection("127.1.1.1", port_base + 3)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()

    async with asyncio.timeout(2):
        await fleet.stop()

    assert await reader.read() == b""
    writer.close()
