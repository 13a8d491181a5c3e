"""The canary: what it asks, what it writes down, and when it raises its voice."""

import asyncio
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from fencepost.clock import SystemClock
from fencepost.events import EventBus, Recorder
from lab.canary import Answered, Canary, CanarySettings, Health, health_of, probe
from lab.clients import Target
from lab.history import Probe

A = Target("a.x.test.", "A")
AAAA = Target("a.x.test.", "AAAA")
REGION = """
name = "x"
ttl_s = 5
[[availability_zone]]
id = "az1"
[[endpoint]]
name = "a.x.test"
kind = "dual-stack"
types = ["A", "AAAA"]
load_balancers = ["lb-1"]
[[load_balancer]]
name = "lb-1"
zone = "az1"
address = "127.1.0.1"
address6 = "::ffff:127.1.0.1"
"""


class Watched:
    """A canary on a tiny name server, with what it noted and emitted."""

    def __init__(self, settings: CanarySettings) -> None:
        self.recorder, self.probes = Recorder(), list[Probe]()
        self.canary = Canary(settings, SystemClock(), EventBus(self.recorder), self.probes.append)


@pytest.fixture
def watched(name_server, tmp_path: Path) -> Watched:
    region = tmp_path / "region.toml"
    region.write_text(REGION)
    settings: dict[str, Any] = {
        "region_file": region,
        "port_base": name_server.port,
        "canary_timeout_s": 0.2,
        "canary_rate": 50,
    }
    return Watched(CanarySettings(**settings))


async def test_probe_of_an_endpoint_shows_rcode_and_addresses(name_server):
    """A probe keeps what dig would show."""
    name_server.addresses = {("a.x.test.", "A"): ["127.1.0.1"]}

    assert await probe(A, name_server.port) == Answered("NOERROR", ("127.1.0.1",))
    assert await probe(AAAA, name_server.port) == Answered("NOERROR")


async def test_probe_of_a_silent_server_ends_within_its_timeout(name_server):
    """The canary never hangs: it says that there was no answer."""
    name_server.silent = True

    async with asyncio.timeout(2):
        answered = await probe(A, name_server.port, timeout_s=0.1)

    assert answered == Answered("", error="no answer within 0.1 s")


@pytest.mark.parametrize(
    ("answered", "health"),
    [
        (Answered("NOERROR", ("127.1.0.1",)), Health.ANSWERING),
        (Answered("NOERROR"), Health.EMPTY),
        (Answered("NXDOMAIN"), Health.EMPTY),
        (Answered("SERVFAIL"), Health.FAILING),
        (Answered("", error="no answer within 1 s"), Health.FAILING),
    ],
)
def test_health_of_an_answer_tells_a_denial_from_no_answer(answered: Answered, health: Health):
    """Only an authoritative "there is none" is empty."""
    assert health_of(answered) is health


async def test_canary_of_an_endpoint_that_never_answered_is_quiet(watched, name_server):
    """A system that has not installed its first plan is not an outage; the probes are written all the same."""
    await watched.canary.once(A)

    assert watched.recorder.names() == []
    assert watched.canary.empty == 0
    assert watched.probes[0].is_empty


async def test_canary_of_an_endpoint_that_loses_its_addresses_tells_once_and_again_when_they_are_back(
    watched, name_server
):
    """answer_empty at the beginning, answer_regained at the end, and every probe between them counted."""
    there = {("a.x.test.", "A"): ["127.1.0.1"]}
    for addresses in (there, {}, {}, there):
        name_server.addresses = addresses
        await watched.canary.once(A)

    assert watched.recorder.names() == ["canary.answer_empty", "canary.answer_regained"]
    assert watched.recorder.events[0].zone == "a.x.test."
    assert watched.recorder.events[0].reason == "NOERROR with 0 addresses"
    assert watched.canary.empty == 2
    assert [p.addresses for p in watched.probes] == [("127.1.0.1",), (), (), ("127.1.0.1",)]


async def test_canary_of_a_server_that_fails_says_what_it_got(watched, name_server):
    """SERVFAIL is not emptiness."""
    name_server.addresses = {("a.x.test.", "A"): ["127.1.0.1"]}
    await watched.canary.once(A)
    name_server.addresses, name_server.rcode = {}, dns.rcode.SERVFAIL

    await watched.canary.once(A)

    assert watched.recorder.names() == ["canary.probe_failed"]
    assert watched.canary.empty == 0


async def test_canary_that_runs_asks_every_target_at_its_rate(watched, name_server, until):
    """Both types of a dual-stack endpoint are asked, each 50 times a second."""
    name_server.addresses = {("a.x.test.", "A"): ["127.1.0.1"], ("a.x.test.", "AAAA"): ["::ffff:127.1.0.1"]}
    running = asyncio.create_task(watched.canary.run())
    started_s = asyncio.get_running_loop().time()
    await until(lambda: len(watched.probes) >= 40)
    took_s = asyncio.get_running_loop().time() - started_s

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert took_s >= 0.3
    assert watched.canary.all_answering
    assert abs(name_server.asked.count(("a.x.test.", "A")) - name_server.asked.count(("a.x.test.", "AAAA"))) <= 1
