"""What an enactor shows of each endpoint follows its events, in `/state` and as metrics."""

import pytest

from enactor.settings import EnactorSettings
from enactor.shown import Shown
from fencepost.service import Context

ZONE, OTHER = "b.test.", "a.test."


@pytest.fixture
def context():
    return Context(EnactorSettings(name="one", protocol="fixed", admin_port=1))


@pytest.fixture
def shown(context):
    """What takes note of the events of a process."""
    found = Shown(context)
    context.events.add(found.note)
    return found


def value(context, name, zone=ZONE):
    """Return a gauge of a zone, None if there is none."""
    return context.registry.get_sample_value(f"fencepost_{name}", {"zone": zone})


@pytest.mark.parametrize("name", ["enactor.flip_committed", "enactor.fence_advanced"])
def test_generation_is_shown_once_one_is_installed(name, context, shown):
    """None before, so that an alarm does not take a zone that was merely looked at for one at generation 0."""
    context.events.emit("enactor.tree_built", zone=ZONE, generation=7)
    before = value(context, "installed_generation")

    context.events.emit(name, zone=ZONE, generation=7)

    assert (before, value(context, "installed_generation")) == (None, 7)
    assert shown.state[ZONE]["installed"] == 7


def test_lock_streak_is_the_last_one_and_ends_with_the_lock(context, shown):
    """Losses in a row, 0 from the lock on; looking more than once changes nothing."""
    seen = []
    for name, streak in (("lock_missed", 1), ("lock_missed", 2), ("lock_acquired", 2)):
        context.events.emit(f"enactor.{name}", zone=ZONE, streak=streak)
        seen += [value(context, "lock_streak"), shown.state[ZONE]["lock_streak"]]

    assert seen == [1, 1, 2, 2, 0, 0]


def test_lock_streak_is_no_metric_of_a_zone_whose_lock_nobody_wanted(context, shown):
    """An enactor that only looked at a zone has no say in who gets its lock."""
    context.events.emit("enactor.tree_built", zone=ZONE, generation=7)

    assert (value(context, "lock_streak"), shown.state[ZONE]["lock_streak"]) == (None, 0)


@pytest.mark.parametrize("name", ["enactor.flip_committed", "enactor.fence_advanced"])
def test_flip_that_tells_no_generation_is_metric_0(name, context, shown):
    """That there was one shows all the same."""
    context.events.emit(name, zone=ZONE)

    assert (value(context, "installed_generation"), shown.state[ZONE]["installed"]) == (0, None)


def test_last_trouble_is_what_had_a_reason(context, shown):
    """An event without a reason is none, nor is a plan that another is at; one without a zone is of no endpoint."""
    context.events.emit("enactor.flip_refused", zone=ZONE, reason="it moved on")
    context.events.emit("enactor.tree_built", zone=ZONE)
    context.events.emit("enactor.plan_left", zone=ZONE, reason="held by another")
    context.events.emit("service.round_failed", reason="not reached")

    assert shown.state == {
        ZONE: {
            "installed": None,
            "held": None,
            "lock_streak": 0,
            "last_trouble": "enactor.flip_refused: it moved on",
        }
    }


def test_held_is_shown_of_known_endpoints_until_it_is_over(context, shown):
    """Whether it was held before its first event or is held after it."""
    shown.note_held({ZONE: "frozen"})
    unknown = dict(shown.state)
    context.events.emit("enactor.zone_frozen", zone=ZONE)
    context.events.emit("enactor.tree_built", zone=OTHER)
    first = [shown.state[zone]["held"] for zone in (ZONE, OTHER)]
    gauges = [value(context, "endpoint_held", zone) for zone in (ZONE, OTHER)]

    shown.note_held({OTHER: "too much is taken away"})

    assert (unknown, first, gauges) == ({}, ["frozen", None], [1, 0])
    assert [shown.state[zone]["held"] for zone in (ZONE, OTHER)] == [None, "too much is taken away"]
    assert [value(context, "endpoint_held", zone) for zone in (ZONE, OTHER)] == [0, 1]
