"""An ablation's own parts: which runs it makes, what it makes of them, and one real run, as the command does it."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from deploy.topology import process_specs
from fencepost.clock import SystemClock
from fencepost.errors import StartupError
from fencepost.guards import Guard
from fencepost.region import load_region
from lab.ablate import PORTS_EACH, AblateOptions, Ablation, line, make
from lab.ablate_cases import ALL_OFF, ALL_ON, SCENARIO_OF, Case, RunSpec, cases
from lab.ablate_expected import expectations
from lab.ablate_figures import FAILED, FINE, NOT_DONE, OUTCOMES, STARVED, RunFigures, state_of
from lab.ablate_run import parameters_of, system_options
from lab.ablate_table import cell, notes, shown_cell, table
from lab.ablate_verdicts import verdicts, worse
from lab.compare import Outputs
from lab.scenarios import SCENARIOS

FENCEPOST = Path(sys.executable).with_name("fencepost")
NOTHING = dict.fromkeys(OUTCOMES, 0.0)


def run_of(label: str, scenario: str = "race", *, seed: int = 1, state: str = FINE, **outcomes: float) -> RunFigures:
    """Return a run in which some things went wrong."""
    return RunFigures(
        case=Case(scenario, label),
        seed=seed,
        state=state,
        problem="" if state == FINE else "busy",
        wall_s=20.0,
        outcomes={} if state == FAILED else NOTHING | outcomes,
    )


def shown(chosen: tuple[Case, ...], runs: list[RunFigures]) -> str:
    """Return the tables as text."""
    console = Console(width=250, file=io.StringIO())
    console.print(table(chosen, runs))
    return console.file.getvalue()


class TestCases:
    """Which runs are made."""

    def test_every_guard_is_off_once_and_alone_once_in_a_scenario_that_exists(self):
        """No guard is left out, and none runs without what it is compared with."""
        found = cases(tuple(Guard))

        assert set(SCENARIO_OF) == set(Guard)
        assert set(SCENARIO_OF.values()) == set(SCENARIOS)
        for guard, scenario in SCENARIO_OF.items():
            labels = {case.label: set(case.without) for case in found if case.scenario == scenario}
            assert labels[f"without {guard}"] == {guard}
            assert labels[f"{guard} alone"] == set(Guard) - {guard}
            assert (labels[ALL_ON], labels[ALL_OFF]) == (set(), set(Guard))

    def test_what_the_outage_needs_is_off_together(self):
        """Fence and cleaner check; and rollback tolerance with them, so that the stuck state is permanent."""
        together = [case.without for case in cases(tuple(Guard)) if " + " in case.label]

        assert ("cleaner-check", "fence") in together
        assert ("cleaner-check", "fence", "rollback-tolerance") in together

    def test_each_case_is_run_once(self):
        """What several guards are compared with is made for all of them together."""
        found = cases(tuple(Guard))

        assert len({(case.scenario, case.label) for case in found}) == len(found)

    def test_chosen_guards_bring_their_scenarios_only(self):
        """An ablation of one guard is four runs a seed."""
        found = cases((Guard.FAIRNESS,))

        assert [case.label for case in found] == [ALL_ON, "without fairness", "fairness alone", ALL_OFF]
        assert {case.scenario for case in found} == {"stuck-lock"}

    def test_runs_go_seed_by_seed_to_places_of_their_own(self):
        """An interrupted ablation has whole rounds."""
        specs = AblateOptions(run_dir=Path("/nowhere"), guards=(Guard.FAIRNESS, Guard.VELOCITY), seeds=2).specs()

        assert [spec.seed for spec in specs] == [1] * 8 + [2] * 8
        assert len({spec.run_dir for spec in specs}) == 16

    @pytest.mark.parametrize("changes", [{"guards": ()}, {"seeds": 0}, {"duration_s": 0.0}, {"jobs": 0}, {"jobs": 99}])
    def test_options_that_make_no_sense_are_refused(self, changes):
        """Before anything is started, naming the option."""
        with pytest.raises(StartupError, match="--"):
            AblateOptions(**({"run_dir": Path("/nowhere")} | changes)).check()


class TestSystem:
    """What a run is made on."""

    def spec(self, tmp_path, scenario: str, *without: str) -> RunSpec:
        case = Case(scenario, "x", without)
        return RunSpec(case=case, seed=3, duration_s=5, bound_s=9, port_base=17000, run_dir=str(tmp_path / "run"))

    def test_guards_and_the_scenarios_settings_reach_the_processes_that_have_them(self, tmp_path):
        """Planner and enactors run without the guard, under the window by which the run is then judged."""
        spec = self.spec(tmp_path, "flapping", "velocity", "fence")
        env = {p.name: p.env for p in process_specs(system_options(spec), load_region(), "redis://127.0.0.1:1/0")}

        for name in ("planner", "use1-az1-enactor"):
            assert env[name]["FENCEPOST_WITHOUT"] == "velocity,fence"
            assert env[name]["FENCEPOST_VELOCITY_WINDOW_S"] == "8"
        assert int(env["use1-az1-enactor"]["FENCEPOST_STREAM_LIMIT"]) >= 1_000_000
        assert parameters_of(spec)["velocity_window_s"] == 8.0
        assert parameters_of(spec)["convergence_bound_s"] == 9

    def test_ports_of_two_jobs_never_meet(self, tmp_path):
        """Each job has enough ports for a system of the scenario that needs most."""
        specs = process_specs(system_options(self.spec(tmp_path, "race")), load_region(), "redis://127.0.0.1:1/0")

        assert max(p.admin_port or 0 for p in specs) < 17000 + PORTS_EACH


class TestState:
    """Whether a run shows what it is for."""

    def test_world_that_was_held_up_is_marked(self):
        """A busy machine makes fewer changes than were asked for; those runs say less."""
        assert state_of(done=9, asked_per_s=40, changes_per_s=39)[0] == FINE
        assert state_of(done=9, asked_per_s=40, changes_per_s=20)[0] == STARVED

    def test_scenario_that_could_do_nothing_is_marked(self):
        """A store that forgot nothing shows nothing."""
        assert state_of(done=0, asked_per_s=3, changes_per_s=3)[0] == NOT_DONE
        assert state_of(done=2, asked_per_s=3, changes_per_s=3)[0] == FINE


class TestTable:
    """What is printed."""

    def test_cell_counts_runs_and_totals_of_the_runs_that_count(self):
        """A run that failed is no run in which nothing went wrong."""
        runs = [
            run_of(ALL_ON, stale_flips=2),
            run_of(ALL_ON, stale_flips=5),
            run_of(ALL_ON),
            run_of(ALL_ON, state=FAILED),
        ]

        measured = cell(runs, "stale_flips")

        assert (measured.runs_with, measured.runs, measured.total) == (2, 3, 7)
        assert cell([run_of(ALL_ON, state=NOT_DONE)], "stale_flips") is None

    def test_table_shows_counts_and_leaves_out_what_never_happened(self):
        """A column of nothing is noise."""
        chosen = cases((Guard.THROTTLING,))
        runs = [run_of(ALL_ON, seed=s, stale_attempts=4.0) for s in (1, 2)]
        runs += [run_of("without throttling", seed=s, stale_flips=s, violations=s) for s in (1, 2)]

        text = shown(chosen, runs)

        assert "2/2: 3" in text
        assert "stale flips" in text
        assert "emptied" not in text
        assert "network rough" in " ".join(text.split())

    def test_violations_are_shown_by_invariant(self):
        """How many of which, over all runs of the case."""
        runs = [run_of(ALL_ON, violations=count) for count in (3, 1)]
        runs = [msgspec.structs.replace(r, invariants={"I1": 1, "I3": n}) for n, r in enumerate(runs, 1)]

        assert shown_cell(runs, "violations") == "2/2: I1 \u00d7 2, I3 \u00d7 3"
        assert shown_cell([run_of(ALL_ON)], "violations") == "-"

    def test_runs_that_are_not_as_they_should_be_are_marked_and_told(self):
        """Starved, failed and missing runs are not hidden."""
        runs = [run_of(ALL_ON, state=STARVED), run_of(ALL_ON, seed=2, state=FAILED), run_of(ALL_ON, seed=3)]

        text = shown(cases((Guard.THROTTLING,)), runs)

        assert "2 of 3 !" in text
        assert list(notes(runs)) == [
            "! race, all on, seed 1: starved (busy); it is in the table, and decides nothing",
            "! race, all on, seed 2: failed (busy); it counts nowhere",
        ]


class TestVerdicts:
    """What a guard is worth."""

    def verdict(self, on=(), off=(), only=(), none=()) -> str:
        labels = {ALL_ON: on, "without throttling": off, "throttling alone": only, ALL_OFF: none}
        runs = [
            run_of(label, seed=seed, **outcomes)
            for label, each in labels.items()
            for seed, outcomes in enumerate(each, 1)
        ]
        (found,) = verdicts(cases((Guard.THROTTLING,)), runs)
        return found

    def test_guard_without_which_something_goes_wrong_earns_its_place(self):
        """The line says what, how often, and how often with it."""
        found = self.verdict(on=({}, {}), off=({"stale_flips": 3}, {"stale_flips": 4}))

        assert found == "throttling: earns its place. Without it: 7 stale flips committed in 2 of 2 runs (0 with it)"

    def test_guard_that_others_stand_in_for_is_a_second_line(self):
        """Off by itself nothing happens; but of all that are off, it alone would have kept that."""
        found = self.verdict(on=({},), off=({},), only=({},), none=({"emptied": 2},))

        assert found.startswith("throttling: a second line.")
        assert "2 endpoints emptied in 1 of 1 run (0 with it)" in found

    def test_guard_behind_another_one_is_a_second_line(self):
        """Off by itself nothing happens, but it halves what happens when the first line is off."""
        chosen = cases((Guard.FENCE, Guard.PLAN_RECHECK))
        off = {ALL_ON: 0, "without plan-recheck": 0, "without fence": 2, "without fence + plan-recheck": 12}
        runs = [run_of(label, "hands", stale_flips=count) for label, count in off.items()]

        (_, found) = verdicts(chosen, runs)

        assert found == (
            "plan-recheck: a second line behind fence. Without both, beside without fence alone: "
            "12 stale flips committed in 1 of 1 run (2 with it)"
        )

    def test_guard_that_keeps_nothing_is_said_to_keep_nothing(self):
        """Alone it does not help, and off it does not hurt."""
        found = self.verdict(on=({},), off=({},), only=({"emptied": 2},), none=({"emptied": 2},))

        assert found.startswith(
            "throttling: nothing went wrong without it in these runs: remove it, or find the scenario."
        )

    def test_guard_whose_runs_could_not_be_made_is_not_judged(self):
        """No run, no verdict."""
        assert self.verdict(on=({},)) == "throttling: not measured; see the runs above"

    def test_one_event_in_one_of_several_runs_is_not_decided(self):
        """Nothing is built on an event that happened once; with one seed, one run is all there is."""
        once = self.verdict(on=({}, {}, {}), off=({"stale_flips": 9}, {}, {}))
        twice = self.verdict(on=({}, {}, {}), off=({"stale_flips": 1}, {"stale_flips": 1}, {}))
        only = self.verdict(on=({},), off=({"stale_flips": 1},))

        assert once == (
            "throttling: not decided, it happened in one run only; run more seeds. Without it: "
            "9 stale flips committed in 1 of 3 runs (0 with it)"
        )
        assert twice.startswith("throttling: earns its place.")
        assert only.startswith("throttling: earns its place.")

    def test_starved_runs_decide_nothing(self):
        """What a busy machine did is in the table, and in no verdict."""
        runs = [run_of(ALL_ON, seed=seed) for seed in (1, 2)]
        runs += [run_of("without throttling", seed=1)]
        runs += [run_of("without throttling", seed=seed, state=STARVED, stale_flips=9) for seed in (2, 3)]

        (found,) = verdicts(cases((Guard.THROTTLING,)), runs)

        assert found.startswith("throttling: nothing went wrong without it")

    def test_rates_have_to_rise_by_more_than_chance(self):
        """Twice as many stale attempts are more; a little more than few are not."""
        few, more, many = ([run_of(ALL_ON, stale_rate=rate)] for rate in (0.4, 0.7, 2.1))

        elsewhere = [run_of(ALL_ON, "lost-writes", stale_rate=rate) for rate in (90.0,)]

        assert worse(many, few) == ["stale_rate"]
        assert worse(elsewhere, few) == []
        assert worse(more, few) == worse(few, few) == []


class TestExpectations:
    """What an ablation has to show."""

    def met(self, guards, runs):
        return list(expectations(cases(guards), runs))

    def runs(self, count: int, scenario: str, label: str, **outcomes: float) -> list[RunFigures]:
        return [
            run_of(name, scenario, seed=s, **o) for s in range(count) for name, o in ((ALL_ON, {}), (label, outcomes))
        ]

    @pytest.mark.parametrize(
        ("guards", "scenario", "label", "outcome"),
        [
            ((Guard.FENCE,), "hands", "without fence", "stale_flips"),
            ((Guard.FENCE, Guard.CLEANER_CHECK), "hands", "without fence + cleaner-check", "emptied"),
            (
                (Guard.FENCE, Guard.CLEANER_CHECK, Guard.ROLLBACK_TOLERANCE),
                "hands",
                "without fence + cleaner-check + rollback-tolerance",
                "stuck",
            ),
            ((Guard.ROLLBACK_TOLERANCE,), "dangling", "without rollback-tolerance", "stuck"),
            ((Guard.PROTECTIVE_CHECKS,), "observer", "without protective-checks", "capacity"),
            ((Guard.VELOCITY,), "flapping", "without velocity", "capacity"),
            ((Guard.THROTTLING,), "race", "without throttling", "stale_rate"),
        ],
    )
    def test_outage_that_does_not_come_back_breaks_its_expectation(self, guards, scenario, label, outcome):
        """Without what is against it, it has to happen; then, and only then, the guard is shown to work."""
        good = self.met(guards, self.runs(3, scenario, label, **{outcome: 1.0}))
        bad = self.met(guards, self.runs(3, scenario, label))

        assert [(met.promise.held, met.broken) for met in good] == [(True, False), (True, False)]
        assert [(met.promise.held, met.broken) for met in bad] == [(False, True), (True, False)]

    def test_stuck_endpoints_in_either_scenario_are_enough(self):
        """One of the two ways to get stuck shows that there are such."""
        guards = (Guard.FENCE, Guard.CLEANER_CHECK, Guard.ROLLBACK_TOLERANCE)
        runs = self.runs(3, "dangling", "without rollback-tolerance", stuck=1.0)
        runs += self.runs(3, "hands", "without fence + cleaner-check + rollback-tolerance")

        (stuck, _) = self.met(guards, runs)

        assert stuck.promise.held

    def test_few_runs_are_told_and_not_counted(self):
        """In two runs, what has to happen may not happen by chance; the line says that it is not counted."""
        (few, _) = self.met((Guard.THROTTLING,), self.runs(2, "race", "without throttling"))

        assert (few.promise.held, few.broken) == (False, False)
        assert "fewer than 3 runs" in few.promise.detail

    def test_what_was_not_asked_for_or_not_measured_is_not_expected(self):
        """A guard without runs is no broken promise, and starved runs are none."""
        starved = [run_of(label, seed=s, state=STARVED) for s in range(3) for label in (ALL_ON, "without throttling")]

        assert [met.promise.held for met in self.met((Guard.THROTTLING,), starved)] == [True]
        assert self.met((Guard.THROTTLING,), []) == []

    def test_violation_with_every_guard_on_is_counted_in_any_run(self):
        """One run, and a starved one, is enough: nothing may break an invariant then."""
        (all_on,) = self.met((Guard.THROTTLING,), [run_of(ALL_ON, state=STARVED, violations=1)])

        assert all_on.broken


class TestAblation:
    """The command."""

    def ablation(self, *runs: RunFigures) -> Ablation:
        options = AblateOptions(run_dir=Path("/nowhere"), guards=(Guard.THROTTLING,), seeds=2)
        return Ablation(options, Outputs(), Console(), Console(), done=list(runs))

    def test_exit_code_says_whether_anything_broke_with_all_on(self):
        """What goes wrong without a guard is what the ablation is for."""
        assert self.ablation(run_of(ALL_ON), run_of("without throttling", violations=3)).exit_code == 0
        assert self.ablation(run_of(ALL_ON, violations=1)).exit_code == 1
        assert self.ablation(run_of(ALL_ON, state=FAILED)).exit_code == 3

    def test_exit_code_says_whether_an_expectation_broke(self):
        """Three runs without throttling in which nothing was worse: the ablation shows nothing of it."""
        without = [run_of(label, seed=s) for s in (1, 2, 3) for label in (ALL_ON, "without throttling")]

        assert self.ablation(*without).exit_code == 1

    def test_time_left_follows_from_the_runs_that_were_made(self):
        """Two at a time of 20 s each."""
        assert self.ablation(run_of(ALL_ON)).words(30) == "30 runs and about 5 min left"

    def test_document_has_every_runs_figures_and_the_verdicts(self):
        """Programs read the same as people."""
        document = msgspec.json.decode(msgspec.json.encode(self.ablation(run_of(ALL_ON, stale_flips=2)).document()))

        assert document["runs"][0]["outcomes"]["stale_flips"] == 2
        assert document["verdicts"] == ["throttling: not measured; see the runs above"]
        assert [met["promise"]["held"] for met in document["expectations"]] == [True]
        assert document["guards"] == ["throttling"]

    def test_line_of_a_run_says_what_went_wrong(self):
        """One line in a build's log."""
        assert line(run_of(ALL_ON)) == "race, all on, seed 1: nothing (20 s)"
        assert line(run_of(ALL_ON, state=STARVED, stuck=1)) == "race, all on, seed 1: starved: busy; stuck 1 (20 s)"


async def test_run_on_a_real_system_is_made_judged_and_tidied_up(tmp_path, port_base):
    """Two seconds of changes with every guard on: plans were published and no stale one went live; nothing is left."""
    spec = RunSpec(
        case=Case("race", ALL_ON),
        seed=1,
        duration_s=2.0,
        bound_s=20.0,
        port_base=port_base,
        run_dir=str(tmp_path / "run"),
    )

    figures = await make(spec, SystemClock())

    assert (figures.counts, figures.case, figures.seed) == (True, spec.case, 1)
    assert figures.outcomes.keys() == OUTCOMES.keys()
    assert (figures.outcomes["stale_flips"], figures.outcomes["emptied"], figures.lines) == (0, 0, ())
    assert figures.result["plans_published"] > 2
    assert figures.settled_s is not None
    assert list(tmp_path.iterdir()) == []


async def test_run_that_cannot_start_says_why(tmp_path, port_base):
    """A run directory that is in use: marked, with the remedy, and not counted."""
    place = tmp_path / "run"
    place.write_text("a file")
    spec = RunSpec(
        case=Case("race", ALL_ON), seed=1, duration_s=1.0, bound_s=5.0, port_base=port_base, run_dir=str(place)
    )

    figures = await make(spec, SystemClock())

    assert (figures.state, figures.counts) == (FAILED, False)
    assert "cannot use the run directory" in figures.problem


def test_ablate_interrupted_leaves_no_process_and_says_so(tmp_path, port_base):
    """Ctrl-C while systems are up: exit code 130, and nothing lives on."""
    options = ["--guards", "fairness", "--seeds", "1", "--jobs", "1", "--port-base", str(port_base)]
    with subprocess.Popen(
        [FENCEPOST, "ablate", *options, "--run-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        deadline_s = time.monotonic() + 30
        while not list(tmp_path.glob("*/logs/planner.jsonl")):
            assert time.monotonic() < deadline_s, "no system was started"
            time.sleep(0.05)

        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)

    assert process.returncode == 130, output
    assert "interrupted after 0 of 4 runs" in output
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if _mentions(p, tmp_path)]


def _mentions(path: Path, run_dir: Path) -> bool:
    try:
        return os.fsencode(run_dir) in path.read_bytes()
    except OSError:
        return False
