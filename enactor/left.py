"""What one enactor has left to another: how far that is seen to be, and whether it comes on."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

LEAST: Final = 4
"""Who begins fewer endpoints than that within the others' patience, on the average, is helped: it is in trouble."""


def most_patiences(endpoints: int) -> int:
    """Return for how many patiences so many endpoints of a plan are left to others at most, each with a glance after.

    To one who is gone, two: after the first its trail is found, after the second nothing more. To one who is as slow
    as can be, one for each `LEAST`, and one after the last.
    """
    return math.ceil((endpoints - 1) / LEAST) + 1 if endpoints > 1 else 0


class Left(NamedTuple):
    """Endpoints of a plan that are left to whoever began with it; a glance is some turns of looks at a few of them.

    Invariant: what a glance saw not begun, and only that, shows at the next one that somebody is at the plan. So the
    trail of an enactor that is gone is found once, whatever it left out, and then never taken for anybody's work.

    Attributes:
        order: the order in which they are begun.
        unbegun: places past `furthest` that were seen not begun, ascending; before the first glance 1, 2, 4, ... and
            the last.
        furthest: the furthest place that was seen begun; the first endpoint has place 0.
        glances: how many there were.
    """

    order: tuple[str, ...]
    unbegun: tuple[int, ...]
    furthest: int = 0
    glances: int = 0

    @classmethod
    def of(cls, order: tuple[str, ...]) -> "Left":
        """Return what is left before the first glance, of two endpoints or more."""
        last = len(order) - 1
        return cls(order, tuple(sorted({*(2**power for power in range(last.bit_length())), last})))

    @property
    def middle(self) -> int | None:
        """Where to look next to find how far somebody is; None if that is known, or cannot be."""
        between = self.unbegun[0] - self.furthest if self.unbegun else 0
        return self.furthest + between // 2 if between > 1 else None

    def seen(self, begun: Mapping[int, bool | None]) -> "Left":
        """Return what is known after a turn that found those places begun or not; None: it could not be read."""
        furthest = max((at for at, is_begun in begun.items() if is_begun), default=self.furthest)
        unbegun = {*self.unbegun}.difference(begun).union(at for at, is_begun in begun.items() if is_begun is False)
        return self._replace(furthest=furthest, unbegun=tuple(sorted(at for at in unbegun if at > furthest)))

    def after(self, glance: "Left") -> "Left | None":
        """Return what is left after a glance that came to that; None: it is one's own turn.

        It is if none more is begun than at the last glance, or too few since the first. So it is one glance after the
        last was: then those that were on their way are done, as a rule.
        """
        glances = self.glances + 1
        enough = min(LEAST * glances, len(self.order) - 1)
        return glance._replace(glances=glances) if self.furthest < glance.furthest >= enough else None
