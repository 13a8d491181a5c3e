"""`fencepost up` as a person has it: the real command, all of its processes, and signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import dns.message
import dns.query
import dns.rdatatype
import pytest
import redis

ENDPOINT = "dynamodb.us-east-1.fencepost.test."
START_S = 40.0


def free_port_base() -> int:
    """Return a port base below the ephemeral ports whose neighbours are free as well."""
    for base in range(16_000 + os.getpid() % 1000 * 16, 32_000, 32):
        try:
            for number in range(base, base + 20):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


@dataclass
class Up:
    """A running `fencepost up`."""

    process: subprocess.Popen[str]
    port_base: int
    run_dir: Path
    said: list[str] = field(default_factory=list)

    def wait_for(self, words: str) -> None:
        """Read what it says until it says this."""
        output: IO[str] = self.process.stdout
        for line in output:
            self.said.append(line)
            if words in line:
                return
        raise AssertionError("".join(self.said))

    def end(self, number: int, within_s: float) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=within_s)
        self.said.append(rest)
        return self.process.returncode

    def processes(self) -> dict[int, str]:
        """Return the processes of this run that live, by pid, wherever they hang in the tree; see `marked`."""
        return marked(str(self.run_dir)) | marked(f"FENCEPOST_PORT_BASE={self.port_base}\0")


def marked(mark: str) -> dict[int, str]:
    """Return environment and arguments, by pid, of the processes that have this text there, without this one."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in text:
            found[int(entry.name)] = text.decode("utf-8", "replace")
    return found


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Return a starter of `fencepost up`; whatever it started is killed after the test."""
    started: list[Up] = []

    def start(*options: str, port_base: int | None = None) -> Up:
        base, run_dir = port_base or free_port_base(), tmp_path / "run"
        command = [str(Path(sys.executable).parent / "fencepost"), "up", "--port-base", str(base)]
        command += ["--run-dir", str(run_dir), "--profile", "none", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
        started.append(Up(process, base, run_dir))
        return started[-1]

    yield start
    for up in started:
        up.process.kill()
        up.process.communicate()
        until_gone(up)


def until_gone(up: Up, within_s: float = 5.0) -> None:
    """Wait until no process of a run lives."""
    deadline_s = time.monotonic() + within_s
    while alive := up.processes():
        assert time.monotonic() < deadline_s, alive
        time.sleep(0.02)


def addresses(port: int, name: str = ENDPOINT) -> list[str]:
    """Ask for a name's addresses."""
    answer = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", timeout=3, port=port)
    return [str(item) for found in answer.answer for item in found if found.rdtype == dns.rdatatype.A]


def state(url: str) -> dict[str, object]:
    """Return a process's /state."""
    with urllib.request.urlopen(f"{url}/state", timeout=3) as answer:  # noqa: S310  -- loopback
        found: dict[str, object] = json.load(answer)
        return found


def test_up_is_ready_answers_and_stops_on_ctrl_c(start_up):
    """When it says ready, every endpoint answers; Ctrl-C ends all of it within 5 s, with exit code 0."""
    up = start_up("--mode", "fixed")
    up.wait_for("Ready.")

    assert addresses(up.port_base)[0].startswith("127.1.")
    assert addresses(up.port_base + 1)[0].startswith("127.1.")
    names = [state(f"http://127.0.0.1:{up.port_base + 10 + number}")["name"] for number in range(7)]
    enactors = ["use1-az1-enactor", "use1-az2-enactor", "use1-az3-enactor"]
    assert names == ["fleet", "resolver", "planner", *enactors, "watch"]

    began_s = time.monotonic()
    assert up.end(signal.SIGINT, within_s=10) == 0
    assert time.monotonic() - began_s < 5
    assert up.processes() == {}
    assert not [line for line in up.said if "Traceback" in line]


def test_up_ctrl_c_twice_kills(start_up):
    """A second Ctrl-C does not wait for an orderly end."""
    up = start_up()
    up.wait_for("Ready.")

    up.process.send_signal(signal.SIGINT)
    up.wait_for("supervisor.system_stopping")
    began_s = time.monotonic()
    up.end(signal.SIGINT, within_s=6)

    assert time.monotonic() - began_s < 2
    assert up.processes() == {}


def test_up_server_of_the_users_keeps_its_data(start_up, redis_url):
    """With --redis-url nothing of ours is a server, and what was written stays there when we end."""
    up = start_up("--redis-url", redis_url)
    up.wait_for("Ready.")
    assert "server" not in children(up)
    assert addresses(up.port_base)

    assert up.end(signal.SIGTERM, within_s=6) == 0

    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() > 0


def test_up_sigterm_while_starting_leaves_nothing(start_up):
    """A start that is broken off is cleaned up as well."""
    up = start_up()
    up.wait_for("child=server")

    assert up.end(signal.SIGTERM, within_s=6) == 0

    assert up.processes() == {}


def test_up_supervisor_killed_leaves_nothing(start_up):
    """After kill -9 of the supervisor no process of it lives on, not even one that is stopped."""
    up = start_up()
    up.wait_for("Ready.")
    paused = next(pid for pid, text in up.processes().items() if "FENCEPOST_NAME=planner" in text)
    os.kill(paused, signal.SIGSTOP)

    up.process.kill()

    until_gone(up)


def test_up_each_child_killed_returns(start_up):
    """Whichever is killed, one of two resolvers as well, is started again; the system answers, with its data."""
    up = start_up("--workers", "2")
    up.wait_for("Ready.")
    before = children(up)

    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for _ in before:
        up.wait_for("supervisor.child_restarted")

    deadline_s = time.monotonic() + START_S
    while not is_well(up, before):
        assert time.monotonic() < deadline_s, "".join(up.said)
        time.sleep(0.05)
    after = children(up)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert up.end(signal.SIGTERM, within_s=6) == 0


def children(up: Up) -> dict[str, int]:
    """Return the pids of the supervisor's children by name."""
    found = {}
    for pid, text in up.processes().items():
        if pid != up.process.pid:
            own = [word for word in text.split("\0") if word.startswith("FENCEPOST_NAME=")]
            found[own[0].partition("=")[2] if own else "server"] = pid
    return found


def is_well(up: Up, names: dict[str, int]) -> bool:
    """Say whether every process says that it is ready, and the first endpoint answers."""
    try:
        states = [state(f"http://127.0.0.1:{up.port_base + 10 + number}") for number in range(len(names) - 1)]
        return all(found["not_ready"] is None for found in states) and bool(addresses(up.port_base))
    except (OSError, dns.exception.DNSException):
        return False


def test_up_load_sends_requests(start_up):
    """With --load, customers come, through DNS, and are served."""
    up = start_up("--load", "50")
    up.wait_for("Ready.")

    deadline_s = time.monotonic() + START_S
    while not (up.run_dir / "load.jsonl").exists() or len((up.run_dir / "load.jsonl").read_text().splitlines()) < 20:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)

    requests = [json.loads(line) for line in (up.run_dir / "load.jsonl").read_text().splitlines()[:20]]
    assert all(request["ok"] for request in requests), requests
    assert up.end(signal.SIGINT, within_s=6) == 0


def test_up_again_in_the_same_place_needs_reuse(start_up):
    """A second run in a run directory goes on with its data, if told to; else it is refused and changes nothing."""
    first = start_up()
    first.wait_for("Ready.")
    assert first.end(signal.SIGINT, within_s=6) == 0

    refused = start_up()
    refused.process.wait(START_S)
    assert refused.process.returncode == 3
    assert "has plan 1 already" in refused.process.stdout.read()

    again = start_up("--reuse")
    again.wait_for("Ready.")
    assert addresses(again.port_base)
    assert again.end(signal.SIGINT, within_s=6) == 0


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 10, 15])
def test_up_port_in_use_is_code_3(start_up, offset):
    """A port that somebody has is named; nothing is started."""
    base = free_port_base()
    with socket.create_server(("127.0.0.1", base + offset)):
        up = start_up(port_base=base)
        output, _ = up.process.communicate(timeout=START_S)

    assert up.process.returncode == 3
    assert f"error: cannot listen on 127.0.0.1 port {base + offset} (Address already in use)" in output
    assert [path.name for path in (up.run_dir / "logs").iterdir()] == ["supervisor.jsonl"]
    assert up.processes() == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--redis-url", "redis://127.0.0.1:1/0"), "error: no Redis server answers at redis://127.0.0.1:1/0"),
        (("--redis-url", "nonsense"), "error: bad --redis-url 'nonsense'"),
        (("--region", "/no/such/region.toml"), "error: region file /no/such/region.toml: cannot be read"),
    ],
)
def test_up_cannot_start_is_one_error_and_code_3(start_up, options, words):
    """What is not there is one line that says so, without a traceback."""
    up = start_up(*options)

    output, _ = up.process.communicate(timeout=START_S)

    assert up.process.returncode == 3
    assert output.splitlines()[-1].startswith(words)
    assert "Traceback" not in output
