"""What every benchmark ends with: figures for people, a file for programs, a page with plots."""

import asyncio
import shlex
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop
from rich.console import Console, RenderableType
from rich.text import Text

from fencepost.exit_codes import EXIT_INTERRUPTED
from lab.bench.plot import Chart, page
from lab.compare import Outputs, interruptible
from lab.load_command import write_json


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark came to.

    Attributes:
        bench: its name.
        document: for programs; see `lab.bench.figures.document`.
        tables: for a terminal.
        charts: for the page.
        said: what the figures say, a sentence each.
        about: how they were measured, for the page.
    """

    bench: str
    document: dict[str, Any]
    tables: Sequence[RenderableType]
    charts: Sequence[Chart]
    said: Sequence[str]
    about: str


def tell(result: Result, outputs: Outputs, console: Console) -> None:
    """Show a result, and write it where it is wanted."""
    for table in result.tables:
        console.print(table)
    for words in result.said:
        console.print(Text(words), soft_wrap=True)
    if outputs.json_path is not None:
        write_json(outputs.json_path, result.document)
        console.print(Text(f"figures: {outputs.json_path}"), soft_wrap=True)
    if outputs.html_path is not None:
        command = "fencepost " + shlex.join(sys.argv[1:])
        html = page(result.bench, result.charts, said=result.said, about=result.about, command=command)
        outputs.html_path.write_text(html, "utf-8")
        console.print(Text(f"page: {outputs.html_path}"), soft_wrap=True)


def run_interruptible(work: Coroutine[Any, Any, int], progress: Console, done: Sequence[object]) -> int:
    """Run a benchmark to its exit code; Ctrl-C ends all that it started, and says after how many rounds.

    `done` has one item for each round that is done by then.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(interruptible(work))
        except asyncio.CancelledError:
            progress.print(Text(f"interrupted after {len(done)} rounds; nothing is left running"), soft_wrap=True)
            return EXIT_INTERRUPTED
