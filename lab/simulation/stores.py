"""The shipped stores, as a simulated process has them open."""

from typing import Final

from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor
from lab.simulation.process import Process

RETRY_S: Final = 1.0
"""After how long a person types a command again that has not got through."""


def plans_of(process: Process) -> RedisPlanStore:
    """Return the plan store as a process has it open."""
    return RedisPlanStore(process.client)  # type: ignore[arg-type]  # the part of a client that it uses


def zones_of(process: Process, *, operator: bool = False) -> RedisZoneStore:
    """Return the zones as a process has them open."""
    return RedisZoneStore(process.client, Actor(process.name, operator))  # type: ignore[arg-type]  # as above
