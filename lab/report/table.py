"""A comparison as a table for the terminal."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.report.figures import figures
from lab.report.judged import Judged
from lab.report.verdict import sentence

SHOWN_VIOLATIONS = 5


def table(modes: Mapping[str, Judged]) -> RenderableType:
    """Return modes side by side, what is bad in red, the first violations of each, and the verdict."""
    shown = Table(title=_title(modes), title_justify="left", header_style="bold")
    shown.add_column("")
    columns = {mode: figures(judged.result) for mode, judged in modes.items()}
    for mode in columns:
        shown.add_column(mode, justify="right")
    for row in zip(*columns.values(), strict=True):
        shown.add_row(row[0].label, *(Text(cell.text, style="bold red" if cell.is_bad else "") for cell in row))
    return Group(shown, *_violations(modes), *_verdict(modes))


def _title(modes: Mapping[str, Judged]) -> str:
    run = next(iter(modes.values())).history.run
    return f"seed {run.seed}, network {run.profile}, {run.duration_s:g} s of changes per mode"


def _violations(modes: Mapping[str, Judged]) -> list[Text]:
    lines = []
    for mode, judged in modes.items():
        lines += [f"{mode}  {v.invariant}  {v.endpoint}  {v.detail}" for v in judged.violations[:SHOWN_VIOLATIONS]]
        if (more := len(judged.violations) - SHOWN_VIOLATIONS) > 0:
            lines.append(f"{mode}  and {more} more; `fencepost check` lists all")
    return [Text(line, style="red") for line in lines]


def _verdict(modes: Mapping[str, Judged]) -> list[Text]:
    return [
        Text(sentence(mode, judged), style="bold red" if judged.violations else "bold green")
        for mode, judged in modes.items()
    ]
