"""Who acts in a world: the shipped processes' own code, on stores whose calls park."""

from typing import Final

from enactor.loop import PROTOCOLS
from enactor.protocol import Tools
from enactor.rounds import Rounds
from fencepost.errors import OutcomeUnknown, PlanError, StoreError
from fencepost.plan import Draft
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor
from lab.simulation.process import Main, Process
from lab.simulation.scenario import Scene

PUBLISHER: Final = "publisher"
FINITE: Final = frozenset({PUBLISHER})
"""Who has something to do that ends."""


def plans_of(process: Process) -> RedisPlanStore:
    """Return the plan store as a process has it open."""
    return RedisPlanStore(process.client)  # type: ignore[arg-type]  # the part of a client that it uses


def zones_of(process: Process, *, operator: bool = False) -> RedisZoneStore:
    """Return the zones as a process has them open."""
    return RedisZoneStore(process.client, Actor(process.name, operator))  # type: ignore[arg-type]  # as above


def cast(scene: Scene) -> dict[str, Main]:
    """Return who acts in a scene: name -> what it does."""
    return {PUBLISHER: publisher(scene)} | {name: enactor(scene) for name in scene.enactor_names}


def enactor(scene: Scene) -> Main:
    """Return what an enactor's process does: see `enactor.loop`."""
    reports = scene.scenario.planner

    async def main(process: Process) -> None:
        settings, plans = scene.enactor_settings[process.name], plans_of(process)
        tools = Tools.of(
            settings,
            plans=plans,
            zones=zones_of(process),
            clock=process.clock,
            rng=process.rng("enactor"),
            events=process,
        )
        rounds = Rounds(
            PROTOCOLS[settings.protocol](tools),
            settings,
            plans if reports else None,
            clock=process.clock,
            events=process,
        )
        process.memory = (tools, rounds)
        while True:
            outcome = await rounds.one()
            process.rounds += 1
            await process.clock.sleep(outcome.wait_s)

    return main


def publisher(scene: Scene) -> Main:
    """Return who publishes one plan after the other, each at once after the one before; the world says when."""

    async def main(process: Process) -> None:
        plans, rng = plans_of(process), process.rng("plans")
        latest = await _known(plans, process) if process.life > 1 else 0
        while latest < scene.scenario.generations:
            changed = [zone for zone in scene.zones if latest == 0 or rng.random() < 0.6] or [rng.choice(scene.zones)]  # noqa: PLR2004
            draft = Draft({zone: rng.choice(scene.contents) for zone in changed}, f"plan {latest + 1}")
            try:
                latest = await plans.publish(draft, expected=latest)
            except (OutcomeUnknown, PlanError):
                latest = await _known(plans, process)

    return main


async def _known(plans: RedisPlanStore, process: Process) -> int:
    while True:
        try:
            return await plans.latest_generation()
        except StoreError:
            await process.clock.sleep(1.0)
