"""The odds as tables, for a terminal."""

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table

from lab.odds.estimate import Rate
from lab.odds.findings import Row, Tallies, number, rows
from lab.odds.model import Setting
from lab.odds.sweep import Sweep, words

HEADINGS: Final = ("", "outages", "hours", "an hour", "95 %", "in an hour", "95 %", "stale flips an hour", "deepest")
NEARLY_CERTAIN: Final = 0.99


def table(sweeps: Sequence[Sweep], base: Setting, tallies: Tallies) -> RenderableType:
    """Return a table for each sweep; the base's row is marked."""
    return Group(*(_sweep(sweep, rows(sweep, base, tallies), getattr(base, sweep.field)) for sweep in sweeps))


def _sweep(sweep: Sweep, found: Sequence[Row], own: float) -> Table:
    drawn = Table(title=f"{sweep.name}: {sweep.about}", title_justify="left", header_style="bold")
    for heading in HEADINGS:
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in found:
        drawn.add_row(*cells(sweep, row), style="bold" if row.value == own else "")
    return drawn


def cells(sweep: Sweep, row: Row) -> tuple[str, ...]:
    """Return what a row says, for people."""
    tally, rate, odds = row.tally, row.rate, row.rate.probability
    return (
        words(sweep, row.value),
        str(tally.outages),
        f"{tally.hours:.2f}",
        number(rate.per_hour) if tally.outages else "-",
        _interval(rate, number),
        percent(odds.per_hour) if tally.outages else "-",
        _interval(odds, percent),
        number(tally.stale_flips / tally.hours),
        str(tally.deepest),
    )


def _interval(rate: Rate, text: Callable[[float], str]) -> str:
    low, high = text(rate.low), text(rate.high)
    if low == high:
        return low
    if rate.low:
        return f"{low} to {high}"
    return "any" if high.startswith(">") else f"below {high}"


def percent(share: float) -> str:
    """Return a probability; what is nearly certain is not rounded to certain."""
    if share > NEARLY_CERTAIN:
        return f"> {NEARLY_CERTAIN:.0%}".replace("%", " %")
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"  # noqa: PLR2004  -- two digits
