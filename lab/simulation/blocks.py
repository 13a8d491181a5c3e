"""Schedules in blocks: what one worker does at a time, and what it came to. The same seed gives the same schedules.

Schedule n of a seed is the same whoever makes it, and however many workers there are.
"""

import gc
import signal
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal

import msgspec

from fencepost.clock import stream
from lab.invariants.violation import Violation
from lab.simulation.cast import PUBLISHER
from lab.simulation.choice import Choice
from lab.simulation.coverage import Coverage
from lab.simulation.drive import Strategy, verdict_of
from lab.simulation.scenario import Scenario
from lab.simulation.seal import sealed
from lab.simulation.stage import Stage
from lab.simulation.strategies import Chance, Priorities, RandomWalk

Kind = Literal["random", "pct", "mixed"]

MOST_CHANGES: Final = 4
"""PCT's changes of priority: from 1 to so many, drawn for each schedule."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Schedules `first` to `first + count - 1` of a seed.

    Attributes:
        strategy: `mixed` takes random walks and PCT in turn.
        steps: how many choices a schedule has at most, before the world heals.
        seek: what has to be broken, all of it in one schedule; empty: whatever is broken first.
    """

    scenario: Scenario
    strategy: Kind
    seed: int
    first: int
    count: int
    steps: int
    seek: frozenset[str] = frozenset()


class Failure(msgspec.Struct, frozen=True):
    """A schedule that broke something: its number, its choices, and what it broke."""

    schedule: int
    trace: tuple[Choice, ...]
    violations: tuple[Violation, ...]


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """What a block came to.

    Attributes:
        schedules, steps: how many were run; fewer schedules than asked for where one failed.
        simulated_s, cpu_s: how long the worlds lasted, and the worker needed.
        longest_heal_s: the longest that a world took to heal.
        paths: rare path -> how often it was taken.
        failure: the first schedule that failed, None if none did.
    """

    schedules: int
    steps: int
    simulated_s: float
    cpu_s: float
    longest_heal_s: float
    paths: dict[str, int]
    failure: Failure | None = None


def run_block(block: Block) -> Came:
    """Run a block's schedules until one fails."""
    began_s, stage, coverage = time.process_time(), _stage(block.scenario), Coverage()
    schedules = steps = 0
    simulated_s = longest_s = 0.0
    failure = None
    with sealed():
        for number in range(block.first, block.first + block.count):
            verdict = verdict_of(
                stage, strategy_of(block, number), steps=block.steps, seek=block.seek, rests=True, coverage=coverage
            )
            schedules, steps = schedules + 1, steps + verdict.steps
            simulated_s, longest_s = simulated_s + verdict.lasted_s, max(longest_s, verdict.healed_s or 0.0)
            if verdict.violations and block.seek <= {found.invariant for found in verdict.violations}:
                failure = Failure(number, verdict.trace, verdict.violations)
                break
    return Came(
        schedules=schedules,
        steps=steps,
        simulated_s=simulated_s,
        cpu_s=time.process_time() - began_s,
        longest_heal_s=longest_s,
        paths=dict(coverage.counts),
        failure=failure,
    )


@lru_cache(maxsize=1)
def _stage(scenario: Scenario) -> Stage:
    gc.collect()
    gc.freeze()  # what is there by now stays; looking at it again and again would cost a third of the time
    return Stage(scenario)


def strategy_of(block: Block, number: int) -> Strategy:
    """Return how schedule `number` is chosen."""
    scenario = block.scenario
    rng = stream(block.seed, "schedule", str(number))
    faults = Chance(rng, scenario.faults, block.steps)
    if block.strategy == "pct" or (block.strategy == "mixed" and number % 2):
        changes = rng.randint(1, MOST_CHANGES)
        return Priorities(rng, faults, changes=changes, steps=block.steps, restless=PUBLISHER)
    return RandomWalk(rng, faults, restless=PUBLISHER, endpoints=scenario.endpoints)


def blocks_of(block: Block, size: int) -> Iterator[Block]:
    """Cut a block into blocks of a size."""
    for first in range(block.first, block.first + block.count, size):
        count = min(size, block.first + block.count - first)
        yield msgspec.structs.replace(block, first=first, count=count)


def begin_worker() -> None:
    """Let Ctrl-C be heard by who gives the orders, and by nobody else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
