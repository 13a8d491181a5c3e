"""What the lab does to a running system, each a fault that one of the guards is there for.

On real processes, through what an operator or the load balancers themselves could do: the fleet's control API, and
batches by an operator that the zones take. Nothing tells the system what it is to make of it. A scenario runs beside
the world, or instead of it, for `duration_s` seconds; `ScenarioSpec` says which.
"""

import math
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp

from deploy.rollback import Rollback
from fencepost.batch import Change, ChangeBatch, delete, swap
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.errors import FencepostError, InvalidChangeBatch
from fencepost.events import Events
from fencepost.names import lock_name
from fencepost.records import RecordKey, txt
from fencepost.region import Region
from fencepost.settings import LOOPBACK, Settings
from fencepost.stores import PlanStore, ZoneStore
from lab.invariants.replay import ZoneState, is_within
from lab.lost_writes import LostWrites
from lab.settle import zone_state

GONE_FROM: Final = 0.15
GONE_UNTIL: Final = 0.7
"""When the broken observer begins and ends, as shares of the duration."""
FLAP_S: Final = 4.0
DOWN_SHARE: Final = 0.6
"""Of a period, for how much a flapping load balancer is down: longer than a health check takes to notice."""
STUCK_S: Final = 12.0
HANDS_S: Final = 0.3
"""How long an operator rests between two rollbacks, on average, seconds."""
STRAY: Final = "stray-enactor"
TRIES: Final = 50


class ScenarioFailed(FencepostError):
    """The lab could not do to the system what the scenario is about; the run shows nothing."""


@dataclass(slots=True)
class Scene:
    """What a scenario acts on. `done` counts what was really done to the system.

    `zones` are an operator's, without any link between; `http` is for the fleet's control API.
    """

    settings: Settings
    region: Region
    zones: ZoneStore
    plans: PlanStore
    http: aiohttp.ClientSession
    clock: Clock
    rng: random.Random
    events: Events
    duration_s: float
    done: int = 0
    spoilt: set[str] = field(default_factory=set)

    @property
    def control(self) -> ControlApi:
        """The zones as an operator uses them: patient with a zone that is busy for a moment."""
        return ControlApi(self.zones, self.clock, self.rng, self.events, pause_s=0.005)

    async def set_health(self, name: str, *, healthy: bool) -> None:
        """Let a load balancer say of itself that it is well, or not; it serves all the same."""
        url = f"http://{LOOPBACK}:{self.settings.fleet_control_port}/v1/balancers/{name}"
        async with self.http.put(url, json={"healthy": healthy}) as response:
            response.raise_for_status()
        self.done += not healthy

    def pick(self) -> str:
        """Choose an endpoint that nothing was done to yet."""
        zone = self.rng.choice([name for name in self.region.endpoint_names if name not in self.spoilt])
        self.spoilt.add(zone)
        return zone


Play = Callable[[Scene], Coroutine[Any, Any, None]]


async def race(scene: Scene) -> None:
    """Do nothing: stale attempts, and the outage, come out of delays and the rate of plans."""
    scene.done += 1


async def hands(scene: Scene) -> None:
    """Let an operator roll endpoints back while plans come.

    An operator needs no lock: only the fence tells an enactor, which is about to flip, that somebody was there.
    """
    end_s = scene.clock.monotonic() + scene.duration_s
    stores = Stores(scene.settings, scene.region, scene.zones, scene.plans)
    rollback = Rollback(stores, scene.clock, scene.events)
    while scene.clock.monotonic() < end_s:
        await scene.clock.sleep(scene.rng.uniform(0, 2 * HANDS_S))
        zone = scene.rng.choice(scene.region.endpoint_names)
        try:
            await rollback.run(zone, why="the lab's operator")
            scene.done += 1
        except FencepostError as error:  # as a person would, the next time then: nothing newer, or a busy zone
            scene.events.emit("world.change_failed", zone=zone, reason=str(error))
        await scene.plans.unpin([zone])


async def observer(scene: Scene) -> None:
    """Report half of every endpoint's load balancers as gone for a while, as a broken observer would."""
    gone = sorted(half_of_each(scene.region, scene.rng))
    await scene.clock.sleep(GONE_FROM * scene.duration_s)
    for name in gone:
        await scene.set_health(name, healthy=False)
    await scene.clock.sleep((GONE_UNTIL - GONE_FROM) * scene.duration_s)
    for name in gone:
        await scene.set_health(name, healthy=True)


def half_of_each(region: Region, rng: random.Random) -> frozenset[str]:
    """Return load balancers that are at least half of every endpoint's, by few more than that."""
    gone: set[str] = set()
    for endpoint in sorted(region.endpoint, key=lambda found: len(region.members(found))):
        members = [lb.name for lb in region.members(endpoint)]
        missing = math.ceil(len(members) / 2) - len(gone & set(members))
        gone |= set(rng.sample([name for name in members if name not in gone], max(0, missing)))
    return frozenset(gone)


async def flapping(scene: Scene) -> None:
    """Let every load balancer go down and up every few seconds, each at its own time; all are well in the end."""
    names = [lb.name for lb in scene.region.load_balancer]
    due = [
        (at_s, name, healthy)
        for name, phase_s in ((name, scene.rng.uniform(0, FLAP_S)) for name in names)
        for period in range(math.ceil(scene.duration_s / FLAP_S))
        for at_s, healthy in (
            (period * FLAP_S + phase_s, False),
            (period * FLAP_S + phase_s + DOWN_SHARE * FLAP_S, True),
        )
    ]
    began_s = scene.clock.monotonic()
    for at_s, name, healthy in sorted(found for found in due if found[0] < scene.duration_s):
        await scene.clock.sleep(max(0.0, began_s + at_s - scene.clock.monotonic()))
        await scene.set_health(name, healthy=healthy)
    for name in names:
        await scene.set_health(name, healthy=True)


async def dangling(scene: Scene) -> None:
    """Delete a live tree while plans still come."""
    await scene.clock.sleep(0.4 * scene.duration_s)
    await delete_live_tree(scene)


async def delete_live_tree(scene: Scene) -> None:
    """Delete all that root points to in one zone, by a batch that proves that it does. Raises: ScenarioFailed.

    A zone whose live tree is gone already needs no hand: without guards the system can do that by itself.
    """
    zone = scene.pick()
    for _ in range(TRIES):
        state = await zone_state(scene.zones, zone)
        changes = live_tree_deletions(state)
        if not changes and state.view().root:
            scene.done += 1
            return
        if changes:
            try:
                await scene.control.change(ChangeBatch(zone, changes, comment="lab: the live tree is deleted"))
            except InvalidChangeBatch:
                continue  # it was flipped meanwhile
            scene.done += 1
            return
        await scene.clock.sleep(0.05)
    raise ScenarioFailed(f"{zone}: the live tree could not be caught in {TRIES} tries")


def live_tree_deletions(state: ZoneState) -> tuple[Change, ...]:
    """Return the changes that delete the live tree, if root still points to it; none if it has no record."""
    root = [found for kind in ("A", "AAAA") for found in state.at(state.zone, kind) if found.alias]
    trees = {found.alias for found in root if found.alias}
    leaves = [r for key, r in sorted(state.records.items()) if any(is_within(key.name, tree) for tree in trees)]
    return (*(change for found in root for change in swap(found, found)), *map(delete, leaves)) if leaves else ()


async def lost_writes(scene: Scene) -> None:
    """Take back the last batch of trees that are being built, as a failover that forgets its last write does."""
    follower = LostWrites(scene.zones, scene.region.endpoint_names, scene.rng)
    try:
        await follower.run(scene.clock, scene.duration_s)
    finally:
        scene.done += follower.taken_back


async def stuck_lock(scene: Scene) -> None:
    """Leave a lock in one zone that nobody gives back: its holder is gone, and it has a while to go."""
    await scene.clock.sleep(0.15 * scene.duration_s)
    zone = scene.pick()
    key = RecordKey(lock_name(zone), "TXT")
    for _ in range(TRIES):
        existing = (await scene.zones.read(zone, [key])).records.get(key)
        stray = txt(key.name, f"{STRAY} {math.ceil(scene.clock.epoch_s() + STUCK_S)}")
        try:
            await scene.control.change(ChangeBatch(zone, swap(existing, stray), comment="lab: a lock is left"))
        except InvalidChangeBatch:
            continue
        scene.done += 1
        return
    raise ScenarioFailed(f"{zone}: its lock could not be caught in {TRIES} tries")


@dataclass(frozen=True, slots=True)
class ScenarioSpec:
    """A scenario and what it runs on.

    Attributes:
        about: one line.
        play: beside the world, from its start to its end.
        quiet: afterwards, when the last plan is everywhere; None: nothing.
        profile: the network profile.
        plan_rate: changes of the world a second; 0: the world stands still, and what happens is the scenario's doing.
        enactors: how many.
        wide: whether the region is one whose trees need two batches.
        environment: settings by kind of process.
    """

    about: str
    play: Play
    quiet: Play | None = None
    profile: str = "accelerated"
    plan_rate: float = 10.0
    enactors: int = 3
    wide: bool = False
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_CROWDED: Final = {"FENCEPOST_BACKOFF_BASE_S": "0.2", "FENCEPOST_BACKOFF_CAP_S": "1", "FENCEPOST_KEEP": "3"}
"""Enactors that come back sooner, and a cleaner that keeps 3 generations and not 10: a few seconds for some minutes."""
_SHORT_WINDOW: Final = {"FENCEPOST_VELOCITY_WINDOW_S": "8"}

# More enactors, which come back sooner, than in a comparison: a few seconds have to do.
_RACE: Final = ScenarioSpec(
    "delays, contention and the rate of plans, nothing else",
    race,
    profile="rough",
    plan_rate=30.0,
    enactors=5,
    environment={"enactor": _CROWDED},
)

SCENARIOS: Final = {
    "race": _RACE,
    "hands": replace(_RACE, about="the same, and an operator who rolls endpoints back meanwhile", play=hands),
    "observer": ScenarioSpec(
        "half of every endpoint's load balancers are reported gone for a while",
        observer,
        profile="lan",
        plan_rate=0.0,
        environment={"planner": _SHORT_WINDOW, "enactor": _SHORT_WINDOW},
    ),
    "flapping": ScenarioSpec(
        "every load balancer goes down and up every few seconds",
        flapping,
        profile="lan",
        plan_rate=0.0,
        environment={"planner": _SHORT_WINDOW, "enactor": _SHORT_WINDOW},
    ),
    "dangling": ScenarioSpec(
        "a live tree is deleted, once while plans come and once after the last one",
        dangling,
        delete_live_tree,
        environment={"enactor": {"FENCEPOST_SWEEP_S": "2"}},
    ),
    "lost-writes": ScenarioSpec(
        "the store forgets the last batch of a tree before its flip",
        lost_writes,
        plan_rate=3.0,
        wide=True,
        environment={"planner": {"FENCEPOST_OBSERVE_INTERVAL_S": "3"}},
    ),
    "stuck-lock": ScenarioSpec(f"one zone's lock is left behind for {STUCK_S:g} s", stuck_lock, profile="lan"),
}
