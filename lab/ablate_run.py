"""`python -m lab.ablate_run SPEC`: one run of an ablation, in a process of its own; its figures go beside the spec.

A system, its scenario, time to come to rest, and the judgement: as `compare` does it, without customers and canary,
which an ablation has no use for and two cores no room.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import uvloop

from deploy.launch import RunningSystem, running_system
from deploy.supervisor import logs_dir
from deploy.topology import SystemOptions
from enactor.settings import EnactorSettings
from fencepost.clock import Clock, SystemClock, stream
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import FencepostError
from fencepost.events import EventBus, Events
from fencepost.exit_codes import EXIT_FINE, EXIT_INTERRUPTED, EXIT_NOT_STARTED
from fencepost.log import json_logger
from fencepost.settings import load_settings
from fencepost.sinks import LogSink
from fencepost.stores import Actor
from lab.ablate_cases import ALL_ON, RunSpec
from lab.ablate_figures import FAILED, RunFigures, figures_of, state_of
from lab.compare import interruptible
from lab.compare_options import STREAM_LIMIT, limits_in_force
from lab.compare_run import while_alive
from lab.history import History, RunInfo, collect, read_events, save
from lab.invariants import check
from lab.invariants.replay import replay
from lab.scenarios import SCENARIOS, ScenarioSpec, Scene
from lab.settle import Settled, settle
from lab.wide_region import write_wide_region
from lab.world import World, rules_of

ACTOR: Final = Actor("lab", operator=True)
FIGURES_FILE: Final = "figures.json"
HTTP_TIMEOUT_S: Final = 5.0


def figures_path(spec: RunSpec) -> Path:
    """Return where a run's figures go."""
    return Path(spec.run_dir).with_suffix(f".{FIGURES_FILE}")


def system_options(spec: RunSpec) -> SystemOptions:
    """Return the system that a run is made on; writes the region file where the scenario has one of its own."""
    scenario, run_dir = SCENARIOS[spec.case.scenario], Path(spec.run_dir)
    planner, enactor = (scenario.environment.get(kind, {}) for kind in ("planner", "enactor"))
    return SystemOptions(
        run_dir=run_dir,
        profile=scenario.profile,
        enactors=scenario.enactors,
        seed=spec.seed,
        port_base=spec.port_base,
        region_file=write_wide_region(run_dir / "region.toml") if scenario.wide else None,
        without=",".join(spec.case.without),
        extra={"planner": planner, "enactor": {**enactor, "FENCEPOST_STREAM_LIMIT": str(STREAM_LIMIT)}},
    )


@dataclass(slots=True)
class AblationRun:
    """One run on a system that is up."""

    spec: RunSpec
    scenario: ScenarioSpec
    scene: Scene
    system: RunningSystem
    clock: Clock
    made: int = 0

    async def record(self) -> tuple[History, RunFigures]:
        """Play the scenario, let the system come to rest, and judge. Raises: FencepostError if that cannot be."""
        started_us, began_s = self._now_us(), self.clock.monotonic()
        await self._play()
        changes_per_s = self.made / (self.clock.monotonic() - began_s)
        world_stopped_us = self._now_us()
        settled = await self._settle()
        if self.scenario.quiet is not None:
            await self.scenario.quiet(self.scene)
            world_stopped_us = self._now_us()
            settled = await self._settle()
        run = RunInfo(
            mode="fixed",
            seed=self.spec.seed,
            profile=self.scenario.profile,
            started_us=started_us,
            duration_s=self.spec.duration_s,
            parameters=parameters_of(self.spec),
            stopped_us=self._now_us(),
            world_stopped_us=world_stopped_us,
        )
        scene = self.scene
        collected = await collect(scene.zones, scene.plans, scene.region.endpoint_names, until_us=run.stopped_us)
        events = tuple(read_events(logs_dir(self.system.run_dir)))
        history = History(run=run, **collected._asdict(), events=events)
        return history, self._figures(history, settled, changes_per_s)

    async def _play(self) -> None:
        """Let the world change and the scenario play, both for as long as they should."""
        scenario, scene = self.scenario, self.scene
        world = World(
            scene.settings,
            rules_of("graceful"),
            rate=scenario.plan_rate or 1.0,
            rng=stream(self.spec.seed, "world"),
            clock=self.clock,
            events=scene.events,
            note=lambda _: None,
        )
        changing = asyncio.create_task(world.run()) if scenario.plan_rate else None
        playing = asyncio.create_task(scenario.play(scene))
        try:
            await self.clock.sleep(self.spec.duration_s)
            await playing
        finally:
            tasks = [task for task in (changing, playing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self.made = world.made

    async def _settle(self) -> Settled:
        network = self.scene.settings.network
        return await settle(
            self.scene.zones,
            self.scene.plans,
            self.clock,
            deadline_s=self.clock.monotonic() + self.spec.bound_s,
            quiet_s=max(1.0, 2 * network.propagation.p99_s),
        )

    def _figures(self, history: History, settled: Settled, changes_per_s: float) -> RunFigures:
        violations = check(history, convergence_bound_s=self.spec.bound_s)
        steps = {zone: replay(zone, commits) for zone, commits in sorted(history.commits.items())}
        asked = self.scenario.plan_rate
        state, problem = state_of(done=self.scene.done, asked_per_s=asked, changes_per_s=changes_per_s)
        return msgspec.structs.replace(
            figures_of(self.spec.case, history, violations, steps),
            state=state,
            problem=problem,
            done=self.scene.done,
            asked_per_s=asked,
            changes_per_s=round(changes_per_s, 2),
            settled_s=settled.after_s,
        )

    def _now_us(self) -> int:
        return int(self.clock.epoch_s() * 1e6)


def parameters_of(spec: RunSpec) -> dict[str, object]:
    """Return what a run is judged by and reported with, JSON-able."""
    environment = SCENARIOS[spec.case.scenario].environment.get("enactor", {})
    known = {name.removeprefix("FENCEPOST_").lower(): value for name, value in environment.items()}
    return {
        "scenario": spec.case.scenario,
        "without": list(spec.case.without),
        "convergence_bound_s": spec.bound_s,
        **limits_in_force(load_settings(EnactorSettings, **known)),
    }


@asynccontextmanager
async def ablation_run(spec: RunSpec, clock: Clock) -> AsyncIterator[AblationRun]:
    """Start a run's system, and stop it again whatever happens. Raises: StartupError."""
    scenario = SCENARIOS[spec.case.scenario]
    async with AsyncExitStack() as resources:
        system = await resources.enter_async_context(running_system(system_options(spec)))
        log = resources.enter_context((logs_dir(system.run_dir) / "lab.jsonl").open("a"))
        events: Events = EventBus(LogSink(json_logger("lab", log)))
        timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S)
        # The operator's batches must not trim the history that the run is judged by.
        settings = system.settings.model_copy(update={"stream_limit": STREAM_LIMIT})
        zones, plans = open_zone_store(settings, ACTOR), open_plan_store(settings)
        resources.push_async_callback(zones.close)
        resources.push_async_callback(plans.close)
        scene = Scene(
            settings=settings,
            region=settings.region(),
            zones=zones,
            plans=plans,
            http=await resources.enter_async_context(aiohttp.ClientSession(timeout=timeout)),
            clock=clock,
            rng=stream(spec.seed, "scenario", spec.case.scenario),
            events=events,
            duration_s=spec.duration_s,
        )
        yield AblationRun(spec, scenario, scene, system, clock)


async def make_run(spec: RunSpec) -> int:
    """Make a run and write its figures; a run that could not be made says why."""
    clock = SystemClock()
    began_s = clock.monotonic()
    try:
        async with ablation_run(spec, clock) as run:
            history, figures = await while_alive(run.record(), run.system.supervisor)
        if spec.keep or (spec.case.label == ALL_ON and figures.outcomes["violations"]):
            save(history, Path(spec.run_dir))
    except (FencepostError, OSError, aiohttp.ClientError) as error:
        problem = f"{type(error).__name__}: {error}"
        figures = RunFigures(case=spec.case, seed=spec.seed, state=FAILED, problem=problem)
    figures = msgspec.structs.replace(figures, wall_s=round(clock.monotonic() - began_s, 1))
    figures_path(spec).write_bytes(msgspec.json.encode(figures))
    return EXIT_NOT_STARTED if figures.state == FAILED else EXIT_FINE


def main() -> int:
    """Make the run that the file says. Returns the exit code."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=RunSpec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(interruptible(make_run(spec)))
        except asyncio.CancelledError:
            return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
