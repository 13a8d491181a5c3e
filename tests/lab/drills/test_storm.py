"""The storm drill: what it counts, by which bounds it judges, and what its generator sends."""

import random

import pytest

from fencepost.plan import Contents, Lane, Plan, Target, content, digest
from fencepost.region import load_region
from fencepost.stores import Report
from lab.clients import Tally
from lab.drills.storm import Ledger, Queue, Quick, Seen, mismatches, queue_of, result, spans
from lab.drills.storm_load import ADDED_MAX, Added
from lab.invariants import Violation

ZONE = "a.x.test."


def quick(phase="quiet", live_ms=50.0, **changes):
    """Return a change by the fast lane."""
    return Quick(phase, "lb-1", 0, **({"published_ms": 10.0, "live_ms": live_ms} | changes))


def seen(**changes):
    """Return what a drill has seen that went well, but for some changes."""
    well = Seen(
        rate=500,
        duration_s=2,
        queue_bound=16,
        settle_bound_s=10,
        tally=Tally(sent=1000, served=990, failed=10, errors={"http 429": 10}),
        quick=[quick(), quick("storm", 150.0)],
        queue=[Queue("quiet", 1, 0, 1), Queue("storm", 16, 15, 4)],
        plans=20,
        settled_s=1.5,
        mismatches=(),
        unclear=(),
        violations=(),
    )
    return well._replace(**changes)


def broken(drill):
    """Return the claims that did not hold."""
    return [promise.claim for promise in drill.promises if not promise.held]


def report(role, generation):
    """Return a process's report."""
    return Report(role=role, generation=generation, text="")


def test_queue_is_what_no_enactor_has_installed_yet():
    """The enactor that is furthest on counts; planners do not, and without enactors nothing is known."""
    reports = {"a": report("enactor", 7), "b": report("enactor", 9), "planner": report("planner", 12)}

    assert queue_of(12, reports) == 3
    assert queue_of(8, reports) == 0
    assert queue_of(12, {"planner": report("planner", 12)}) is None


def test_spans_are_of_one_phase_and_leave_out_what_never_came():
    """A change that was not live in time is told apart, not mixed into the figures."""
    found = spans([quick(live_ms=10.0), quick(live_ms=30.0), quick(live_ms=None), quick("storm", 500.0)], "quiet")

    assert found.live == {"p50": 10.0, "p99": 30.0}
    assert found.samples == 3


NAMES = ("lb-1", "lb-2", "lb-3")


def plan_of(*weights):
    """Return a plan in which the load balancers have these weights."""
    value = content(5, [Target(name, "A", f"127.1.1.{n}", weights[n]) for n, name in enumerate(NAMES)])
    return Plan(1, 0, Lane.SLOW, "", {ZONE: digest(value)}, Contents.of({digest(value): value}))


def page_of(*added, drained=()):
    """Return the planner's page with this added capacity."""
    return [{"name": n, "added_capacity": a, "drained": n in drained} for n, a in zip(NAMES, added, strict=True)]


def ledger_of(*added, capacity=100, unclear=()):
    """Return what was accepted."""
    return Ledger(dict.fromkeys(NAMES, capacity), dict(zip(NAMES, added, strict=True)), set(unclear))


def test_change_that_the_planner_has_lost_is_a_mismatch_though_its_plan_and_page_agree():
    """What was accepted counts, not what the planner makes of it."""
    lost = mismatches(plan_of(101, 100, 100), page_of(1, 0, 0), ledger_of(1, 12, 0))

    assert lost == (
        "lb-2: +12 was accepted, the planner has +0",
        f"{ZONE} lb-2: weight 100, 112 was accepted",
    )
    assert mismatches(plan_of(101, 112, 100), page_of(1, 12, 0), ledger_of(1, 12, 0)) == ()


def test_change_that_is_in_force_and_in_no_plan_is_a_mismatch():
    """The planner's page may be right, and its plan old."""
    assert mismatches(plan_of(101, 100, 100), page_of(1, 12, 0), ledger_of(1, 12, 0)) == (
        f"{ZONE} lb-2: weight 100, 112 was accepted",
    )


def test_weights_are_compared_only_where_they_can_be():
    """Not of drained or unclear load balancers, and not where weights are shares of more than they can count."""
    assert (
        mismatches(plan_of(1, 2, 100), page_of(1, 9, 0, drained=["lb-1"]), ledger_of(1, 8, 0, unclear=["lb-2"])) == ()
    )
    assert mismatches(plan_of(255, 1, 1), page_of(1, 0, 0), ledger_of(1, 0, 0, capacity=900)) == ()


def test_storm_with_no_clear_answer_at_all_is_a_mismatch():
    """Nothing compared is nothing shown."""
    (said,) = mismatches(plan_of(100, 100, 100), page_of(0, 0, 0), ledger_of(0, 0, 0, unclear=NAMES))

    assert "nothing to compare" in said


def test_ledger_counts_what_was_accepted_and_marks_what_is_not_clear():
    """200 and 202 are accepted, 4xx changed nothing; after 5xx, or without an answer, nobody knows."""
    ledger = ledger_of(0, 0, 0)

    for name, amount, status in [
        ("lb-1", 5, 200),
        ("lb-1", -2, 202),
        ("lb-1", 9, 429),
        ("lb-2", 9, 503),
        ("lb-3", 9, 0),
    ]:
        ledger.note(name, amount, status)
    ledger.take({"lb-1": 4, "lb-2": 1}, ["lb-2"])

    assert ledger.added == {"lb-1": 7, "lb-2": 1, "lb-3": 0}
    assert ledger.unclear == {"lb-2", "lb-3"}


def test_result_of_a_good_storm_is_held_with_429_told_apart():
    """Refusals with 429 are no failures: that is what they are for."""
    good = result("title", seen())

    assert good.held
    assert (good.figures["accepted"], good.figures["refused_429"], good.figures["failed"]) == (990, 10, 0)
    assert good.figures["queue_max"] == {"told": 16, "reported": 15, "seen": 4}
    assert good.figures["fast_lane_p99_ratio"]["live"] == 3.0


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"tally": Tally(sent=899, served=899, overloaded=101)}, "the generator made the storm that was asked for"),
        (
            {"tally": Tally(sent=1000, served=999, failed=1, errors={"http 503": 1})},
            "every change is answered: accepted, or 429 with Retry-After",
        ),
        ({"queue": [Queue("storm", None, 17, 3)]}, "the queue stays bounded"),
        ({"settled_s": None}, "the last state is live everywhere soon after the storm"),
        ({"settled_s": 10.5}, "the last state is live everywhere soon after the storm"),
        ({"mismatches": ("a",)}, "the last plan has every change that was accepted"),
        (
            {"quick": [quick(), quick("storm", 150.1 + 5)]},
            "the fast lane's p99 until live is at most 3 times its quiet value",
        ),
        (
            {"quick": [quick(), quick("storm"), quick("storm", None)]},
            "the fast lane's p99 until live is at most 3 times its quiet value",
        ),
        ({"quick": []}, "the fast lane's p99 until live is at most 3 times its quiet value"),
        ({"violations": (Violation("I1", ZONE, "empty", 1),)}, "no endpoint is ever empty, and no invariant broken"),
    ],
)
def test_result_of_each_failure_breaks_its_own_promise(changes, claim):
    """One thing that goes wrong is one broken promise, and the drill does not hold."""
    bad = result("title", seen(**changes))

    assert broken(bad) == [claim]
    assert not bad.held


def test_added_capacity_stays_between_nothing_and_its_bound():
    """A storm takes nothing away that was there before it, whatever is drawn: no protective check is its business."""
    added, rng = Added.of(load_region()), random.Random(1)
    name = next(iter(added.by_name))
    seen_amounts = set()

    for _ in range(1000):
        added.by_name[name] += added.step(name, rng)
        seen_amounts.add(added.by_name[name])

    assert min(seen_amounts) == 0
    assert max(seen_amounts) == ADDED_MAX
