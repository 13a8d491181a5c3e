"""Rounds in which every side is measured, each first in turn, after one that does not count."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lab.bench.programs import BenchFailed

T = TypeVar("T")

Measure = Callable[[int], Awaitable[T]]
"""Measures one side in the round of that number, 0 being the warm-up. Raises: BenchFailed with the reason."""


@dataclass(frozen=True, slots=True)
class Rounds(Generic[T]):
    """What every side came to.

    Attributes:
        counted: side -> what it came to in each round that counts and that it did not fail.
        failed: side -> why it failed, once for each round, the warm-up included.
        done: rounds that count and that every side has been through.
    """

    counted: dict[str, list[T]]
    failed: dict[str, list[str]]
    done: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, names: Sequence[str]) -> "Rounds[T]":
        """Return rounds of which none was run yet."""
        return cls({name: [] for name in names}, {name: [] for name in names})


def in_turn(names: Sequence[str], number: int) -> tuple[str, ...]:
    """Return the order of a round: each is first in turn, so that none has the warmer machine always."""
    start = number % len(names)
    return (*names[start:], *names[:start])


async def measure_in_turn(
    sides: Mapping[str, Measure[T]],
    rounds: int,
    into: Rounds[T],
    tell: Callable[[int, str, T | None, str], None],
    *,
    tolerant: bool = True,
) -> None:
    """Measure every side in a warm-up round and in `rounds` rounds that count; `into` grows as they are done.

    Args:
        sides: name -> how to measure it.
        rounds: how many count.
        into: gets the results, so that there are some if this is cancelled.
        tell: is told the round's number, the side, and what it came to, or None and why it failed.
        tolerant: whether the others go on when one fails a round.

    Raises: BenchFailed if a side fails and that is not tolerated.
    """
    for number in range(rounds + 1):
        for name in in_turn(tuple(sides), number):
            try:
                result = await sides[name](number)
            except BenchFailed as error:
                if not tolerant:
                    raise
                into.failed[name].append(f"{'warm-up' if number == 0 else f'round {number}'}: {error}")
                tell(number, name, None, str(error))
                continue
            tell(number, name, result, "")
            if number:
                into.counted[name].append(result)
        if number:
            into.done.append(number)
