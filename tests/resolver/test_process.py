"""The resolver as a process: ready, answering on both ports, telling its state, and one clear error otherwise."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from fencepost import records
from fencepost.batch import ChangeBatch, create, delete
from fencepost.connect import open_zone_store
from fencepost.region import load_region
from fencepost.settings import Settings
from fencepost.stores import Actor, ZoneStore

ZONE = "dynamodb.us-east-1.fencepost.test."
TREE = f"plan-000001.{ZONE}"
LEAF = records.address(TREE, "A", "127.1.1.1", ttl=60, set_identifier="use1-az1-lb-001", weight=10)


class Running:
    """A resolver process and its pages."""

    def __init__(self, process: asyncio.subprocess.Process, base: int, admin: int) -> None:
        self.process, self.base, self.admin = process, base, admin

    async def page(self, path: str) -> tuple[int, str]:
        """Return status and text of an admin page; status 0 if nobody answers yet."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.admin}{path}") as got:
                return got.status, await got.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def until(self, path: str, holds: Callable[[int, str], bool]) -> str:
        """Wait until a page is as wanted, and return it."""
        for _ in range(1000):
            status, text = await self.page(path)
            if holds(status, text):
                return text
            assert self.process.returncode is None, f"it ended with {self.process.returncode}"
            await asyncio.sleep(0.02)
        raise AssertionError(f"{path} stays {status}: {text}")

    async def ask(self, offset: int, name: str = ZONE, record_type: str = "A") -> dns.message.Message:
        query = dns.message.make_query(name, record_type)
        return await dns.asyncquery.udp(query, "127.0.0.1", timeout=5, port=self.base + offset)


@pytest.fixture
async def start(free_ports: Callable[[int], int]) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Start resolver processes; they are killed in the end."""
    started: list[asyncio.subprocess.Process] = []

    async def run(redis_url: str, base: int | None = None, **more: object) -> Running:
        base, admin = base or free_ports(2), free_ports(1)
        settings = {"REDIS_URL": redis_url, "PORT_BASE": base, "ADMIN_PORT": admin, "NAME": "resolver"} | more
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "resolver"),
            env=os.environ | {f"FENCEPOST_{key}": str(value) for key, value in settings.items()},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Running(process, base, admin)

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[ZoneStore]:
    opened = open_zone_store(Settings(redis_url=redis_url), Actor("test"))
    yield opened
    await opened.close()


async def make_zones(store: ZoneStore) -> None:
    """Create every zone of the default region, and one address behind the first endpoint's root."""
    region = load_region()
    for endpoint in region.endpoint_names:
        await store.create_zone(endpoint, region.zone_records(endpoint))
    changes = (
        create(LEAF),
        create(records.alias(ZONE, "A", TREE)),
        create(records.txt(f"_generation.{ZONE}", "1 ab x")),
    )
    await store.change(ChangeBatch(ZONE, changes, generation=1))


async def test_process_becomes_ready_answers_and_stops_in_order(redis_url, start, store) -> None:
    """Not ready without zones; then both ports answer, the pages tell, and SIGTERM ends it with code 0."""
    running = await start(redis_url)
    await running.until("/readyz", lambda status, text: status == 503 and "6 of 6 zones were not read yet" in text)
    assert (await running.ask(0)).rcode() == dns.rcode.SERVFAIL

    await make_zones(store)
    await running.until("/readyz", lambda status, _: status == 200)
    await running.until("/state", lambda _, text: '"addresses":{"A":1}' in text)  # ready is who has read the zones
    assert (await running.ask(0)).answer[0][0].address == "127.1.1.1"
    assert (await running.ask(1)).answer[0][0].address == "127.1.1.1"
    await running.ask(1)
    await store.change(ChangeBatch(ZONE, (delete(LEAF),)))
    state = await running.until("/state", lambda _, text: '"addresses":{"A":0}' in text)
    empty = await running.ask(0)
    cached = await running.ask(1)

    assert (empty.rcode(), empty.answer) == (0, [])
    assert cached.answer, "the cache keeps what it has for its TTL"
    assert f'"root":{{"A":"{TREE}"}}' in state
    assert '"generation":"1 ab x"' in state
    _, metrics = await running.page("/metrics")
    assert f'fencepost_dns_empty_answers_total{{listener="authoritative",type="A",zone="{ZONE}"}} 1.0' in metrics
    assert 'fencepost_dns_queries_total{listener="caching",rcode="NOERROR",transport="udp"} 3.0' in metrics
    running.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(running.process.wait(), 5) == 0


async def test_process_lives_through_garbage_on_both_ports(redis_url, start, store) -> None:
    """A few thousand random datagrams at each port: it lives, and still answers. Seed: 20251020."""
    await make_zones(store)
    running = await start(redis_url)
    await running.until("/readyz", lambda status, _: status == 200)
    rng = random.Random(20251020)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(40):
            for _ in range(50):
                for offset in (0, 1):
                    sender.sendto(rng.randbytes(rng.randrange(200)), ("127.0.0.1", running.base + offset))
            assert (await running.ask(0)).answer

    assert (await running.ask(1)).answer
    assert running.process.returncode is None


@pytest.mark.parametrize(("offset", "kind"), [(0, socket.SOCK_DGRAM), (1, socket.SOCK_STREAM)], ids=["dns", "cache"])
async def test_process_port_in_use_ends_it_with_code_3(redis_url, start, free_ports, offset: int, kind) -> None:
    """One sentence that names the port and the remedy, exit code 3."""
    base = free_ports(2)
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", base + offset))
        if kind is socket.SOCK_STREAM:
            other.listen()
        running = await start(redis_url, base)
        _, text = await asyncio.wait_for(running.process.communicate(), 20)

    assert running.process.returncode == 3
    assert text.decode().count("\n") == 1
    assert f"cannot listen on 127.0.0.1 port {base + offset}" in text.decode()
    assert "--port-base" in text.decode()


async def test_process_without_a_server_ends_with_code_3(start) -> None:
    """An unreachable Redis is one clear error."""
    running = await start("redis://127.0.0.1:1/0")

    _, text = await asyncio.wait_for(running.process.communicate(), 20)

    assert running.process.returncode == 3
    assert "no Redis server answers at redis://127.0.0.1:1/0" in text.decode()


async def until_asked(running: Running, others: int = 0) -> None:
    """Ask from ever other ports until a worker has had more than `others` queries: the system deals by port."""
    wanted = 'fencepost_dns_queries_total{listener="authoritative",rcode="NOERROR",transport="udp"}'
    for _ in range(200):
        assert (await running.ask(0)).answer
        _, metrics = await running.page("/metrics")
        if any(float(line.split()[-1]) > others for line in metrics.splitlines() if line.startswith(wanted)):
            return
    raise AssertionError("none of 200 queries came to it")


async def test_workers_share_the_port_and_stand_in_for_each_other(redis_url, start, store, free_ports) -> None:
    """Two processes on one port: both answer, one that is killed is missed by nobody, and can come back."""
    await make_zones(store)
    base = free_ports(2)
    first = await start(redis_url, base, WORKERS=2, WORKER=1)
    second = await start(redis_url, base, WORKERS=2, WORKER=2, NAME="resolver-2")
    for worker in (first, second):
        await worker.until("/readyz", lambda status, _: status == 200)

    await until_asked(first)
    await until_asked(second)
    assert (await first.ask(1)).answer, "the first one has the cache"
    _, state = await second.page("/state")
    assert '"cache"' not in state
    second.process.kill()
    await second.process.wait()
    for _ in range(20):
        assert (await first.ask(0)).answer
    again = await start(redis_url, base, WORKERS=2, WORKER=2, NAME="resolver-2")
    await again.until("/readyz", lambda status, _: status == 200)

    await until_asked(again)


async def test_worker_alone_does_not_share_its_port(redis_url, start, store, free_ports) -> None:
    """Without workers a second resolver is told that the port is in use, and does not take half of the queries."""
    await make_zones(store)
    base = free_ports(2)
    alone = await start(redis_url, base)
    await alone.until("/readyz", lambda status, _: status == 200)

    other = await start(redis_url, base, WORKERS=2, WORKER=2)
    _, text = await asyncio.wait_for(other.process.communicate(), 20)

    assert other.process.returncode == 3
    assert f"cannot listen on 127.0.0.1 port {base}" in text.decode()
