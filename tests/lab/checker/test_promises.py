"""The figures of what was promised: checks, limits, freezes, lanes, whole trees, and changes that were held up."""

import pytest

from fencepost import plan
from fencepost.batch import delete, upsert
from fencepost.notice import Notice
from fencepost.plan import Lane, PlanSummary
from lab.invariants import check
from lab.measures import measure
from lab.report.figures import figures

ME = "use1-az1-enactor"


def measured(history):
    return measure(history, check(history, convergence_bound_s=5.0))


def event(name, **fields):
    return {"event": name, "timestamp": "2026-10-14T10:00:00.000001Z", "level": "info", "process": ME, **fields}


def summaries(kit, *contents, lane=Lane.SLOW, at_s=0.0):
    """Plans 1, 2, 3 ... of these contents for the zone."""
    before, found = None, []
    for generation, content in enumerate(contents, 1):
        changed = {kit.zone: (before, plan.digest(content))}
        found.append(PlanSummary(generation, kit.start_us // 1000 + round(at_s * 1000), lane, "", changed))
        before = plan.digest(content)
    return tuple(found)


def test_promises_of_events_count_each_once(kit, script):
    """One plan that three enactors refuse is one plan refused; the planner's own refusals are something else."""
    events = (
        *(event("enactor.plan_refused", zone=kit.zone, generation=7) for _ in range(3)),
        event("enactor.plan_refused", zone=kit.zone, generation=8),
        event("planner.plan_refused", zone=kit.zone),
        event("planner.removal_limited", zone=kit.zone),
        event("watch.alarm_raised", zone=kit.zone),
        event("enactor.endpoint_repaired", zone=kit.zone),
        event("planner.plans_held", queue=5, lane="slow"),
        event("planner.plans_held", queue=17, lane="fast"),
    )

    result = measured(kit.history_of(script(), events=events))

    assert (result.plans_refused, result.removals_limited, result.alarms_raised, result.repairs) == (2, 1, 1, 1)
    assert result.queue_size_max == 17


def test_promises_of_a_run_without_any_are_nothing(kit, script):
    """No event, no figure."""
    result = measured(kit.history_of(script()))

    assert (result.plans_refused, result.queue_size_max, result.freezes, result.incomplete_flips) == (0, 0, 0, 0)
    assert result.plans_by_lane == {"slow": 0, "fast": 0}


def test_freezes_are_counted_where_they_begin(kit, script):
    """A zone that is frozen twice, with a batch of an automation that went through."""
    zone = script()
    record = Notice("alice", 1).freezing(kit.zone)
    for _ in range(2):
        zone.commit("alice", upsert(record), operator=True)
        zone.commit(ME, *zone.lock(ME))
        zone.commit("alice", delete(record), operator=True)

    result = measured(kit.history_of(zone))

    assert (result.freezes, result.frozen_violations) == (2, 2)


def test_lanes_are_counted_and_their_share_is_shown(kit, script):
    """One of three plans went by the fast lane."""
    slow, fast = summaries(kit, kit.contents(), kit.contents(4)), summaries(kit, kit.contents(), lane=Lane.FAST)

    result = measured(kit.history_of(script(), plans=(*slow, *fast)))

    assert result.plans_by_lane == {"slow": 2, "fast": 1}
    assert next(f.text for f in figures(result) if f.label == "plans by the fast lane") == "1 (33.333 %)"


@pytest.mark.parametrize(("kept", "expected"), [(3, 0), (2, 1)])
def test_flip_to_a_tree_that_is_not_whole_is_counted(kit, script, kept, expected):
    """What a failover has taken from a tree is missing when it goes live."""
    zone = script()
    zone.build(ME, 1, kit.contents(kept))
    zone.flip(ME, 1)

    result = measured(kit.history_of(zone, plans=summaries(kit, kit.contents(3))))

    assert result.incomplete_flips == expected


def test_flip_to_an_unchanged_endpoints_earlier_tree_is_held_against_the_plan_that_made_it(kit, script):
    """Plan 2 changed another endpoint only: tree 2, should it be built, is what plan 1 says."""
    zone = script()
    zone.install(ME, 1, kit.contents())
    zone.install(ME, 2, kit.contents())
    (first,) = summaries(kit, kit.contents())
    second = PlanSummary(2, first.published_ms, Lane.SLOW, "", {"elsewhere.test.": (None, "c")})

    assert measured(kit.history_of(zone, plans=(first, second))).incomplete_flips == 0


def test_slow_changes_are_those_that_took_too_long_or_had_long_enough(kit, script):
    """Plan 1 took 6 s. Plan 2 was never installed: after 7 s that is slow, after 2 s it may still be on its way."""
    zone = script()
    zone.now_s = 6.0
    zone.install(ME, 1, kit.contents())
    plans = summaries(kit, kit.contents(), kit.contents(4))

    early = measured(kit.history_of(zone, plans=plans, run={"stopped_us": kit.start_us + 7_000_000}))
    late = measured(
        kit.history_of(
            zone,
            plans=(plans[0], summaries(kit, kit.contents(), kit.contents(4), at_s=5.0)[1]),
            run={"stopped_us": kit.start_us + 7_000_000},
        )
    )

    assert (early.slow_pairs, early.slow_endpoints, early.unconverged_pairs) == (2, 1, 1)
    assert (late.slow_pairs, late.slow_endpoints, late.unconverged_pairs) == (1, 1, 1)
