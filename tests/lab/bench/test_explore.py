"""The benchmark of the explorer: what counts as found, both sides measured in turn, and nothing left running."""

import asyncio
import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from fencepost.cli import run
from fencepost.clock import SystemClock
from fencepost.errors import StartupError, UsageError
from fencepost.exit_codes import EXIT_FINE, EXIT_INTERRUPTED, EXIT_NOT_STARTED, EXIT_USAGE
from lab.bench.explore import MODEL, ExploreBench, ExploreOptions, counterexample, explorer_run
from lab.bench.figures import Spread, document
from lab.bench.programs import BenchFailed, timed
from lab.compare import Outputs

FENCEPOST = Path(sys.executable).with_name("fencepost")
HAS_SPIN = shutil.which("spin") is not None and shutil.which("gcc") is not None
needs_spin = pytest.mark.skipif(not HAS_SPIN, reason="spin or gcc is not installed (Debian: spin, gcc)")

FOUND = """pan:1: assertion violated  !( !(((root==0)||tree[root]))) (at depth 147)
State-vector 56 byte, depth reached 204, errors: 1
     5381 states, stored
"""
BOTH = '{"mode": "buggy", "violations": [{"invariant": "I1"}, {"invariant": "I3"}, {"invariant": "I5"}]}'


def program(place: Path, name: str, text: str) -> Path:
    """Make a small program of the shell."""
    path = place / name
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def explorer(place: Path, result: str = BOTH, *, code: int = 1) -> tuple[str, ...]:
    """Return the command of an explorer that writes a result to the file named last."""
    text = f"""for last; do :; done\necho ours >> {place}/order\ncat > "$last" <<'END'\n{result}\nEND\nexit {code}"""
    return (str(program(place, "explorer", text)), "explore")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spin and a gcc, found first on PATH, whose verifier says what `pan.txt` there says."""
    (tmp_path / "pan.txt").write_text(FOUND, "utf-8")
    program(tmp_path, "spin", f"test $1 = -V || echo spin >> {tmp_path}/order; test -s model.pml")
    program(tmp_path, "gcc", f"printf '#!/bin/sh\\ncat {tmp_path}/pan.txt\\n' > pan; chmod +x pan")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def bench(options: ExploreOptions, json_path: Path | None = None) -> ExploreBench:
    """Return a benchmark that writes to strings."""
    return ExploreBench(
        options,
        Outputs(json_path),
        Console(width=200, file=io.StringIO()),
        Console(width=200, file=io.StringIO()),
    )


class TestCounterexample:
    """What a verifier has to say."""

    def test_counterexample_of_a_violated_claim_has_its_line_and_states(self):
        """The line names the claim, the number says how much was searched."""
        violated, states = counterexample(FOUND)

        assert violated.startswith("pan:1: assertion violated")
        assert states == 5381

    def test_counterexample_of_an_acceptance_cycle_counts(self):
        """A claim about the end is violated by a run that never gets there."""
        violated, _ = counterexample("pan:1: acceptance cycle (at depth 199)\n errors: 1\n 8032 states, stored")

        assert "acceptance cycle" in violated

    @pytest.mark.parametrize(
        "output",
        [
            "State-vector 56 byte, depth reached 204, errors: 0\n 71054 states, stored",
            "pan:1: invalid end state (at depth 122)\nState-vector 56 byte, errors: 1\n 1155 states, stored",
            "\t(at depth 3) assertion violations\t+ (if within scope of claim)\nerrors: 1",
            "",
        ],
    )
    def test_counterexample_without_a_violated_claim_is_refused(self, output):
        """No error, a deadlock, the table of what is searched for: none of them is the outage."""
        with pytest.raises(BenchFailed, match="no violated claim"):
            counterexample(output)


class TestExplorerRun:
    """What ours has to find."""

    async def test_explorer_run_that_breaks_both_has_its_time(self, tmp_path):
        """Emptiness and the stuck state, with exit code 1, make a measurement."""
        took_s = await explorer_run(ExploreOptions(explorer=explorer(tmp_path)), tmp_path, SystemClock())

        assert 0 < took_s < 60

    async def test_explorer_run_that_is_not_stuck_is_refused(self, tmp_path):
        """Half of the outage found sooner is not quicker."""
        command = explorer(tmp_path, '{"violations": [{"invariant": "I1"}]}')

        with pytest.raises(BenchFailed, match="did not break I5"):
            await explorer_run(ExploreOptions(explorer=command), tmp_path, SystemClock())

    async def test_explorer_run_that_finds_nothing_is_refused(self, tmp_path):
        """Exit code 0 means that `buggy` held, whatever the file says."""
        command = explorer(tmp_path, code=0)

        with pytest.raises(BenchFailed, match="ended with 0, and 1"):
            await explorer_run(ExploreOptions(explorer=command), tmp_path, SystemClock())

    async def test_explorer_run_does_not_believe_an_earlier_result(self, tmp_path):
        """A run that writes nothing has no result, though the round before it had one."""
        await explorer_run(ExploreOptions(explorer=explorer(tmp_path)), tmp_path, SystemClock())
        silent = (str(program(tmp_path, "silent", "exit 1")),)

        with pytest.raises(BenchFailed, match="no result"):
            await explorer_run(ExploreOptions(explorer=silent), tmp_path, SystemClock())


class TestBench:
    """Both sides in the same run."""

    async def test_bench_measures_in_turns_and_does_not_count_the_first_round(self, tools):
        """Each side is first in every second round, so that neither has the warmer machine."""
        measured = bench(ExploreOptions(rounds=3, explorer=explorer(tools)), tools / "out.json")

        code = await measured.run()

        assert code == EXIT_FINE
        order = ["ours", "spin", "spin", "ours", "ours", "spin", "spin", "ours"]
        assert (tools / "order").read_text().split() == order
        assert {side: len(runs) for side, runs in measured.rounds.counted.items()} == {"ours": 3, "spin": 3}

    async def test_bench_writes_medians_and_their_ratio(self, tools):
        """The file has the keys that programs look for, and the ratio is of the medians it shows."""
        await bench(ExploreOptions(rounds=2, explorer=explorer(tools)), tools / "out.json").run()

        found = msgspec.json.decode((tools / "out.json").read_bytes())
        assert found["bench"] == "explore"
        assert found["ratios"]["spin"] == pytest.approx(found["ours"] / found["peers"]["spin"], rel=1e-2)
        assert found["spin_states"] == 5381
        assert len(found["runs_s"]["ours"]) == 2

    async def test_bench_whose_spin_finds_nothing_fails(self, tools):
        """A time without a counterexample is not written down."""
        (tools / "pan.txt").write_text("errors: 0", "utf-8")
        measured = bench(ExploreOptions(rounds=1, explorer=explorer(tools)), tools / "out.json")

        with pytest.raises(BenchFailed, match="no violated claim"):
            await measured.run()

        assert not (tools / "out.json").exists()

    async def test_bench_whose_model_spin_refuses_says_what_spin_said(self, tools):
        """The remedy is in Spin's own words."""
        program(tools, "spin", "echo 'model.pml:7, Error: syntax error'; exit 1")

        with pytest.raises(BenchFailed, match=r"spin ended with 1: model\.pml:7, Error"):
            await bench(ExploreOptions(rounds=1, explorer=explorer(tools))).run()

    def test_document_has_medians(self):
        """One disturbed round moves neither figure."""
        found = document("x", Spread((1.0, 9.0, 2.0)), {"peer": Spread((4.0, 4.0, 80.0))})

        assert (found["ours"], found["peers"], found["ratios"]) == (2.0, {"peer": 4.0}, {"peer": 0.5})


class TestOptions:
    """What cannot be measured is refused before anything is."""

    def test_options_without_spin_name_it_and_the_remedy(self, monkeypatch, tmp_path):
        """Both tools are named at once."""
        monkeypatch.setenv("PATH", str(tmp_path))

        with pytest.raises(StartupError, match=r"spin and gcc not found on PATH; `apt-get install spin gcc`"):
            ExploreOptions().check()

    def test_options_with_a_model_that_is_not_there_are_refused(self, tools):
        """It is wrong usage, exit code 2."""
        with pytest.raises(UsageError, match="no such file"):
            ExploreOptions(model=tools / "missing.pml").check()

    def test_command_without_spin_ends_with_3(self, monkeypatch, tmp_path, capsys):
        """What is missing is another exit code than what is wrong."""
        monkeypatch.setenv("PATH", str(tmp_path))

        code = run(["bench", "explore"])

        assert code == EXIT_NOT_STARTED
        assert "apt-get install spin gcc" in capsys.readouterr().err

    @pytest.mark.usefixtures("tools")
    def test_command_without_rounds_ends_with_2(self, capsys):
        """No round is no measurement."""
        code = run(["bench", "explore", "--rounds", "0"])

        assert code == EXIT_USAGE
        assert "--rounds 0" in capsys.readouterr().err


class TestPrograms:
    """Timed programs end, whatever happens."""

    async def test_timed_program_that_hangs_is_ended_with_its_children(self, tmp_path):
        """A verifier that does not end must not live on, nor what it started."""
        hanging = program(tmp_path, "hanging", "sleep 1000 &\necho $! > child\nwait")

        with pytest.raises(BenchFailed, match=r"hanging had not ended after 0\.5 s"):
            await timed((str(hanging),), tmp_path, SystemClock(), timeout_s=0.5)

        wait_until_gone(int((tmp_path / "child").read_text()))

    async def test_timed_program_that_cannot_run_is_an_error_of_ours(self, tmp_path):
        """A missing program is told by its name."""
        with pytest.raises(BenchFailed, match="nothing-here cannot be run"):
            await timed((str(tmp_path / "nothing-here"),), tmp_path, SystemClock())

    def test_command_interrupted_ends_what_it_measures(self, tools):
        """Ctrl-C in the middle of a step ends that step, too, and the exit code says so."""
        program(tools, "spin", f"echo $$ > {tools}/pid.part; mv {tools}/pid.part {tools}/pid; exec sleep 1000")
        script = (
            "import sys\nfrom lab.bench.explore import ExploreOptions, Outputs, run_explore_bench\n"
            f"sys.exit(run_explore_bench(ExploreOptions(explorer={explorer(tools)!r}), Outputs()))"
        )
        with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as command:
            wait_until((tools / "pid").exists, "spin was not started")

            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=30)

        assert command.returncode == EXIT_INTERRUPTED
        assert "interrupted after 0 rounds" in said
        wait_until_gone(int((tools / "pid").read_text()))


def wait_until(condition: Callable[[], bool], otherwise: str, timeout_s: float = 30.0) -> None:
    """Wait for a condition; fail if it does not come."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, otherwise
        time.sleep(0.01)


def wait_until_gone(pid: int) -> None:
    """Wait until a process has ended; nobody may have reaped it."""
    state = Path(f"/proc/{pid}/stat")

    def is_gone() -> bool:
        try:
            return ") Z " in state.read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(is_gone, f"{pid} lives on")


CLAIMS = re.findall(r"^ltl (\w+)", MODEL.read_text("utf-8"), re.MULTILINE)


def made_verifier(place: Path, *changes: tuple[str, str]) -> Path:
    """Make the verifier of the model that ships, with some of its text replaced."""
    text = MODEL.read_text("utf-8")
    for existing, desired in changes:
        assert text.count(existing) == 1
        text = text.replace(existing, desired)
    (place / "model.pml").write_text(text, "utf-8")
    subprocess.run(["spin", "-a", "model.pml"], cwd=place, check=True, capture_output=True)
    subprocess.run(["gcc", "-O0", "-o", "pan", "pan.c"], cwd=place, check=True)
    return place / "pan"


def verified(verifier: Path, claim: str) -> str:
    """Return what the verifier says of one claim."""
    done = subprocess.run(
        [str(verifier), "-a", "-N", claim], cwd=verifier.parent, check=True, capture_output=True, text=True
    )
    return done.stdout


@needs_spin
class TestModel:
    """The model that ships, by the real Spin."""

    def test_model_violates_every_claim(self, tmp_path):
        """The protocol that broke breaks I1/I3, I2, the way back, gets stuck, and does not converge."""
        verifier = made_verifier(tmp_path)

        found = {claim: counterexample(verified(verifier, claim)) for claim in CLAIMS}

        assert len(found) == 5

    def test_model_of_one_enactor_holds(self, tmp_path):
        """The claims are not false by themselves: without a second enactor the root neither dangles nor goes back."""
        verifier = made_verifier(tmp_path, ("#define ENACTORS 2", "#define ENACTORS 1"))

        said = [verified(verifier, claim) for claim in CLAIMS if claim != "no_dangling_rollback"]

        assert ["errors: 0" in output for output in said] == [True] * 4

    def test_bench_with_the_real_spin_finds_the_outage(self, tmp_path):
        """Spin's real output is understood, and the published protocol's race is in it."""
        measured = bench(ExploreOptions(rounds=1, explorer=explorer(tmp_path)), tmp_path / "out.json")

        code = asyncio.run(measured.run())

        assert code == EXIT_FINE
        assert "tree[root]" in measured.console.file.getvalue()


def test_options_explorer_is_the_one_beside_this_interpreter():
    """What is measured is this installation, not another one that PATH may name."""
    assert ExploreOptions().explorer == (str(FENCEPOST), "explore", "--mode", "buggy")
    assert FENCEPOST.exists()
