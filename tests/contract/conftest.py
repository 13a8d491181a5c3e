"""One suite for every adapter of the two ports: each test runs on each of them, over the real server."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from fencepost.batch import ChangeBatch
from fencepost.clock import SystemClock, stream
from fencepost.errors import InvalidChangeBatch
from fencepost.network import PROFILES, Link
from fencepost.records import ns, soa
from fencepost.redis_client import open_client
from fencepost.redis_feed import RedisZoneFeed
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.remote import RemotePlanStore, RemoteZoneStore
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
ADAPTERS = ("redis", "remote redis")


def link():
    """Return a link that neither delays nor loses anything."""
    return Link(PROFILES["none"].control_api, SystemClock(), stream(1, "contract"))


async def commands(reader):
    """Yield commands as they arrive, each a list of words."""
    while line := await reader.readline():
        words = []
        for _ in range(int(line[1:])):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        yield words


@pytest.fixture
def scripted(tmp_path):
    """A maker of servers that have `talk` with each connection: it is given its commands, and where to answer."""

    @asynccontextmanager
    async def serve(talk):
        async def greet(reader, writer):
            try:
                await talk(commands(reader), writer)
            finally:
                writer.close()

        place = tmp_path / "redis.sock"
        async with await asyncio.start_unix_server(greet, place):
            yield f"unix://{place}"

    return serve


@pytest.fixture
async def client(redis_url):
    """A client of the real server, beside any adapter."""
    opened = open_client(redis_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def feed(redis_url):
    """The feed of an adapter; it is closed after the test."""
    opened = RedisZoneFeed(open_client(redis_url))
    yield opened
    await opened.close()


@pytest.fixture(params=ADAPTERS)
async def open_zones(request, redis_url):
    """Return an opener of zone stores, all of one adapter on one server; they are closed after the test."""
    opened = []

    def open_one(actor=Actor("use1-az1-enactor"), **limits):  # noqa: B008  -- immutable
        bare = RedisZoneStore(open_client(redis_url), actor, **limits)
        opened.append(bare if request.param == "redis" else RemoteZoneStore(bare, link()))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def zones(open_zones):
    """A store with one zone, which holds its SOA and NS at serial 1."""
    store = open_zones()
    await store.create_zone(ZONE, (soa(ZONE, ttl=900, minimum=86_400), ns(ZONE)))
    return store


@pytest.fixture
def change(zones):
    """Return a function that commits some changes to the zone."""

    async def commit(*changes, **fields):
        return await zones.change(ChangeBatch(ZONE, changes, **fields))

    return commit


@pytest.fixture
def refused(zones):
    """Return a function that sees some changes refused, the zone untouched, and gives (index, reason, text) of each."""

    async def attempt(*changes):
        before = await zones.page(ZONE), await zones.commits(ZONE)

        with pytest.raises(InvalidChangeBatch) as caught:
            await zones.change(ChangeBatch(ZONE, changes))

        assert (await zones.page(ZONE), await zones.commits(ZONE)) == before
        failed = caught.value.failed
        assert str(caught.value) == f"InvalidChangeBatch: [{', '.join(f.text for f in failed)}]"
        assert not caught.value.retryable
        return [(f.index, f.reason, f.text) for f in failed]

    return attempt


@pytest.fixture(params=ADAPTERS)
async def open_plans(request, redis_url):
    """Return an opener of plan stores, all of one adapter on one server; they are closed after the test."""
    opened = []

    def open_one(**limits):
        bare = RedisPlanStore(open_client(redis_url), **limits)
        opened.append(bare if request.param == "redis" else RemotePlanStore(bare, link()))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
def plans(open_plans):
    """An empty plan store."""
    return open_plans()
