"""`fencepost mutants`. It imports what it needs when it is run."""

from typing import Annotated

import typer

from fencepost.exit_codes import EXIT_FINE
from lab.options import JsonFile


def register(app: typer.Typer) -> None:
    """Add `mutants` to the command line."""
    app.command()(mutants)


def mutants(
    *,
    only: Annotated[str, typer.Option(metavar="ID[,ID]", help="Which mutants. Default: all that `--list` shows.")] = "",
    show: Annotated[
        bool, typer.Option("--list", help="Show the mutants and what has to catch each; try none.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, max=8, help="Trials at a time; each takes about a core.")] = 2,
    limit: Annotated[float, typer.Option(min=1, help="How long one trial may take, seconds.")] = 120.0,
    explore_with: Annotated[
        str | None,
        typer.Option(
            metavar="ARGS",
            help="Instead, try every mutant with `fencepost explore ARGS`, and only say which are caught: "
            "'--mode fixed --schedules 20000 --seed 1'.",
        ),
    ] = None,
    json: JsonFile = None,
) -> int:
    """Plant small faults in the fixed protocol, one at a time: is each caught by the explorer or by its test?

    A fault stands in the code that one child process imports; no file is changed. First the code as it ships has to
    pass all that is to catch a fault. Then each mutant is tried in every way that the catalogue names for it, and each
    of these has to catch it. Mutants that are known to survive are tried too, and told with the reason. It needs a
    checkout with its tests, and takes a few minutes on two cores.

    Exit code: 0 when all is as the catalogue says, 1 when a mutant survived that has to be caught (or was caught though
    it is said to survive, or could not be tried), or when the code as it ships does not pass; 130 after Ctrl-C.
    """
    from rich.console import Console

    from lab.mutants.check import PLAIN_WIDTH, MutantsOptions, chosen, run_mutants
    from lab.mutants.result import catalogue_table

    found = chosen(only)
    if show:
        shown = Console() if Console().is_terminal else Console(width=PLAIN_WIDTH)
        shown.print(catalogue_table(found))
        return EXIT_FINE
    return run_mutants(MutantsOptions(found, jobs=jobs, limit_s=limit, explore_with=explore_with), json)
