"""The drills' commands: their help, their refusals, and how a result looks."""

import pytest
from rich.console import Console

from fencepost.cli import run
from fencepost.clock import SystemClock
from lab.drills.progress import Progress
from lab.drills.result import Promise, Result, percentile

NAMES = ("freeze", "storm", "heal", "observations")


def test_drill_help_lists_every_drill(capsys):
    """Whoever looks for what can be drilled finds all of it in one place."""
    assert run(["drill", "--help"]) == 0

    shown = capsys.readouterr().out
    assert [name for name in NAMES if name not in shown] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["freeze", "--rounds", "0"], "--rounds 0 makes no sense"),
        (["heal", "--timeout", "-1"], "--timeout -1 makes no sense"),
        (["storm", "--settle", "0"], "--settle 0 makes no sense"),
        (["observations", "--hold", "0"], "--hold 0 makes no sense"),
        (["freeze", "--enactors", "0"], "--enactors 0 is outside 1 to 99"),
        (["heal", "--region", "/no/such.toml"], "name one with --region"),
        (["storm", "--json", "/proc/no/such/out.json"], "--json /proc/no/such/out.json cannot be written"),
    ],
)
def test_drill_with_an_option_that_makes_no_sense_starts_nothing(arguments, message, capsys, tmp_path):
    """Exit code 3 and one line with the option's name; there is no run directory then."""
    assert run(["drill", *arguments, "--run-dir", str(tmp_path / "run")]) == 3

    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def shown(result):
    """Return what a person sees of a result."""
    console = Console(width=200)
    with console.capture() as captured:
        console.print(result.shown())
    return captured.get()


@pytest.mark.parametrize(("held", "verdict"), [(True, "x: held, all of 2 promises"), (False, "x: NOT held, 1 of 2")])
def test_result_says_its_verdict_last(held, verdict):
    """The last line is what one looks for; every promise stands above it with its numbers."""
    promises = (Promise("first", True, "0 of 3"), Promise("second", held, "3 of 3"))  # noqa: FBT003

    text = shown(Result(drill="x", title="t", columns=("", "n"), rows=(("a", "1"),), promises=promises))

    assert verdict in text.strip().splitlines()[-1]
    assert "second: 3 of 3" in text


def test_percentile_is_a_value_that_was_measured():
    """No value between two others is made up; nothing has none."""
    assert percentile([], 0.99) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(1, 101), 0.99) == 99


async def test_progress_says_phase_time_left_and_what_happened():
    """One line; the time that is left is never below nothing."""
    progress = Progress("heal", Console(), SystemClock())

    assert progress.line == "heal: starting"
    progress.enter("breaking it", -5)
    progress.words = "plan 7"
    assert progress.line == "heal: breaking it (0 s left); plan 7"
