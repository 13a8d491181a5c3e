"""The figures that `compare` writes."""

import msgspec
import pytest

from fencepost.batch import delete
from fencepost.plan import Lane, PlanSummary
from fencepost.records import alias
from lab.invariants import check
from lab.measures import ModeResult, convergence, measure, percentile

ME = "use1-az1-enactor"
DESIGNED = {
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


def measured(history, bound_s=5.0):
    return measure(history, check(history, convergence_bound_s=bound_s))


def event(name, **fields):
    return {"event": name, "timestamp": "2026-10-14T10:00:00.000001Z", "level": "info", "process": ME, **fields}


def test_result_has_every_designed_key():
    """Programs read these names."""
    assert set(ModeResult.__struct_fields__) >= DESIGNED


def test_result_as_json_has_plain_violations_and_percentiles(incident, kit):
    """The document's shapes: a list of three words each, and p50 and p99."""
    zone, _ = incident(6)

    document = msgspec.to_builtins(measured(kit.history_of(zone)))

    assert set(document["violations"][0]) == {"invariant", "endpoint", "detail"}
    assert set(document["convergence_ms"]) == {"p50", "p99"}


def test_measure_clean_run_counts_flips_and_nothing_bad(script, kit):
    """Three installs are three flips; a fence that moves is none."""
    zone = script()
    for generation in (1, 2, 3):
        zone.install(ME, generation, kit.contents(weight=generation))
    zone.fence(ME, 4)

    result = measured(kit.history_of(zone, wanted=kit.contents(weight=3), generation=4))

    assert (result.flips, result.stale_flips, result.active_trees_deleted) == (3, 0, 0)
    assert (result.endpoints_emptied, result.seconds_to_first_empty, result.stuck_endpoints) == (0, None, 0)
    assert (result.batches_committed, result.trees_cleaned, result.violations) == (11, 0, ())


def test_measure_cleaned_trees_counts_whole_trees_only(script, kit):
    """A tree that keeps a record is not gone yet."""
    zone = script()
    for generation in (1, 2, 3, 4, 5):
        zone.install(ME, generation, kit.contents())
    zone.clean(ME, 1, 2)
    zone.clean(ME, 3, keep_sets=1)

    assert measured(kit.history_of(zone)).trees_cleaned == 2


def test_measure_rollbacks_tree_deleted_is_not_the_active_one(script, kit):
    """It breaks I3 and I4, but customers do not feel it."""
    zone = script()
    zone.install(ME, 1, kit.contents())
    zone.install(ME, 2, kit.contents())
    zone.clean(ME, 1)

    assert measured(kit.history_of(zone)).active_trees_deleted == 0


def test_measure_stale_flip_by_operator_is_not_counted(script, kit):
    """An operator who goes back means it."""
    zone = script()
    zone.install(ME, 1, kit.contents())
    zone.install(ME, 2, kit.contents())
    zone.flip("alice", 1, operator=True)

    assert measured(kit.history_of(zone)).stale_flips == 0


def test_measure_events_counts_refusals_and_the_longest_streak(script, kit):
    """A superseded plan is not a refused attempt: the zone was never asked."""
    events = (
        event("enactor.flip_refused", stale=True),
        event("enactor.flip_refused", stale=False),
        event("enactor.flip_refused"),
        event("enactor.plan_superseded", stale=True),
        event("enactor.clean_refused"),
        event("enactor.lock_missed", streak=2),
        event("enactor.lock_missed", streak=7),
        event("enactor.lock_missed", streak=1),
    )

    result = measured(kit.history_of(script(), events=events))

    assert (result.stale_attempts_refused, result.batches_refused, result.lock_streak_max) == (1, 4, 7)


def test_measure_probes_counts_denials_after_the_first_answer(script, kit):
    """Before the first answer, and for a type that the endpoint does not have, nothing is missing."""
    probes = (
        kit.probe(0.0),
        kit.probe(1.0, "127.1.0.1"),
        kit.probe(2.0),
        kit.probe(3.0, error="no answer within 1 s", rcode=""),
        kit.probe(4.0, "127.1.0.1"),
        kit.probe(4.0, kind="AAAA"),
    )

    result = measured(kit.history_of(script(), probes=probes))

    assert (result.dns_queries, result.dns_empty_answers, result.dns_unanswered) == (5, 1, 1)
    assert (result.endpoints_emptied, result.seconds_to_first_empty) == (1, 2.0)


def test_measure_probes_that_never_saw_an_address_are_queries_of_the_planned_type(script, kit):
    """A resolver that is dead all along must not look like one that nobody asked."""
    probes = (kit.probe(1.0, error="timeout", rcode=""),)

    result = measured(kit.history_of(script(), wanted=kit.contents(), probes=probes))

    assert (result.dns_queries, result.dns_unanswered) == (1, 1)


@pytest.mark.parametrize(("good", "bad", "expected"), [(0, 0, None), (4, 0, 1.0), (3, 1, 0.75)])
def test_measure_availability_is_the_share_of_good_requests(script, kit, good, bad, expected):
    """Without requests there is no availability to speak of."""
    requests = tuple(kit.request(n, ok=n < good) for n in range(good + bad))

    result = measured(kit.history_of(script(), requests=requests))

    assert (result.requests, result.requests_failed, result.availability) == (good + bad, bad, expected)


def test_measure_stuck_needs_a_dangling_root_at_the_end(script, kit):
    """An endpoint whose root is simply not there can be flipped again: it is empty, not stuck."""
    zone = script()
    zone.install(ME, 1, kit.contents())
    zone.commit("alice", delete(alias(kit.zone, "A", f"plan-000001.{kit.zone}")), operator=True)

    result = measured(kit.history_of(zone))

    assert (result.endpoints_emptied, result.stuck_endpoints) == (1, 0)


def test_convergence_takes_the_first_commit_at_or_past_a_plan(script, kit):
    """Plan 2 was never installed; 3 was, and is past it. Plan 4 changes another endpoint only, 5 was never reached."""
    zone = script()
    zone.install(ME, 1, kit.contents())
    zone.now_s = 2.0
    zone.install(ME, 3, kit.contents())
    elsewhere = {"other.fencepost.test.": (None, "c")}
    plans = tuple(
        PlanSummary(generation, kit.start_us // 1000 + 100 * generation, Lane.SLOW, "", changed)
        for generation, changed in enumerate([{kit.zone: (None, "a")}] * 3 + [elsewhere, {kit.zone: ("a", "b")}], 1)
    )
    history = kit.history_of(zone, plans=plans)

    result = measured(history)

    assert result.unconverged_pairs == 2
    assert result.convergence_ms.p50 == pytest.approx(2020 - 300)
    assert result.convergence_ms.p99 == pytest.approx(2020 - 200)


def test_convergence_with_a_fence_goes_by_the_fence(script, kit):
    """Unchanged content needs no flip: the fence says that the endpoint is at the plan."""
    zone = script()
    zone.install(ME, 1, kit.contents())
    zone.fence(ME, 2)
    plans = (PlanSummary(2, kit.start_us // 1000, Lane.SLOW, "", {kit.zone: ("a", "b")}),)

    assert measured(kit.history_of(zone, plans=plans)).unconverged_pairs == 0


def test_convergence_without_plans_is_empty(kit):
    """Nothing published, nothing awaited."""
    assert convergence(kit.history_of(), {}) == ([], 0)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_percentile_is_a_value_that_occurred(share, expected):
    """Nearest rank, no interpolation."""
    assert percentile([float(n) for n in range(1, 101)], share) == expected


def test_percentile_of_nothing_is_none():
    """No figure rather than a made-up one."""
    assert percentile([], 0.5) is None
