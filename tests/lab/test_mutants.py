"""Small faults on purpose: each fits where it is planted, is there when it is tried, and is told if it survives."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from lupa.luajit21 import LuaRuntime
from rich.console import Console

from fencepost.clock import SystemClock
from fencepost.errors import UsageError
from lab.mutants.catalogue import ROOT, SUBJECTS, Mutant, load_catalogue
from lab.mutants.check import MutantsOptions, MutationCheck, chosen
from lab.mutants.plant import MARK, MUTANT, Planter, install
from lab.mutants.result import line, result_of
from lab.mutants.trial import Trial, Tried, Verdict, Way, _judge, caught_by_explorer, caught_by_tests, make

CATALOGUE = load_catalogue()
FENCEPOST = Path(sys.executable).with_name("fencepost")
LIMIT_S = 60.0


def check_of(*mutants: Mutant, **options) -> MutationCheck:
    """Return a check of some mutants that is shown nowhere."""
    shown = Console(file=io.StringIO(), width=180)
    return MutationCheck(MutantsOptions(mutants, **options), shown, Console(file=io.StringIO()))


def tried(mutant: str = "x", way: Way = Way.TESTS, verdict: Verdict = Verdict.CAUGHT, by: str = "", problem: str = ""):
    return Tried(mutant, way, verdict, 1.0, by, problem)


def mutant_of(**fields) -> Mutant:
    return Mutant(**({"id": "x", "file": "enactor/fixed.py", "existing": "a", "planted": "b", "what": "w"} | fields))


class TestCatalogue:
    """Every mutant that there is."""

    @pytest.mark.parametrize("mutant", CATALOGUE.values(), ids=lambda mutant: mutant.id)
    def test_mutant_fits_exactly_once_and_compiles(self, mutant):
        """The shipped code may change: a mutant that does not fit any more is told at once."""
        text = (ROOT / mutant.file).read_text("utf-8")

        planted = mutant.plant(text)

        assert planted != text
        if mutant.script:
            LuaRuntime().compile(planted)
        else:
            compile(planted, mutant.file, "exec", dont_inherit=True)

    @pytest.mark.parametrize("mutant", CATALOGUE.values(), ids=lambda mutant: mutant.id)
    def test_mutant_is_named_told_and_to_be_caught_by_tests_that_exist(self, mutant):
        """A survivor has its reason, and is tried all the same."""
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", mutant.id)
        assert mutant.what
        assert mutant.tests or mutant.explorer
        for test in mutant.tests:
            path, *names = re.sub(r"\[.*\]$", "", test).split("::")
            text = (ROOT / path).read_text("utf-8")
            assert [name for name in names if not re.search(rf"(?:def|class) {name}\b", text)] == []

    def test_catalogue_has_faults_of_every_kind_and_few_that_survive(self):
        """At least 25 that are caught, in modules and scripts, on every subject."""
        caught = [mutant for mutant in CATALOGUE.values() if not mutant.survives]

        assert len(caught) >= 25
        assert {mutant.script for mutant in caught} >= {"change_batch", "publish_plan", "read_plan", None}
        assert len(CATALOGUE) - len(caught) <= len(CATALOGUE) // 10
        assert {path.stem for path in (ROOT / "lab/mutants/catalogue").iterdir()} == set(SUBJECTS)

    def test_mutant_whose_text_is_not_there_once_is_refused(self):
        """Neither nowhere nor in two places."""
        with pytest.raises(LookupError, match=r"is in enactor/fixed\.py 2 times"):
            mutant_of().plant("aa")
        with pytest.raises(LookupError, match="0 times"):
            mutant_of().plant("b")

    def test_unknown_mutant_is_refused_by_name(self):
        """And chosen ones come in the order of the catalogue."""
        with pytest.raises(UsageError, match="no mutant sabotage"):
            chosen("fence-removed, sabotage")

        ids = list(CATALOGUE)
        assert [mutant.id for mutant in chosen(f"{ids[3]},{ids[1]}")] == [ids[1], ids[3]]


class TestPlant:
    """The mechanism, in processes of their own."""

    def run(self, mutant: str, code: str, tmp_path: Path) -> str:
        program = f"import lab.mutants.plant\n{code}"
        environment = os.environ | {MUTANT: mutant, MARK: str(tmp_path / "mark")}
        done = subprocess.run(
            [sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    @pytest.mark.parametrize("mutant", ["", "cleaner-ignores-rollback"])
    def test_fault_in_a_module_is_there_for_who_imports_it_and_in_no_file(self, mutant, tmp_path):
        """What runs is the planted text; what lies there, and its bytecode for the next one, is what ships."""
        code = "import enactor.cleaner; print(enactor.cleaner.referenced_trees.__code__.co_names)"

        names = self.run(mutant, code, tmp_path)

        assert ("rollback_name" in names) is not bool(mutant)
        assert (tmp_path / "mark").exists() is bool(mutant)
        assert "rollback_name" in self.run("", code, tmp_path)

    @pytest.mark.parametrize("mutant", ["", "zone-deletes-twice"])
    def test_fault_in_a_script_is_there_when_it_is_loaded(self, mutant, tmp_path):
        """Only in that script, and only when it is loaded does the fault count as used."""
        load = "from fencepost.redis_client import load_script as load; "

        assert "conflict" in self.run(mutant, load + "print(load('publish_plan'))", tmp_path)
        assert not (tmp_path / "mark").exists()
        assert ("if deleted[earlier]" in self.run(mutant, load + "print(load('change_batch'))", tmp_path)) is not bool(
            mutant
        )
        assert (tmp_path / "mark").exists() is bool(mutant)

    def test_fault_is_there_in_processes_that_multiprocessing_spawns(self, tmp_path):
        """An explorer with several processes has the fault in each of them."""
        names = "__import__('enactor.cleaner').cleaner.referenced_trees.__code__.co_names"
        (tmp_path / "test_it.py").write_text(
            "import multiprocessing\n"
            "def test_it():\n"
            "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            f'        assert "rollback_name" not in pool.apply(eval, ("{names}",))\n',
            "utf-8",
        )
        program = [sys.executable, "-P", "-m", "lab.mutants.plant", "pytest", "-p", "no:cacheprovider", "test_it.py"]

        codes = [
            subprocess.run(program, env=os.environ | {MUTANT: mutant}, cwd=tmp_path, capture_output=True, check=False)
            for mutant in ("cleaner-ignores-rollback", "")
        ]

        assert [done.returncode for done in codes] == [0, 1]

    def test_fault_whose_module_is_imported_already_is_refused(self):
        """A process that has the module as it ships would show nothing."""
        with pytest.raises(RuntimeError, match=r"fencepost\.redis_client is imported already"):
            install({MUTANT: "zone-deletes-twice"})

        assert not any(isinstance(finder, Planter) for finder in sys.meta_path)


class TestTrial:
    """One trial, and what is made of it."""

    @pytest.mark.parametrize(
        ("mutant", "test", "verdict"),
        [
            (
                "lock-taken-in-its-last-second",
                "test_lock_of_another_may_be_taken_only_when_it_has_expired",
                Verdict.CAUGHT,
            ),
            ("lock-not-renewed", "test_lock_of_another_may_be_taken_only_when_it_has_expired", Verdict.SURVIVED),
            ("", "test_lock_of_another_may_be_taken_only_when_it_has_expired", Verdict.SURVIVED),
            ("lock-not-renewed", "test_lock_that_nobody_has_written", Verdict.FAILED),
            ("planner-floor-dropped", "test_lock_that_was_lost_is_not_taken_back_before_it_expires", Verdict.FAILED),
        ],
    )
    async def test_trial_is_caught_survives_or_shows_nothing(self, mutant, test, verdict):
        """A test that is not there and a fault that was never in use are not what was asked for."""
        node = f"tests/enactor/test_lock.py::{test}"

        found = await make(Trial(mutant, Way.TESTS, (node,)), SystemClock(), LIMIT_S)

        assert found.verdict is verdict
        assert found.by == (node if verdict is Verdict.CAUGHT else "")
        assert bool(found.problem) is (verdict is Verdict.FAILED)

    async def test_fault_in_a_script_is_caught_by_the_real_server(self):
        """The server is given the planted script, and nothing of it outlives the trial."""
        node = "tests/contract/test_zone_changes.py::test_create_existing_is_refused"

        found = await make(Trial("zone-creates-over-what-is-there", Way.TESTS, (node,)), SystemClock(), LIMIT_S)

        assert (found.verdict, found.by) == (Verdict.CAUGHT, f"{node}[redis]")

    async def test_trial_without_an_end_shows_nothing(self):
        """What hangs has been caught by nobody."""
        found = await make(Trial("", Way.TESTS, ("tests/enactor/test_lock.py",)), SystemClock(), 0.2)

        assert (found.verdict, found.problem) == (Verdict.FAILED, "no end within 0.2 s")

    def test_summary_of_pytest_names_the_first_failure_and_an_error_is_none(self):
        """A fixture that cannot be set up is no sign of the fault."""
        said = "..F\nFAILED tests/a/test_b.py::test_c[1 - 2] - AssertionError: x\nFAILED tests/a/test_b.py::test_d\n"

        assert caught_by_tests(said) == "tests/a/test_b.py::test_c[1 - 2]"
        assert caught_by_tests("ERROR tests/a/test_b.py::test_c - OSError\n1 error\n") == ""

    @pytest.mark.parametrize(
        ("code", "explored", "verdict", "words"),
        [
            (1, {"violations": [{"invariant": "I3"}], "schedules": 5}, Verdict.CAUGHT, "I3 after 5 schedules"),
            (0, {"violations": [], "schedules": 5}, Verdict.SURVIVED, ""),
            (1, {"violations": [], "schedules": 5}, Verdict.FAILED, "exit code 1: error: no such scenario"),
            (2, None, Verdict.FAILED, "exit code 2: error: no such scenario"),
            (None, None, Verdict.FAILED, "no end within 9 s"),
        ],
    )
    def test_exploration_has_caught_a_fault_only_by_a_violation(self, tmp_path, code, explored, verdict, words):
        """An exit code of 1 without one is an error of ours, as every other is."""
        (tmp_path / "mark").touch()
        (tmp_path / "log").write_text("starting\n\u2502 error: no such scenario \u2502\n\u2570\u2500\u256f\n", "utf-8")
        if explored is not None:
            (tmp_path / "explored.json").write_text(json.dumps(explored), "utf-8")

        assert _judge(Trial("x", Way.EXPLORER, ()), code, tmp_path, 9.0) == (verdict, words)

    def test_violations_of_an_exploration_are_told_with_their_schedules(self):
        """Which invariants, and how long it took."""
        violations = [{"invariant": "I3"}, {"invariant": "I1"}, {"invariant": "I3"}]

        assert caught_by_explorer({"violations": violations, "schedules": 812}) == "I1, I3 after 812 schedules"
        assert caught_by_explorer({"violations": [], "schedules": 9}) == ""
        assert caught_by_explorer([]) == ""


class TestResult:
    """What a mutant's trials come to."""

    @pytest.mark.parametrize(
        ("survives", "verdicts", "wrong"),
        [
            ("", ["caught", "caught"], ""),
            ("", ["caught", "survived"], "not caught by the explorer"),
            ("", ["failed"], "not caught by the tests (hung)"),
            ("", [], "nothing has to catch it"),
            ("equal", ["survived"], ""),
            ("equal", ["caught"], "caught, though the catalogue says that it survives: take that out"),
            ("equal", ["failed"], "not tried by the tests (hung)"),
        ],
    )
    def test_mutant_is_wrong_unless_everything_catches_it_or_it_is_known_to_survive(self, survives, verdicts, wrong):
        """Each way by itself: a test must not hide that the explorer has become blind."""
        trials = [
            tried(way=way, verdict=Verdict(verdict), problem="hung" if verdict == "failed" else "")
            for way, verdict in zip(Way, verdicts, strict=False)
        ]

        assert result_of(mutant_of(survives=survives), trials).wrong == wrong

    def test_line_says_what_caught_it(self):
        """Where nobody sees the bar, each trial is a line."""
        assert line(tried("m", by="a::b")) == "m: caught a::b (tests, 1.0 s)"
        assert line(tried("", verdict=Verdict.SURVIVED)) == "as it ships: passed (tests, 1.0 s)"


class TestCheck:
    """The whole of it."""

    async def test_check_tells_what_is_caught_what_survives_and_what_should_not(self):
        """One that is caught, one that is known to survive, one whose test is blind: the last one fails the check."""
        blind = ("tests/enactor/test_lock.py::test_lock_that_was_lost_is_not_taken_back_before_it_expires",)
        caught = CATALOGUE["lock-taken-in-its-last-second"]
        known = replace(CATALOGUE["lock-not-renewed"], tests=blind, survives="it never waits")
        missed = replace(CATALOGUE["lock-overwritten"], tests=blind, explorer="")
        check = check_of(caught, known, missed)

        code = await check.run()
        check.report()

        told = check.console.file.getvalue()
        assert code == 1
        assert [tried.verdict for tried in check.baseline] == [Verdict.SURVIVED]
        assert "1 of 3 mutants caught" in told
        assert "survives: lock-not-renewed: it never waits" in told
        assert check.document()["wrong"] == {"lock-overwritten": "not caught by the tests"}
        assert "WRONG: lock-overwritten: not caught by the tests" in told

    async def test_check_of_code_that_does_not_pass_as_it_ships_tries_no_fault(self):
        """Where everything is "caught", nothing is shown."""
        check = check_of(mutant_of(tests=("tests/enactor/test_lock.py::test_nobody_has_written",)))

        code = await check.run()
        check.report()

        assert code == 1
        assert check.tried == []
        assert "mutants caught" not in check.console.file.getvalue()
        assert "the code as it ships does not pass its tests" in check.console.file.getvalue()

    def test_exploration_is_asked_for_once_on_the_code_as_it_ships(self):
        """Mutants share what has to pass without them."""
        mutants = [mutant_of(id=name, tests=(f"t::{name}", "t::both"), explorer="--seed 1") for name in ("a", "b")]
        options = MutantsOptions(tuple(mutants))

        assert [(t.way, t.arguments) for t in options.baseline()] == [
            (Way.TESTS, ("t::a", "t::both", "t::b")),
            (Way.EXPLORER, ("--seed", "1")),
        ]
        assert [t.way for t in options.trials(mutants[0])] == [Way.EXPLORER, Way.TESTS]
        assert [t.way for t in MutantsOptions((mutants[0],), explore_with="--seed 2").trials(mutants[0])] == [
            Way.EXPLORER
        ]


class TestCommand:
    """`fencepost mutants`."""

    def test_command_tries_chosen_mutants_and_writes_what_came_of_them(self, tmp_path):
        """Table, count, JSON and exit code."""
        out = tmp_path / "out.json"

        done = subprocess.run(
            [FENCEPOST, "mutants", "--only", "lock-taken-in-its-last-second", "--json", out],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        assert "1 of 1 mutants caught" in done.stdout
        found = json.loads(out.read_text("utf-8"))
        assert (found["mutants"], found["caught"], found["wrong"]) == (1, 1, {})

    def test_list_shows_every_mutant_and_tries_none(self):
        """At once."""
        done = subprocess.run([FENCEPOST, "mutants", "--list"], capture_output=True, text=True, check=True)

        assert [name for name in CATALOGUE if name not in done.stdout] == []

    def test_ctrl_c_ends_every_process_and_tells_what_there_was(self):
        """The trial under way, and its server, end with the command."""
        command = [FENCEPOST, "mutants", "--only", "replicas-not-waited-for"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            deadline_s = time.monotonic() + 20
            # The trial, and the server that its tests have started.
            while len(found := descendants(process.pid)) < 2:
                assert time.monotonic() < deadline_s, "no trial was started"
                time.sleep(0.02)

            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)

        assert process.returncode == 130
        assert b"Every process is stopped" in said
        assert [pid for pid in found if Path(f"/proc/{pid}").exists()] == []


def descendants(parent: int) -> list[int]:
    """Return the children of a process, and theirs."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    children = [int(word) for word in path.read_text("ascii").split()] if path.exists() else []
    return [*children, *(pid for child in children for pid in descendants(child))]
