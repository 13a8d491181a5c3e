"""What every process has: settings that are checked, admin pages, and exit code 3 if it cannot start."""

import json
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

STUCK = """
import asyncio, os, signal, sys
from fencepost.service import serve
from fencepost.settings import Settings

class Stuck:
    def not_ready(self): return "it starts"
    def state(self): return {}
    async def start(self):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
    async def run(self): sys.stderr.write("run")
    async def stop(self): sys.stderr.write("stopped")

sys.exit(serve(Settings, lambda context: Stuck()))
"""
"""A process that is told to stop while it starts, which it would do for ever."""


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


def test_process_that_is_told_to_stop_while_it_starts_ends_at_once_and_in_order():
    """Its server may accept and never answer: Ctrl-C is not kept waiting for that."""
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stderr) == (0, "stopped")
    assert [json.loads(line)["event"] for line in ended.stdout.splitlines()] == ["service.process_stopped"]


@pytest.mark.parametrize("room", ["planner", "enactor"])
def test_process_whose_server_says_nothing_while_it_starts_ends_with_sigterm(room, tmp_path):
    """Neither its sign of life is waited for any more nor anything else of the start."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "redis.sock"))
        silent.listen()
        environment = os.environ | {"FENCEPOST_REDIS_URL": f"unix://{tmp_path / 'redis.sock'}"}
        process = subprocess.Popen([sys.executable, "-m", room], env=environment, stdout=subprocess.PIPE)
        with process, silent.accept()[0] as connection:
            connection.recv(1)
            process.terminate()
            told = process.communicate(timeout=30)[0]

    assert process.returncode == 0
    assert b"service.process_started" not in told


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
