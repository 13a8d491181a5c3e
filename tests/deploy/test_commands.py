"""`fencepost up` as it is typed; the running of it is in tests/end_to_end/test_up.py."""

import inspect
import os
import stat
from dataclasses import fields
from typing import get_args

import pytest

from deploy import commands, up
from deploy.topology import MAX_ENACTORS, Mode, SystemOptions
from fencepost import cli
from fencepost.network import PROFILES


def option(name):
    """Return an option of the command: its parameter and what it may be."""
    parameter = inspect.signature(commands.up).parameters[name]
    return parameter, get_args(get_args(parameter.annotation)[0])


def test_up_choices_and_defaults_are_those_of_the_system():
    """The command spells its choices out, so that --help need not import the system; they are the same."""
    defaults = {field.name: field.default for field in fields(SystemOptions)}

    assert set(option("mode")[1]) == {mode.value for mode in Mode}
    assert set(option("profile")[1]) == set(PROFILES)
    for name in ("mode", "profile", "enactors", "seed", "port_base", "redis_url", "reuse"):
        assert option(name)[0].default == defaults[name], name
    assert get_args(option("enactors")[0].annotation)[1].max == MAX_ENACTORS


@pytest.mark.parametrize(
    "arguments", [["--mode", "broken"], ["--enactors", "0"], ["--port-base", "70000"], ["--load", "0"], ["extra"]]
)
def test_up_wrong_usage_is_code_2(arguments, capsys):
    """What cannot be meant is refused with the usage text."""
    assert cli.run(["up", *arguments]) == 2
    assert "Usage: fencepost up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "buggy", "--without", "fence"], "a buggy system has no guards to be without (fence)"),
        (["--without", "wall"], "no guard wall; there are fence, "),
    ],
)
def test_up_guards_that_cannot_be_meant_are_code_2(arguments, words, capsys, tmp_path):
    """Nothing is started, and the message says what to leave out, or what there is."""
    assert cli.run(["up", "--run-dir", str(tmp_path / "run"), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_fresh_run_dir_counts_up(tmp_path):
    """Each start has a directory of its own, so that it begins with an empty store."""
    (tmp_path / "runs" / "0001").mkdir(parents=True)

    assert up.fresh_run_dir(tmp_path) == tmp_path / "runs" / "0002"


def test_fresh_run_dir_read_only_place_is_temporary(tmp_path, monkeypatch):
    """Where nothing can be written, logs and data go to a temporary directory."""
    monkeypatch.setattr(os, "access", lambda *_: False)

    found = up.fresh_run_dir(tmp_path)

    assert found.is_dir()
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    found.rmdir()


def test_screen_gone_is_no_error(monkeypatch):
    """A terminal that is closed, or `| head`, does not end a system."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        screen = up.Screen()

        screen.show("one")
        screen.show("two")

        monkeypatch.undo()
    assert not screen.colours
