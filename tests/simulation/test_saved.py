"""A saved failure: what is written is read back, and what is none is refused with a remedy."""

from pathlib import Path

import msgspec
import pytest

from fencepost.errors import StartupError, UsageError
from lab.simulation.saved import NotSaved, Saved, load, save
from lab.simulation.timeline import tell

FILE = Path(__file__).parent / "outage.json"


@pytest.fixture(scope="module")
def outage():
    """The outage, told."""
    saved = load(FILE)
    return tell(saved.scenario, saved.choices, frozenset(saved.wanted))


def changed(tmp_path, **fields):
    """Return a file in which some fields are others."""
    path = tmp_path / "changed.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(FILE.read_bytes()) | fields))
    return path


def test_saved_failure_read_back_is_the_same(outage, tmp_path):
    """Scenario, choices, what was found and the digest come back as they were."""
    path = tmp_path / "failure.json"

    save(path, outage)

    assert load(path) == Saved.of(outage)


def test_saved_failure_is_small_and_has_a_line_for_each_choice(outage, tmp_path):
    """A person can read it, and `diff` shows what two failures have in common."""
    path = tmp_path / "failure.json"

    save(path, outage)

    lines = path.read_text().splitlines()
    assert sum("change_batch a.test." in line for line in lines) == 10
    assert path.stat().st_size < 4000


def test_saved_scenario_has_every_option(outage, tmp_path):
    """A default may be another one some day; the failure is about the options that there were."""
    path = tmp_path / "failure.json"

    save(path, outage)

    scenario = msgspec.json.decode(path.read_bytes())["scenario"]
    assert scenario.keys() == set(type(outage.scenario).__struct_fields__)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"format": 2}, "has format 2, this version reads 1"),
        ({"choices": [["publisher"]]}, "is not a saved failure: .*choices"),
        ({"choices": [["publisher", "timer", "flood"]]}, "is not a saved failure: .*flood"),
        ({"scenario": {"mode": "worse"}}, "is not a saved failure: .*worse"),
        ({"scenario": {"moods": 3}}, "its scenario has moods, which this version does not know"),
        ({"scenario": {"endpoints": 27}}, "too many endpoints"),
        ({"scenario": {"enactors": 0}}, "no enactor"),
        ({"scenario": {"balancers": 1}}, "fewer than 2 load balancers"),
        ({"scenario": {"without": "sense"}}, "no guard sense"),
        ({"scenario": {"lock_ttl_s": -1.0}}, "its scenario cannot be: .*lock_ttl_s"),
        ({"wanted": []}, "what it says is broken was not found to be"),
        ({"wanted": ["I7"]}, "what it says is broken was not found to be"),
        ({"extra": 1}, "is not a saved failure: .*extra"),
    ],
)
def test_file_that_is_no_saved_failure_is_refused(fields, problem, tmp_path):
    """What is wrong is named, and what to name instead."""
    path = changed(tmp_path, **fields)

    with pytest.raises(NotSaved, match=f"(?s){problem}.*name a file that `fencepost explore --save FILE`") as caught:
        load(path)

    assert isinstance(caught.value, UsageError)
    assert caught.value.path == path


@pytest.mark.parametrize("text", [b"", b"[1]", b"{", b"\xff\xfe", b"\x00" * 100])
def test_file_that_is_no_json_object_is_refused(text, tmp_path):
    """Any bytes are refused in words."""
    path = tmp_path / "file"
    path.write_bytes(text)

    with pytest.raises(NotSaved, match="is no JSON object"):
        load(path)


def test_file_that_is_not_there_is_refused(tmp_path):
    """The message says so."""
    with pytest.raises(NotSaved, match="No such file"):
        load(tmp_path / "nothing.json")


def test_failure_that_cannot_be_written_is_a_start_up_error(outage, tmp_path):
    """The place is named, and what to do."""
    with pytest.raises(StartupError, match=r"nowhere/failure\.json: .*name a file that can be written"):
        save(tmp_path / "nowhere" / "failure.json", outage)
