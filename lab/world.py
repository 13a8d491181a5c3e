"""The world that the automation follows: capacity comes and goes, load balancers are drained, and some of them fail.

Nothing here publishes a plan or touches a zone. Capacity and drains go through the planner's operator API, as operators
and autoscalers would ask for them; failures are set in the fleet, where only the planner's health checks can find them.

`choose` and `applied` are pure: one seed gives one sequence of changes, whatever the system makes of them. `World`
makes them one after the other at a stated rate, open loop in time: a turn that comes while the change before is still
being made is left out and counted, so that the reached rate is known. One in flight is enough and keeps the sequence
the same for both protocols: the planner is asked to answer once a request is durable (`wait=false`), whenever its plan
may come.
"""

import math
import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

import aiohttp
import msgspec

from fencepost.clock import Clock
from fencepost.errors import StartupError
from fencepost.events import Events
from fencepost.region import Region
from fencepost.settings import LOOPBACK, Settings

REQUEST_TIMEOUT_S: Final = 5.0
FAILURES: Final = ("refuse", "hang", "error")


class Kind(StrEnum):
    """What a change does to a load balancer."""

    CAPACITY = "capacity"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    FAIL = "fail"
    RECOVER = "recover"


class Rules(msgspec.Struct, frozen=True):
    """What the world may do.

    Attributes:
        odds: how likely each kind of change is, relative to the others; a kind that is not here never happens.
        step_min, step_max: how much capacity comes or goes in one change, requests per second.
        capacity_min, capacity_max: bounds of a load balancer's capacity, as factors of what it has at first.
        min_undrained: of each endpoint's load balancers, at least this share is not drained.
        max_failing: how many load balancers may fail at once, and they count as drained ones do.
    """

    odds: Mapping[Kind, float]
    step_min: int = 10
    step_max: int = 40
    capacity_min: float = 0.4
    capacity_max: float = 1.6
    min_undrained: float = 0.7
    max_failing: int = 2


WORLDS: Final = {
    "graceful": Rules({Kind.CAPACITY: 0.8, Kind.DRAIN: 0.1, Kind.UNDRAIN: 0.1}),
    "failures": Rules(
        {Kind.CAPACITY: 0.76, Kind.DRAIN: 0.1, Kind.UNDRAIN: 0.1, Kind.FAIL: 0.02, Kind.RECOVER: 0.02},
        min_undrained=0.6,
    ),
}
"""`graceful`: a drained load balancer goes on serving, so every lost request is the DNS automation's doing."""


class Change(msgspec.Struct, frozen=True):
    """One change: `amount` is the capacity that comes (or goes, below 0); `failure` how a load balancer fails."""

    kind: Kind
    load_balancer: str
    amount: int = 0
    failure: str = "none"


class State(msgspec.Struct, frozen=True):
    """What the world did so far: capacity added by load balancer, who is drained, who fails."""

    added: Mapping[str, int] = {}
    drained: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()


class Made(msgspec.Struct, frozen=True):
    """A change that was asked for, as `world.jsonl` keeps it.

    Attributes:
        at_us: when it was asked for, epoch microseconds.
        change: what.
        took_ms: until the answer.
        generation: the plan that it led to, None where that is still to come or the planner did not answer.
        error: why it was not made, None if it was.
    """

    at_us: int
    change: Change
    took_ms: float
    generation: int | None = None
    error: str | None = None


def choose(state: State, region: Region, rules: Rules, rng: random.Random) -> Change:
    """Choose the next change. Capacity is always possible, so there always is one.

    Returns: a change after which every bound of `rules` still holds. Capacity changes where it is in service: what
        nobody is sent to is no change of any plan.
    """
    gone = state.drained | state.failing
    possible = {
        Kind.CAPACITY: tuple(lb.name for lb in region.load_balancer if lb.name not in gone),
        Kind.DRAIN: _may_leave(state, region, rules),
        Kind.UNDRAIN: tuple(sorted(state.drained)),
        Kind.FAIL: _may_leave(state, region, rules) if len(state.failing) < rules.max_failing else (),
        Kind.RECOVER: tuple(sorted(state.failing)),
    }
    kinds = [kind for kind in Kind if possible[kind] and rules.odds.get(kind, 0) > 0] or [Kind.CAPACITY]
    kind = rng.choices(kinds, [rules.odds.get(kind, 1.0) for kind in kinds])[0]
    name = rng.choice(possible[kind])
    if kind is Kind.CAPACITY:
        return Change(kind, name, amount=_amount(state, region, rules, name, rng))
    return Change(kind, name, failure=rng.choice(FAILURES) if kind is Kind.FAIL else "none")


def _may_leave(state: State, region: Region, rules: Rules) -> tuple[str, ...]:
    """Return the load balancers that every one of their endpoints can do without."""
    gone = state.drained | state.failing
    needed: set[str] = set()
    for endpoint in region.endpoint:
        members = {lb.name for lb in region.members(endpoint)}
        if len(members - gone) - 1 < math.ceil(rules.min_undrained * len(members)):
            needed |= members
    return tuple(lb.name for lb in region.load_balancer if lb.name not in gone | needed)


def _amount(state: State, region: Region, rules: Rules, name: str, rng: random.Random) -> int:
    """Return a step up or down that stays within the bounds; the other way where it would not."""
    base = next(lb.capacity for lb in region.load_balancer if lb.name == name)
    step = rng.randint(rules.step_min, rules.step_max) * rng.choice((1, -1))
    now = base + state.added.get(name, 0)
    within = rules.capacity_min * base <= now + step <= rules.capacity_max * base
    return step if within else -step


def applied(state: State, change: Change) -> State:
    """Return the state after a change."""
    name = change.load_balancer
    match change.kind:
        case Kind.CAPACITY:
            added = {**state.added, name: state.added.get(name, 0) + change.amount}
            return msgspec.structs.replace(state, added=added)
        case Kind.DRAIN:
            return msgspec.structs.replace(state, drained=state.drained | {name})
        case Kind.UNDRAIN:
            return msgspec.structs.replace(state, drained=state.drained - {name})
        case Kind.FAIL:
            return msgspec.structs.replace(state, failing=state.failing | {name})
        case Kind.RECOVER:
            return msgspec.structs.replace(state, failing=state.failing - {name})


class World:
    """Makes changes until cancelled.

    Args:
        settings: where planner and fleet listen; the region.
        rules: what may happen.
        rate: changes a second that it tries to make.
        note: called with each change that was asked for.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        *,
        rate: float,
        rng: random.Random,
        clock: Clock,
        events: Events,
        note: Callable[[Made], None],
    ) -> None:
        self._region, self._rules, self._rate, self._rng = settings.region(), rules, rate, rng
        self._clock, self._events, self._note = clock, events, note
        self._planner = f"http://{LOOPBACK}:{settings.api_port}/v1/load-balancers"
        self._fleet = f"http://{LOOPBACK}:{settings.fleet_control_port}/v1/balancers"
        self.state = State()
        self.made = 0
        self.failed = 0
        self.left_out = 0

    async def run(self) -> None:
        """Make a change whenever one is due."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
            due_s, period_s = self._clock.monotonic(), 1 / self._rate
            while True:
                await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))
                await self.once(session)
                behind = int(max(0.0, self._clock.monotonic() - due_s) / period_s)
                self.left_out += behind
                due_s += period_s * (1 + behind)

    async def once(self, session: aiohttp.ClientSession) -> Made:
        """Choose one change, ask for it, and note what came of it."""
        change = choose(self.state, self._region, self._rules, self._rng)
        # The next choice builds on this one even if it fails: whether a request that got no answer was carried out is
        # not known, and one sequence of choices for one seed is worth more than exact bounds.
        self.state = applied(self.state, change)
        at_us, start_s = int(self._clock.epoch_s() * 1e6), self._clock.monotonic()
        generation, error = await self._ask(session, change)
        took_ms = round((self._clock.monotonic() - start_s) * 1000, 3)
        result = Made(at_us, change, took_ms, generation, error)
        self._note(result)
        self._tell(result)
        return result

    async def _ask(self, session: aiohttp.ClientSession, change: Change) -> tuple[int | None, str | None]:
        name = change.load_balancer
        method, url, body = {
            Kind.CAPACITY: ("POST", f"{self._planner}/{name}/capacity?wait=false", {"add": change.amount}),
            Kind.DRAIN: ("POST", f"{self._planner}/{name}/drain?wait=false", None),
            Kind.UNDRAIN: ("DELETE", f"{self._planner}/{name}/drain?wait=false", None),
            Kind.FAIL: ("PUT", f"{self._fleet}/{name}", {"failure": change.failure}),
            Kind.RECOVER: ("PUT", f"{self._fleet}/{name}", {"failure": "none"}),
        }[change.kind]
        try:
            async with session.request(method, url, json=body) as response:
                return (await response.json()).get("generation"), None
        except (aiohttp.ClientError, TimeoutError) as error:
            return None, f"{type(error).__name__}: {error}"

    def _tell(self, made: Made) -> None:
        change = made.change
        self.made += made.error is None
        self.failed += made.error is not None
        self._events.emit(
            "world.change_made" if made.error is None else "world.change_failed",
            generation=made.generation,
            reason=made.error or "",
            took_ms=made.took_ms,
            kind=str(change.kind),
            load_balancer=change.load_balancer,
            amount=change.amount,
            failure=change.failure,
        )


def rules_of(world: str) -> Rules:
    """Return a world's rules. Raises: StartupError if there is no world of this name."""
    if world not in WORLDS:
        raise StartupError(f"no world {world!r}; there are {', '.join(WORLDS)}")
    return WORLDS[world]
