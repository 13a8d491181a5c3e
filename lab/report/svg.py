"""SVG as text: elements, and the step line that all time lines are drawn with."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from lab.report.sampling import Sample


def tag(name: str, *children: str, **attributes: str | float) -> str:
    """Return an element. `class_` means class, `_` in a name means `-`; children are markup, see `escaped`."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"' for key, value in attributes.items())
    inner = "".join(children)
    return f"<{name}{words}>{inner}</{name}>"


def escaped(text: str) -> str:
    """Return text as markup."""
    return escape(text, quote=False)


def _text(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


class Axis(NamedTuple):
    """Maps values from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is, in pixels; values outside are put at the edge."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 12) -> list[float]:
        """Return round values between low and high, at most about so many."""
        span = self.high - self.low
        step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if span / s <= most), span or 1)
        first = int(self.low / step) + (self.low % step > 0)
        return [n * step for n in range(first, int(self.high / step) + 1)]


def step_path(samples: Sequence[Sample], x: Axis, y: Axis, end_s: float) -> str:
    """Return the `d` of a step line: each value holds until the next, the last one to `end_s`."""
    if not samples:
        return ""
    first, *rest = samples
    parts = [f"M{_text(x(first.at_s))} {_text(y(first.value))}"]
    parts += [f"H{_text(x(sample.at_s))}V{_text(y(sample.value))}" for sample in rest]
    return "".join(parts) + f"H{_text(x(end_s))}"


def line_path(samples: Sequence[Sample], x: Axis, y: Axis) -> str:
    """Return the `d` of a line through points."""
    return "".join(
        f"{'L' if number else 'M'}{_text(x(sample.at_s))} {_text(y(sample.value))}"
        for number, sample in enumerate(samples)
    )
