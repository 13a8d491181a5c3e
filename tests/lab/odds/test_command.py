"""`fencepost odds` as it is typed: figures, refusals, an interruption."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fencepost.cli import run

PROGRAM = str(Path(sys.executable).parent / "fencepost")
TINY = ("--keep", "3", "--plan-rate", "20", "--endpoints", "1")
SMALL = ("odds", "--only", "plans", "--hours", "0.003", "--outages", "2", *TINY)


def test_odds_of_one_seed_are_the_same_again_and_written_where_they_are_wanted(tmp_path, capfd):
    """Two workers share the runs as it comes, and the figures do not depend on it."""
    first, again, html = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "odds.html"

    codes = [run([*SMALL, "--json", str(path), "--html", str(html), "--jobs", "2"]) for path in (first, again)]

    documents = [json.loads(path.read_text()) for path in (first, again)]
    for document in documents:
        assert document.pop("wall_s") > 0
    assert codes == [0, 0]
    assert documents[0] == documents[1]
    assert documents[0]["complete"] is True
    assert [row["value"] for row in documents[0]["sweeps"]["plans"]] == [20, 10, 5, 3, 2, 1]
    assert documents[0]["sweeps"]["plans"][0]["outages"] > 0
    assert "<figure>" in html.read_text()
    assert "stale flips an hour" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--only", "moon"], 2, "--only moon: there is no such parameter; there are plans, stalls"),
        (["--hours", "0"], 2, "--hours 0: it has to be above 0"),
        (["--median", "1", "--p99", "0.5"], 2, "the median has to be above 0, and not above the 99th percentile"),
        (["--json", "/proc/no/such.json"], 3, "--json /proc/no/such.json cannot be written"),
    ],
)
def test_odds_with_an_option_that_makes_no_sense_run_nothing(arguments, status, message, capsys):
    """One line that names the option; wrong usage is 2, a file that cannot be written 3."""
    assert run(["odds", *arguments]) == status

    assert message in capsys.readouterr().err


def test_odds_that_are_interrupted_tell_what_there_is_and_leave_no_process(tmp_path):
    """Ctrl-C while runs are under way: table, JSON and exit code 130; the workers are gone."""
    path = tmp_path / "odds.json"
    command = (PROGRAM, "odds", "--only", "keep", "--hours", "50", "--outages", "9999", "--json", str(path), *TINY)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as odds:
        assert "settings" in odds.stderr.readline(), "the first run is in"
        workers = _children(odds.pid)

        odds.send_signal(signal.SIGINT)
        shown, _ = odds.communicate(timeout=60)

    assert odds.returncode == 130
    assert len(workers) > 0
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
    assert "interrupted" in shown
    document = json.loads(path.read_text())
    assert document["complete"] is False
    assert sum(row["hours"] for row in document["sweeps"]["keep"]) > 0


def _children(pid):
    """Return the pids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
