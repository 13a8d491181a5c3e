"""The fleet of a simulated region: what its load balancers say of themselves, from the world's beginning to their rest.

It is no process: it goes on while a planner is dead, and is the same for every planner that looks at it.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from fencepost.clock import stream
from lab.simulation.scenario import Scene
from planner.observe import Reading, Verdict

CAPACITY: Final = 100
"""What each load balancer has at first, and at last."""

CAPACITIES: Final = (50, 80, 120, 150)
ILL: Final = 0.5
"""How many of the changes make a load balancer ill, and not larger or smaller."""


class Turn(NamedTuple):
    """What a load balancer says from a moment on; `at_s` is in seconds since the world began."""

    at_s: float
    name: str
    reading: Reading


def fleet_of(scene: Scene) -> tuple[Turn, ...]:
    """Return all that the fleet ever says, in order: as many changes as make about the scenario's plans.

    At last every load balancer is well, with the capacity of the beginning; so what the last plan has to be is known.
    """
    return tuple(sorted(_turns(scene), key=lambda turn: turn.at_s))


def _turns(scene: Scene) -> Iterator[Turn]:
    names, rng = [lb.name for lb in scene.region.load_balancer], stream(scene.scenario.seed, "fleet")
    well = Reading(Verdict.WELL, CAPACITY)
    yield from (Turn(0.0, name, well) for name in names)
    at_s, moved = 0.0, set[str]()
    for _ in range(scene.scenario.generations - 1):
        at_s += rng.uniform(0.0, 2 * scene.scenario.poll_s)
        name = rng.choice(names)
        if name in moved:
            moved.discard(name)
            yield Turn(at_s, name, well)
            continue
        moved.add(name)
        ill = Reading(Verdict.FAILED, reason="refused the connection")
        yield Turn(at_s, name, ill if rng.random() < ILL else Reading(Verdict.WELL, rng.choice(CAPACITIES)))
    yield from (Turn(at_s + scene.scenario.poll_s, name, well) for name in sorted(moved))
