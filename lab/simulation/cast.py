"""Who acts in a world: the shipped processes' own code, on stores whose calls park."""

import random
from typing import Final

from enactor.protocol import Tools
from enactor.rounds import PROTOCOLS, Rounds
from enactor.settings import EnactorSettings
from fencepost.batch import LIMITS, Limits
from fencepost.errors import EndpointPinned, OutcomeUnknown, PlanError, PlansFrozen, StoreError
from fencepost.plan import Content, Draft
from fencepost.redis_plans import RedisPlanStore
from lab.simulation.process import Main, Process
from lab.simulation.scenario import NAMES, Scene
from lab.simulation.stores import RETRY_S, plans_of, zones_of

PUBLISHER: Final = "publisher"
OPERATOR: Final = "operator"
FINITE: Final = frozenset({PUBLISHER, OPERATOR})
"""Who has something to do that ends."""


def cast(scene: Scene) -> dict[str, Main]:
    """Return who acts in a scene: name -> what it does."""
    # Planner and operators bring half of the project with them; most worlds have neither.
    if scene.planner_names:
        from lab.simulation.planning import planner
    if scene.scenario.operator:
        from lab.simulation.operating import operator

    found = {name: planner(scene) for name in scene.planner_names} or {PUBLISHER: publisher(scene)}
    if scene.scenario.operator:
        found[OPERATOR] = operator(scene)
    found |= {name: enactor(scene) for name in scene.enactor_names}
    return {name: within(scene.limits, main) for name, main in found.items()}


def within(limits: Limits, main: Main) -> Main:
    """Return what does the same where batches may be only so large."""

    async def limited(process: Process) -> None:
        LIMITS.set(limits)  # for this process alone: its tasks have a context of their own
        await main(process)

    return limited


def enactor(scene: Scene) -> Main:
    """Return what an enactor's process does: see `enactor.loop`."""
    reports = scene.scenario.planner

    async def main(process: Process) -> None:
        settings = scene.enactor_settings[process.name]
        tools = _tools(settings, process)
        rounds = Rounds(
            PROTOCOLS[settings.protocol](tools),
            settings,
            tools.plans if reports else None,
            clock=process.clock,
            events=process,
        )
        process.memory = (tools, rounds)
        while True:
            outcome = await rounds.one()
            process.rounds += 1
            await process.clock.sleep(outcome.wait_s)

    return main


def _tools(settings: EnactorSettings, process: Process) -> Tools:
    return Tools.of(
        settings,
        plans=plans_of(process),
        zones=zones_of(process),
        clock=process.clock,
        rng=process.rng("enactor"),
        events=process,
    )


async def install_first(scene: Scene, process: Process) -> None:
    """Publish and install the plans that are on every endpoint when a world begins."""
    settings = scene.settings_of(process.name)
    tools, rng = _tools(settings, process), process.rng("plans")
    shipped = PROTOCOLS[settings.protocol](tools)
    for latest in range(scene.scenario.installed):
        await tools.plans.publish(Draft(_changes(scene, latest, rng), f"plan {latest + 1}"), expected=latest)
        await shipped.tick()


def publisher(scene: Scene) -> Main:
    """Return who publishes one plan after the other, each at once after the one before; the world says when."""

    async def main(process: Process) -> None:
        plans, rng = plans_of(process), process.rng("plans")
        latest = await _known(plans, process) if process.life > 1 else scene.scenario.installed
        while latest < scene.scenario.generations:
            draft = Draft(_changes(scene, latest, rng), f"plan {latest + 1}")
            try:
                latest = await plans.publish(draft, expected=latest)
            except (PlansFrozen, EndpointPinned):
                await process.clock.sleep(RETRY_S)
                latest = await _known(plans, process)
            except (OutcomeUnknown, PlanError):
                latest = await _known(plans, process)

    return main


def _changes(scene: Scene, latest: int, rng: random.Random) -> dict[str, Content]:
    """Return what the plan after the latest one changes."""
    if wants := scene.scenario.wants:
        letter = wants[latest % len(wants)]
        return {} if letter == "." else dict.fromkeys(scene.zones, scene.contents[NAMES.upper().index(letter)])
    changed = [zone for zone in scene.zones if latest == 0 or rng.random() < 0.6] or [rng.choice(scene.zones)]  # noqa: PLR2004
    return {zone: rng.choice(scene.contents) for zone in changed}


async def _known(plans: RedisPlanStore, process: Process) -> int:
    while True:
        try:
            return await plans.latest_generation()
        except StoreError:
            await process.clock.sleep(RETRY_S)
