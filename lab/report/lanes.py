"""One endpoint's lanes: the root's generation over time, what went wrong, and what the canary was answered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from lab.history import Probe
from lab.invariants.timeline import Mark, MarkKind, Point
from lab.report.judged import Judged
from lab.report.sampling import Sample, Span, strip, thin
from lab.report.svg import Axis, escaped, step_path, tag

WIDTH: Final = 1200.0
LEFT: Final = 118.0
RIGHT: Final = 12.0
PLOT_HEIGHT: Final = 84.0
STRIP_HEIGHT: Final = 9.0
STRIP_GAP: Final = 3.0
LANE_GAP: Final = 12.0
AXIS_HEIGHT: Final = 20.0
LANE_HEIGHT: Final = PLOT_HEIGHT + STRIP_GAP + STRIP_HEIGHT + LANE_GAP
COLUMNS: Final = 400
MAX_MARKS: Final = 60
NEAR_LEFT_EDGE: Final = 0.3
NEAR_RIGHT_EDGE: Final = 0.72
WIDE_ENOUGH: Final = 0.36
"""Shares of the width: where labels change sides, and what an outage needs to be labelled inside."""

EMPTY, SILENT, GOOD = "empty", "silent", "good"
SYMBOLS: Final = {MarkKind.STALE_FLIP: "M-6 -5L6 -5L0 6Z", MarkKind.LIVE_TREE_CUT: "M-5 -5L5 5M5 -5L-5 5"}


class Window(NamedTuple):
    """What part of a run a chart shows: seconds after the start, and generations."""

    start_s: float
    end_s: float
    low: float
    high: float

    @property
    def x(self) -> Axis:
        """The time axis."""
        return Axis(self.start_s, self.end_s, LEFT, WIDTH - RIGHT)

    def y(self, top: float, height: float = PLOT_HEIGHT) -> Axis:
        """The axis of generations of a plot that begins at `top`."""
        return Axis(self.low, self.high, top + height - 4, top + 6)


def endpoint_chart(endpoint: str, modes: Mapping[str, Judged], window: Window, probes: "ProbesOf") -> str:
    """Return one endpoint's chart: a lane for each mode, one above the other, on one time axis."""
    height = len(modes) * LANE_HEIGHT + AXIS_HEIGHT
    lanes = [
        lane(mode, judged, endpoint, window, top=number * LANE_HEIGHT, probes=probes[mode].get(endpoint, ()))
        for number, (mode, judged) in enumerate(modes.items())
    ]
    return chart(height, time_axis(window.x, height), *lanes, label=f"time line of {endpoint}", axis=window.x)


def chart(height: float, *children: str, label: str, axis: Axis) -> str:
    """Return a chart; the script reads its time axis from the data attributes to draw the hair line."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        class_="chart",
        role="img",
        aria_label=label,
        data_start=f"{axis.low:.6g}",
        data_end=f"{axis.high:.6g}",
        data_left=axis.start,
        data_right=axis.end,
    )


ProbesOf = Mapping[str, Mapping[str, Sequence[Probe]]]
"""Mode, then endpoint, to its probes."""


def time_axis(x: Axis, height: float) -> str:
    """Return vertical grid lines with their seconds below."""
    lines = []
    for tick in x.ticks():
        lines.append(tag("line", x1=x(tick), x2=x(tick), y1=0, y2=height - AXIS_HEIGHT, class_="grid"))
        lines.append(tag("text", f"{tick:g} s", x=x(tick), y=height - 5, class_="tick", text_anchor="middle"))
    return "".join(lines)


def lane(mode: str, judged: Judged, endpoint: str, window: Window, *, top: float, probes: Sequence[Probe]) -> str:
    """Return one mode's lane of an endpoint."""
    line, y = judged.timelines.get(endpoint), window.y(top)
    points = line.points if line else ()
    marks = [mark for mark in (line.marks if line else ()) if _shown(judged, mark, window)]
    parts = (
        tag("rect", x=LEFT, y=top, width=window.x(judged.seconds) - LEFT, height=PLOT_HEIGHT, class_="plot"),
        *outage_shapes(judged, points, window, top=top, height=PLOT_HEIGHT),
        published(judged, window, y),
        root_lines(judged, points, window, y),
        *y_labels(mode, window, y, top + PLOT_HEIGHT),
        *(_symbol(judged, mark, window, y) for mark in marks[:MAX_MARKS]),
        _labels(judged, marks, window, top),
        *answers(judged, probes, window, top + PLOT_HEIGHT + STRIP_GAP),
    )
    return tag("g", *parts, class_=f"lane {mode}")


def _shown(judged: Judged, mark: Mark, window: Window) -> bool:
    return window.start_s <= judged.history.run.seconds(mark.at_us) <= window.end_s


def y_labels(mode: str, window: Window, y: Axis, bottom: float) -> Iterator[str]:
    """Return the mode's name, the lowest and the highest generation, and what the strip below is."""
    yield tag("text", escaped(mode), x=8, y=(y.start + y.end) / 2 + 5, class_="mode")
    yield tag("text", "answers", x=LEFT - 8, y=bottom + STRIP_GAP + 8, class_="tick", text_anchor="end")
    for value, shift in ((window.low, 0), (window.high, 4)):
        yield tag("text", f"plan {value:.0f}", x=LEFT - 8, y=y(value) + shift, class_="tick", text_anchor="end")


def outages(judged: Judged, points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return when an endpoint was empty: (from, to) in seconds after the start."""
    run = judged.history.run
    found: list[tuple[float, float]] = []
    for point, until_us in lasting_until(judged, points):
        if point.is_empty:
            start_s, end_s = run.seconds(point.at_us), run.seconds(until_us)
            if found and found[-1][1] == start_s:
                start_s = found.pop()[0]
            found.append((start_s, end_s))
    return found


def lasting_until(judged: Judged, points: Sequence[Point]) -> list[tuple[Point, int]]:
    """Return each point with the instant at which the next one takes over, the end for the last one."""
    ends = [point.at_us for point in points[1:]] + [max(judged.history.end_us, point.at_us) for point in points[-1:]]
    return list(zip(points, ends, strict=True))


def outage_shapes(
    judged: Judged, points: Sequence[Point], window: Window, *, top: float, height: float
) -> Iterator[str]:
    """Return the shaded spans in which an endpoint had no address."""
    for start_s, end_s in outages(judged, points):
        if end_s < window.start_s or start_s > window.end_s:
            continue
        x1, x2 = window.x(start_s), window.x(end_s)
        words = f"no address from {start_s:.3f} s for {end_s - start_s:.3f} s"
        common = {"x": x1, "y": top, "width": max(1.5, x2 - x1), "height": height}
        yield tag("rect", tag("title", escaped(words)), class_="outage", **common)
        yield tag("rect", class_="hatched", **common)
        if x2 - x1 > WIDTH * WIDE_ENOUGH:
            text = f"no address for {end_s - start_s:.1f} s" + (", to the end" if end_s >= judged.seconds else "")
            yield tag("text", text, x=x2 - 10, y=top + 20, class_="outage-label", text_anchor="end")


def published(judged: Judged, window: Window, y: Axis) -> str:
    """Return the line of what the planner had published: where a root should be."""
    run = judged.history.run
    samples = [Sample(run.seconds(plan.published_ms * 1000), plan.generation) for plan in judged.history.plans]
    return tag(
        "path",
        d=step_path(visible(samples, window), window.x, y, min(window.end_s, judged.seconds)),
        class_="published",
    )


def visible(samples: Sequence[Sample], window: Window) -> list[Sample]:
    """Return the samples of a window, thinned out, beginning with what was in force at its start."""
    before = [sample._replace(at_s=window.start_s) for sample in samples if sample.at_s <= window.start_s][-1:]
    inside = [sample for sample in samples if window.start_s < sample.at_s <= window.end_s]
    moved = [sample._replace(at_s=sample.at_s - window.start_s) for sample in before + inside]
    thinned = thin(moved, COLUMNS, window.end_s - window.start_s)
    return [sample._replace(at_s=sample.at_s + window.start_s) for sample in thinned]


class Piece(NamedTuple):
    """An unbroken piece of a root's line."""

    is_empty: bool
    samples: list[Sample]
    end_s: float


def pieces(judged: Judged, points: Sequence[Point]) -> list[Piece]:
    """Return a root's line in pieces: broken where the root shows no generation, and where it becomes empty."""
    run, found = judged.history.run, list[Piece]()
    for point, until_us in lasting_until(judged, points):
        if point.generation is None:
            continue
        sample, until_s = Sample(run.seconds(point.at_us), point.generation), run.seconds(until_us)
        last = found[-1] if found else None
        if last and (last.is_empty, last.end_s) == (point.is_empty, sample.at_s):
            last.samples.append(sample)
            found[-1] = last._replace(end_s=until_s)
        else:
            found.append(Piece(point.is_empty, [sample], until_s))
    return found


def root_lines(judged: Judged, points: Sequence[Point], window: Window, y: Axis) -> str:
    """Return the root's generation as step lines, in red while the root is empty."""
    return "".join(
        tag(
            "path",
            d=step_path(visible(piece.samples, window), window.x, y, min(piece.end_s, window.end_s)),
            class_="root dead" if piece.is_empty else "root",
        )
        for piece in pieces(judged, points)
        if piece.samples[0].at_s <= window.end_s and piece.end_s >= window.start_s
    )


def _symbol(judged: Judged, mark: Mark, window: Window, y: Axis) -> str:
    at_s = judged.history.run.seconds(mark.at_us)
    place = f"translate({window.x(at_s):.1f} {y(mark.generation or window.low):.1f})"
    kind = "stale" if mark.kind is MarkKind.STALE_FLIP else "cut"
    title = tag("title", escaped(f"{at_s:.3f} s: {mark.text}"))
    return tag("path", title, d=SYMBOLS[mark.kind], transform=place, class_=f"mark {kind}")


def _labels(judged: Judged, marks: Sequence[Mark], window: Window, top: float) -> str:
    """Return words beside the first deletion and the stale flip that led to it; all other marks have a tool tip."""
    cuts = [mark for mark in marks if mark.kind is MarkKind.LIVE_TREE_CUT]
    flips = [mark for mark in marks if mark.kind is MarkKind.STALE_FLIP]
    fatal = sum(mark.at_us <= cuts[0].at_us for mark in flips) if cuts else min(1, len(flips))
    labels = []
    for row, (of_kind, number) in enumerate(((flips, fatal), (cuts, min(1, len(cuts))))):
        if number:
            mark = of_kind[number - 1]
            is_high = (mark.generation or 0) > (window.low + window.high) / 2
            y = top + (PLOT_HEIGHT - 24 if is_high else 16) + 14 * row
            count = f" ({number} of {len(of_kind)})" if len(of_kind) > 1 else ""
            at_s = judged.history.run.seconds(mark.at_us)
            labels.append(_label(f"{mark.kind}, {at_s:.2f} s{count}", window.x(at_s), y, prefer_left=not row))
    return "".join(labels)


def _label(words: str, x: float, y: float, *, prefer_left: bool) -> str:
    on_left = x > WIDTH * (NEAR_LEFT_EDGE if prefer_left else NEAR_RIGHT_EDGE)
    anchor, shift = ("end", -11) if on_left else ("start", 11)
    return tag("text", words, x=x + shift, y=y, class_="mark-label", text_anchor=anchor)


def answers(judged: Judged, probes: Sequence[Probe], window: Window, top: float) -> Iterator[str]:
    """Return the strip of what the canary was answered: addresses, nothing, or no answer at all."""
    run = judged.history.run
    shown = [(run.seconds(probe.at_us), _outcome(probe)) for probe in probes]
    inside = [(at_s - window.start_s, label) for at_s, label in shown if window.start_s <= at_s <= window.end_s]
    spans = strip(inside, COLUMNS, window.end_s - window.start_s, (EMPTY, SILENT, GOOD))
    yield tag("rect", x=LEFT, y=top, width=window.x(judged.seconds) - LEFT, height=STRIP_HEIGHT, class_="plot")
    for span in spans:
        recorded = span._replace(end_s=min(span.end_s, judged.seconds - window.start_s))
        yield _span(recorded, window, top)


def _span(span: Span, window: Window, top: float) -> str:
    x1, x2 = window.x(span.start_s + window.start_s), window.x(span.end_s + window.start_s)
    words = {EMPTY: "empty answers", SILENT: "no answers", GOOD: "answers with addresses"}[span.label]
    title = tag("title", f"{words}, {span.start_s + window.start_s:.2f} s to {span.end_s + window.start_s:.2f} s")
    return tag("rect", title, x=x1, y=top, width=max(1.0, x2 - x1), height=STRIP_HEIGHT, class_=f"answer {span.label}")


def _outcome(probe: Probe) -> str:
    if probe.addresses:
        return GOOD
    return EMPTY if probe.is_empty else SILENT
