"""Choosing among prepared answers by weight: a draw and a look-up."""

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Final, Protocol

MAX_CELLS: Final = 2048
"""Up to this sum of weights each has as many cells of a table, so that a draw is one look-up.

A cell is a byte: an eighth of a tuple's memory, and nothing that the garbage collector has to walk through.
"""
ONLY: Final = b"\0"
"""Chooses the only one that there is."""
_CELLS: Final = tuple(bytes((number,)) for number in range(256))


class Choice(Protocol):
    """Says what a whole number from 0 on chooses."""

    def __getitem__(self, number: int, /) -> int:
        """Return the place of what is chosen."""


class _Weighted:
    """Chooses among so many, or by such weights, that there are no cells for them."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._until = list(accumulate(weights))

    def __getitem__(self, number: int) -> int:
        return bisect(self._until, number)


class Noticing:
    """Chooses as another would, and notices that it was asked to.

    Attributes:
        is_asked: whether it was.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.is_asked = False

    def __getitem__(self, number: int) -> int:
        self.is_asked = True
        return self._choice[number]


def choice_of(weights: Sequence[int]) -> Choice:
    """Return what chooses by a number below the sum of some weights, each with the chance weight / sum of weights."""
    if len(weights) == 1:
        return ONLY
    if len(weights) > len(_CELLS) or sum(weights) > MAX_CELLS:
        return _Weighted(weights)
    return b"".join(map(mul, _CELLS, weights))
