"""Zones made by hand, questions to them, and servers on real sockets."""

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress

import dns.flags
import dns.message
import pytest
import redis.asyncio

from fencepost import records
from fencepost.batch import Change, ChangeBatch, create, upsert
from fencepost.clock import Clock, SystemClock
from fencepost.connect import open_zone_store
from fencepost.events import EventBus, Recorder
from fencepost.feed import ZoneFeed
from fencepost.network import LinkSpec
from fencepost.records import RecordSet
from fencepost.redis_client import open_client
from fencepost.redis_feed import RedisZoneFeed
from fencepost.settings import Settings
from fencepost.stores import Actor, Commit
from resolver.answer import reply
from resolver.follow import Changed, Follower
from resolver.hot import HotTable
from resolver.message import Transport
from resolver.server import DnsServer
from resolver.zone import ZoneImage

ZONE = "dynamodb.us-east-1.fencepost.test."
WEIGHTS = {"lb-001": 10, "lb-002": 20, "lb-003": 30, "lb-004": 40, "lb-005": 100}


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return 1_700_000_000.0 + self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait until a condition holds; fail if it does not within the deadline."""

    async def wait(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "it did not come to that"
            await asyncio.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], int]:
    """Return the first of some ports in a row that are free for UDP and TCP, below those that the system gives out."""
    candidates = iter(range(20_000 + os.getpid() % 10_000, 32_000))

    def first_of(count: int) -> int:
        ports: list[int] = []
        while len(ports) < count:
            port = next(candidates)
            ports = [*ports, port] if is_free(port) else []
        return ports[0]

    return first_of


def is_free(port: int) -> bool:
    """Say whether UDP and TCP can be had on a loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        try:
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def zone() -> str:
    """Name of the zone that most tests ask."""
    return ZONE


@pytest.fixture
def weights() -> dict[str, int]:
    """Weight by load balancer; `lb-001` has address 127.1.0.1, and so on."""
    return WEIGHTS


@pytest.fixture
def record_sets() -> tuple[RecordSet, ...]:
    """A zone as an enactor leaves it: SOA, NS, one tree, root, rollback and fence."""
    tree = f"plan-000145.{ZONE}"
    leaves = (
        records.address(tree, "A", f"127.1.0.{name[-1]}", ttl=5, set_identifier=name, weight=weight)
        for name, weight in WEIGHTS.items()
    )
    return (
        records.soa(ZONE, ttl=9, minimum=864),
        records.ns(ZONE),
        *leaves,
        records.txt(f"_tree.{tree}", "1/1 0123abcd"),
        records.alias(ZONE, "A", tree),
        records.alias(f"rollback.{ZONE}", "A", tree),
        records.txt(f"_generation.{ZONE}", "145 0123abcd use1-az1-enactor/1/1"),
    )


@pytest.fixture
def image(record_sets: tuple[RecordSet, ...]) -> Callable[..., ZoneImage]:
    """Return an image of the zone with some more record sets, and without some names."""

    def make(*more: RecordSet, without: Iterable[str] = (), serial: int = 7) -> ZoneImage:
        kept = (r for r in (*record_sets, *more) if r.name not in set(without))
        return ZoneImage(ZONE, serial, kept)

    return make


@pytest.fixture
def commit() -> Callable[..., Commit]:
    """Return a commit of some changes; record sets stand for CREATE."""

    def make(serial: int, *changes: Change | RecordSet, at_us: int | None = None) -> Commit:
        whole = tuple(create(c) if isinstance(c, RecordSet) else c for c in changes)
        return Commit(ZONE, serial, serial * 1000 if at_us is None else at_us, Actor("test"), None, "", whole)

    return make


@pytest.fixture
def ask() -> Callable[..., dns.message.Message]:
    """Put a question to an image as over the wire, and return the parsed answer, which must fit the question."""

    def run(
        image: ZoneImage, name: str, record_type: str = "A", *, over: Transport = Transport.UDP, **options: object
    ) -> dns.message.Message:
        query = dns.message.make_query(name, record_type, **options)
        answer = reply({image.name: image}, query.to_wire(), over, random.Random(1))
        assert answer is not None
        parsed = dns.message.from_wire(answer.wire)
        assert query.is_response(parsed)
        assert parsed.rcode() == answer.rcode
        return parsed

    return run


@pytest.fixture
async def serve(image: Callable[..., ZoneImage]) -> AsyncIterator[Callable[..., Awaitable[DnsServer]]]:
    """Start servers on ports that the system chooses, of one zone or with an answerer of the test's own.

    One of a zone has prepared answers as well, as the resolver has.
    """
    started: list[DnsServer] = []

    async def start(zone: ZoneImage | None = None, *, answerer=None, **options) -> DnsServer:
        zones = {ZONE: zone if zone is not None else image()}
        chance = random.Random(1)

        def authoritative(message: bytes, transport: Transport) -> bytes | None:
            answer = reply(zones, message, transport, chance)
            return answer and answer.wire

        hot = None if answerer else HotTable(zones, chance)
        server = DnsServer(answerer or authoritative, 0, hot=hot, **options)
        started.append(server)
        await server.start()
        return server

    yield start
    for server in started:
        await server.stop()


class Followed:
    """A follower, what it told, and a store to change its zones through."""

    def __init__(
        self,
        url: str,
        zones: tuple[str, ...] = (ZONE,),
        *,
        propagation: LinkSpec | None = None,
        clock: Clock | None = None,
        feed: Callable[[redis.asyncio.Redis], ZoneFeed] = RedisZoneFeed,
        changed: Changed | None = None,
        look: Callable[[], None] | None = None,
    ) -> None:
        settings = Settings(redis_url=url, stream_limit=100)
        self.events = Recorder()
        self.feed = feed(open_client(url))
        self.store = open_zone_store(settings, Actor("writer"))
        self.follower = Follower(
            self.feed,
            zones,
            events=EventBus(self.events),
            clock=clock or SystemClock(),
            propagation=propagation or LinkSpec(),
            seed=1,
            name="resolver",
            **({"changed": changed} if changed else {}),
            **({"look": look} if look else {}),
        )
        self.running: asyncio.Task[None] | None = None

    def run(self) -> None:
        self.running = asyncio.create_task(self.follower.run())

    def served(self, name: str = "n", zone: str = ZONE) -> str | None:
        """Return the TXT that is served under a name, None if nothing is."""
        image = self.follower.images.get(zone)
        found = image.sets(f"{name}.{zone}", "TXT").get("") if image else None
        return found.text if found else None

    def told(self, name: str) -> list[str]:
        return [event.reason for event in self.events.events if event.name == name]

    async def close(self) -> None:
        if self.running is not None:
            self.running.cancel()
            with suppress(asyncio.CancelledError):
                await self.running
        await self.feed.close()
        await self.store.close()

    async def make_zone(self, zone: str = ZONE) -> None:
        await self.store.create_zone(zone, (records.soa(zone, ttl=9, minimum=864), records.ns(zone)))

    async def put(self, text: str, name: str = "n", zone: str = ZONE) -> Commit:
        return await self.store.change(ChangeBatch(zone, (upsert(records.txt(f"{name}.{zone}", text)),)))


@pytest.fixture
async def follow() -> AsyncIterator[Callable[..., Followed]]:
    """Follow zones of a server; everything is closed in the end."""
    made: list[Followed] = []

    def start(*args: object, **options: object) -> Followed:
        made.append(Followed(*args, **options))
        return made[-1]

    yield start
    for followed in made:
        await followed.close()
