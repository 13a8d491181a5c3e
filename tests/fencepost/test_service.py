"""What every process has: settings that are checked, admin pages, and exit code 3 if it cannot start."""

import os
import socket
import subprocess
import sys

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fencepost.errors import StartupError
from fencepost.service import Context, admin_app
from fencepost.settings import Settings, load_settings

SETS_ASIDE = """
import gc, sys
from fencepost.service import serve
from fencepost.settings import Settings

class Kept:
    def not_ready(self): return None
    def state(self): return {}
    async def start(self): self.started_with = [[] for _ in range(1000)]
    async def run(self): sys.stderr.write(f"{any(self.started_with is one for one in gc.get_objects())}")
    async def stop(self): pass

sys.exit(serve(Settings, lambda context: Kept()))
"""
"""A process that says whether a garbage collection would look at what it has started with."""


class Worker:
    """A service with nothing to do."""

    problem = None

    async def start(self): ...
    async def run(self): ...
    async def stop(self): ...

    def not_ready(self):
        return self.problem

    def state(self):
        return {"zones": 6}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"port_base": 0}, "FENCEPOST_PORT_BASE: Input should be greater than or equal to 1"),
        ({"replicas": -1}, "FENCEPOST_REPLICAS: Input should be greater than or equal to 0"),
        ({"seed": "x"}, "FENCEPOST_SEED: Input should be a valid integer"),
        ({"admin_port": 70_000}, "FENCEPOST_ADMIN_PORT: Input should be less than or equal to 65535"),
    ],
)
def test_settings_bad_are_refused_by_their_variable(given, problem):
    """A bad setting is told by the name under which it was given."""
    with pytest.raises(StartupError, match=problem):
        load_settings(Settings, **given)


def test_settings_bad_ones_are_all_named(monkeypatch):
    """All bad settings at once, also from the environment."""
    monkeypatch.setenv("FENCEPOST_SEED", "x")
    monkeypatch.setenv("FENCEPOST_STREAM_LIMIT", "1")

    with pytest.raises(StartupError, match=r"bad settings: FENCEPOST_SEED: .*; FENCEPOST_STREAM_LIMIT: "):
        load_settings(Settings)


def test_settings_profile_unknown_names_the_known():
    """A profile that is not there is told with those that are."""
    with pytest.raises(StartupError, match="no network profile 'wan'; there are none, lan, region, accelerated"):
        _ = load_settings(Settings, profile="wan").network


def test_ports_follow_the_base():
    """Well-known ports are distinct and follow `port_base`."""
    given = load_settings(Settings, port_base=7000)

    ports = (given.dns_port, given.cache_port, given.api_port, given.fleet_port, given.fleet_control_port)
    assert ports == (7000, 7001, 7002, 7003, 7004)


@pytest.mark.parametrize("room", ["planner", "enactor", "resolver"])
def test_process_whose_port_is_in_use_exits_with_3_and_says_which(room):
    """A process that cannot start says why in one line and is not worth starting again as it is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = os.environ | {"FENCEPOST_ADMIN_PORT": str(port)}
        ended = subprocess.run(
            [sys.executable, "-m", room], env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    assert ended.returncode == 3
    assert ended.stderr == (
        f"error: cannot listen on 127.0.0.1 port {port} (Address already in use); "
        "stop what uses it, or choose another --port-base\n"
    )


def test_process_with_bad_settings_exits_with_3():
    """Settings are read before anything else happens."""
    environment = os.environ | {"FENCEPOST_PORT_BASE": "x"}
    ended = subprocess.run(
        [sys.executable, "-m", "resolver"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 3
    assert ended.stderr.startswith("error: bad settings: FENCEPOST_PORT_BASE: ")


def test_process_at_work_has_set_aside_what_it_started_with():
    """No garbage collection looks at that again: the first ones would come in the middle of the first plan."""
    ended = subprocess.run([sys.executable, "-c", SETS_ASIDE], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stderr) == (0, "False")


async def test_admin_pages_tell_health_readiness_state_and_metrics():
    """The same four pages on every process, for probes, for people and for Prometheus."""
    context, worker = Context(load_settings(Settings, name="probe")), Worker()
    async with TestClient(TestServer(admin_app(context, worker))) as client:
        context.events.emit("service.process_started", zone="z.")

        assert await (await client.get("/healthz")).text() == "ok\n"
        assert await (await client.get("/readyz")).text() == "ready\n"
        assert await (await client.get("/state")).json() == {"name": "probe", "not_ready": None, "zones": 6}
        metrics = await (await client.get("/metrics")).text()
        assert 'fencepost_events_total{event="service.process_started",zone="z."} 1.0' in metrics

        worker.problem = "no zone is loaded yet"
        answer = await client.get("/readyz")
        assert (answer.status, await answer.text()) == (503, "no zone is loaded yet\n")
