"""`fencepost bench dns` as a whole: real resolver, store and enactor; a small load stands in for dnsperf.

Where dnsperf is installed, the real one is run, too.
"""

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fencepost.cli import run
from fencepost.clock import SystemClock
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED, EXIT_NOT_STARTED, EXIT_USAGE
from lab.bench import processes
from lab.bench.cores import choose
from lab.bench.dns.asking import check_all
from lab.bench.dns.bench import DnsBench
from lab.bench.dns.endpoints import Endpoints
from lab.bench.dns.loads import Loaded
from lab.bench.dns.options import DnsOptions
from lab.bench.dns.result import result_of
from lab.bench.dns.sides import Starter
from lab.bench.peers.servers import DNS_PEERS, ECHO, DnsPeer
from lab.bench.processes import workplace
from lab.bench.programs import BenchFailed
from lab.bench.rounds import Rounds
from lab.compare import Outputs

SMALL = DnsOptions(rounds=1, seconds=1.0, endpoints=4, balancers=3, rate=150)
"""At a rate at which what is asked before times are taken has too few answers for a 99th percentile."""
LOAD = """#!{python}
import socket, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
names = [line.split()[0] for line in open(options["-d"])]
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.connect((options["-s"], int(options["-p"])))
took = []
rate, start = float(options.get("-Q", 2000)), time.monotonic()
sent = round(rate * float(options["-l"]))
for number in range(sent):
    time.sleep(max(0, start + number / rate - time.monotonic()))
    labels = names[number % len(names)].rstrip(".").split(".")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + bytes(1)
    began = time.monotonic()
    client.send(number.to_bytes(2, "big") + bytes([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + name + bytes([0, 1, 0, 1]))
    client.recv(4096)
    took.append(time.monotonic() - began)
if "-Q" in options:
    for seconds in took:
        sys.stdout.write(f"> NOERROR {{names[0]}} A {{seconds:.6f}}\\n")
sys.stdout.write(f"Queries sent: {{sent}}\\nQueries completed: {{sent}} (1%)\\nQueries lost: 0 (0%)\\n")
sys.stdout.write(f"Response codes: NOERROR {{sent}} (100%)\\nQueries per second: {{rate}}\\n")
"""


HANGING = """#!/bin/sh
test $1 = -h && exit
echo $$ > {place}/pid.part; mv {place}/pid.part {place}/pid; exec sleep 1000
"""


def stand_in(place: Path, text: str) -> None:
    """Put a dnsperf first on PATH."""
    path = place / "dnsperf"
    path.write_text(text, "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dnsperf that asks at its rate, else at 2,000 a second, and says what the real one would say."""
    stand_in(tmp_path, LOAD.format(python=sys.executable))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def bench(options: DnsOptions, outputs: Outputs, peers: tuple[DnsPeer, ...] = ()) -> DnsBench:
    """Return a benchmark that writes to strings."""
    return DnsBench(
        options,
        peers,
        outputs,
        Console(width=200, file=io.StringIO()),
        Console(width=200, file=io.StringIO()),
    )


def said(measured: DnsBench) -> str:
    """Return all that a benchmark has written."""
    return measured.console.file.getvalue() + measured.progress.file.getvalue()


async def test_bench_measures_the_real_resolver_quiet_and_while_it_is_replanned(tools):
    """The zones that it answers from are those of an enactor, and each answer is checked; so is its use of weights."""
    measured = bench(SMALL, Outputs(tools / "out.json", tools / "out.html"))

    code = await measured.run()

    found = json.loads((tools / "out.json").read_text())
    assert code == EXIT_FINE, said(measured)
    assert (found["bench"], found["peers"], found["ratios"], found["failed"]) == ("dns", {}, {}, {})
    assert found["ours"] == pytest.approx(found["runs_per_s"]["ours"][0])
    assert len(found["runs_per_s"]["ours"]) == SMALL.rounds
    assert found["replan"]["runs"]["re-planning"][0]["batches"] > 0
    assert found["replan"]["runs"]["re-planning"][0]["plans"] >= 1
    assert found["replan"]["ratio_p99"] > 0
    assert (found["replan"]["ratio_to_control"] is None) == bool(ECHO.missing)
    assert found["per_cpu_s"]["ours"] > 0
    assert 0 < found["busy"]["ours"] < 0.95
    assert found["limited_by_dnsperf"] == ["ours"]
    assert "dnsperf was the limit, as the server's core was not busy (less than 95%): ours" in said(measured)
    assert found["replan"]["rate_per_s"] <= SMALL.rate
    assert "no query was lost, and no answer was wrong" in said(measured)
    assert "<figure>" in (tools / "out.html").read_text()


async def test_bench_whose_ours_does_not_follow_its_weights_afterwards_keeps_the_result(tools, monkeypatch):
    """Minutes of measuring are not thrown away: the reason is among the failures, and the exit code tells."""
    checks = []

    def check(*_: object) -> None:
        checks.append(1)
        if len(checks) > SMALL.endpoints:
            raise BenchFailed("endpoint-00001: 120 answers do not follow its weights")

    monkeypatch.setattr("lab.bench.dns.bench.check_weights", check)
    measured = bench(replace(SMALL, replan=False, seconds=0.2), Outputs(tools / "out.json"))

    code = await measured.run()

    found = json.loads((tools / "out.json").read_text())
    assert code == EXIT_CHECK_FAILED
    assert found["ours"] > 0
    assert found["failed"]["ours"] == ["after the rounds: endpoint-00001: 120 answers do not follow its weights"]


def load(per_s: float, cpu_s: float = 1.0) -> Loaded:
    """Return a load of one second."""
    return Loaded(per_s, cpu_s, 1.0)


def test_result_without_any_figure_of_ours_has_the_others():
    """Ours failed every round: there is nothing to compare, the reason is told, and what was measured is kept."""
    rounds = Rounds[Loaded].of(("ours", "echo"))
    rounds.failed["ours"].append("round 1: 1 of 200 queries got no answer within 5 s")
    rounds.counted["echo"].append(load(9.0))

    result = result_of(SMALL, rounds, None, choose(), {})

    found = result.document
    assert (found["ours"], found["peers"], found["ratios"]) == (None, {"echo": 9.0}, {"echo": None})
    assert "ours: round 1: 1 of 200 queries got no answer within 5 s" in result.said


def test_result_without_any_figure_is_refused():
    """Nobody has been measured; the reason is told."""
    rounds = Rounds[Loaded].of(("ours", "echo"))
    rounds.failed["ours"].append("round 1: 1 of 200 queries got no answer within 5 s")

    with pytest.raises(BenchFailed, match="ours: round 1: 1 of 200 queries"):
        result_of(SMALL, rounds, None, choose(), {})


def test_result_says_whose_core_was_not_busy():
    """A server that waits for questions is not at its limit; answers for its own processor time tell more."""
    rounds = Rounds[Loaded].of(("ours", "echo"))
    rounds.counted["ours"] += [load(90.0, 0.99), load(90.0, 0.98)]
    rounds.counted["echo"] += [load(100.0, 0.5), load(100.0, 0.4)]

    result = result_of(SMALL, rounds, None, choose(), {})

    assert result.document["limited_by_dnsperf"] == ["echo"]
    assert result.document["busy"] == {"ours": 0.985, "echo": 0.45}
    assert result.document["per_cpu_s"]["echo"] == pytest.approx(225)
    assert "dnsperf was the limit, as the server's core was not busy (less than 95%): echo 45%" in result.said


def test_result_says_which_rounds_failed_and_leaves_out_who_has_no_figure():
    """A side's good rounds count, its bad ones are told; a side without a good one is in neither figure nor ratio."""
    rounds = Rounds[Loaded].of(("ours", "echo", "bind"))
    rounds.counted["ours"] += [load(5.0), load(7.0)]
    rounds.counted["echo"] += [load(12.0)]
    rounds.failed["echo"].append("round 2: 3 of 9 queries got no answer within 5 s")
    rounds.failed["bind"].append("start: no such zone")

    result = result_of(SMALL, rounds, None, choose(), {})

    assert result.document["ratios"] == {"echo": 0.5}
    assert result.document["failed"] == {name: rounds.failed[name] for name in ("echo", "bind")}
    assert "bind: start: no such zone" in result.said
    assert "no query was lost, and no answer was wrong" not in result.said


async def test_bench_goes_on_without_a_peer_that_does_not_start(tmp_path):
    """Its last words are told, and that it is not measured."""
    broken = DnsPeer("broken", ("sh",), "", command=lambda _: ("/bin/sh", "-c", "echo no such zone >&2; exit 7"))
    measured = bench(SMALL, Outputs(), (broken,))
    starter = Starter(Endpoints(4, 2, 1), tmp_path, choose(), 1, SystemClock())

    async with AsyncExitStack() as stack:
        sides = await measured._start_peers(stack, starter)

    assert sides == {}
    assert measured.rounds.failed["broken"] == ["start: broken ended with 7: no such zone"]
    assert "broken: not measured: broken ended with 7: no such zone" in said(measured)


@pytest.mark.parametrize("peer", DNS_PEERS, ids=lambda peer: peer.name)
async def test_peer_with_our_configuration_answers_rightly(peer):
    """Each one that is installed serves every name, by the file that we wrote for it."""
    if peer.missing:
        pytest.skip(f"{' and '.join(peer.missing)} not installed ({peer.install})")
    endpoints = Endpoints(40, 2, 1)
    with workplace() as place:
        async with AsyncExitStack() as stack:
            side = await Starter(endpoints, place, choose(), 1, SystemClock()).start(peer, stack)

            await check_all(side.port, endpoints.names, side.judge, edns=False, when="test")
            await check_all(side.port, endpoints.names, side.judge, edns=True, when="test")

        assert processes._is_free(side.port)  # it has ended with the stack


@pytest.mark.skipif(shutil.which("dnsperf") is None or shutil.which("gcc") is None, reason="dnsperf or gcc is missing")
def test_command_with_the_real_dnsperf_has_a_ratio(tmp_path, capfd):
    """Its real output is understood, flat out and at a fixed rate."""
    small = ["--rounds", "1", "--seconds", "1", "--endpoints", "5", "--balancers", "3", "--rate", "500"]

    code = run(["bench", "dns", *small, "--peers", "echo", "--json", str(tmp_path / "out.json")])

    found = json.loads((tmp_path / "out.json").read_text())
    assert code == EXIT_FINE, capfd.readouterr()
    assert found["ratios"]["echo"] == pytest.approx(found["ours"] / found["peers"]["echo"], rel=1e-3)
    assert found["versions"]["dnsperf"].startswith("Version")


class TestRefusals:
    """What cannot be measured is refused before anything is started."""

    def test_command_without_dnsperf_ends_with_3(self, monkeypatch, tmp_path, capsys):
        """The remedy is told."""
        monkeypatch.setenv("PATH", str(tmp_path))

        code = run(["bench", "dns"])

        assert code == EXIT_NOT_STARTED
        assert "dnsperf not found on PATH; `apt-get install dnsperf`" in capsys.readouterr().err

    def test_command_with_a_peer_that_is_missing_ends_with_3(self, tools, monkeypatch, capsys):
        """It was named, so it is not left out."""
        monkeypatch.setattr(processes, "SBIN", ())
        monkeypatch.setenv("PATH", str(tools))

        code = run(["bench", "dns", "--peers", "knot,bind"])

        words = capsys.readouterr().err
        assert code == EXIT_NOT_STARTED
        assert "knotd not found; `apt-get install knot`" in words
        assert "named not found; `apt-get install bind9`" in words

    @pytest.mark.usefixtures("tools")
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--rounds", "0"], "--rounds 0 is outside 1 to 1000"),
            (["--balancers", "1"], "--balancers 1 is outside 2 to 250"),
            (["--peers", "moon"], "--peers moon: there is no such peer; there are echo"),
        ],
    )
    def test_command_with_a_bad_option_ends_with_2(self, arguments, message, capsys):
        """The option is named, with what it may be."""
        code = run(["bench", "dns", *arguments])

        assert code == EXIT_USAGE
        assert message in capsys.readouterr().err


def test_command_interrupted_under_load_ends_all_that_it_started(tools):
    """Ctrl-C in the middle of a load: no server, no load, no directory is left."""
    stand_in(tools, HANGING.format(place=tools))
    script = (
        "import sys\nfrom lab.bench.dns.bench import *\n"
        "bench = DnsBench(DnsOptions(rounds=1, endpoints=4, balancers=3), (), Outputs(), Console(), Console())\n"
        "sys.exit(run_interruptible(bench.run(), bench.progress, bench.rounds.done))"
    )
    environment = {**os.environ, "TMPDIR": str(tools)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as command:
        deadline_s = time.monotonic() + 60
        while not (tools / "pid").exists():
            assert time.monotonic() < deadline_s, "the load was not started"
            time.sleep(0.01)
        children = children_of(command.pid)

        command.send_signal(signal.SIGINT)
        words, _ = command.communicate(timeout=30)

    assert command.returncode == EXIT_INTERRUPTED
    assert "interrupted after 0 rounds; nothing is left running" in words
    assert len(children) >= 3  # store, resolver, load
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    assert list(tools.glob("fencepost-bench-*")) == []


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(path.parent.name))
    return found
