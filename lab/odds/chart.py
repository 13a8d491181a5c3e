"""One sweep as a plot: the rate at each value with its interval, on a logarithmic scale."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from lab.odds.findings import Row, number
from lab.odds.sweep import Sweep, words
from lab.report.svg import Axis, escaped, tag

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 620.0, 250.0, 56.0, 12.0, 10.0, 26.0
CAP: Final = 5.0
"""Half of the width of an interval's ends."""


def decades(found: Sequence[Row]) -> tuple[int, int]:
    """Return the powers of ten between which all intervals are drawn; ends at 0 do not count."""
    ends = [end for row in found for end in row.rate if 0 < end < math.inf] or [1.0]
    low, high = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))
    return low, max(high, low + 1)


def chart(sweep: Sweep, found: Sequence[Row], scale: tuple[int, int], *, own: float, mode: str) -> str:
    """Return the plot; `scale` is of all plots of a page, so that they can be compared. `own` is the base's value."""
    y = Axis(*scale, HEIGHT - FOOT, TOP)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(found))
    marks = (
        part
        for place, row in enumerate(found)
        for part in _row(sweep, row, LEFT + (place + 0.5) * step, y, is_base=row.value == own)
    )
    frame = tag("rect", x=LEFT, y=TOP, width=WIDTH - LEFT - RIGHT, height=HEIGHT - FOOT - TOP, class_="plot")
    svg = tag(
        "svg",
        frame,
        *_grid(y, scale),
        tag("g", *marks, class_=f"odds {mode}"),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        class_="chart",
        role="img",
        aria_label=f"outages an hour by {sweep.about}",
    )
    return tag("figure", svg, tag("figcaption", escaped(sweep.about)))


def _grid(y: Axis, scale: tuple[int, int]) -> Iterator[str]:
    for power in range(scale[0], scale[1] + 1):
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(power), y2=y(power), class_="grid")
        yield tag("text", f"{10.0**power:g}", x=LEFT - 8, y=y(power) + 4, class_="tick", text_anchor="end")


def _row(sweep: Sweep, row: Row, x: float, y: Axis, *, is_base: bool) -> Iterator[str]:
    label = words(sweep, row.value)
    yield tag(
        "text", escaped(label), x=x, y=HEIGHT - 8, class_="tick base" if is_base else "tick", text_anchor="middle"
    )
    rate, tally = row.rate, row.tally
    high = y(math.log10(rate.high))
    said = f"{label}: {tally.outages} outages in {tally.hours:.2f} h"
    if not tally.outages:
        foot = HEIGHT - FOOT
        yield tag("path", tag("title", escaped(said)), d=_ceiling(x, high, foot), class_="span none")
        yield tag("text", f"< {number(rate.high)}", x=x + 8, y=high + 4, class_="tick")
        return
    low, middle = y(math.log10(rate.low)), y(math.log10(rate.per_hour))
    yield tag("path", tag("title", escaped(said)), d=_bar(x, high, low), class_="span")
    yield tag("circle", cx=x, cy=middle, r=5 if is_base else 4, class_="rate")
    yield tag("text", number(rate.per_hour), x=x + 9, y=middle + 4, class_="tick")


def _bar(x: float, high: float, low: float) -> str:
    return f"M{x - CAP:.1f} {high:.1f}h{2 * CAP}M{x:.1f} {high:.1f}V{low:.1f}M{x - CAP:.1f} {low:.1f}h{2 * CAP}"


def _ceiling(x: float, high: float, foot: float) -> str:
    """An upper bound: a cap, and an arrow down to nothing."""
    return (
        f"M{x - CAP:.1f} {high:.1f}h{2 * CAP}M{x:.1f} {high:.1f}V{foot - 2:.1f}m{-CAP} {-CAP}l{CAP} {CAP}l{CAP} {-CAP}"
    )
