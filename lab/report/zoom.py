"""The moments in which an endpoint was lost, close up, with numbers that the story beside it explains."""

from collections.abc import Sequence
from typing import Final

from lab.report.judged import Judged
from lab.report.lanes import (
    AXIS_HEIGHT,
    LANE_GAP,
    LEFT,
    RIGHT,
    STRIP_GAP,
    STRIP_HEIGHT,
    WIDTH,
    ProbesOf,
    Window,
    answers,
    chart,
    outage_shapes,
    published,
    root_lines,
    time_axis,
    y_labels,
)
from lab.report.story import Story
from lab.report.svg import Axis, tag

HEIGHT: Final = 190.0
ROW: Final = 16.0
"""Where the numbers stand, pixels below the top; lines lead from there to the moments."""
APART: Final = 22.0
BEFORE_S: Final = 5.0
AFTER_S: Final = 2.0


def zoom(story: Story, mode: str, judged: Judged, probes: ProbesOf) -> str:
    """Return the chart of the seconds around a loss."""
    window = window_of(story, judged)
    y = Axis(window.low, window.high, HEIGHT - 10, 44)
    height = HEIGHT + STRIP_GAP + STRIP_HEIGHT + LANE_GAP + AXIS_HEIGHT
    points = judged.timelines[story.endpoint].points
    seen = probes[mode].get(story.endpoint, ())
    parts = (
        tag("rect", x=LEFT, y=0, width=WIDTH - LEFT - RIGHT, height=HEIGHT, class_="plot"),
        *outage_shapes(judged, points, window, top=0, height=HEIGHT),
        published(judged, window, y),
        root_lines(judged, points, window, y),
        *y_labels(mode, window, y, HEIGHT),
        *answers(judged, seen, window, HEIGHT + STRIP_GAP),
        *numbers(story, judged, window, y),
    )
    label = f"{story.endpoint} around its loss"
    return chart(
        height, time_axis(window.x, height), tag("g", *parts, class_=f"lane {mode}"), label=label, axis=window.x
    )


def window_of(story: Story, judged: Judged) -> Window:
    """Return the seconds and generations that matter: from the first moment, if it is near, to a little after."""
    run, points = judged.history.run, judged.timelines[story.endpoint].points
    lost_s = run.seconds(story.lost_us)
    first_s = min(run.seconds(moment.at_us) for moment in story.moments)
    start_s = max(0.0, lost_s - BEFORE_S, first_s - 0.2)
    end_s = min(judged.seconds, lost_s + AFTER_S)
    before = [p for p in points if run.seconds(p.at_us) <= start_s][-1:]
    inside = [p for p in points if start_s < run.seconds(p.at_us) <= end_s]
    shown = [p.generation for p in before + inside if p.generation is not None] or [0]
    return Window(start_s, max(end_s, start_s + 0.1), min(shown), max(shown) + 1)


def numbers(story: Story, judged: Judged, window: Window, y: Axis) -> Sequence[str]:
    """Return the story's numbers in a row that never overlaps, each with a line to its moment."""
    drawn, last_x = [], LEFT - APART
    for number, moment in enumerate(story.moments, 1):
        at_s = judged.history.run.seconds(moment.at_us)
        if not window.start_s <= at_s <= window.end_s:
            continue
        x = window.x(at_s)
        last_x = max(x, last_x + APART)
        foot = HEIGHT + STRIP_GAP if moment.generation is None else y(moment.generation)
        kind = "moment bad" if moment.is_bad else "moment"
        lead = f"M{last_x:.1f} {ROW:g}V34L{x:.1f} 40V{foot:.1f}"
        drawn += [
            tag("path", d=lead, class_=f"lead {kind}"),
            tag("circle", cx=x, cy=foot, r=3.5, class_=kind),
            tag("circle", cx=last_x, cy=ROW, r=10, class_=kind),
            tag("text", str(number), x=last_x, y=ROW + 4, class_="moment-number", text_anchor="middle"),
        ]
    return drawn
