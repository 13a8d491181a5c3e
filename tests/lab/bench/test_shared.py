"""What benchmarks share: units and ratios, rounds in turn, cores, peers that may be missing, the page."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lab.bench.peers
from fencepost.clock import SystemClock
from fencepost.errors import StartupError, UsageError
from lab.bench import processes
from lab.bench.cores import choose, first_cores, give_way, on_cores, pinned
from lab.bench.figures import MILLISECONDS, PER_SECOND, SECONDS, Spread, document, table
from lab.bench.peers.peer import Peer, chosen, configured, installed, needs
from lab.bench.plot import Bars, Curves, page
from lab.bench.processes import free_ports
from lab.bench.programs import BenchFailed
from lab.bench.rounds import Rounds, in_turn, measure_in_turn

NOWHERE = Peer("nowhere", ("no-such-server", "sh"), "apt-get install nowhere")
SHELL = Peer("shell", ("sh",), "apt-get install dash", ("-c", "echo hello; echo shell 1.2"))


class TestFigures:
    """Medians and ratios, whatever the unit."""

    def test_document_of_answers_a_second_has_ours_over_theirs(self):
        """More is better or less is: the ratio is the same, and the key says the unit."""
        ours, theirs = Spread((90.0, 1.0, 80.0), PER_SECOND), Spread((100.0, 160.0, 200.0), PER_SECOND)

        found = document("dns", ours, {"knot": theirs}, rounds=3)

        assert (found["ours"], found["peers"], found["ratios"]) == (80.0, {"knot": 160.0}, {"knot": 0.5})
        assert found["runs_per_s"]["ours"] == [90.0, 1.0, 80.0]
        assert found["rounds"] == 3

    def test_document_with_a_peer_of_nothing_has_no_ratio(self):
        """Nothing is divided by zero, and null is no figure that somebody could compare."""
        assert document("x", Spread((1.0,)), {"idle": Spread((0.0,))})["ratios"] == {"idle": None}

    def test_document_without_ours_keeps_the_peers_figures(self):
        """Ours failed: there is nothing to compare, and the unit is still told."""
        found = document("dns", None, {"knot": Spread((9.0,), PER_SECOND)})

        assert (found["ours"], found["peers"], found["ratios"]) == (None, {"knot": 9.0}, {"knot": None})
        assert found["runs_per_s"] == {"knot": [9.0]}

    def test_units_say_which_ratio_is_good(self):
        """Answers a second want a ratio above 1, seconds one below."""
        assert PER_SECOND.better == "above 1: ours is better"
        assert SECONDS.better == MILLISECONDS.better == "below 1: ours is better"

    def test_table_with_ours_has_a_ratio_for_others_only(self):
        """Ours beside itself says nothing."""
        ours, theirs = Spread((50.0,), PER_SECOND), Spread((100.0,), PER_SECOND)

        shown = table([("ours", ours), ("knot", theirs)], title="", ours=ours)

        assert list(shown.columns[-1].cells) == ["", "0.50"]


class TestRounds:
    """Each side is first in turn, and a failure is told."""

    def test_in_turn_puts_each_side_first_once(self):
        """Over as many rounds as there are sides."""
        firsts = [in_turn(("a", "b", "c"), number)[0] for number in range(3)]

        assert firsts == ["a", "b", "c"]

    async def test_measure_in_turn_goes_on_when_a_side_fails(self):
        """The round counts for the others; for the failed one its reason does."""
        rounds, told = Rounds[float].of(("good", "bad")), []

        async def good(number: int) -> float:
            return float(number)

        async def bad(number: int) -> float:
            if number == 1:
                raise BenchFailed("3 of 9 queries got no answer")
            return -1.0

        await measure_in_turn({"good": good, "bad": bad}, 2, rounds, lambda *words: told.append(words))

        assert rounds.counted == {"good": [1.0, 2.0], "bad": [-1.0]}
        assert rounds.failed == {"good": [], "bad": ["round 1: 3 of 9 queries got no answer"]}
        assert rounds.done == [1, 2]
        assert (1, "bad", None, "3 of 9 queries got no answer") in told


class TestCores:
    """Who runs where."""

    def test_choose_keeps_server_and_load_apart(self, monkeypatch):
        """One worker is on the first processor, the load on the second, of those that may be used."""
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 3, 5})

        cores = choose()

        assert (cores.server, cores.load, cores.shared) == ((3,), (5,), False)

    def test_choose_with_one_processor_says_that_it_is_shared(self, monkeypatch):
        """The figures are still taken, and the words say what they are worth."""
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})

        cores = choose()

        assert cores.shared
        assert "too few to keep them apart" in cores.words

    @pytest.mark.skipif(shutil.which("taskset") is None, reason="there is no taskset (util-linux)")
    def test_pinned_program_runs_on_that_processor_only(self):
        """The kernel says so to the program itself."""
        core = max(os.sched_getaffinity(0))
        said = "import os; os.write(1, str(sorted(os.sched_getaffinity(0))).encode())"

        done = subprocess.run(pinned((sys.executable, "-c", said), (core,)), capture_output=True, check=True)

        assert done.stdout.decode() == str([core])

    @pytest.mark.skipif(shutil.which("chrt") is None, reason="there is no chrt (util-linux)")
    def test_pinned_program_that_yields_runs_when_nobody_else_does(self):
        """It has the policy that gives way to all others."""
        said = "import os; os.write(1, str(os.sched_getscheduler(0)).encode())"

        done = subprocess.run(pinned((sys.executable, "-c", said), (0,), yields=True), capture_output=True, check=True)

        assert int(done.stdout) == os.SCHED_IDLE

    @pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="sessions are not scheduled as groups")
    def test_session_that_gives_way_is_nice_as_a_whole(self):
        """An idle process that is alone in its session would give way to nobody, where sessions are groups."""
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
            give_way(other.pid)

            found = Path(f"/proc/{other.pid}/autogroup").read_text("utf-8")
            other.kill()

        assert found.split()[-1] == "19"

    def test_on_cores_gives_the_others_back(self):
        """This process goes on where it was before."""
        before = os.sched_getaffinity(0)

        with on_cores((min(before),)):
            inside = os.sched_getaffinity(0)

        assert (inside, os.sched_getaffinity(0)) == ({min(before)}, before)


class TestPeers:
    """Programs of others may be missing, and then their remedy is told."""

    def test_peer_that_is_missing_names_what_and_how(self):
        """Only what is missing is named."""
        assert NOWHERE.missing == ("no-such-server",)
        assert NOWHERE.absent_words == ("nowhere is not measured: no-such-server not found; `apt-get install nowhere`")

    def test_peers_that_nobody_named_may_be_missing(self):
        """Whoever names none gets those that are there."""
        assert installed((NOWHERE, SHELL), named=False) == (SHELL,)

    def test_peer_that_was_named_may_not_be_missing(self):
        """A figure that was asked for is not silently left out."""
        with pytest.raises(StartupError, match=r"no-such-server not found; `apt-get install nowhere`"):
            installed((NOWHERE, SHELL), named=True)
        with pytest.raises(StartupError, match="apt-get install nowhere"):
            needs(NOWHERE)

    def test_chosen_peer_that_there_is_not_is_wrong_usage(self):
        """Those that there are, are named."""
        assert chosen((NOWHERE, SHELL), " shell,shell") == (SHELL,)
        with pytest.raises(UsageError, match="--peers moon: there is no such peer; there are nowhere, shell"):
            chosen((NOWHERE, SHELL), "shell,moon")

    def test_version_is_the_first_line_with_a_number(self):
        """Some greet first; a program that is not there has none."""
        assert SHELL.version == "shell 1.2"
        assert NOWHERE.version == "unknown"

    def test_server_outside_of_path_is_found_where_servers_are(self, tmp_path, monkeypatch):
        """Debian puts them into directories that a user's PATH lacks."""
        server = tmp_path / "knotd"
        server.write_text("#!/bin/sh\n")
        server.chmod(0o755)
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr(processes, "SBIN", (str(tmp_path),))

        assert processes.found("knotd") == str(server)

    def test_configured_writes_every_value(self, tmp_path):
        """A template of ours with a name that nobody gives would raise."""
        path = configured(
            "nsd.conf", place=tmp_path, port=5399, workers=1, zone="bench.test.", zone_file=tmp_path / "zone.txt"
        )

        text = path.read_text()
        assert path.parent == tmp_path
        assert "127.0.0.1@5399" in text
        assert "$" not in text

    def test_configurations_keep_to_loopback(self):
        """Every server that has a configuration here names loopback as the one place where it listens."""
        templates = sorted(Path(lab.bench.peers.__file__).parent.glob("*.conf.in"))
        listening = [path for path in templates if path.name != "pdns-zones.conf.in"]

        assert len(listening) == 7
        assert [path.name for path in listening if "127.0.0.1" not in path.read_text()] == []

    def test_free_ports_are_free_and_in_a_row(self):
        """All of them can be had."""
        first = free_ports(20)

        assert all(processes._is_free(first + offset) for offset in range(20))


class TestPrograms:
    """Programs that a benchmark waits for."""

    def test_tied_program_ends_with_a_benchmark_that_is_killed(self, tmp_path):
        """`kill -9` leaves nobody who could end it; one that is not tied would go on."""
        shell = shutil.which("sh")
        script = (
            "import asyncio, pathlib, sys\nfrom fencepost.clock import SystemClock\n"
            "from lab.bench.programs import timed\n"
            f"argv = ({shell!r}, '-c', 'echo $$ > pid.part; mv pid.part pid; exec sleep 1000')\n"
            "asyncio.run(timed(argv, pathlib.Path(sys.argv[1]), SystemClock(), tied=True))"
        )
        with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as command:
            wait_for((tmp_path / "pid").exists)
            pid = int((tmp_path / "pid").read_text())

            command.kill()

        wait_for(lambda: not alive(pid))


def alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for 20 seconds at most."""
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.01)


class TestPage:
    """One file that needs nothing else."""

    def test_page_has_every_side_and_fetches_nothing(self):
        """Bars, curves, words and the command are in it, and no address of anything outside."""
        bars = Bars("answers", {"ours": Spread((5.0, 7.0), PER_SECOND), "knot": Spread((9.0,), PER_SECOND)})
        curves = Curves("cost", {"install": [(1e3, 0.1), (1e5, 9.0)]}, "records", SECONDS)

        html = page("dns", [bars, curves], said=["a < b"], about="measured", command="fencepost bench dns")

        assert html.count("<figure>") == 2
        assert "6 /s" in html
        assert "a &lt; b" in html
        assert "0.67" in html
        assert "http" not in html

    def test_curve_of_a_power_law_is_a_straight_line(self):
        """Both scales are logarithmic."""
        drawn = Curves("cost", {"x": [(10.0, 1.0), (100.0, 10.0), (1000.0, 100.0)]}, "n", SECONDS).drawn()

        path = drawn.partition('class="curve"')[0].rpartition('d="')[2].partition('"')[0]
        (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split()) for point in path[1:].split("L"))
        assert (x1 - x0, y1 - y0) == pytest.approx((x2 - x1, y2 - y1), abs=0.2)


class TestAwake:
    """Processors that do not halt."""

    def spinning(self, place: Path) -> list[int]:
        """Return the ids of the processes that spin now, from a place."""
        mine = str(place)
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = str((process / "fd/2").readlink()).startswith(mine)
                spins = (process / "cmdline").read_bytes() == b"\0".join(map(os.fsencode, processes.SPIN)) + b"\0"
            except OSError:
                continue
            found += [int(process.name)] if is_ours and spins else []
        return found

    @pytest.mark.skipif(shutil.which("chrt") is None, reason="needs chrt")
    async def test_each_has_one_that_spins_there_for_nobody_else_until_the_end(self, tmp_path, until):
        """It runs only while there is nothing else to do, and whoever was interrupted leaves none."""
        cores = first_cores(2)

        with pytest.raises(KeyError):  # noqa: PT012  -- the end is what is looked at
            async with processes.awake(cores, tmp_path, SystemClock()):
                await until(lambda: len(self.spinning(tmp_path)) == len(cores))
                spinning = self.spinning(tmp_path)
                assert {os.sched_getscheduler(pid) for pid in spinning} == {os.SCHED_IDLE}
                assert sorted(core for pid in spinning for core in os.sched_getaffinity(pid)) == list(cores)
                raise KeyError

        assert not self.spinning(tmp_path)

    async def test_nobody_spins_where_it_would_take_a_share(self, tmp_path, monkeypatch):
        """Being nice is not enough for that."""
        monkeypatch.setattr(shutil, "which", lambda *_, **__: None)

        async with processes.awake(first_cores(1), tmp_path, SystemClock()):
            assert not list(tmp_path.iterdir())
