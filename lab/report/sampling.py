"""Fewer points for the same picture: a page stays small however long a run was."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Sample(NamedTuple):
    """A value from a time on, in seconds after the start."""

    at_s: float
    value: float


def thin(samples: Sequence[Sample], columns: int, end_s: float) -> list[Sample]:
    """Return at most four samples for each of `columns` equal spans: first, last, lowest and highest.

    So no extreme is lost: a flip back that lasted a millisecond is still drawn. Samples are in order of time.
    """
    width_s = max(end_s, 1e-9) / columns
    kept: list[Sample] = []
    for _, group in groupby(samples, key=lambda sample: int(sample.at_s / width_s)):
        column = list(group)
        values = [sample.value for sample in column]
        places = {0, values.index(min(values)), values.index(max(values)), len(column) - 1}
        kept += (column[place] for place in sorted(places))
    return kept


class Span(NamedTuple):
    """A stretch of time in which something was the case."""

    start_s: float
    end_s: float
    label: str


def strip(seen: Iterable[tuple[float, str]], columns: int, end_s: float, worst_first: Sequence[str]) -> list[Span]:
    """Return stretches of equal labels, from (seconds, label) in order of time.

    Each of `columns` spans has the worst label that was seen in it, or the one before it where nothing was seen.
    """
    width_s = max(end_s, 1e-9) / columns
    rank = {label: place for place, label in enumerate(worst_first)}
    spans: list[Span] = []
    for column, group in groupby(seen, key=lambda item: min(int(item[0] / width_s), columns - 1)):
        label = min((label for _, label in group), key=rank.__getitem__)
        start_s = max(0.0, column * width_s)
        if spans and spans[-1].label == label:
            continue
        if spans:
            spans[-1] = spans[-1]._replace(end_s=start_s)
        spans.append(Span(start_s, end_s, label))
    return spans
