"""The odds as one self-contained HTML page, in the style of the other reports."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import msgspec

from lab.odds.chart import chart, decades
from lab.odds.findings import Row, Tallies, rows
from lab.odds.model import Setting
from lab.odds.sweep import Sweep
from lab.odds.table import HEADINGS, cells
from lab.report.svg import escaped, tag

STYLE: Final = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 12px 28px; }
figure { margin: 0; } figcaption { text-align: center; font-size: 13px; color: var(--soft); }
.span { fill: none; stroke: var(--fixed); stroke-width: 1.6; } .span.none { stroke-dasharray: 4 3; }
.rate { fill: var(--fixed); } .buggy .span { stroke: var(--buggy); } .buggy .rate { fill: var(--buggy); }
.chart .base { font-weight: 700; fill: var(--ink); } tr.base { font-weight: 700; }
"""
WORDS: Final = (
    "The shipped enactors in virtual time, over links with random delays, under plans at random instants; nothing is "
    "scripted. A point is the rate of outages (an endpoint is emptied, I1), its bar the interval of 95 %. Where there "
    "was none at all, an arrow hangs from the bound. Bold is the base, which is the same in every plot."
)


def page(sweeps: Sequence[Sweep], base: Setting, tallies: Tallies, *, said: Sequence[str], command: str) -> str:
    """Return the page; `said` is what the figures say, `command` what to type to see the same again."""
    found = [(sweep, rows(sweep, base, tallies)) for sweep in sweeps]
    scale = decades([row for _, those in found for row in those])
    plots = (chart(sweep, those, scale, own=getattr(base, sweep.field), mode=base.mode) for sweep, those in found)
    body = (
        tag("header", tag("h1", "fencepost"), tag("p", f"The odds of an outage: {base.mode}", class_="card")),
        tag("p", WORDS),
        tag("section", tag("h2", "Outages an hour"), tag("div", *plots, class_="plots")),
        tag("section", tag("h2", "What the figures say"), tag("ul", *(tag("li", escaped(words)) for words in said))),
        tag("section", tag("h2", "Figures"), *(_table(sweep, those, base) for sweep, those in found)),
        tag("section", tag("h2", "See it again"), tag("pre", escaped(command)), _base(base)),
    )
    style = (files("lab.report") / "page.css").read_text("utf-8") + STYLE
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        tag("title", "fencepost odds"),
        tag("style", style),
    )
    return "<!DOCTYPE html>\n" + tag("html", tag("head", *head), tag("body", tag("main", *body)), lang="en") + "\n"


def _table(sweep: Sweep, found: Sequence[Row], base: Setting) -> str:
    head = tag("tr", *(tag("th", escaped(heading), scope="col") for heading in HEADINGS))
    lines = (
        tag("tr", *(tag("td", escaped(cell)) for cell in cells(sweep, row)), class_=_kind(row, sweep, base))
        for row in found
    )
    table = tag("table", tag("thead", head), tag("tbody", *lines))
    return tag("h3", escaped(f"{sweep.name}: {sweep.about}")) + tag("div", table, class_="scroll")


def _kind(row: Row, sweep: Sweep, base: Setting) -> str:
    return "base" if row.value == getattr(base, sweep.field) else "other"


def _base(base: Setting) -> str:
    lines = (
        tag("tr", tag("th", escaped(name), scope="row"), tag("td", escaped(str(value))))
        for name, value in msgspec.to_builtins(base).items()
    )
    return tag("table", tag("tbody", *lines), class_="parameters")
