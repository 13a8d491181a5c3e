"""The healing drill: what counts as healed, by whose words."""

import pytest

from lab.drills.heal import Patient, Seen, result, said
from lab.invariants import Violation

ZONE = "a.x.test."
STARTED_US = 1_760_943_000_000_000
STARTED = "2025-10-20T06:50:00"


def patient(**changes):
    """Return what was stuck and is healed after 1.5 s, in caches after 8 s, but for some changes."""
    given = {"authoritative_us": STARTED_US + 1_500_000, "caching_us": STARTED_US + 8_000_000} | changes
    return Patient(ZONE, "A", f"plan-000110.{ZONE}", (0, 0), **given)


def event(name, seconds, **fields):
    """Return a log line so many seconds after the start of the first fixed enactor."""
    stamp = f"{STARTED}.{round(seconds * 1000):03d}Z" if seconds >= 0 else "2025-10-20T06:49:59.000Z"
    return {"timestamp": stamp, "event": f"enactor.{name}", "process": "use1-az1-enactor", "zone": ZONE} | fields


def seen(**changes):
    """Return what a drill has seen that went well, but for some changes."""
    events = [event("damage_found", 0.2, reason="the root points to nothing"), event("endpoint_repaired", 0.4)]
    return Seen([patient()], 30.0, STARTED_US, events, [], 1.7, 30.0, 9)._replace(**changes)


def broken(drill):
    """Return the claims that did not hold."""
    return [promise.claim for promise in drill.promises if not promise.held]


def test_said_is_what_enactors_said_of_the_zone_after_the_start():
    """Each sentence once, in order; other zones, other events and what came before are left out."""
    events = [
        event("rollback_left_out", -1),
        event("damage_found", 0.1, reason="gone"),
        event("damage_found", 0.2, reason="gone"),
        event("damage_found", 0.2, zone="b.x.test."),
        event("lock_acquired", 0.3),
        event("endpoint_repaired", 0.4),
    ]

    assert said(events, ZONE, STARTED_US) == (
        "use1-az1-enactor: enactor.damage_found: gone",
        "use1-az1-enactor: enactor.endpoint_repaired",
    )


def test_result_of_a_healed_system_is_held_with_seconds_from_the_start():
    """The clock starts with the first fixed enactor."""
    good = result("title", seen())

    assert good.held
    assert good.figures["healed"] == 1
    assert good.rows == ((f"{ZONE} A", "plan-000110", "1.50 s", "8.00 s"),)


def test_result_does_not_blame_fixed_for_what_buggy_broke():
    """Violations that began before the restart are no broken promise."""
    assert result("title", seen(violations=[Violation("I1", ZONE, "empty", STARTED_US - 1)])).held


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"patients": [patient(authoritative_us=None)]}, "every stuck endpoint answers again"),
        ({"patients": [patient(authoritative_us=STARTED_US + 31_000_000)]}, "every stuck endpoint answers again"),
        ({"patients": [patient(caching_us=None)]}, "caches answer again, their negative TTL later at most"),
        ({"settled_s": None}, "every endpoint, stuck or not, gets to the last plan"),
        ({"events": []}, "the automation says what it found and did"),
        ({"events": [event("damage_found", 0.2)]}, "the automation says what it found and did"),
        ({"events": [event("endpoint_repaired", 0.4)]}, "the automation says what it found and did"),
        (
            {"violations": [Violation("I2", ZONE, "back", STARTED_US + 1)]},
            "no invariant is broken from the start of the fixed enactors on",
        ),
    ],
)
def test_result_of_each_failure_breaks_its_own_promise(changes, claim):
    """One thing that goes wrong is one broken promise, and the drill does not hold."""
    bad = result("title", seen(**changes))

    assert broken(bad) == [claim]
    assert not bad.held
