"""When a watch speaks: at once if it is worse, with patience if it is better, and never twice the same."""

from fencepost.alarms import Alarm, Finding, Severity
from fencepost.bell import SETTLE_S, Bell, Said
from fencepost.symptoms import Cause


def alarm(cause=Cause.PLAN_LATE, *endpoints, severity=Severity.TICKET):
    """Return an alarm of a cause at some endpoints."""
    return Alarm(primary=Finding(cause=cause, severity=severity, endpoints=endpoints, sentence="..."))


def said(bell, *heard):
    """Return what a bell says to alarms heard one second apart."""
    rings = [bell.hear(found, float(second)) for second, found in enumerate(heard)]
    return [ring.said if ring else None for ring in rings]


def test_bell_raises_once_and_clears_after_it_was_quiet():
    """An alarm that lasts is said once; its end when it has been gone for a while, with how long it lasted."""
    bell, late = Bell(), alarm(Cause.PLAN_LATE, "a.test.")

    assert said(bell, None, late, late, late, None, None, None) == [None, Said.RAISED, *[None] * 5]
    ring = bell.hear(None, 4 + SETTLE_S)

    assert ring is not None
    assert (ring.said, ring.alarm, ring.lasted_s) == (Said.CLEARED, late, 3 + SETTLE_S)
    assert bell.alarm is None


def test_bell_alarm_that_flickers_is_one_alarm():
    """Gone at one look and back at the next: nothing is said."""
    late = alarm(Cause.PLAN_LATE, "a.test.")

    assert said(Bell(), late, None, late, None, None, late) == [Said.RAISED, *[None] * 5]


def test_bell_says_what_is_worse_at_once():
    """A worse cause, and the same one at more endpoints."""
    late, worse = alarm(Cause.PLAN_LATE, "a.test."), alarm(Cause.ROOT_DANGLING, "a.test.", severity=Severity.PAGE)
    more = alarm(Cause.ROOT_DANGLING, "a.test.", "b.test.", severity=Severity.PAGE)

    assert said(Bell(), late, worse, more) == [Said.RAISED, Said.CHANGED, Said.CHANGED]


def test_bell_says_what_is_less_when_it_has_settled():
    """Endpoints heal one after the other: that is said once, when it is over."""
    both = alarm(Cause.ROOT_DANGLING, "a.test.", "b.test.", severity=Severity.PAGE)
    one = alarm(Cause.ROOT_DANGLING, "a.test.", severity=Severity.PAGE)

    assert said(Bell(), both, one, one, one, one) == [Said.RAISED, None, None, None, Said.CHANGED]


def test_bell_endpoints_that_come_and_go_are_named_once():
    """The same cause here, then there, then here again, at each look: two endpoints are news twice, and no more."""
    here, there = alarm(Cause.PLAN_LATE, "a.test."), alarm(Cause.PLAN_LATE, "b.test.")

    assert said(Bell(), here, there, here, there, here, there) == [Said.RAISED, Said.CHANGED, *[None] * 4]
