"""When a plan may be published: at once, in its turn, or not before others are installed. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import msgspec

from fencepost.plan import Draft, Lane

ROUTINE_BY_FAST: Final = " (routine, by the fast lane)"

LOOK_S: Final = 0.05
"""How often the queue is looked at, at most, while a lane is held."""


class Marks(NamedTuple):
    """A lane is held from `high` generations published and not installed on, until there are `low` or fewer."""

    high: int
    low: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What the lanes go by.

    Attributes:
        slow_interval_s: after a plan, the slow lane's next one waits for so long, and takes up what changes meanwhile.
        marks: by lane.
        fast_share: how many of the routine plans go by the fast lane, 0 to 1.
    """

    slow_interval_s: float
    marks: Mapping[Lane, Marks]
    fast_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Lanes:
    """The two lanes at one instant; each transition returns the next.

    Invariant: from the moment that the queue has reached a lane's high mark until it has sunk to the low one, no plan
    goes by this lane; and no plan goes by the slow lane within `slow_interval_s` of another one, whatever its lane. So
    the queue grows above a lane's high mark by other lanes' plans alone, and above the highest mark not at all.

    Attributes:
        queue: generations published and not installed yet.
        held: the lanes that are held back by that.
        slow_from_s: from when on the slow lane's next plan may go, by the planner's clock.
        routine: the lane that the next routine plan goes by: a share of them exercises the fast lane all the time.
    """

    pace: Pace
    queue: int = 0
    held: frozenset[Lane] = field(default_factory=frozenset)
    slow_from_s: float = -math.inf
    routine: Lane = Lane.SLOW

    def seeing(self, queue: int) -> "Lanes":
        """Return the lanes with the queue as it is now."""
        held = {
            lane
            for lane, marks in self.pace.marks.items()
            if (queue > marks.low if lane in self.held else queue >= marks.high)
        }
        return replace(self, queue=queue, held=frozenset(held))

    def sorted_in(self, draft: Draft) -> Draft:
        """Return a draft with the lane that it goes by; a held slow lane is not gone around."""
        if draft.lane is Lane.FAST or self.routine is Lane.SLOW or Lane.SLOW in self.held:
            return draft
        return msgspec.structs.replace(draft, lane=Lane.FAST, reason=draft.reason + ROUTINE_BY_FAST)

    def why_not(self, lane: Lane, now_s: float) -> str | None:
        """Say why no plan may go by a lane now, None if it may."""
        if lane in self.held:
            marks = self.pace.marks[lane]
            return (
                f"the {lane.value} lane is held back: {self.queue} plans are published and not installed, it goes on "
                f"at {marks.low}; look after the enactors if that lasts"
            )
        if lane is Lane.SLOW and now_s < self.slow_from_s:
            return f"the slow lane's next plan goes in {self.slow_from_s - now_s:.2g} s"
        return None

    def after(self, draft: Draft, now_s: float, chance: float) -> "Lanes":
        """Return the lanes after a plan has gone.

        Args:
            draft: as `sorted_in` returned it. A fast one takes along whatever else is built.
            now_s: the time.
            chance: a draw from [0, 1), which decides how the next routine plan goes; not used up by an urgent one.
        """
        urgent = draft.lane is Lane.FAST and not draft.reason.endswith(ROUTINE_BY_FAST)
        next_routine = Lane.FAST if chance < self.pace.fast_share else Lane.SLOW
        return replace(
            self,
            queue=self.queue + 1,
            slow_from_s=now_s + self.pace.slow_interval_s,
            routine=self.routine if urgent else next_routine,
        )

    @property
    def closed(self) -> bool:
        """Whether not even an emergency can go."""
        return Lane.FAST in self.held

    def rest_s(self, now_s: float) -> float:
        """Return for how long nothing routine can go anyway, so that nobody needs to look what there is."""
        if self.held:
            return max(self.pace.slow_interval_s, LOOK_S)
        return 0.0 if self.routine is Lane.FAST else max(0.0, self.slow_from_s - now_s)
