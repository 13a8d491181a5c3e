"""The command line. Each room registers its commands through the entry point group `fencepost.commands`."""

import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer
from typer import rich_utils

from fencepost.errors import FencepostError, StartupError, UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_INTERRUPTED, EXIT_NOT_STARTED, EXIT_USAGE


def build_app() -> typer.Typer:
    """Return the command line with every room's commands."""
    app = typer.Typer(
        name="fencepost",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        help="DNS automation with fenced plans, the outage that it prevents, and the lab that compares the two.",
        epilog="Exit codes: 0 fine, 1 a check failed, 2 wrong usage, 3 could not start.",
    )
    app.callback()(_options)
    for entry_point in sorted(entry_points(group="fencepost.commands"), key=lambda found: found.name):
        entry_point.load()(app)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fencepost {version('fencepost')}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before the command; its help is the application's."""


def main() -> None:
    """Run the command line; every error that we raise on purpose is one line on stderr."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code: what the command returned, if that is a number."""
    command = typer.main.get_command(build_app())
    try:
        status = command.main(arguments, prog_name="fencepost", standalone_mode=False)
    except typer.TyperException as error:
        rich_utils.rich_format_error(error)  # type: ignore[arg-type]  # it asks for typer's private base of it
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except FencepostError as error:
        sys.stderr.write(f"error: {error}\n")
        return _code(error)
    return status if isinstance(status, int) else EXIT_FINE


def _code(error: FencepostError) -> int:
    if isinstance(error, UsageError):
        return EXIT_USAGE
    return EXIT_NOT_STARTED if isinstance(error, StartupError) else EXIT_CHECK_FAILED
