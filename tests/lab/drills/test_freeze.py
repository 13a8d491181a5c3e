"""The freeze drill: what it takes for a breach, and one short run on a real system."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fencepost.batch import create, delete
from fencepost.notice import Notice
from fencepost.records import txt
from fencepost.stores import Actor, Commit
from lab.drills.freeze import Breach, Round, Seen, automation_commits, breaches, noticed, result, thawed_spans
from lab.invariants import Violation

FENCEPOST = Path(sys.executable).with_name("fencepost")
ZONE = "a.x.test."
OPERATOR, ENACTOR = Actor("drill", operator=True), Actor("use1-az1-enactor")
FROZEN = Notice("drill", 1, "test").freezing(ZONE)


def commits(*steps):
    """Return a zone's history: each step is `freeze`, `thaw`, or who else committed; a second apart from each other."""
    made = {
        "freeze": (OPERATOR, create(FROZEN)),
        "thaw": (OPERATOR, delete(FROZEN)),
        "enactor": (ENACTOR, create(txt(f"x.{ZONE}", "x"))),
        "operator": (OPERATOR, create(txt(f"x.{ZONE}", "x"))),
    }
    return tuple(
        Commit(ZONE, serial, serial * 1_000_000, made[step][0], None, "", (made[step][1],))
        for serial, step in enumerate(steps, 1)
    )


def one_round(called_s=1.0, **changes):
    """Return a round that went well, 0.5 s frozen, but for some changes."""
    times = [round(1e6 * (called_s + after_s)) for after_s in (0, 0.01, 0.51, 0.52)]
    return Round(*times, **({"serials": {}, "generations": (7, 7)} | changes))


def seen(**changes):
    """Return what a drill of one round has seen that went well, but for some changes."""
    well = Seen([one_round()], {}, [], [], busy=1, thawed_s=2.0, thawed_commits=30, settled_s=0.5)
    return well._replace(**changes)


def broken(drill):
    """Return the claims that did not hold."""
    return [promise.claim for promise in drill.promises if not promise.held]


@pytest.mark.parametrize(
    ("steps", "serials"),
    [
        (("enactor", "freeze", "thaw", "enactor"), []),
        (("freeze", "operator", "thaw"), []),
        (("freeze", "enactor", "enactor", "thaw", "enactor"), [2, 3]),
        (("freeze", "thaw", "freeze", "enactor"), [4]),
    ],
)
def test_breaches_are_automations_commits_while_the_record_is_there(steps, serials):
    """From the commit that creates the freeze's record to the one that deletes it only an operator may write."""
    assert [breach.serial for breach in breaches({ZONE: commits(*steps)}, [])] == serials


def test_breaches_after_freeze_returned_count_though_the_zone_was_never_frozen():
    """A freeze that leaves a zone out is caught by the serials that were read when it had returned."""
    done = one_round(serials={ZONE: (1, 3)})

    found = breaches({ZONE: commits("enactor", "enactor", "operator", "enactor")}, [done])

    assert found == (Breach(ZONE, 2, "use1-az1-enactor committed after freeze had returned (serial 1)"),)


def test_breach_that_both_ways_find_counts_once():
    """Two proofs of one commit are one breach."""
    done = one_round(serials={ZONE: (1, 2)})

    assert len(breaches({ZONE: commits("freeze", "enactor", "thaw")}, [done])) == 1


def test_automation_commits_counts_a_span_without_operators():
    """The span includes its start and not its end."""
    assert automation_commits({ZONE: commits("enactor", "enactor", "operator", "enactor")}, 1_000_000, 4_000_000) == 2


def test_thawed_spans_lie_before_each_freeze():
    """The first one begins with the run, each other one with the thaw before."""
    assert thawed_spans(0, [one_round(1.0), one_round(2.0)]) == ((0, 1_000_000), (1_520_000, 2_000_000))


def test_noticed_counts_what_a_freeze_made_processes_say():
    """By the events that are made for it, and by any other whose reason is the freeze."""
    events = [
        {"event": "enactor.zone_frozen", "reason": "frozen by drill"},
        {"event": "enactor.endpoint_skipped", "reason": "ZoneFrozen: a.x.test. is frozen"},
        {"event": "enactor.endpoint_skipped", "reason": "somebody else's lock"},
        {"event": "enactor.flip_committed"},
    ]

    assert noticed(events) == {"enactor.endpoint_skipped": 1, "enactor.zone_frozen": 1}


def test_result_of_a_good_run_is_held_with_its_figures():
    """Everything measured is in the document."""
    good = result("title", seen(), 1)

    assert good.held
    assert good.figures["freeze_ms"] == {"p50": 10.0, "p99": 10.0, "max": 10.0}
    assert good.figures["automation_commits_per_thawed_s"] == 15.0
    assert good.document()["held"] is True


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"commits": {ZONE: commits("freeze", "enactor")}}, "no automation batch commits between freeze and thaw (I9)"),
        ({"rounds": [one_round(generations=(7, 8))]}, "no plan is published while frozen"),
        ({"rounds": [one_round(silent=("a.x.test. A: no address",))]}, "DNS stays as it is"),
        ({"busy": 0}, "automation was at work, so that there was something to stop"),
        ({"settled_s": None}, "the last plan is everywhere after the thaw"),
        ({"violations": [Violation("I2", ZONE, "back", 1)]}, "no invariant is broken"),
    ],
)
def test_result_of_each_failure_breaks_its_own_promise(changes, claim):
    """One thing that goes wrong is one broken promise, and the drill does not hold."""
    bad = result("title", seen(**changes), 1)

    assert broken(bad) == [claim]
    assert not bad.held


def test_drill_freeze_of_a_few_rounds_holds(tmp_path, port_base):
    """As typed: a real system, three freezes, nothing committed in between, and a history that `check` accepts."""
    out = tmp_path / "out.json"
    options = ["--rounds", "3", "--port-base", str(port_base), "--run-dir", str(tmp_path / "run"), "--json", str(out)]

    done = subprocess.run(
        [FENCEPOST, "drill", "freeze", *options], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(out.read_text())
    assert document["held"] is True
    assert document["figures"]["rounds"] == 3
    assert document["figures"]["automation_commits_while_frozen"] == 0
    assert document["figures"]["automation_commits_per_thawed_s"] > 0
    check = subprocess.run([FENCEPOST, "check", str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
