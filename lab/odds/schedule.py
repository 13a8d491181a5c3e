"""Which run is made next, and which runs count: figures follow from the seed, not from who was quick. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from lab.odds.estimate import HOUR_S, Tally
from lab.odds.model import Run, Setting
from lab.odds.worker import Order

SEEDS_EACH: Final = 1_000_000
"""So many runs have seeds of their own under one seed of the command."""


class Effort(NamedTuple):
    """When a setting has been run for long enough: after so many outages, or after so many hours of its world.

    `lasts_s` is how long one run is at most.
    """

    outages: int = 30
    hours: float = 0.4
    lasts_s: float = 300.0


class Runs:
    """The runs of one setting, by their number. They count in that order, up to the first with which it is enough."""

    def __init__(self, setting: Setting, seed: int, effort: Effort) -> None:
        self.setting, self._seed, self._effort = setting, seed, effort
        self._made: dict[int, Run] = {}
        self.ordered = 0

    def order(self) -> tuple[int, Order]:
        """Return the next run to be made, and its number."""
        number = self.ordered
        self.ordered += 1
        return number, Order(self.setting, self._seed * SEEDS_EACH + number, self._effort.lasts_s)

    def take(self, number: int, run: Run) -> None:
        """Take a run that was made."""
        self._made[number] = run

    @property
    def counted(self) -> Sequence[Run]:
        """The runs that count; if it is not enough yet, all that were made."""
        settled = self._settled()
        return list(self._made.values()) if settled is None else settled

    @property
    def tally(self) -> Tally:
        """What they came to."""
        return Tally.of(self.counted)

    @property
    def enough(self) -> bool:
        """Whether nothing more is needed: the runs up to some number are made, and are enough."""
        return self._settled() is not None

    @property
    def wants_more(self) -> bool:
        """Whether another run should be ordered: not if those under way are bound to be enough."""
        under_way = self.ordered - len(self._made)
        hours = self.tally.hours + under_way * self._effort.lasts_s / HOUR_S
        return not self.enough and (under_way == 0 or hours < self._effort.hours)

    @property
    def share(self) -> float:
        """How much of what is needed is there, from 0 to 1."""
        tally = self.tally
        there = max(tally.outages / self._effort.outages, tally.hours / self._effort.hours)
        return 1.0 if self.enough else min(1.0, there)

    def _settled(self) -> Sequence[Run] | None:
        found: list[Run] = []
        outages, lasted_s = 0, 0.0
        for number in range(self.ordered):
            if (run := self._made.get(number)) is None:
                return None
            found.append(run)
            outages, lasted_s = outages + run.emptied, lasted_s + run.lasted_s
            if outages >= self._effort.outages or lasted_s >= self._effort.hours * HOUR_S:
                return found
        return None
