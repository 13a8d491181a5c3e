"""House rules that no linter knows: sizes, who may import whom, and what nobody calls."""

import ast
import re
from pathlib import Path

import pytest

from fencepost.event_names import EVENT_NAMES

ROOT = Path(__file__).parent.parent
ROOMS = ("fencepost", "planner", "enactor", "resolver", "lab", "deploy")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in SOURCES}

MODULE_LINES, FUNCTION_LINES = 400, 60

MAY_IMPORT = {
    "fencepost": {"fencepost"},
    "planner": {"planner", "fencepost"},
    "enactor": {"enactor", "fencepost"},
    "resolver": {"resolver", "fencepost"},
    "deploy": set(ROOMS) - {"lab"},
    "lab": set(ROOMS),
}

FORBIDDEN = {
    "time.time": "the injected Clock, clock.epoch_s()",
    "datetime.now": "the injected Clock, clock.epoch_s()",
    "datetime.datetime.now": "the injected Clock, clock.epoch_s()",
    "random.random": "an injected random.Random, from clock.stream(seed, purpose)",
    "uuid4": "a readable name, or a counter beside one",
    "uuid.uuid4": "a readable name, or a counter beside one",
    "print": "an event, or the rich console of a command",
}
ALLOWED = {
    ("fencepost/clock.py", "time.time"): "the one place that reads the wall clock",
}


def name_of(node):
    """Return the dotted name of an expression, "" if it is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := name_of(node.value)):
        return f"{base}.{node.attr}"
    return ""


def calls(tree):
    """Return (line, dotted name) of every call."""
    return [(node.lineno, name_of(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def imported_rooms(tree):
    """Return the rooms that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found & set(ROOMS)


def strings(tree):
    """Return every string in the code."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {node.value for node in nodes if isinstance(node.value, str)}


def test_every_room_is_looked_at():
    """The rules below are not vacuous: each room has modules."""
    assert {place.split("/")[0] for place in TREES} == set(ROOMS)


@pytest.mark.parametrize("place", TREES)
def test_module_and_functions_are_short(place):
    """A module has at most 400 lines, a function's body 60: one thing, which can be read at once.

    A command's options are its parameters, one with its help each, and no more to follow for being many.
    """
    lines = len((ROOT / place).read_text("utf-8").splitlines())
    functions = [n for n in ast.walk(TREES[place]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{n.name} (line {n.lineno})": n.body[-1].end_lineno - n.body[0].lineno + 1 for n in functions}

    assert lines <= MODULE_LINES
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES} == {}


@pytest.mark.parametrize("place", TREES)
def test_module_imports_only_rooms_that_it_may(place):
    """Planner, enactor and resolver know the domain only; only lab knows everything, and nothing knows lab."""
    assert imported_rooms(TREES[place]) <= MAY_IMPORT[place.split("/")[0]]


@pytest.mark.parametrize("place", TREES)
def test_module_reads_no_clock_and_no_chance_of_its_own(place):
    """Time and chance are injected, so that a seed fixes a run; output goes through events or a command's console."""
    found = [
        f"{place}:{line} calls {name}(: use {FORBIDDEN[name]}"
        for line, name in calls(TREES[place])
        if name in FORBIDDEN and (place, name) not in ALLOWED
    ]

    assert found == []


def test_forbidden_calls_that_are_allowed_are_really_there():
    """An exception that nobody needs any more is taken off the list."""
    present = {(place, name) for place, tree in TREES.items() for _, name in calls(tree)}

    assert set(ALLOWED) - present == set()


@pytest.mark.parametrize("place", TREES)
def test_module_has_no_bare_except(place):
    """`except:` would swallow cancellation: name the errors that are expected."""
    handlers = [node for node in ast.walk(TREES[place]) if isinstance(node, ast.ExceptHandler)]

    assert [f"{place}:{node.lineno}" for node in handlers if node.type is None] == []


def test_bootstrap_imports_no_room_at_its_top():
    """`python3 -m deploy` runs before anything is installed; rooms are imported inside the environment only."""
    nodes = [node for node in TREES["deploy/__main__.py"].body if isinstance(node, ast.Import | ast.ImportFrom)]

    assert imported_rooms(ast.Module(nodes, [])) == set()


def test_emitted_events_are_documented_and_documented_ones_emitted():
    """A person with `grep` finds in fencepost/event_names.py what every event means, and nothing that never comes."""
    services = "|".join({name.split(".")[0] for name in EVENT_NAMES})
    pattern = re.compile(rf"(?:{services})\.[a-z]+_[a-z_]+")
    used = {
        text
        for place, tree in TREES.items()
        if place != "fencepost/event_names.py"
        for text in strings(tree)
        if pattern.fullmatch(text)
    }

    assert used - EVENT_NAMES.keys() == set(), "add it to fencepost/event_names.py"
    assert EVENT_NAMES.keys() - used == set(), "nothing emits it: take it out of fencepost/event_names.py"


def test_event_names_are_service_noun_and_past_verb():
    """Names are `<service>.<noun>_<past verb>`."""
    assert [name for name in EVENT_NAMES if not re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)+", name)] == []
