"""What customers felt: the share of good requests, second by second, all modes in one chart."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from lab.history import Request, RunInfo
from lab.report.judged import Judged
from lab.report.lanes import AXIS_HEIGHT, LEFT, RIGHT, WIDTH, chart, time_axis
from lab.report.sampling import Sample, thin
from lab.report.svg import Axis, escaped, line_path, tag

HEIGHT: Final = 130.0
COLUMNS: Final = 300


def availability_chart(modes: Mapping[str, Judged], end_s: float) -> str:
    """Return one line a mode: the share of requests, by the second in which they began, that went well."""
    if not any(judged.history.requests for judged in modes.values()):
        return tag("p", "This run had no customers.")
    x, y = Axis(0.0, end_s, LEFT, WIDTH - RIGHT), Axis(0.0, 1.0, HEIGHT - 6, 8)
    height = HEIGHT + AXIS_HEIGHT
    lines = [
        tag(
            "path",
            tag("title", escaped(mode)),
            d=line_path(thin(samples, COLUMNS, end_s), x, y),
            class_=f"share {mode}",
        )
        for mode, judged in modes.items()
        if (samples := shares(judged.history.run, judged.history.requests))
    ]
    scale = [
        tag("text", f"{share:.0%}", x=LEFT - 8, y=y(share) + 4, class_="tick", text_anchor="end")
        for share in (0, 0.5, 1)
    ]
    frame = tag("rect", x=LEFT, y=0, width=WIDTH - LEFT - RIGHT, height=HEIGHT, class_="plot")
    drawn = chart(height, frame, time_axis(x, height), *scale, *lines, label="availability over time", axis=x)
    return drawn + _legend(modes)


def _legend(modes: Iterable[str]) -> str:
    lines = "".join(tag("span", tag("i", class_=f"key {mode}"), escaped(mode)) for mode in modes)
    return tag("p", lines, tag("span", "share of requests that went well, by the second"), class_="legend")


def shares(run: RunInfo, requests: Iterable[Request]) -> list[Sample]:
    """Return the share of good requests of each second that has any, at the middle of the second."""
    total: Counter[int] = Counter()
    good: Counter[int] = Counter()
    for request in requests:
        second = int(run.seconds(request.at_us) // 1)
        total[second] += 1
        good[second] += request.ok
    return [Sample(second + 0.5, good[second] / total[second]) for second in sorted(total) if second >= 0]
