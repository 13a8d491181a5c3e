"""`python3 -m deploy`: what is decided before anything is installed."""

import ast
import fcntl
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import deploy
from fencepost import cli

SOURCE = Path(deploy.__file__).parent / "__main__.py"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with nothing but the files that the bootstrap reads."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").touch()
    (tmp_path / "deploy" / "__main__.py").write_bytes(SOURCE.read_bytes())
    (tmp_path / "requirements.lock").write_text("one==1\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


@pytest.fixture
def bootstrap(checkout):
    """The bootstrap, as it is loaded from that checkout."""
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", checkout / "deploy" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def finished(bootstrap):
    """The same, with a `.venv` that was finished: its programs say their name and arguments."""
    programs = bootstrap.VENV / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "fencepost"):
        (programs / name).write_text('#!/bin/sh\necho "$(basename "$0")" "$@" in "$PWD"\nexit 9\n')
        (programs / name).chmod(0o755)
    bootstrap.STAMP.write_text(bootstrap.fingerprint())
    return bootstrap


def start(checkout, *arguments, cwd="/"):
    """Run `python3 -m deploy ...` of a checkout."""
    command = [sys.executable, "-m", "deploy", *arguments]
    environment = {"PYTHONPATH": str(checkout), "PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_start_set_up_already_becomes_the_command_within_a_second(finished, checkout):
    """A second start costs next to nothing, and is the command: its arguments, its output, its exit code."""
    began_s = time.monotonic()
    result = start(checkout, "explore", "--seed", "7")

    assert time.monotonic() - began_s < 1
    assert (result.returncode, result.stdout, result.stderr) == (9, "fencepost explore --seed 7 in /\n", "")


def test_start_test_runs_the_suite_in_the_checkout(finished, checkout):
    """`test` is pytest, from the checkout's root, with further arguments passed on."""
    result = start(checkout, "test", "-k", "tether")

    assert (result.returncode, result.stdout) == (9, f"python -m pytest -k tether in {checkout}\n")


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_is_set_up_files_changed_is_done_again(finished, checkout, changed):
    """A changed dependency or project file makes `.venv` out of date."""
    assert finished.is_set_up()

    (checkout / changed).write_text("something else\n")

    assert not finished.is_set_up()


def test_is_set_up_other_interpreter_is_done_again(finished, monkeypatch):
    """A `.venv` of another Python is no use, nor one whose Python is gone."""
    monkeypatch.setattr(sys, "version", "3.99")
    assert not finished.is_set_up()
    monkeypatch.undo()

    (finished.VENV / "bin" / "python").unlink()

    assert not finished.is_set_up()


def test_set_up_interrupted_is_not_finished(bootstrap, monkeypatch):
    """The stamp comes last: a set-up that failed half-way is done again by the next start."""

    def fails(*arguments):
        raise subprocess.CalledProcessError(1, arguments)

    monkeypatch.setattr(bootstrap, "pip", fails)
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: bootstrap.VENV.mkdir())

    with pytest.raises(subprocess.CalledProcessError):
        bootstrap.set_up()

    assert not bootstrap.is_set_up()


def test_set_up_fails_is_one_error_with_the_remedy(bootstrap, monkeypatch, capsys):
    """A package index that is away is exit code 3 and says what to look at."""

    def fails():
        raise subprocess.CalledProcessError(1, ["pip", "install"])

    monkeypatch.setattr(bootstrap, "set_up", fails)

    assert bootstrap.main() == 3
    assert "Is the package index reachable" in capsys.readouterr().err


def test_set_up_interrupted_by_a_person_says_so(bootstrap, monkeypatch, capsys):
    """Ctrl-C is no traceback."""

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "set_up", interrupted)

    assert bootstrap.main() == 130
    assert "the next start does it again" in capsys.readouterr().err


def test_main_python_too_old_is_told(bootstrap, monkeypatch, capsys):
    """An old Python gets one sentence and exit code 3."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))

    assert bootstrap.main() == 3
    assert "is too old; run this with Python 3.11 or newer" in capsys.readouterr().err


def test_bootstrap_has_nothing_that_an_old_python_cannot_read():
    """The file must get as far as its own check: annotations are not evaluated, no newer syntax is used."""
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 7))

    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)


def test_main_outside_a_checkout_passes_the_command_on(bootstrap, checkout, monkeypatch):
    """Installed from a wheel, `python -m deploy up` is `fencepost up`."""
    (checkout / "requirements.lock").unlink()
    monkeypatch.setattr(cli, "run", lambda arguments: arguments)
    monkeypatch.setattr(sys, "argv", ["deploy", "up", "--mode", "fixed"])

    assert bootstrap.main() == ["up", "--mode", "fixed"]


def test_one_at_a_time_second_start_waits(finished, checkout):
    """Two starts at once set up once: the second one waits until the first one lets go."""
    with (checkout / ".set-up.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "deploy", "up"]
        second = subprocess.Popen(command, cwd="/", env={"PYTHONPATH": str(checkout)}, stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.3)

    assert second.communicate(timeout=5)[0] == b"fencepost up in /\n"
