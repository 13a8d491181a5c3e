"""A benchmark's figures as one self-contained HTML page: bars with every round, and curves of cost against size."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Protocol

from lab.bench.figures import HEADINGS, Spread, Unit, cells, ratio_text
from lab.report.svg import Axis, escaped, tag

WIDTH, LEFT, RIGHT, TOP, ROW, FOOT = 760.0, 170.0, 120.0, 8.0, 34.0, 26.0
BAR: Final = 16.0
CURVE_HEIGHT: Final = 340.0
TICKS: Final = 6
HEADROOM: Final = 1.08
OURS: Final = "ours"
STYLE: Final = """
figure { margin: 0 0 24px; } figcaption { font-size: 13px; color: var(--soft); }
.bar { fill: var(--published); fill-opacity: .45; } .bar.ours { fill: var(--fixed); fill-opacity: .75; }
.whisker { fill: none; stroke: var(--ink); stroke-width: 1.2; } .run { fill: var(--ink); fill-opacity: .55; }
.chart .side { fill: var(--ink); font-size: 12px; } .chart .side.ours { font-weight: 700; }
.chart .figure { fill: var(--ink); font-size: 12px; } tr.ours { font-weight: 700; }
.curve { fill: none; stroke-width: 1.8; } .point { stroke: none; }
"""
COLOURS: Final = ("var(--fixed)", "var(--buggy)", "var(--good)", "var(--bad)", "var(--published)", "var(--soft)")


class Chart(Protocol):
    """One plot of a page."""

    @property
    def title(self) -> str:
        """What its figures are."""

    def drawn(self) -> str:
        """Return it as markup."""


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar for each side: its median, a whisker from least to most, a dot for each round.

    Attributes:
        title: what the figures are.
        sides: name -> its figures, all of one unit; the one called `ours` stands out.
        about: one sentence under the plot, "" for none.
    """

    title: str
    sides: Mapping[str, Spread]
    about: str = ""

    def drawn(self) -> str:
        """Return it as markup, with its table."""
        return tag("figure", self._svg(), tag("figcaption", escaped(self.about))) + self._table()

    def _svg(self) -> str:
        unit = next(iter(self.sides.values())).unit
        most = max((spread.most for spread in self.sides.values()), default=0.0) or 1.0
        x, height = Axis(0.0, HEADROOM * most, LEFT, WIDTH - RIGHT), TOP + ROW * len(self.sides) + FOOT
        bars = (
            part
            for number, (name, spread) in enumerate(self.sides.items())
            for part in _bar(name, spread, x, TOP + ROW * (number + 0.5))
        )
        return _svg(self.title, height, *_scale(x, height, unit), *bars)

    def _table(self) -> str:
        ours = self.sides.get(OURS)
        heads = ("", *HEADINGS, *(("ours / theirs",) if ours else ()))
        head = tag("tr", *(tag("th", escaped(heading), scope="col") for heading in heads))
        lines = (
            tag(
                "tr",
                tag("th", escaped(name), scope="row"),
                *(tag("td", escaped(cell)) for cell in cells(spread)),
                *((tag("td", ratio_text(ours, spread)),) if ours else ()),
                class_=_kind(name),
            )
            for name, spread in self.sides.items()
        )
        return tag("div", tag("table", tag("thead", head), tag("tbody", *lines)), class_="scroll")


@dataclass(frozen=True, slots=True)
class Curves:
    """Cost against size, both on logarithmic scales, so that a power law is a straight line.

    Attributes:
        title: what the figures are.
        points: name of a curve -> (size, cost), all above 0.
        x_words: what the size counts.
        unit: of the cost.
        about: one sentence under the plot, "" for none.
    """

    title: str
    points: Mapping[str, Sequence[tuple[float, float]]]
    x_words: str
    unit: Unit
    about: str = ""

    def drawn(self) -> str:
        """Return it as markup."""
        every = [point for points in self.points.values() for point in points]
        x = Axis(*_powers([size for size, _ in every]), LEFT, WIDTH - RIGHT)
        y = Axis(*_powers([cost for _, cost in every]), CURVE_HEIGHT - FOOT, TOP)
        curves = (
            part
            for number, (name, points) in enumerate(self.points.items())
            for part in _curve(name, points, (x, y), COLOURS[number % len(COLOURS)])
        )
        svg = _svg(self.title, CURVE_HEIGHT, *_decades(x, y, self.unit), *curves)
        return tag("figure", svg, tag("figcaption", escaped(f"{self.about} Across: {self.x_words}.".strip())))


def page(bench: str, charts: Sequence[Chart], *, said: Sequence[str], about: str, command: str) -> str:
    """Return the page.

    Args:
        bench: the benchmark's name.
        charts: its plots.
        said: what the figures say, a sentence each.
        about: how they were measured.
        command: what to type to see the same again.
    """
    body = (
        tag("header", tag("h1", "fencepost"), tag("p", escaped(f"bench {bench}"), class_="card")),
        tag("p", escaped(about)),
        *(tag("section", tag("h2", escaped(chart.title)), chart.drawn()) for chart in charts),
        tag("section", tag("h2", "What the figures say"), tag("ul", *(tag("li", escaped(words)) for words in said))),
        tag("section", tag("h2", "See it again"), tag("pre", escaped(command))),
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        tag("title", escaped(f"fencepost bench {bench}")),
        tag("style", (files("lab.report") / "page.css").read_text("utf-8") + STYLE),
    )
    return "<!DOCTYPE html>\n" + tag("html", tag("head", *head), tag("body", tag("main", *body)), lang="en") + "\n"


def _svg(label: str, height: float, *parts: str) -> str:
    box = f"0 0 {WIDTH:g} {height:g}"
    return tag("svg", *parts, viewBox=box, class_="chart", role="img", aria_label=label)


def _kind(name: str) -> str:
    return OURS if name == OURS else "peer"


def _bar(name: str, spread: Spread, x: Axis, middle: float) -> Iterator[str]:
    kind, end = _kind(name), x(spread.median)
    said = f"{name}: median {spread.unit.text(spread.median)} of {len(spread.runs)} rounds"
    top = middle - BAR / 2
    yield tag("text", escaped(name), x=LEFT - 10, y=middle + 4, class_=f"side {kind}", text_anchor="end")
    yield tag("rect", tag("title", escaped(said)), x=LEFT, y=top, width=end - LEFT, height=BAR, class_=f"bar {kind}")
    least, most = x(spread.least), x(spread.most)
    whisker = f"M{least:.1f} {middle - 4:.1f}v8M{least:.1f} {middle:.1f}H{most:.1f}M{most:.1f} {middle - 4:.1f}v8"
    yield tag("path", d=whisker, class_="whisker")
    yield from (tag("circle", cx=x(run), cy=middle, r=2, class_="run") for run in spread.runs)
    yield tag("text", escaped(spread.unit.text(spread.median)), x=most + 8, y=middle + 4, class_="figure")


def _scale(x: Axis, height: float, unit: Unit) -> Iterator[str]:
    step = _round_step(x.high / TICKS)
    for number in range(int(x.high / step) + 1):
        at = x(number * step)
        yield tag("line", x1=at, x2=at, y1=TOP, y2=height - FOOT, class_="grid")
        yield tag("text", _short(number * step, unit), x=at, y=height - 8, class_="tick", text_anchor="middle")


def _round_step(step: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)


def _short(value: float, unit: Unit) -> str:
    return f"{value:,.6g} {unit.words}"


def _powers(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten that enclose some values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _decades(x: Axis, y: Axis, unit: Unit) -> Iterator[str]:
    for power in range(int(x.low), int(x.high) + 1):
        yield tag("line", x1=x(power), x2=x(power), y1=TOP, y2=CURVE_HEIGHT - FOOT, class_="grid")
        yield tag("text", f"{10.0**power:,g}", x=x(power), y=CURVE_HEIGHT - 8, class_="tick", text_anchor="middle")
    for power in range(int(y.low), int(y.high) + 1):
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(power), y2=y(power), class_="grid")
        label = _short(10.0**power, unit)
        yield tag("text", escaped(label), x=LEFT - 8, y=y(power) + 4, class_="tick", text_anchor="end")


def _curve(name: str, points: Sequence[tuple[float, float]], axes: tuple[Axis, Axis], colour: str) -> Iterator[str]:
    x, y = axes
    places = [(x(math.log10(size)), y(math.log10(cost))) for size, cost in points]
    line = "".join(f"{'L' if number else 'M'}{at:.1f} {up:.1f}" for number, (at, up) in enumerate(places))
    yield tag("path", d=line, class_="curve", style=f"stroke: {colour}")
    for (at, up), (size, cost) in zip(places, points, strict=True):
        said = tag("title", escaped(f"{name}: {size:,g}, {cost:g}"))
        yield tag("circle", said, cx=at, cy=up, r=3.5, class_="point", style=f"fill: {colour}")
    at, up = places[-1]
    yield tag("text", escaped(name), x=at + 8, y=up + 4, class_="side", style=f"fill: {colour}")
