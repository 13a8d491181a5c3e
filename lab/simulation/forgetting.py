"""A store that fails over and has forgotten its last writes to one slot: a zone, or the plans.

Nobody was lied to on purpose: without a replica that has them, acknowledged writes go with the machine that took them.
What the protocol promises then is in docs/invariants.md: the planner's floor, flip ids, manifests.
"""

import random

from lab.simulation.drive import Strategy
from lab.simulation.world import World


class Forgetful:
    """Drives a world as another strategy does, but that now and then, `most` times, a slot's last writes are gone."""

    def __init__(self, inner: Strategy, rng: random.Random, most: int, *, rate: float = 0.01) -> None:
        self._inner, self._rng, self._left, self._rate = inner, rng, most, rate

    def step(self, world: World) -> bool:
        """See `Strategy.step`."""
        if self._left and self._rng.random() < self._rate and world.past is not None and (slots := world.past.slots):
            self._left -= 1
            slot = self._rng.choice(slots)
            return world.forget(slot, self._rng.randint(1, world.past.writes(slot)))
        return self._inner.step(world)
