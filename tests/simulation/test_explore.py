"""`fencepost explore`: the same schedules however many processes run them, what is told of them, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fencepost.cli import run
from fencepost.errors import StartupError, UsageError
from lab.invariants.violation import Violation
from lab.simulation.drive import verdict_of
from lab.simulation.explore import Explorer, Failure, Options, Tally
from lab.simulation.explore_command import EMPTY_AND_STUCK, Request, options_of
from lab.simulation.scenario import Scenario
from lab.simulation.stage import Stage
from lab.simulation.strategies import Replayed
from lab.simulation.workers import BLOCK, Blocks, Crew, explore

SMALL = Scenario(enactors=2, endpoints=1, generations=2, faults=2)
ASKED = Request(
    mode="fixed",
    by=None,
    schedules=None,
    seed=1,
    enactors=None,
    endpoints=None,
    generations=None,
    balancers=3,
    keep=1,
    faults=None,
    rounds=2,
    without="",
    planner=False,
    operator=False,
    skew_s=0.0,
    forgets=0,
    batch_records=0,
    wants="",
    installed=0,
    steps=120,
    preemptions=2,
)
COMMAND = [sys.executable, "-c", "from fencepost.cli import main; main()", "explore"]


def without_times(tally):
    """Return a tally as what does not depend on the machine."""
    return (tally.schedules, tally.steps, tally.simulated_s, tally.healed_s, tally.paths, tally.broken, tally.failure)


def failed(number):
    """Return the failure of a schedule."""
    return Failure(number, SMALL, (Violation("I1", "a.test.", "", 0),), ())


def test_schedule_of_a_seed_is_the_same_whatever_was_run_before_it():
    """A number is enough to have a schedule again; blocks may be cut anywhere."""
    whole = Explorer(Options(scenario=SMALL)).block(0, 24)

    parts, explorer = Tally(), Explorer(Options(scenario=SMALL))
    for first in (0, 8, 16):
        parts.add(explorer.block(first, 8))

    assert parts.schedules == whole.schedules
    assert parts.steps == whole.steps
    assert parts.simulated_s == pytest.approx(whole.simulated_s)
    assert +parts.paths == +whole.paths


@pytest.mark.parametrize("scenario", [SMALL, Scenario(mode="buggy", enactors=2, endpoints=1)], ids=["fixed", "buggy"])
def test_exploration_by_two_processes_comes_to_the_same_as_by_one(scenario):
    """Which process runs a block, and which is faster, decides nothing: not even what fails first."""
    options = Options(scenario=scenario, schedules=2 * BLOCK + 10, by="random")
    one, two = (Blocks(options.schedules, lambda: False) for _ in range(2))

    explore(options, one, jobs=1, tell=lambda _: None)
    explore(options, two, jobs=2, tell=lambda _: None)

    assert without_times(one.tally) == without_times(two.tally)
    assert (one.tally.failure is None) == (scenario.mode == "fixed")


def test_blocks_that_come_in_any_order_are_counted_from_the_first_on():
    """The tally has no gap: what is later waits for what is before it."""
    blocks = Blocks(3 * BLOCK, lambda: False)
    first, second, third = (blocks.following() for _ in range(3))
    assert blocks.following() is None

    blocks.done(third, Tally(schedules=3))
    assert blocks.tally.schedules == 0
    blocks.done(first, Tally(schedules=1))
    assert blocks.tally.schedules == 1
    blocks.done(second, Tally(schedules=2))

    assert blocks.tally.schedules == 6


def test_failure_with_the_smallest_number_is_the_one_that_is_reported():
    """A later one that was found sooner gives way, nothing after the first is counted, and no more is begun."""
    blocks = Blocks(9 * BLOCK, lambda: False)
    first, second, third = (blocks.following() for _ in range(3))

    blocks.done(third, Tally(schedules=9, failure=failed(third)))
    assert blocks.following() is None
    blocks.done(second, Tally(schedules=7, failure=failed(second)))
    blocks.done(first, Tally(schedules=BLOCK))

    assert blocks.tally.failure == failed(second)
    assert blocks.tally.schedules == BLOCK + 7


def test_last_block_is_as_large_as_what_is_left():
    """No schedule more than asked for."""
    blocks = Blocks(BLOCK + 3, lambda: False)

    sizes = [blocks.size(first) for first in iter(blocks.following, None)]

    assert sizes == [BLOCK, 3]


def test_worker_that_dies_ends_the_exploration_with_an_error():
    """It says so at once, and leaves no other worker behind."""
    options = Options(scenario=SMALL, schedules=100_000)
    blocks = Blocks(options.schedules, lambda: False)

    with Crew(options, 2) as crew:
        os.kill(crew._workers[0].pid, signal.SIGKILL)
        with pytest.raises(StartupError, match="explore-1 died"):
            crew.work(blocks, lambda _: None)

    assert [worker.is_alive() for worker in crew._workers] == [False, False]


def test_failure_that_was_found_is_found_again_by_its_choices():
    """What is reported is enough to have it again: scenario and choices."""
    options = options_of(ASKED._replace(mode="buggy"))

    tally = Explorer(options).block(0, 1000)

    failure = tally.failure
    assert failure is not None
    assert failure.broken >= EMPTY_AND_STUCK
    again = verdict_of(Stage(failure.scenario), Replayed(failure.trace), steps=len(failure.trace), seek=EMPTY_AND_STUCK)
    assert again.violations == failure.violations


def test_failures_of_schedules_with_and_without_patience_are_found_again_by_what_they_say():
    """Both are drawn, and each failure's scenario has the patience that its schedule had."""
    given = Scenario(enactors=2, endpoints=2, without="fence,cleaner-check")
    explorer, patiences, first = Explorer(Options(scenario=given, by="random", steps=120)), set(), 0

    while patiences != {0.0, given.patience_s}:
        failure = explorer.block(first, 1000).failure
        assert failure is not None
        first = failure.schedule + 1
        patiences.add(failure.scenario.patience_s)

        replayed = Replayed(failure.trace)
        again = verdict_of(Stage(failure.scenario), replayed, steps=len(failure.trace), seek=frozenset())
        assert again.violations == failure.violations


@pytest.mark.parametrize(
    ("mode", "by", "expected"),
    [
        ("fixed", None, ("mixed", 3, 3, 3, 3, frozenset())),
        ("buggy", None, ("random", 2, 1, 4, 0, EMPTY_AND_STUCK)),
        ("fixed", "bounded", ("bounded", 2, 1, 3, 0, frozenset())),
        ("fixed", "exhaustive", ("exhaustive", 2, 1, 3, 0, frozenset())),
    ],
)
def test_options_that_are_left_out_suit_mode_and_strategy(mode, by, expected):
    """A search of all schedules is of a small world; buggy is searched for the outage."""
    options = options_of(ASKED._replace(mode=mode, by=by))

    found = options.scenario
    assert (
        options.by,
        found.enactors,
        found.endpoints,
        found.generations,
        found.faults,
        options.seek,
    ) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"enactors": 0}, "--enactors 0 is outside 1 to 16"),
        ({"endpoints": 27}, "--endpoints 27 is outside 1 to 26"),
        ({"faults": -1}, "--faults -1 is outside 0 to 100"),
        ({"without": "fense"}, "no guard fense"),
        ({"mode": "buggy", "without": "fence"}, "--without is for --mode fixed"),
    ],
)
def test_options_that_cannot_be_are_refused_with_the_remedy(changed, message):
    """Nothing is run."""
    with pytest.raises(UsageError, match=message):
        options_of(ASKED._replace(**changed))


def test_command_with_the_fixed_protocol_finds_nothing(tmp_path, capsys):
    """Exit code 0, the keys that programs rely on, and what was never reached."""
    path = tmp_path / "explored.json"

    status = run(["explore", "--schedules", "40", "--jobs", "1", "--json", str(path)])

    told = json.loads(path.read_text("utf-8"))
    assert status == 0
    assert told["violations"] == []
    assert (told["mode"], told["strategy"], told["seed"]) == ("fixed", "mixed", 1)
    assert (told["schedules"], told["complete"]) == (40, False)
    assert told["rare_paths"]["lock lost to another enactor"] > 0
    assert told["simulated_s"] > told["wall_s"] > 0
    assert "never reached:" in capsys.readouterr().out


def test_command_with_the_buggy_protocol_finds_the_outage(tmp_path, capsys):
    """Exit code 1: an endpoint is empty, and the automation cannot repair it; each violation with its number."""
    path, saved = tmp_path / "explored.json", tmp_path / "failure.json"

    status = run(["explore", "--mode", "buggy", "--json", str(path), "--save", str(saved)])

    told = json.loads(path.read_text("utf-8"))
    assert status == 1
    assert {violation["invariant"] for violation in told["violations"]} >= EMPTY_AND_STUCK
    assert {violation["schedule"] for violation in told["violations"]} == {told["schedules"] - 1}
    assert saved.exists()
    told_lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {line[0] for line in told_lines if line} >= EMPTY_AND_STUCK


@pytest.mark.parametrize("strategy", ["bounded", "exhaustive"])
def test_command_that_searches_all_says_that_it_is_complete(tmp_path, strategy):
    """`complete` is true when there is no other schedule within the bounds, and only then."""
    path = tmp_path / "explored.json"
    arguments = ["explore", "--strategy", strategy, "--generations", "1", "--rounds", "1", "--preemptions", "1"]

    assert run([*arguments, "--json", str(path)]) == 0

    assert json.loads(path.read_text("utf-8"))["complete"] is True


def test_command_whose_time_is_up_is_not_complete(tmp_path):
    """A search that was cut short says nothing about the rest."""
    path = tmp_path / "explored.json"

    assert run(["explore", "--strategy", "bounded", "--minutes", "0.001", "--json", str(path)]) == 0

    told = json.loads(path.read_text("utf-8"))
    assert told["complete"] is False
    assert told["schedules"] > 0


def test_command_with_options_that_contradict_each_other_is_refused(capsys):
    """Exit code 2, with the remedy."""
    assert run(["explore", "--exhaustive", "--strategy", "pct"]) == 2

    assert "leave one out" in capsys.readouterr().err


def children_of(pid):
    """Return the processes that a process has started, and that are there."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()


@pytest.mark.skipif(sys.platform != "linux", reason="it looks for children in /proc")
def test_command_that_is_interrupted_tells_what_it_has_and_leaves_no_process():
    """Ctrl-C reaches all of them, as on a terminal; exit code 130."""
    arguments = [*COMMAND, "--schedules", "1000000", "--jobs", "2"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True) as command:
        deadline_s = time.monotonic() + 60
        while len(children_of(command.pid)) < 2:
            assert command.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

        os.killpg(command.pid, signal.SIGINT)
        said, _ = command.communicate(timeout=60)

    assert command.returncode == 130
    assert " schedules, " in said
    with pytest.raises(ProcessLookupError):
        os.killpg(command.pid, 0)


def is_alive(pid):
    """Say whether a process is there and has not ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="it looks for children in /proc")
def test_command_that_is_killed_leaves_no_process():
    """Nobody tells the workers; they see that the one who has them is gone, when their block is done."""
    with subprocess.Popen([*COMMAND, "--schedules", "1000000", "--jobs", "2"], stdout=subprocess.DEVNULL) as command:
        deadline_s = time.monotonic() + 60
        while len(workers := children_of(command.pid)) < 2:
            assert command.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

        command.kill()

    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline_s, workers
        time.sleep(0.05)
