"""A violation, and the words in which it is told."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from lab.history import History

T = TypeVar("T")


class Violation(msgspec.Struct, frozen=True):
    """One broken invariant.

    Attributes:
        invariant: I1 to I9; docs/invariants.md gives the reasons for each.
        endpoint: whose zone it was.
        detail: what happened, in words, with the numbers.
        at_us: when it began, epoch microseconds.
        serial: the commit that broke it; None where no commit did.
    """

    invariant: str
    endpoint: str
    detail: str
    at_us: int
    serial: int | None = None

    @property
    def order(self) -> tuple[int, str, int, str, str]:
        """Where reports show it: by time, then by endpoint, commit, number and words."""
        return self.at_us, self.endpoint, self.serial or 0, self.invariant, self.detail


def episodes(items: Sequence[T], is_bad: Callable[[T], bool]) -> Iterator[tuple[Sequence[T], T | None]]:
    """Yield each unbroken run of bad items with the first good one after it, None if it lasts to the end."""
    start: int | None = None
    for index, item in enumerate(items):
        if is_bad(item):
            start = index if start is None else start
        elif start is not None:
            yield items[start:index], item
            start = None
    if start is not None:
        yield items[start:], None


def lasting(history: History, from_us: int, until_us: int | None) -> str:
    """Return the words for an episode: `from 12.345 s on, for 3.210 s`, or `... to the end of the recording`."""
    end_us = max(history.end_us, from_us) if until_us is None else until_us
    words = f"from {history.run.seconds(from_us):.3f} s on, for {(end_us - from_us) / 1e6:.3f} s"
    return words if until_us is not None else f"{words}, to the end of the recording"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: `1 address`, `2 addresses`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
