"""Where worlds are set up: one server and one beginning for all schedules of a scenario."""

from collections.abc import Sequence
from functools import cached_property

from fencepost.stores import Commit
from lab.history import History, RunInfo
from lab.simulation.cast import FINITE, OPERATOR, cast, install_first, within
from lab.simulation.judge import Judge, ZoneJudge
from lab.simulation.loop import WorldTime
from lab.simulation.past import Past
from lab.simulation.process import EPOCH_S, Listener, Process
from lab.simulation.promises import PLANS, Promises
from lab.simulation.scenario import Scenario, Scene
from lab.simulation.server import Server, Snapshot
from lab.simulation.stores import zones_of
from lab.simulation.world import World


class Stage:
    """Makes worlds of one scenario, one at a time: they share the server.

    Attributes:
        seed: fixes every draw of the next world's processes; at first the scenario's.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scene = Scene(scenario)
        self.server = Server()
        self.cast = cast(self.scene)
        self.seed = scenario.seed
        parameters = {
            "clock_skew_s": 2 * scenario.skew_s,
            "small_fleet": 1,
        }
        self._run = RunInfo(
            mode=scenario.mode,
            seed=scenario.seed,
            profile="none",
            started_us=round(EPOCH_S * 1e6),
            duration_s=0.0,
            parameters=parameters,
        )
        self._beginning, self._commits = self.beginning((PLANS, *self.scene.zones))

    def _empty(self, *, recording: bool) -> World:
        members = dict.fromkeys(self.scene.zones, self.scene.scenario.balancers)
        return World(self.server, WorldTime(), Judge(members, self._run), recording=recording)

    def beginning(self, slots: Sequence[str]) -> tuple[Snapshot, tuple[Commit, ...]]:
        """Return a store with some slots as they are before anything runs, and the commits of those that are zones.

        The zones are empty, as `fencepost up` makes them, or have the plans that are to be installed already.
        """

        async def main(process: Process) -> None:
            store = zones_of(process, operator=True)
            for zone in self.scene.zones:
                await store.create_zone(zone, self.scene.region.zone_records(zone))
            await install_first(self.scene, process)

        self.server.flush()
        empty = self.server.snapshot()
        setup = within(self.scene.limits, main)
        world = self._empty(recording=False)
        world.populate([Process("setup", setup, server=self.server, time=world.time, seed=0, listener=world.hear)])
        while parked := world.parked:
            world.run(parked[0])
        world.close()
        for slot in sorted({PLANS, *self.scene.zones} - set(slots)):
            self.server.restore_slot(empty, slot)
        zones = world.judge.zones.items()
        return self.server.snapshot(), tuple(c for zone, judge in zones if zone in slots for c in judge.commits)

    def judge_of(self, zone: str) -> ZoneJudge:
        """Return a judge of one zone that has seen nothing yet."""
        return ZoneJudge(zone, History(run=self._run, commits={}), self.scene.scenario.balancers)

    def process(self, name: str, time: WorldTime, listener: Listener) -> Process:
        """Return one process of the scene, not started yet."""
        return Process(
            name,
            self.cast[name],
            server=self.server,
            time=time,
            seed=self.seed,
            listener=listener,
            skew_s=self._skews.get(name, 0.0),
            finite=name in FINITE,
            even=self.scene.scenario.even and name not in FINITE,
            promises=Promises() if name == OPERATOR else None,
        )

    def world(self, *, recording: bool = False) -> World:
        """Return a new world at its beginning; the one before it must be closed."""
        world = self._empty(recording=recording)
        self.server.restore(self._beginning)
        for commit in self._commits:
            world.judge.take(commit)
        if self.scene.scenario.installed:
            world.read_plan()
        world.past = Past() if self.scene.scenario.forgets else None
        if self.scene.scenario.planner:
            # At last the fleet is as it was at first, and an operator has let go of everything.
            world.wanted = dict.fromkeys(self.scene.zones, self.scene.contents[0])
        world.populate(self.process(name, world.time, world.hear) for name in self.cast)
        return world

    @cached_property
    def _skews(self) -> dict[str, float]:
        """Return each process's error of the wall clock: from all of it behind to all of it ahead."""
        most = self.scene.scenario.skew_s
        enactors = self.scene.enactor_names
        step = 2 * most / max(1, len(enactors) - 1)
        others = [name for name in self.cast if name not in enactors]
        found = {name: -most + index * step for index, name in enumerate(enactors)}
        return found | {name: most if index % 2 else -most for index, name in enumerate(others)}
