"""The time line of one endpoint: what its root showed, and the moments that a report has to point at."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from lab.invariants.replay import ROOT, Step


class Point(NamedTuple):
    """From `at_us` on, the root showed this generation (None: no plan's tree) and this many addresses.

    `is_empty` says that a type which had once been answered is not answered.
    """

    at_us: int
    generation: int | None
    addresses: int
    is_empty: bool


class MarkKind(StrEnum):
    """What a mark points at."""

    STALE_FLIP = "stale flip"
    LIVE_TREE_CUT = "live tree deleted"


class Mark(NamedTuple):
    """A moment to point at; `generation` is where the root was after it, `text` tells it."""

    at_us: int
    kind: MarkKind
    generation: int | None
    text: str


class Timeline(NamedTuple):
    """One endpoint's points, one for each change, and marks, both in order of time."""

    endpoint: str
    points: tuple[Point, ...]
    marks: tuple[Mark, ...]


def timeline(endpoint: str, steps: Sequence[Step]) -> Timeline:
    """Return the time line of one zone's replayed commits."""
    return Timeline(endpoint, tuple(_points(steps)), tuple(mark for step in steps for mark in _marks(step)))


def _points(steps: Sequence[Step]) -> Iterator[Point]:
    last: Point | None = None
    for step in steps:
        view = step.after
        point = Point(step.commit.at_us, view.generation, sum(view.addresses.values()), bool(step.lost))
        if last is None or point[1:] != last[1:]:
            yield point
        last = point


def _marks(step: Step) -> Iterator[Mark]:
    at_us, who, generation = step.commit.at_us, step.commit.actor.name, step.after.generation
    if step.is_stale_flip:
        words = f"{who} flipped the root back from plan {step.back_from} to plan {generation}"
        yield Mark(at_us, MarkKind.STALE_FLIP, generation, words)
    if any(pointer.owner == ROOT for pointer in step.cut):
        words = f"{who} deleted the tree of plan {generation}, which the root points to"
        yield Mark(at_us, MarkKind.LIVE_TREE_CUT, generation, words)
