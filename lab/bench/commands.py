"""`fencepost bench`: ours beside programs that people know, in the same run. Each imports what it needs when run."""

from pathlib import Path
from typing import Annotated

import typer

from lab.options import JsonFile

Rounds = Annotated[int, typer.Option(help="How often each side is measured, after one round that does not count.")]
HtmlFile = Annotated[Path | None, typer.Option(help="Write a page with plots there.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Measure ours and its peers in the same run, in turns, and say both figures and their ratio.",
    epilog="Exit codes: 0 measured, 1 a side did not do what is measured, 3 a peer is not installed, 130 after Ctrl-C.",
)


def register(parent: typer.Typer) -> None:
    """Add `bench` and what belongs to it to the command line."""
    parent.add_typer(app, name="bench")


@app.callback()
def _bench() -> None:
    """Keep `bench` a group of commands while it has only one."""


@app.command()
def explore(
    *,
    rounds: Rounds = 5,
    promela: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A model of your own, or a published one, for Spin. Default: lab/bench/incident.pml."
        ),
    ] = None,
    claim: Annotated[str, typer.Option(help="Which of the model's claims. Default: its first.")] = "",
    json: JsonFile = None,
    html: HtmlFile = None,
) -> int:
    """How long until the outage is found: `fencepost explore --mode buggy`, and the model checker Spin.

    Ours is timed from the start of a fresh process to its end, and has to break I1 (an endpoint is empty) and I5 (it is
    stuck). Spin is timed from the model's text to its counterexample: `spin -a`, `gcc -O2`, `./pan -a`; the model needs
    a claim that is violated. Times are medians over rounds in which both run, each first in turn.

    Needs spin and gcc: `apt-get install spin gcc`.

    Exit code: 0 when both found it in every round, 1 when one did not, 3 when spin or gcc is missing.
    """
    from lab.bench.explore import MODEL, ExploreOptions, run_explore_bench
    from lab.compare import Outputs

    return run_explore_bench(ExploreOptions(rounds, promela or MODEL, claim), Outputs(json, html))
