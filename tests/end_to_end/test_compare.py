"""`fencepost compare` as a user types it: real processes, a real server, real DNS."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FENCEPOST = Path(sys.executable).with_name("fencepost")
MODE_KEYS = {
    "plans_published",
    "flips",
    "stale_flips",
    "active_trees_deleted",
    "stale_attempts_refused",
    "endpoints_emptied",
    "seconds_to_first_empty",
    "dns_queries",
    "dns_empty_answers",
    "requests",
    "requests_failed",
    "availability",
    "stuck_endpoints",
    "convergence_ms",
    "violations",
}


def processes_of(port_base: int, run_dir: Path) -> list[str]:
    """Return the command lines of the processes of a system: they carry its port base, or its directory."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            environ, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"FENCEPOST_PORT_BASE={port_base}".encode() in environ.split(b"\0") or os.fsencode(run_dir) in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)


def test_compare_of_a_short_run_finds_no_violation_in_fixed_and_writes_all_documents(tmp_path, port_base):
    """Both modes run to their ends; the fixed one keeps every promise; JSON, page and history are complete."""
    run_dir, json_path = tmp_path / "run", tmp_path / "out.json"
    options = ["--duration", "6", "--settle", "12", "--seed", "7", "--json", str(json_path)]

    result = subprocess.run(
        [FENCEPOST, "compare", *options, "--port-base", str(port_base), "--run-dir", str(run_dir)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    document = json.loads(json_path.read_text())
    assert (document["seed"], document["profile"], document["duration_s"]) == (7, "accelerated", 6)
    assert document["parameters"]["plan_rate"] > 0
    assert {mode: MODE_KEYS - figures.keys() for mode, figures in document["modes"].items()} == {
        "buggy": set(),
        "fixed": set(),
    }
    fixed = document["modes"]["fixed"]
    assert fixed["violations"] == []
    assert (fixed["endpoints_emptied"], fixed["dns_empty_answers"], fixed["stale_flips"]) == (0, 0, 0)
    assert fixed["availability"] >= 0.999
    assert fixed["plans_published"] > 20
    assert fixed["lab"]["load"]["overloaded"] == 0
    assert all(answer["answers"] for answer in fixed["lab"]["last_answers"])
    assert "plan_rate" in (run_dir / "fencepost-compare.html").read_text()
    assert processes_of(port_base, run_dir) == []
    check = subprocess.run([FENCEPOST, "check", str(run_dir / "fixed")], capture_output=True, text=True, check=False)
    assert (check.returncode, "no violation" in check.stdout) == (0, True)


def test_compare_interrupted_says_what_it_had_and_leaves_no_process(tmp_path, port_base):
    """Ctrl-C in the middle of a mode: exit code 130, within the time that a stop may take, and nothing lives on."""
    run_dir = tmp_path / "run"
    options = ["--duration", "60", "--port-base", str(port_base), "--run-dir", str(run_dir)]
    world = run_dir / "buggy" / "world.jsonl"
    with subprocess.Popen(
        [FENCEPOST, "compare", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for(lambda: process.poll() is not None or world.exists(), 60, "the world's first change")
        running = processes_of(port_base, run_dir)

        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=15)

    assert process.returncode == 130, output
    assert "interrupted. buggy: world changing" in output
    assert len(running) >= 9, running
    assert processes_of(port_base, run_dir) == []


def test_compare_with_a_port_in_use_says_so_and_exits_with_3(tmp_path, port_base):
    """A clash is one clear line, before anything is started."""
    run_dir = tmp_path / "run"
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port_base))

        result = subprocess.run(
            [FENCEPOST, "compare", "--port-base", str(port_base), "--run-dir", str(run_dir)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert result.returncode == 3
    assert f"port {port_base}" in result.stderr
    assert "Traceback" not in result.stderr
    assert processes_of(port_base, run_dir) == []
