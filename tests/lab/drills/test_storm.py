"""The storm drill: what it counts, by which bounds it judges, and what its generator sends."""

import random

import pytest

from fencepost.plan import Lane, Plan, Target, content, digest
from fencepost.region import load_region
from fencepost.stores import Report
from lab.clients import Tally
from lab.drills.storm import Queue, Quick, Seen, mismatches, queue_of, result, spans
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


def test_mismatches_are_weights_that_are_not_the_capacity_in_force():
    """What is drained has no weight to compare; a load balancer that the page does not have is nobody's."""
    targets = [Target(f"lb-{n}", "A", f"127.1.1.{n}", 100 + n) for n in (1, 2, 3)]
    value = content(5, targets)
    plan = Plan(1, 0, Lane.SLOW, "", {ZONE: digest(value)}, {digest(value): value})
    page = [
        {"name": "lb-1", "effective_capacity": 101, "drained": False},
        {"name": "lb-2", "effective_capacity": 112, "drained": False},
        {"name": "lb-3", "effective_capacity": 9, "drained": True},
    ]

    assert mismatches(plan, page) == (f"{ZONE} lb-2: weight 102, capacity 112",)


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
