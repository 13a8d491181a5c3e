"""Tiny real processes for the supervisor to run, and the figures of time that its tests wait by."""

import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deploy.restarts import RestartPolicy
from deploy.supervisor import Supervisor
from deploy.topology import ProcessSpec, Stage
from fencepost.clock import SystemClock
from fencepost.events import EventBus, Recorder

CHILD = """
import http.server, json, os, pathlib, signal, sys, time

port, behaviours = int(sys.argv[1]), sys.argv[2:]

def line(event, **fields):
    print(json.dumps({"event": event, "timestamp": "2025-10-20T06:48:00.123456Z", **fields}), flush=True)

if "cannot-start" in behaviours:
    sys.stderr.write("a first line\\nerror: the reason why\\n")
    sys.exit(3)
if "ignores-sigterm" in behaviours:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    def end(*_):
        line("service.process_ended")
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
line("probe.line_written", zone="a.test.", generation=7)
print("no JSON at all", flush=True)

class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = "never-ready" not in behaviours
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"ready" if ready else b"waiting for Godot")
        if "dies" in behaviours:
            sys.stderr.write("error: tired of life\\n")
            self.wfile.flush()
            self.connection.close()
            os._exit(1)
    def log_message(self, *_):
        pass

http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(("127.0.0.1", port), Pages).serve_forever()
"""


def free_port() -> int:
    """Return a TCP port of loopback that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def child_spec(tmp_path: Path) -> Callable[..., ProcessSpec]:
    """Return a maker of specs: name, behaviours (none: ready until told to end) and stage."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)

    def make(name: str, *behaviours: str, stage: Stage = Stage.PLANNER) -> ProcessSpec:
        port = free_port()
        argv = (sys.executable, "-S", str(script), str(port), *behaviours)
        return ProcessSpec(name, argv, {"CHILD_OF": str(tmp_path)}, port, stage=stage)

    return make


@pytest.fixture
def recorder() -> Recorder:
    """What the supervisor emitted."""
    return Recorder()


@pytest.fixture
async def supervise(tmp_path: Path, recorder: Recorder, leftovers: object) -> AsyncIterator[Callable[..., Supervisor]]:
    """Return a maker of supervisors over specs; whatever they run is stopped after the test."""
    made: list[Supervisor] = []

    def make(*specs: ProcessSpec, **options: object) -> Supervisor:
        quick = RestartPolicy(first_wait_s=0.01, longest_wait_s=0.02)
        defaults = {
            "run_dir": tmp_path,
            "events": EventBus(recorder),
            "echo": None,
            "clock": SystemClock(),
            "rng": random.Random(1),
            "policy": quick,
        }
        made.append(Supervisor(specs, **(defaults | options)))
        return made[-1]

    yield make
    for supervisor in made:
        await supervisor.stop()


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Return a wait for a condition, with a deadline."""

    async def wait(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        clock = SystemClock()
        deadline_s = clock.monotonic() + timeout_s
        while not condition():
            assert clock.monotonic() < deadline_s, "the condition did not come true in time"
            await clock.sleep(0.01)

    return wait


def marked(mark: str) -> set[int]:
    """Return the processes that have this text in their environment, without zombies."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found - {os.getpid()}


@pytest.fixture
def leftovers(tmp_path: Path) -> Iterator[Callable[[], set[int]]]:
    """Return a look at the processes of this test that live; there may be none after it."""
    yield lambda: marked(f"CHILD_OF={tmp_path}")
    deadline_s = time.monotonic() + 5
    while alive := marked(f"CHILD_OF={tmp_path}"):
        assert time.monotonic() < deadline_s, alive
        time.sleep(0.01)
