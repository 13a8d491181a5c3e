"""One run of a region in virtual time: shipped enactors over slow links, plans at random instants, until the outage.

Nothing is chosen here, unlike in an exploration: each store call takes the round trip that its link draws, and what is
called first is executed first. So it is the timing alone, with its chances, that breaks an endpoint or does not.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec

from enactor.protocol import Tools
from enactor.rounds import PROTOCOLS, Rounds
from enactor.settings import usual_patience_s
from fencepost.clock import stream
from fencepost.network import PROFILES, Link, LinkSpec
from fencepost.plan import Draft
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.remote import RemotePlanStore, RemoteZoneStore
from fencepost.stores import Actor
from lab.simulation.cast import PUBLISHER
from lab.simulation.process import Main, Process
from lab.simulation.scenario import Scenario, Scene
from lab.simulation.seal import sealed
from lab.simulation.stage import Stage
from lab.simulation.world import World

EMPTIED: Final = "I1"
"""The outage, by the judge: an endpoint that has answered answers with no address."""

TAKEN_BACK: Final = "I2"
"""A stale flip: the near miss of which one in many becomes an outage."""

STREAM_LIMIT: Final = 16
"""Nobody follows a zone here, so that few commits are kept."""

PLANS_KEPT: Final = 1000
"""As many plans as history: more than any enactor is ever behind."""

CHANGED: Final = 0.6
"""How likely a plan changes an endpoint; each changes one at least."""

FORGET_AFTER: Final = 10_000
"""After so many steps a world's records of them are dropped: a run has millions."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What the odds depend on.

    Attributes:
        mode: the enactors' protocol.
        enactors, endpoints: how many.
        plans_per_s: the planner's rate; the instants are a Poisson process.
        median_s, p99_s: of a round trip to the control API, without stalls.
        stall: how likely a call stalls besides.
        stall_s: how long a stall takes on average; it is uniform between 0 and twice that.
        keep: how many generations' trees the cleaner leaves.
        backoff_base_s, backoff_cap_s, lock_ttl_s, poll_s: see `EnactorSettings`.
    """

    mode: Literal["buggy", "fixed"] = "buggy"
    enactors: int = 3
    endpoints: int = 3
    plans_per_s: float = 10.0
    median_s: float = 0.01
    p99_s: float = 0.04
    stall: float = 0.002
    stall_s: float = 0.5
    keep: int = 10
    backoff_base_s: float = 0.05
    backoff_cap_s: float = 2.0
    lock_ttl_s: float = 2.0
    poll_s: float = 0.1

    @property
    def link(self) -> LinkSpec:
        """The way to the control API."""
        return LinkSpec(self.median_s, self.p99_s, stall=self.stall, stall_max_s=2 * self.stall_s)

    @property
    def scenario(self) -> Scenario:
        """What a simulation is made of."""
        return Scenario(
            mode=self.mode,
            enactors=self.enactors,
            endpoints=self.endpoints,
            keep=self.keep,
            poll_s=self.poll_s,
            lock_ttl_s=self.lock_ttl_s,
            backoff_base_s=self.backoff_base_s,
            backoff_cap_s=self.backoff_cap_s,
            patience_s=usual_patience_s(self.median_s),
        )


class Run(NamedTuple):
    """What became of one run.

    Attributes:
        lasted_s: seconds of the world, until the outage or until the end.
        emptied: whether an endpoint was emptied.
        plans, stale_flips: how many there were until then.
        deepest: how many generations behind the latest plan the root was put by the worst of these flips.
        steps: how many calls and timers.
    """

    lasted_s: float
    emptied: bool
    plans: int
    stale_flips: int
    deepest: int
    steps: int


class Region:
    """Runs one setting, as often as wanted."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stage = Stage(setting.scenario)

    def run(self, seed: int, lasts_s: float, should_stop: Callable[[], bool] = lambda: False) -> Run:
        """Run until the first outage, or for so many seconds of the world; `should_stop` is asked now and then.

        A run that was stopped counts as far as it got: that it was does not depend on what happened in it.
        """
        self._stage.cast = timed_cast(self._stage.scene, self._setting, seed)
        with sealed():
            world = self._stage.world()
            try:
                return _until_emptied(world, lasts_s, should_stop)
            finally:
                world.close()


def _until_emptied(world: World, lasts_s: float, should_stop: Callable[[], bool]) -> Run:
    violations, seen = world.judge.violations, 0
    steps = stale_flips = deepest = 0
    emptied = False
    while not emptied and world.time.now_s < lasts_s and in_time(world):
        steps += 1
        for violation in violations[seen:]:
            emptied |= violation.invariant == EMPTIED
            if violation.invariant == TAKEN_BACK:
                stale_flips += 1
                deepest = max(deepest, world.generation - _shown(world, violation.endpoint))
        seen = len(violations)
        if steps % FORGET_AFTER == 0:
            _forget(world)
            if should_stop():
                break
    return Run(min(world.time.now_s, lasts_s), emptied, world.generation, stale_flips, deepest, steps)


def _shown(world: World, endpoint: str) -> int:
    """Return the generation that an endpoint's root shows after its last commit."""
    step = world.judge.zones[endpoint].last
    assert step is not None, "a flip was judged"
    return step.after.generation or 0


def in_time(world: World) -> bool:
    """Let what is called be executed at once, else the earliest timer go off; say whether there was either."""
    for process in world.processes:
        if process.parked:
            return world.run(process.parked[0])
    timer = world.next_timer
    return timer is not None and world.fire(timer)


def _forget(world: World) -> None:
    world.trace.clear()
    for zone in world.judge.zones.values():
        zone.commits.clear()


def timed_cast(scene: Scene, setting: Setting, seed: int) -> dict[str, Main]:
    """Return who acts: enactors behind their links, and who publishes."""
    acting = {name: _enactor(scene, setting, seed) for name in scene.enactor_names}
    return {PUBLISHER: _publisher(scene, setting, seed)} | acting


def _plans(process: Process, seed: int) -> RemotePlanStore:
    bare = RedisPlanStore(process.client, keep=PLANS_KEPT)  # type: ignore[arg-type]  # the part of it that is used
    spec = PROFILES["accelerated"].across_zones
    return RemotePlanStore(bare, Link(spec, process.clock, stream(seed, process.name, "plans")))


def _zones(process: Process, spec: LinkSpec, seed: int) -> RemoteZoneStore:
    actor, client = Actor(process.name), process.client
    bare = RedisZoneStore(client, actor, stream_limit=STREAM_LIMIT)  # type: ignore[arg-type]  # as above
    return RemoteZoneStore(bare, Link(spec, process.clock, stream(seed, process.name, "control")))


def _enactor(scene: Scene, setting: Setting, seed: int) -> Main:
    async def main(process: Process) -> None:
        settings, rng = scene.enactor_settings[process.name], stream(seed, process.name, "enactor")
        tools = Tools.of(
            settings,
            plans=_plans(process, seed),
            zones=_zones(process, setting.link, seed),
            clock=process.clock,
            rng=rng,
            events=process,
        )
        rounds = Rounds(PROTOCOLS[settings.protocol](tools), settings, None, clock=process.clock, events=process)
        await process.clock.sleep(rng.uniform(0.0, setting.poll_s))
        while True:
            outcome = await rounds.one()
            await process.clock.sleep(outcome.wait_s)

    return main


def _publisher(scene: Scene, setting: Setting, seed: int) -> Main:
    async def main(process: Process) -> None:
        plans, rng, latest = _plans(process, seed), stream(seed, process.name, "plans to make"), 0
        due_s = 0.0
        while True:
            changed = [zone for zone in scene.zones if latest == 0 or rng.random() < CHANGED]
            changed = changed or [rng.choice(scene.zones)]
            draft = Draft({zone: rng.choice(scene.contents) for zone in changed}, f"plan {latest + 1}")
            latest = await plans.publish(draft, expected=latest)
            due_s += rng.expovariate(setting.plans_per_s)
            await process.clock.sleep(max(0.0, due_s - process.clock.monotonic()))

    return main
