"""Do answers follow the weights? A chi-square test, with a bound that chance alone does not reach."""

from collections.abc import Mapping
from math import sqrt
from typing import Final

from lab.bench.programs import BenchFailed

MOST_SIGMAS: Final = 5.5
"""How far chance may lead away: it does that once in fifty million tests."""
EXPECTED_EACH: Final = 40
"""Queries for each address, on average; the test wants at least 5 for the lightest."""
LEAST_EXPECTED: Final = 5.0


def sigmas(weights: Mapping[str, int], found: Mapping[str, int]) -> float:
    """Return how unlikely it is that some draws were made by these weights, in standard deviations.

    Addresses of which fewer than five are expected are counted as one.

    Args:
        weights: address -> weight; at least two are above 0.
        found: address -> how often it came.

    Source: Pearson's chi-square; Wilson and Hilferty (1931) for its distribution.
    """
    total, weight = sum(found.values()), sum(weights.values())
    cells, rare = [], [0.0, 0.0]
    for address, own in weights.items():
        expected, observed = total * own / weight, found.get(address, 0)
        if expected < LEAST_EXPECTED:
            rare[0], rare[1] = rare[0] + expected, rare[1] + observed
        else:
            cells.append((expected, float(observed)))
    if rare[0] > 0:
        cells.append((rare[0], rare[1]))
    freedom = max(1, len(cells) - 1)
    square = sum((observed - expected) ** 2 / expected for expected, observed in cells)
    spread = 2 / (9 * freedom)
    return (float((square / freedom) ** (1 / 3)) - (1 - spread)) / sqrt(spread)


def check_weights(name: str, weights: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Refuse answers that do not follow the weights. Raises: BenchFailed with how far they are away."""
    if (far := sigmas(weights, found)) > MOST_SIGMAS:
        raise BenchFailed(
            f"{name}: {sum(found.values())} answers do not follow its weights: {far:.1f} standard deviations away, "
            f"and {MOST_SIGMAS:g} is more than chance does"
        )
