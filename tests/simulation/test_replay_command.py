"""`fencepost replay`: the same again, and an exit code that says whether it was."""

import io
from pathlib import Path

import msgspec
import pytest

from fencepost.batch import create, upsert
from fencepost.cli import run
from fencepost.errors import UsageError
from fencepost.records import ns, soa, txt
from fencepost.stores import Actor, Commit
from lab import history
from lab.history import COMMITS_FILE, History, RunInfo
from lab.simulation.replay_command import ReplayOptions, replay_path
from lab.simulation.saved import load, save
from lab.simulation.timeline import tell

OUTAGE = load(Path(__file__).parent / "outage.json")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The outage, saved by the code as it is now."""
    path = tmp_path_factory.mktemp("replay") / "outage.json"
    save(path, tell(OUTAGE.scenario, OUTAGE.choices, frozenset(OUTAGE.wanted)))
    return path


def changed(file, tmp_path, **fields):
    """Return a file in which some fields are others."""
    path = tmp_path / "changed.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(file.read_bytes()) | fields))
    return path


def test_replay_of_a_failure_that_is_still_there_says_so_and_fails(file, capsys):
    """The time line is printed, the same comes out, and the exit code says that the check failed."""
    status = run(["replay", str(file)])

    said = capsys.readouterr().out
    assert status == 1
    assert "enactor-1  flips the root from plan-000003 to plan-000001" in said
    assert "I1         from 0.000 s on" in said
    assert "a.test. answers nothing." in said
    assert "The same came out as was saved: I1, I2, I3, I4, I5 broken" in said


def test_replay_of_a_failure_that_is_gone_says_so_and_is_fine(file, tmp_path, capsys):
    """With the fence in place the same choices do no harm."""
    scenario = msgspec.json.decode(file.read_bytes())["scenario"] | {"mode": "fixed"}

    status = run(["replay", str(changed(file, tmp_path, scenario=scenario))])

    said = capsys.readouterr().out
    assert status == 0
    assert "nothing broken" in said
    assert "The failure is not there any more" in said


@pytest.mark.parametrize(
    ("fields", "difference"),
    [
        ({"digest": "0123456789abcdef"}, "what was committed is not the same"),
    ],
)
def test_replay_that_comes_out_otherwise_says_in_what(file, fields, difference, tmp_path, capsys):
    """A failure that is still there, but another one, is told apart from the saved one by the exit code."""
    status = run(["replay", str(changed(file, tmp_path, **fields))])

    said = " ".join(capsys.readouterr().out.split())
    assert status == 3
    assert "still there, but not as it was saved; the code has changed since" in said
    assert difference in said


def test_replay_at_a_step_shows_what_the_zone_then_holds(file, capsys):
    """The state after the last step has the root, and that its tree is gone."""
    status = run(["replay", str(file), "--at", "14"])

    said = capsys.readouterr().out
    assert status == 1
    assert "a.test. at serial 11" in said
    assert "-> plan-000001.a.test." in said
    assert "the root points to it, and its records are gone" in said
    assert "publishes plan 1" not in said


def test_replay_step_by_step_waits_for_enter_and_ends_with_q(file, monkeypatch, capsys):
    """Two times Enter show three steps; `q` ends it there."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n\nq\n"))

    status = run(["replay", str(file), "--step"])

    said = capsys.readouterr().out
    assert status == 1
    assert "publishes plan 2" in said
    assert "publishes plan 3" not in said


def test_replay_step_by_step_without_input_goes_on_to_the_end(file, monkeypatch, capsys):
    """Where nobody can press Enter it does not wait for ever."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    run(["replay", str(file), "--step"])

    assert "a.test. answers nothing." in capsys.readouterr().out


def test_replay_writes_json_and_a_page(file, tmp_path, capsys):
    """Programs get every step with the zone's state, people the page."""
    json, html = tmp_path / "out.json", tmp_path / "out.html"

    status = run(["replay", str(file), "--json", str(json), "--html", str(html)])

    found = msgspec.json.decode(json.read_bytes())
    assert status == 1
    assert (found["still_there"], found["same"], found["differences"]) == (True, True, [])
    assert found["steps"][-1]["zone"]["missing"] == ["plan-000001"]
    assert {violation["invariant"] for violation in found["violations"]} == {"I1", "I2", "I3", "I4", "I5"}
    assert html.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["FILE", "--at", "15"], "--at 15: the time line has the steps 1 to 14"),
        (["FILE", "--at", "0"], "--at 0: the time line has the steps 1 to 14"),
        (["FILE", "--at", "2", "--step"], "leave one out"),
        (["nothing.json"], "nothing.json: No such file"),
    ],
)
def test_replay_of_what_cannot_be_replayed_is_wrong_usage(file, arguments, problem, capsys):
    """Each mistake is one line on stderr, with exit code 2."""
    status = run(["replay", *(str(file) if word == "FILE" else word for word in arguments)])

    assert status == 2
    assert problem in capsys.readouterr().err


def recorded(directory: Path, *texts: str) -> None:
    """Write what a run leaves behind: a zone with a TXT record that took one text after the other."""
    zone = "a.test."
    created = tuple(map(create, (soa(zone, ttl=9, minimum=9), ns(zone))))
    changes = [created, *((upsert(txt(f"note.{zone}", text)),) for text in texts)]
    commits = [
        Commit(zone, n, n, Actor("somebody", operator=True), None, "" if n > 1 else "zone created", c)
        for n, c in enumerate(changes, start=1)
    ]
    info = RunInfo(mode="fixed", seed=1, profile="none", started_us=0, duration_s=1.0)
    history.save(History(run=info, commits={zone: tuple(commits)}), directory)


def test_replay_of_a_directory_without_a_run_says_what_to_name(tmp_path, capsys):
    """There is nothing to start from."""
    status = run(["replay", str(tmp_path)])

    assert status == 3
    assert "`fencepost compare` has written" in capsys.readouterr().err


def test_replay_of_a_run_directory_replays_each_mode(tmp_path, capsys):
    """What real processes had committed is committed in the small server, mode by mode."""
    for mode in ("buggy", "fixed"):
        recorded(tmp_path / mode, "one", "two")

    status = run(["replay", str(tmp_path)])

    assert status == 0
    assert capsys.readouterr().out.count("3 batches of real processes, each committed here") == 2


def test_replay_of_a_run_that_no_zone_would_have_taken_is_a_failed_check(tmp_path, capsys):
    """The first batch that is answered otherwise is told."""
    recorded(tmp_path, "one")
    lines = (tmp_path / COMMITS_FILE).read_text()
    (tmp_path / COMMITS_FILE).write_text(lines.replace("UPSERT", "DELETE"))

    status = run(["replay", str(tmp_path)])

    assert status == 1
    assert "the small one refused it" in " ".join(capsys.readouterr().out.split())


def test_replay_of_a_run_directory_step_by_step_is_refused(tmp_path):
    """A recorded run has no choices to go through."""
    recorded(tmp_path, "one")

    with pytest.raises(UsageError, match="leave out --step"):
        replay_path(tmp_path, ReplayOptions(step=True))
