"""From runs to a rate and its interval. Pure.

Outages of one setting are taken for a Poisson process, each run for its time until the first. Then what is known of
the rate is in two numbers: how many outages there were, and how many hours were run in all, whatever ended each run.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from lab.odds.model import Run

CONFIDENCE: Final = 0.95
HOUR_S: Final = 3600.0
HALVINGS: Final = 200
"""A bisection ends after so many at the latest; a float has fewer bits to settle."""


class Tally(NamedTuple):
    """What the runs of one setting came to; `deepest` is the worst of their stale flips."""

    runs: int = 0
    outages: int = 0
    hours: float = 0.0
    plans: int = 0
    stale_flips: int = 0
    deepest: int = 0

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Tally":
        """Add runs up."""
        found = list(runs)
        return cls(
            runs=len(found),
            outages=sum(run.emptied for run in found),
            hours=sum(run.lasted_s for run in found) / HOUR_S,
            plans=sum(run.plans for run in found),
            stale_flips=sum(run.stale_flips for run in found),
            deepest=max((run.deepest for run in found), default=0),
        )


class Rate(NamedTuple):
    """Outages an hour: the estimate, and the ends of its interval; all of it 0 to infinity if nothing was run."""

    per_hour: float
    low: float
    high: float

    @property
    def probability(self) -> "Rate":
        """The same as the probability of an outage within an hour."""
        return Rate(*(-math.expm1(-rate) for rate in self))


def rate_of(tally: Tally) -> Rate:
    """Return the rate of outages with its interval of 95 %.

    Exact (Garwood): P(at least so many outages) at the low end and P(at most so many) at the high end are 2.5 %. It
    also holds, and is a little too wide, where runs ended because there were outages enough. With no outage at all
    the whole 5 % are at the high end: 3.0 in the time that was run, the rule of three.
    Source: F. Garwood, "Fiducial Limits for the Poisson Distribution", Biometrika 28 (1936).
    """
    if tally.hours <= 0.0:
        return Rate(0.0, 0.0, math.inf)
    low, high = poisson_interval(tally.outages)
    return Rate(tally.outages / tally.hours, low / tally.hours, high / tally.hours)


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a Poisson mean, given a count; from 0 on and one-sided if the count is 0."""
    if count == 0:
        return 0.0, -math.log1p(-confidence)
    tail = (1.0 - confidence) / 2
    low = _root(lambda mean: 1.0 - at_most(count - 1, mean) < tail, 0.0, float(count))
    high = _root(lambda mean: at_most(count, mean) > tail, float(count), count + 10.0 * math.sqrt(count) + 20.0)
    return low, high


def at_most(count: int, mean: float) -> float:
    """Return the probability that a Poisson variable of that mean is `count` or less."""
    if mean <= 0.0:
        return 1.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _root(is_below: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2
