"""The resolver's service: when its ports open, and what it says of its endpoints."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import dns.message
import pytest

from fencepost import records
from fencepost.batch import ChangeBatch, create
from fencepost.connect import open_zone_store
from fencepost.region import load_region
from fencepost.service import Context
from fencepost.settings import Settings
from fencepost.stores import Actor
from resolver.loop import ResolverService
from resolver.settings import ResolverSettings

ZONE = "dynamodb.us-east-1.fencepost.test."
REGION = load_region()


@pytest.fixture
async def zones(redis_url: str) -> None:
    store = open_zone_store(Settings(redis_url=redis_url), Actor("test"))
    for endpoint in REGION.endpoint_names:
        await store.create_zone(endpoint, REGION.zone_records(endpoint))
    await store.close()


@pytest.fixture
async def start(redis_url: str, free_ports) -> AsyncIterator[Callable[..., Awaitable[ResolverService]]]:
    """Return services that were started, and do not run yet."""
    started: list[ResolverService] = []

    async def make(**options: int) -> ResolverService:
        settings = ResolverSettings(redis_url=redis_url, port_base=free_ports(2), name="resolver", **options)
        started.append(ResolverService(Context(settings), settings))
        await started[-1].start()
        return started[-1]

    yield make
    for service in started:
        await service.stop()


@pytest.fixture
async def run() -> AsyncIterator[Callable[[ResolverService], asyncio.Task[None]]]:
    """Let services run; they are cancelled in the end."""
    tasks: list[asyncio.Task[None]] = []

    def begin(service: ResolverService) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(service.run()))
        return tasks[-1]

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("zones")
async def test_worker_takes_its_part_of_the_port_when_it_has_read_the_zones(start, run, eventually) -> None:
    """Till then the other workers answer, from zones that they know."""
    service = await start(workers=2, worker=2)
    before = service.not_ready()

    run(service)
    await eventually(lambda: service.not_ready() is None)

    assert before == "the ports are not open yet"
    assert set(service.state()["endpoints"]) == set(REGION.endpoint_names)


async def test_worker_without_zones_to_read_answers_all_the_same(start, run, eventually) -> None:
    """Zones that nobody has made yet are not waited for behind a closed port."""
    service = await start(workers=2, worker=2)

    run(service)

    await eventually(lambda: "zones were not read yet" in (service.not_ready() or ""))


async def test_worker_whose_following_fails_ends_with_it(start, run, monkeypatch) -> None:
    """An error before the first zone is raised, not waited for."""
    service = await start(workers=2, worker=2)

    async def fail() -> None:
        raise ArithmeticError

    monkeypatch.setattr(service._follower, "run", fail)

    with pytest.raises(ArithmeticError):
        await asyncio.wait_for(run(service), 5)
    assert service.not_ready() == "the ports are not open yet"


@pytest.mark.usefixtures("zones")
async def test_state_of_an_endpoint_is_made_once_for_each_image(start, run, eventually, redis_url) -> None:
    """A watch asks every second; only what has changed is looked at again."""
    service = await start()
    run(service)
    await eventually(lambda: service.not_ready() is None)
    images = service._follower.images
    image = images[ZONE]
    first = service._endpoint_state(image)

    assert service._endpoint_state(image) is first
    store = open_zone_store(Settings(redis_url=redis_url), Actor("test"))
    await store.change(ChangeBatch(ZONE, (create(records.txt(f"_test.{ZONE}", "x")),)))
    await store.close()
    await eventually(lambda: images[ZONE] is not image)
    assert service._endpoint_state(images[ZONE])["serial"] > first["serial"]


@pytest.mark.usefixtures("zones")
async def test_follower_at_work_looks_at_the_authoritative_port(start, run, eventually) -> None:
    """A known query is answered between two pieces of its work, without a turn of the loop."""
    service = await start()
    run(service)
    await eventually(lambda: service.not_ready() is None)
    query = dns.message.make_query(ZONE, "SOA", id=7).to_wire()
    for _ in range(2):
        service._hot.reply(query)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0)
        client.connect(("127.0.0.1", service._authoritative.port))
        client.send(query)
        service._follower._look_around()

        assert client.recv(4096)[:2] == query[:2]


@pytest.mark.usefixtures("zones")
async def test_garbage_is_set_aside_from_when_the_zones_are_read_until_the_end(start, run, eventually) -> None:
    """From then on there is much that no collection need look at; who runs after that finds the collector as it was."""
    service = await start()
    running = run(service)
    await eventually(lambda: service._collector._collected in gc.callbacks)

    running.cancel()
    await asyncio.wait({running})

    assert service._collector._collected not in gc.callbacks
