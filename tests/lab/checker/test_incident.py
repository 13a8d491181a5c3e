"""The incident's seven steps as a scripted history, and what the checker and the measures make of each."""

import pytest

from lab.history import History
from lab.invariants import check
from lab.invariants.replay import replay
from lab.invariants.timeline import MarkKind, timeline
from lab.measures import measure

BOUND_S = 5.0


def broken(history: History) -> list[str]:
    return [violation.invariant for violation in check(history, convergence_bound_s=BOUND_S)]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (2, []),
        (3, []),
        (4, ["I2"]),
        (5, ["I2", "I1", "I3", "I4"]),
        (6, ["I2", "I1", "I3", "I4"]),
        (7, ["I2", "I1", "I3", "I4"]),
    ],
    ids=["the slow one waits", "145 everywhere", "flip back to 110", "110 cleaned", "146 refused", "repair by hand"],
)
def test_incident_after_each_step_breaks_what_it_should(incident, kit, step, expected):
    """Until the stale flip all is well; the stale flip breaks I2, and the cleaner turns that into an outage."""
    zone, _ = incident(step)

    assert broken(kit.history_of(zone)) == expected


def test_incident_before_the_repair_never_converges(incident, kit):
    """It does not heal: plan 146 exists, and its tree even does, but the root cannot get there."""
    zone, wanted = incident(6)
    zone.now_s = 60.0

    violations = check(kit.history_of(zone, wanted=wanted, generation=146), convergence_bound_s=20.0)

    assert violations[-1].invariant == "I5"
    assert "plan 146: the root's A target plan-000110.dynamodb.us-east-1.fencepost.test. is not there" in (
        violations[-1].detail
    )


def test_incident_after_the_repair_has_converged(incident, kit):
    """A healthy tree in place by hand ends the outage; what was broken stays told."""
    zone, wanted = incident(7)
    zone.now_s = 60.0

    violations = check(kit.history_of(zone, wanted=wanted, generation=146), convergence_bound_s=20.0)

    assert [violation.invariant for violation in violations] == ["I2", "I1", "I3", "I4"]
    assert "to the end" not in violations[1].detail


def test_incident_measured_before_the_repair_says_stuck(incident, kit):
    """The figures of `compare`: one stale flip, one live tree deleted, one endpoint emptied and stuck."""
    zone, wanted = incident(6)
    history = kit.history_of(zone, wanted=wanted, generation=146)

    result = measure(history, check(history, convergence_bound_s=BOUND_S))

    assert (result.stale_flips, result.active_trees_deleted) == (1, 1)
    assert (result.endpoints_emptied, result.stuck_endpoints) == (1, 1)
    assert result.seconds_to_first_empty == pytest.approx(10.01)
    assert result.unconverged_pairs == 1


def test_incident_measured_after_the_repair_is_not_stuck(incident, kit):
    """Emptied it was; stuck it is no more."""
    zone, wanted = incident(7)
    history = kit.history_of(zone, wanted=wanted, generation=146)

    result = measure(history, check(history, convergence_bound_s=BOUND_S))

    assert (result.endpoints_emptied, result.stuck_endpoints, result.unconverged_pairs) == (1, 0, 0)


def test_incident_time_line_shows_the_stale_flip_the_deletion_and_the_emptiness(incident):
    """One look: 109, 111, 145, back to 110, the tree gone, no addresses until the repair."""
    zone, _ = incident(7)

    line = timeline(zone.zone, replay(zone.zone, zone.commits))

    shown = [(point.generation, point.addresses, point.is_empty) for point in line.points]
    assert shown == [
        (None, 0, False),
        (109, 3, False),
        (111, 3, False),
        (145, 3, False),
        (110, 3, False),
        (110, 0, True),
        (146, 3, False),
    ]
    assert [(mark.kind, mark.generation) for mark in line.marks] == [
        (MarkKind.STALE_FLIP, 110),
        (MarkKind.LIVE_TREE_CUT, 110),
    ]
