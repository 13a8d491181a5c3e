"""The three outcomes of a call, on servers of the test's own that are killed, restarted, replicated and orphaned."""

import asyncio
import contextlib
import signal
import socket
import subprocess

import pytest
from redis.exceptions import RedisError

from deploy.embedded import server_binary, server_command, server_url
from fencepost.batch import ChangeBatch, create, delete
from fencepost.connect import prepare
from fencepost.errors import OutcomeUnknown, PlanConflict, StoreUnavailable
from fencepost.plan import Draft, Target, content
from fencepost.records import address, ns, soa
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
WEB = address(f"www.{ZONE}", "A", "127.1.0.1", ttl=5)
DRAFT = Draft({ZONE: content(5, [Target("use1-az1-lb-001", "A", "127.1.0.1", 10)])}, "test")


class Server:
    """A server of one test, with a directory of its own."""

    def __init__(self, place, port=0, replica_of=None, more=()):
        place.mkdir(exist_ok=True)
        command = server_command(server_binary(), place, port=port, replica_of=replica_of)
        # Else a primary waits for more replicas for 5 s.
        self.command = [*command, "--repl-diskless-sync-delay", "0", *more]
        self.url, self.process = server_url(place, port), None

    async def start(self):
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220  -- returns at once
        client = open_client(self.url)
        await until(lambda: answers(client))
        await client.aclose()

    def kill(self):
        """End it with SIGKILL, if it runs."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)


async def until(condition):
    """Wait for a condition, 10 s at most."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110  -- another process has no asyncio.Event
            await asyncio.sleep(0.01)


async def answers(client):
    """Say whether a server answers."""
    with contextlib.suppress(RedisError, OSError):
        return await client.ping()
    return False


def free_ports(count):
    """Return so many ports of loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def start(tmp_path):
    """Return a starter of servers, which are gone after the test."""
    servers = []

    async def one(name, **options):
        servers.append(Server(tmp_path / name, **options))
        await servers[-1].start()
        return servers[-1]

    yield one
    for server in servers:
        server.kill()


@pytest.fixture
async def stores():
    """Return an opener of both stores of a server; they are closed after the test."""
    opened = []

    def both(server, replicas=0):
        zones = RedisZoneStore(open_client(server.url), Actor("use1-az1-enactor"), replicas=replicas)
        plans = RedisPlanStore(open_client(server.url), replicas=replicas)
        opened.extend((zones, plans))
        return zones, plans

    yield both
    for store in opened:
        await store.close()


async def write(zones, plans):
    """Write a zone with one record set besides SOA and NS, a plan and a request."""
    await zones.create_zone(ZONE, (soa(ZONE, ttl=900, minimum=86_400), ns(ZONE)))
    await zones.change(ChangeBatch(ZONE, (create(WEB),)))
    await plans.publish(DRAFT, expected=0)
    await plans.set_requests({"drain": "{}"})


@pytest.mark.parametrize("replicas", [0, 1])
async def test_server_that_is_gone_makes_reads_and_writes_unavailable(start, stores, replicas):
    """A read that got no answer changed nothing, and neither has a write that no connection could be opened for."""
    server = await start("one")
    await write(*stores(server))
    zones, plans = stores(server, replicas=replicas)
    await prepare(zones, plans)
    server.kill()

    reads = (
        zones.read(ZONE, [WEB.key]),
        zones.page(ZONE),
        zones.commits(ZONE),
        zones.follow({ZONE: 0}, 0.01),
        plans.latest(),
        plans.latest_generation(),
        plans.get(1),
        plans.history(),
        plans.requests(),
    )
    writes = (
        zones.change(ChangeBatch(ZONE, (delete(WEB),))),
        plans.publish(DRAFT, expected=1),
        plans.set_requests({"drain": None}),
    )
    for one in (*reads, *writes):
        with pytest.raises(StoreUnavailable) as caught:
            await one
        assert caught.value.retryable


async def test_server_killed_and_restarted_has_all_that_was_acknowledged(start, stores):
    """Invariant I8: kill -9 of the server loses nothing that was acknowledged, and the same stores go on."""
    server = await start("one")
    zones, plans = stores(server)
    await write(zones, plans)
    before = await zones.page(ZONE), await zones.commits(ZONE), await plans.latest(), await plans.requests()
    server.kill()
    await server.start()

    again = stores(server)
    for some_zones, some_plans in (again, (zones, plans)):
        after = await some_zones.page(ZONE), await some_zones.commits(ZONE)
        assert (*after, await some_plans.latest(), await some_plans.requests()) == before
    assert (await zones.change(ChangeBatch(ZONE, (delete(WEB),)))).serial == 3
    with pytest.raises(PlanConflict):
        await plans.publish(DRAFT, expected=0)


async def test_write_under_way_when_the_server_dies_is_unknown_and_read_again(start, stores):
    """Killed while a batch waits for its answer: unknown; what the restarted server says is then the truth."""
    server = await start("one")
    zones, plans = stores(server)
    await write(zones, plans)
    server.process.send_signal(signal.SIGSTOP)
    writing = asyncio.create_task(zones.change(ChangeBatch(ZONE, (delete(WEB),))))
    done, _ = await asyncio.wait([writing], timeout=0.1)
    assert not done
    server.kill()

    with pytest.raises(OutcomeUnknown) as caught:
        await writing
    assert not caught.value.retryable
    await server.start()
    assert await zones.read(ZONE, [WEB.key]) == (2, {WEB.key: WEB})


async def test_write_with_its_replica_is_committed_and_without_it_unknown(start, stores):
    """Published means durable: with `replicas=1` a write counts when one replica has it, and not before."""
    first, second = free_ports(2)
    primary = await start("primary", port=first)
    replica = await start("replica", port=second, replica_of=first)
    zones, plans = stores(primary, replicas=1)
    reader = open_client(primary.url)
    await until(lambda: has_replica(reader))

    await write(zones, plans)
    copied_zones, copied_plans = stores(replica)
    assert await copied_zones.page(ZONE) == await zones.page(ZONE)
    assert await copied_plans.latest() == await plans.latest()
    await reader.script_flush()
    assert await plans.publish(DRAFT, expected=1) == 2

    replica.kill()
    with pytest.raises(OutcomeUnknown, match=r"0 of 1 replicas had the write after 1000 ms"):
        await zones.change(ChangeBatch(ZONE, (delete(WEB),)))
    assert (await zones.read(ZONE, [])).serial == 3
    await reader.aclose()


async def test_write_with_replicas_after_a_failover_is_known_to_the_server_that_it_is_made_on(start, stores, tmp_path):
    """One address, two servers: a connection that was opened before may still lead to the one that was primary."""
    (port,) = free_ports(1)
    before = await start("before")
    primary = await start("primary", more=("--port", str(port), "--bind", "127.0.0.1"))
    await start("replica", replica_of=port)
    reader = open_client(primary.url)
    await until(lambda: has_replica(reader))
    place = tmp_path / "redis.sock"
    place.symlink_to(before.url.removeprefix("unix://"))
    zones = RedisZoneStore(open_client(f"unix://{place}"), Actor("use1-az1-enactor"), replicas=1)
    await zones.prepare()
    place.unlink()
    place.symlink_to(primary.url.removeprefix("unix://"))

    await zones.create_zone(ZONE, (soa(ZONE, ttl=900, minimum=86_400), ns(ZONE)))

    await zones.close()
    assert await reader.xlen(f"{{{ZONE}}}:stream") == 1
    await reader.aclose()


async def has_replica(client):
    """Say whether a replica is connected and in step."""
    info = await client.info("replication")
    return info["connected_slaves"] == 1 and info["slave0"]["state"] == "online"


async def test_write_to_a_replica_was_certainly_not_executed(start, stores):
    """A server that takes no writes refuses them before anything happens: the call may simply be made again."""
    (port,) = free_ports(1)
    replica = await start("replica", replica_of=port)
    zones, plans = stores(replica)

    with pytest.raises(StoreUnavailable, match="the store takes no writes"):
        await plans.publish(DRAFT, expected=0)
    with pytest.raises(StoreUnavailable, match="the store takes no writes"):
        await zones.create_zone(ZONE, (soa(ZONE, ttl=900, minimum=86_400), ns(ZONE)))
