"""What a drill came to: figures in a short table, and the promises that they hold or break."""

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

SHORT: Final = 12
"""So many characters of a cell are never broken."""


class Promise(msgspec.Struct, frozen=True):
    """One thing that must be true; `detail` has the numbers that say whether it is."""

    claim: str
    held: bool
    detail: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a drill.

    Attributes:
        drill: its name.
        title: what was done to which system.
        columns, rows: the table; the first column says what a row is about.
        promises: in the order in which they matter.
        notes: further lines for people: what processes said, in their words.
        figures: everything measured, by name, JSON-able.
    """

    drill: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    promises: tuple[Promise, ...]
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = {}

    @property
    def held(self) -> bool:
        """Whether every promise held."""
        return all(promise.held for promise in self.promises)

    def document(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {"drill": self.drill, "held": self.held, "promises": self.promises, "figures": self.figures}

    def shown(self) -> RenderableType:
        """Return the result for people."""
        table = Table(title=self.title, title_justify="left", header_style="bold")
        for number, column in enumerate(self.columns):
            is_figure = number == 1 and len(self.columns) == 2  # noqa: PLR2004  -- what, and how much of it
            # Short figures stay in one piece, and what a row is about gives way on a narrow terminal.
            longest = max((len(row[number]) for row in self.rows), default=0)
            table.add_column(
                column,
                justify="right" if is_figure else "left",
                overflow="fold",
                min_width=longest if number and longest <= SHORT else None,
            )
        for row in self.rows:
            table.add_row(*map(Text, row))
        notes = (Text(note) for note in self.notes)
        return Group(table, *notes, *map(promise_line, self.promises), self._verdict())

    def _verdict(self) -> Text:
        if self.held:
            return Text(f"{self.drill}: held, all of {len(self.promises)} promises", style="bold green")
        broken = sum(not promise.held for promise in self.promises)
        return Text(f"{self.drill}: NOT held, {broken} of {len(self.promises)} promises broken", style="bold red")


def promise_line(promise: Promise) -> Text:
    """Return a promise for people: held or BROKEN, and by which numbers."""
    word, style = ("held", "green") if promise.held else ("BROKEN", "bold red")
    return Text.assemble((f"{word:>6}  ", style), f"{promise.claim}: {promise.detail}")


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that this share of all is not above, None of nothing."""
    in_order = sorted(values)
    return in_order[max(0, math.ceil(share * len(in_order)) - 1)] if in_order else None


def milliseconds(value: float | None) -> str:
    """Return a span for people; "-" where there is none."""
    return "-" if value is None else f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"  # noqa: PLR2004
