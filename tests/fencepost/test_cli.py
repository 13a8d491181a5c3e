"""The command line's frame: exit codes, usage errors, version; whatever click typer brings along."""

from importlib.metadata import version
from unittest.mock import patch

import pytest
import typer

from fencepost import cli
from fencepost.errors import PlanNotFound, StartupError


def failing_app(error: BaseException | None = None, status: int | None = None) -> typer.Typer:
    """Return the real application with one more command, which ends as asked."""
    app = cli.build_app()

    @app.command("probe")
    def probe(count: int = typer.Option(1, min=1)) -> int | None:
        if error is not None:
            raise error
        return status

    return app


def run(arguments: list[str], app: typer.Typer) -> int:
    """Run a command line of this application."""
    with patch.object(cli, "build_app", lambda: app):
        return cli.run(arguments)


@pytest.mark.parametrize("arguments", [["--nope"], ["no-such-command"], ["probe", "--count", "0"], ["probe", "extra"]])
def test_cli_wrong_usage_gives_code_2_and_usage(arguments, capsys):
    """Wrong usage is exit code 2, with the usage text on standard error."""
    assert run(arguments, failing_app()) == 2

    assert "Usage: fencepost" in capsys.readouterr().err


def test_cli_without_arguments_shows_help(capsys):
    """`fencepost` alone shows the help, whose last words are the exit codes."""
    cli.run([])

    assert "Exit codes: 0 fine" in capsys.readouterr().out


def test_cli_help_is_fine(capsys):
    """--help and -h are not errors."""
    assert cli.run(["--help"]) == 0
    assert cli.run(["-h"]) == 0


def test_cli_version_names_the_installed_version(capsys):
    """--version says what is installed."""
    assert cli.run(["--version"]) == 0

    assert capsys.readouterr().out == f"fencepost {version('fencepost')}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StartupError("port 5300 is in use"), 3),
        (PlanNotFound(7, oldest=1, latest=5), 1),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (typer.Exit(4), 4),
    ],
)
def test_cli_command_raises_gives_its_code(error, code):
    """What a command raises on purpose decides the exit code."""
    assert run(["probe"], failing_app(error)) == code


def test_cli_our_error_is_one_line_on_stderr(capsys):
    """Our own errors come without a traceback."""
    run(["probe"], failing_app(StartupError("port 5300 is in use")))

    assert capsys.readouterr().err == "error: port 5300 is in use\n"


@pytest.mark.parametrize(("status", "code"), [(None, 0), (0, 0), (1, 1)])
def test_cli_command_returns_its_exit_code(status, code):
    """A command's returned number is the exit code; nothing returned is fine."""
    assert run(["probe"], failing_app(status=status)) == code
