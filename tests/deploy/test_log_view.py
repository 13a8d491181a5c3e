"""How a log line looks, and which are shown."""

import pytest

from deploy.log_view import ROUTINE, LogView, parse
from fencepost.event_names import EVENT_NAMES

FLIP = (
    '{"process": "use1-az1-enactor", "zone": "a.test.", "generation": 145, "event": "enactor.flip_refused", '
    '"reason": "the target was not found", "took_ms": 1.5, "level": "warning", '
    '"timestamp": "2025-10-20T06:48:01.123456Z"}'
)


def test_view_event_tells_time_process_event_zone_plan_and_reason():
    """One line has what `grep` needs, in columns."""
    view = LogView(("supervisor", "use1-az1-enactor"))

    text = view.render(parse("use1-az1-enactor", FLIP))

    assert text == (
        "06:48:01.123  use1-az1-enactor  enactor.flip_refused  a.test.  plan 145  the target was not found  took_ms=1.5"
    )


def test_view_colours_warnings():
    """On a terminal a warning's event is yellow, and every style is ended."""
    text = LogView(("use1-az1-enactor",), colours=True).render(parse("use1-az1-enactor", FLIP))

    assert "\x1b[33menactor.flip_refused\x1b[0m" in text
    assert text.count("\x1b[") == 2 * text.count("\x1b[0m")


@pytest.mark.parametrize("text", ["plain words", "{broken", "[1]", '{"a": }', "\x00\xff"])
def test_view_other_text_is_shown_as_it_is(text):
    """Whatever is no JSON object is shown whole, behind its process."""
    assert LogView(("server",)).render(parse("server", text)).endswith(f"server  {text}")


@pytest.mark.parametrize(
    ("text", "routine"),
    [
        ('{"event": "enactor.lock_missed"}', True),
        ('{"event": "enactor.flip_committed"}', False),
        ('{"event": "planner.fleet_observed", "healthy": true}', True),
        ('{"event": "planner.fleet_observed", "healthy": false}', False),
        ('{"event": "never heard of"}', False),
        ("{}", False),
    ],
)
def test_view_routine_events_are_shown_when_verbose(text, routine):
    """Routine events are left out, unless asked for; unknown ones are shown."""
    line = parse("planner", text)

    assert (LogView(("planner",)).render(line) is None) == routine
    assert LogView(("planner",), verbose=True).render(line) is not None


def test_view_long_values_are_cut_unless_verbose():
    """A list of a hundred zones does not fill the terminal."""
    line = parse("planner", '{"event": "x", "changed": "' + 100 * "z" + '"}')

    assert LogView(("planner",)).render(line).endswith("changed=" + 60 * "z" + "...")
    assert LogView(("planner",), verbose=True).render(line).endswith("changed=" + 100 * "z")


def test_view_routine_events_exist():
    """Every event that is left out is one that can be emitted."""
    assert set(EVENT_NAMES) >= ROUTINE
