"""A planner's process: the shipped planner, told of a simulated fleet instead of asking a real one."""

import asyncio
from collections.abc import Sequence

from lab.simulation.fleet import Turn, fleet_of
from lab.simulation.process import Main, Process
from lab.simulation.scenario import Scene
from lab.simulation.stores import plans_of, zones_of
from planner.loop import Planner
from planner.observe import Observer


def planner(scene: Scene) -> Main:
    """Return what a planner's process does: see `planner.loop`. Health checks are sockets: their results come in."""
    turns = fleet_of(scene)

    async def main(process: Process) -> None:
        settings = scene.planner_settings[process.name]
        shipped = Planner(
            settings, scene.region, plans_of(process), zones_of(process), events=process, clock=process.clock
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(shipped.run_rounds())
            await _observe(process, shipped.observer, turns)

    return main


async def _observe(process: Process, observer: Observer, turns: Sequence[Turn]) -> None:
    """Tell of each change when it is its time; what came before this life of the process is told at once."""
    for turn in turns:
        ahead_s = turn.at_s - process.clock.monotonic()
        if ahead_s > 0:
            await process.clock.sleep(ahead_s)
        observer.take(turn.name, turn.reading)
