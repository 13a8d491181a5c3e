"""A law through the rates at several plan rates, and what it says beyond them, if it holds at all. Pure.

An enactor can empty an endpoint only if it is late by the time in which `keep` plans are made: keep / plan rate. If
being late by t seconds is e^(t/tau) times as rare as not being late, so are outages: rate = e^(a - t/tau).
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from lab.odds.estimate import Rate

STEPS: Final = 100
SMALL: Final = 1e-10
"""A step far below what the runs can tell."""
MOST: Final = 700.0
"""Above this, e^x is no float."""
NORMAL_95: Final = 1.959964
LEAST_POINTS: Final = 3
"""With outages at fewer points than this, anything would fit."""
PLAUSIBLE: Final = 0.05
"""A fit that is worse than all but this share of what chance does is no law."""


class Observed(NamedTuple):
    """Outages in some hours, where a plan is old after `old_after_s`."""

    old_after_s: float
    outages: int
    hours: float


class Law(NamedTuple):
    """Outages an hour = exp(`at_once` - t / `tau_s`); the variances are of `at_once` and of 1 / tau.

    `plausible` is how likely chance alone strays from the law by at least as much as the runs do.
    """

    at_once: float
    slope: float
    variances: tuple[float, float, float]
    plausible: float

    @property
    def tau_s(self) -> float:
        """By how many seconds more an enactor has to be late for outages to be e times as rare."""
        return -1.0 / self.slope

    @property
    def holds(self) -> bool:
        """Whether the runs do not speak against the law, and outages do become rarer."""
        return self.plausible >= PLAUSIBLE and self.slope < 0

    def rate(self, old_after_s: float) -> Rate:
        """Return the rate where a plan is old after so many seconds; the interval of 95 % takes the law for true."""
        at, (first, both, second) = self.at_once + self.slope * old_after_s, self.variances
        wide = NORMAL_95 * math.sqrt(max(0.0, first + 2 * both * old_after_s + second * old_after_s**2))
        return Rate(math.exp(at), math.exp(at - wide), math.exp(min(MOST, at + wide)))


def law(observed: Sequence[Observed]) -> Law | None:
    """Return the most likely law (Poisson regression, Newton's method); None if there is too little to go by."""
    seen = [one for one in observed if one.hours > 0]
    if len({one.old_after_s for one in seen if one.outages}) < LEAST_POINTS or len(seen) <= LEAST_POINTS:
        return None
    at_once, slope = math.log(sum(one.outages for one in seen) / sum(one.hours for one in seen)), 0.0
    variances = (0.0, 0.0, 0.0)
    for _ in range(STEPS):
        expected = [one.hours * math.exp(at_once + slope * one.old_after_s) for one in seen]
        pull = sum(one.outages - mean for one, mean in zip(seen, expected, strict=True))
        lean = sum((one.outages - mean) * one.old_after_s for one, mean in zip(seen, expected, strict=True))
        first, both, second = (
            sum(mean * one.old_after_s**power for one, mean in zip(seen, expected, strict=True)) for power in (0, 1, 2)
        )
        size = first * second - both**2
        variances = (second / size, -both / size, first / size)
        step = (variances[0] * pull + variances[1] * lean, variances[1] * pull + variances[2] * lean)
        # Newton's method overshoots where counts fall off steeply: then half of its step, or half of that.
        before = _likelihood(seen, at_once, slope)
        while _likelihood(seen, at_once + step[0], slope + step[1]) < before and max(map(abs, step)) > SMALL:
            step = (step[0] / 2, step[1] / 2)
        at_once, slope = at_once + step[0], slope + step[1]
        if max(map(abs, step)) <= SMALL:
            break
    return Law(at_once, slope, variances, _plausible(seen, at_once, slope))


def _likelihood(seen: Sequence[Observed], at_once: float, slope: float) -> float:
    """Return the logarithm of how likely the counts are under a law, up to a constant."""
    logs = [at_once + slope * one.old_after_s for one in seen]
    return math.fsum(
        one.outages * log - one.hours * math.exp(min(MOST, log)) for one, log in zip(seen, logs, strict=True)
    )


def _plausible(seen: Sequence[Observed], at_once: float, slope: float) -> float:
    """Return the probability of a deviance as large as this one, by the chi-squared distribution."""
    deviance = 0.0
    for one in seen:
        mean = one.hours * math.exp(at_once + slope * one.old_after_s)
        deviance += 2 * ((one.outages * math.log(one.outages / mean) if one.outages else 0.0) - one.outages + mean)
    return chi_squared_above(deviance, len(seen) - 2)


def chi_squared_above(value: float, freedom: int) -> float:
    """Return the probability that a chi-squared variable with so many degrees of freedom is above a value."""
    half = max(0.0, value) / 2
    if freedom % 2 == 0:
        return math.fsum(math.exp(-half) * half**k / math.factorial(k) for k in range(freedom // 2))
    terms = (math.exp(-half) * half ** (k + 0.5) / math.gamma(k + 1.5) for k in range(freedom // 2))
    return math.erfc(math.sqrt(half)) + math.fsum(terms)
