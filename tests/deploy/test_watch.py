"""The watch as a process over a real store: one alarm, also while the store is away, and a word when it is over."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from deploy.embedded import server_binary, server_command, server_url
from deploy.log_view import LogView, parse
from deploy.watch import WatchService, WatchSettings
from fencepost.batch import ChangeBatch, create, delete
from fencepost.bell import SETTLE_S
from fencepost.clock import SystemClock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.events import Recorder
from fencepost.fence import Fence
from fencepost.names import tree_name
from fencepost.plan import Draft, Target, content, digest, short
from fencepost.records import address, alias
from fencepost.region import load_region
from fencepost.service import Context
from fencepost.settings import Settings
from fencepost.stores import Actor

ZONE = "one.fencepost.test."
REGION = """
name = "small"
ttl_s = 5
availability_zone = [{id = "z1"}]
load_balancer = [{name = "lb-1", zone = "z1", address = "127.1.1.1"}]
endpoint = [{name = "one.fencepost.test", kind = "regional-ipv4", load_balancers = ["lb-1"]}]
"""
CONTENT = content(5, [Target("lb-1", "A", "127.1.1.1", 10)])
TREE = tree_name(ZONE, 1)
LEAF = address(TREE, "A", "127.1.1.1", ttl=5, set_identifier="lb-1", weight=10)


@pytest.fixture
def region_file(tmp_path: Path) -> Path:
    """A region of one endpoint."""
    path = tmp_path / "region.toml"
    path.write_text(REGION)
    return path


class Zone:
    """The endpoint's zone, in the hands of an operator."""

    def __init__(self, url: str, region_file: Path) -> None:
        self._settings = Settings(redis_url=url, region_file=region_file)
        self.zones = open_zone_store(self._settings, Actor("alice", operator=True))

    async def install(self) -> None:
        """Make the zone, and put plan 1 live."""
        plans, region = open_plan_store(self._settings), load_region(self._settings.region_file)
        await plans.publish(Draft({ZONE: CONTENT}, "a test"), expected=0)
        await plans.close()
        await self.zones.create_zone(ZONE, region.zone_records(ZONE))
        fence = Fence(1, short(digest(CONTENT)), "e-1-1").record(ZONE)
        await self.commit(create(LEAF), create(alias(ZONE, "A", TREE)), create(fence))

    async def commit(self, *changes, comment="by hand") -> None:
        await self.zones.change(ChangeBatch(ZONE, changes, comment=comment))

    async def close(self) -> None:
        await self.zones.close()


@pytest.fixture
async def zone(redis_url, region_file) -> AsyncIterator[Zone]:
    """The zone with plan 1 live."""
    found = Zone(redis_url, region_file)
    await found.install()
    yield found
    await found.close()


class Running:
    """A watch process, its pages and its log."""

    def __init__(self, process: asyncio.subprocess.Process, admin: int) -> None:
        self.process, self.admin = process, admin
        self.lines: list[dict[str, object]] = []

    async def event(self, name: str, holds: Callable[[dict[str, object]], bool] = lambda _: True) -> dict[str, object]:
        """Read the log until such an event comes."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while line := await self.process.stdout.readline():
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == name and holds(self.lines[-1]):
                    return self.lines[-1]
        raise AssertionError(self.lines)

    async def page(self, path: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.admin}{path}") as got:
            return await got.text()


@pytest.fixture
async def start(region_file, port_base) -> AsyncIterator[Callable[..., object]]:
    """Start watches; they are killed in the end."""
    started: list[asyncio.subprocess.Process] = []

    async def run(redis_url: str) -> Running:
        settings = {
            "NAME": "watch",
            "REDIS_URL": redis_url,
            "REGION_FILE": region_file,
            "PORT_BASE": port_base,
            "ADMIN_PORT": port_base + 10,
            "PROCESSES": f"watch:watch:{port_base + 10}",
            "LOOK_INTERVAL_S": 0.05,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.watch"),
            env=os.environ | {f"FENCEPOST_{key}": str(value) for key, value in settings.items()},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Running(process, port_base + 10)

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_watch_raises_one_alarm_shows_it_and_stops_in_order(redis_url, start, zone) -> None:
    """The live tree is deleted by hand: event, page and gauge say so; SIGTERM ends the watch with code 0."""
    watch = await start(redis_url)
    await watch.event("service.process_started")
    await zone.commit(delete(LEAF), comment="clean 1")

    raised = await watch.event("watch.alarm_raised")
    state = json.loads(await watch.page("/state"))
    metrics = await watch.page("/metrics")

    assert (raised["zone"], raised["cause"], raised["level"]) == (ZONE, "root-dangling", "warning")
    assert "whose tree was deleted by alice at " in str(raised["reason"])
    assert raised["command"] == "fencepost repair one.fencepost.test"
    assert state["alarm"]["primary"]["cause"] == "root-dangling"
    assert f'fencepost_alarm{{cause="root-dangling",severity="page",zone="{ZONE}"}} 1.0' in metrics
    assert f'fencepost_root_dangling{{zone="{ZONE}"}} 1.0' in metrics
    watch.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(watch.process.wait(), 5) == 0


class ManualClock(SystemClock):
    """The wall clock is real, for the store's is; how long something lasts is what the test says."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class Answering(asyncio.DatagramProtocol):
    """A name server that says of everything that there is one record."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data[:2] + b"\x84\x00\x00\x01\x00\x01" + data[8:], addr)


@pytest.fixture
async def name_servers(port_base) -> AsyncIterator[None]:
    """Both name servers answer."""
    loop = asyncio.get_running_loop()
    places = [("127.0.0.1", port_base + offset) for offset in (0, 1)]
    transports = [(await loop.create_datagram_endpoint(Answering, local_addr=place))[0] for place in places]
    yield
    for transport in transports:
        transport.close()


@pytest.fixture
async def ticking(redis_url, region_file, port_base, name_servers):
    """A watch that looks when it is told to, its clock, and what it said."""
    settings = WatchSettings(redis_url=redis_url, region_file=region_file, port_base=port_base)
    context, clock, told = Context(settings), ManualClock(), Recorder()
    context.events.add(told)
    watch = WatchService(context, settings, clock)
    await watch.start()
    yield watch, clock, told
    await watch.stop()


async def test_watch_says_when_the_alarm_is_over(ticking, zone) -> None:
    """Healed, and healed for a while: that is said, with how long it lasted; before that nothing more is said."""
    watch, clock, told = ticking
    await zone.commit(delete(LEAF))
    await watch.tick()
    await zone.commit(create(LEAF))
    clock.now_s = 1.0
    await watch.tick()
    silent_since_s = clock.now_s

    clock.now_s = silent_since_s + SETTLE_S - 0.1
    await watch.tick()
    assert told.names() == ["watch.alarm_raised"]
    assert watch.state()["alarm"] is not None

    clock.now_s = silent_since_s + SETTLE_S
    await watch.tick()
    cleared = told.events[-1]
    assert (cleared.name, cleared.zone, cleared.took_ms) == ("watch.alarm_cleared", ZONE, 1000 * clock.now_s)
    assert watch.state()["alarm"] is None


async def test_watch_goes_on_while_the_store_is_away(tmp_path, region_file, start) -> None:
    """Its server is killed, and comes back: an alarm, and its end; the watch is the same process all the while."""
    data = tmp_path / "server"
    data.mkdir()

    def server() -> subprocess.Popen[bytes]:
        return subprocess.Popen(server_command(server_binary(), data), stdout=subprocess.DEVNULL)

    first = server()
    zone = Zone(server_url(data), region_file)
    try:
        await until_answers(zone)
        await zone.install()
        watch = await start(server_url(data))
        await watch.event("service.process_started")
        first.kill()
        first.wait(10)
        raised = await watch.event("watch.alarm_raised", lambda line: line["cause"] == "store-down")
        first = server()
        await watch.event("watch.alarm_changed", lambda line: line["cause"] != "store-down")
    finally:
        await zone.close()
        first.kill()
        first.wait(10)

    assert "does not answer" in str(raised["reason"])
    assert watch.process.returncode is None


async def until_answers(zone: Zone) -> None:
    """Wait until the server answers."""
    from fencepost.errors import NoSuchHostedZone, StoreError

    for _ in range(500):
        try:
            await zone.zones.read(ZONE, [])
        except NoSuchHostedZone:
            return
        except StoreError:
            await asyncio.sleep(0.02)
    raise AssertionError("no server")


def test_alarm_stands_out_in_the_merged_log():
    """Over several lines, none of its words cut: cause, what follows, what to type."""
    line = {
        "event": "watch.alarm_raised",
        "timestamp": "2025-10-20T06:48:01.123456Z",
        "zone": ZONE,
        "reason": "one.fencepost.test: " + "a long cause " * 10,
        "details": ["a.test: one", "b.test: two", "c.test: three", "d.test: four"],
        "consequences": ["DNS answers without addresses"],
        "also": [],
        "command": "fencepost repair one.fencepost.test",
    }

    shown = LogView(("watch",)).render(parse("watch", json.dumps(line)))

    assert shown is not None
    first, *rest = shown.split("\n")
    assert first.startswith("06:48:01.123  watch   ALARM  one.fencepost.test: a long cause")
    assert first.count("a long cause") == 10
    assert [text.strip() for text in rest] == [
        "a.test: one",
        "b.test: two",
        "c.test: three",
        "-> DNS answers without addresses",
        "run: fencepost repair one.fencepost.test",
    ]
