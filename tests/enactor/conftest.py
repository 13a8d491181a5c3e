"""Fixtures of the enactors: real stores on the embedded server, stores whose calls can be held, and virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import pytest
import redis.asyncio

from enactor.buggy import BuggyEnactor
from enactor.fixed import FixedEnactor
from enactor.protocol import Tools
from enactor.settings import EnactorSettings
from fencepost import records
from fencepost.batch import Change, ChangeBatch
from fencepost.clock import Clock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import FencepostError, OutcomeUnknown, StoreUnavailable
from fencepost.events import EventBus, Recorder
from fencepost.fence import Fence, fence_key
from fencepost.names import fence_name, lock_name, tree_name
from fencepost.plan import Content, Draft, Target, content
from fencepost.records import RecordKey, RecordSet
from fencepost.stores import MAX_PAGE, Actor, Commit, PlanStore, ZonePage, ZoneRead, ZoneStore
from lab.history import History, RunInfo, collect
from lab.invariants import Violation, check

T = TypeVar("T")
EPOCH_S = 1_792_000_000.0
PLAN_KEYS = tuple(f"{{plans}}:{part}" for part in ("head", "current", "log", "contents", "references"))
ENACTORS = {"buggy": BuggyEnactor, "fixed": FixedEnactor}


class VirtualClock:
    """Time that passes only where somebody sleeps, and at once; `at_next_sleep` happens during the next sleep."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.now_s, self.skew_s = 0.0, skew_s
        self.at_next_sleep: Callable[[], Awaitable[Any]] | None = None

    def monotonic(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return EPOCH_S + self.now_s + self.skew_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        meanwhile, self.at_next_sleep = self.at_next_sleep, None
        await (meanwhile() if meanwhile else asyncio.sleep(0))


class Gate:
    """Holds one call of a store: set `opened` when `arrived` is set and the world has moved on."""

    def __init__(self, matches: Callable[[ChangeBatch], bool], skip: int) -> None:
        self.matches, self.skip = matches, skip
        self.arrived, self.opened = asyncio.Event(), asyncio.Event()


class HeldStore:
    """A `ZoneStore` that passes every call on to a real one; batches can be held before, and replies lost.

    Attributes:
        gates: each holds the first batch that it matches, after `skip` matching ones.
        errors: raised instead of the next calls, which are not executed.
        away: zones that the store does not answer for.
        lose_write: (zone, n, executed): the nth batch on a zone from now on ends as `OutcomeUnknown`.
        writes: batches that were sent, by zone.
    """

    def __init__(self, inner: ZoneStore, clock: Clock) -> None:
        self._inner, self._clock = inner, clock
        self.gates: list[Gate] = []
        self.errors: list[FencepostError] = []
        self.away: set[str] = set()
        self.lose_write: tuple[str, int, bool] | None = None
        self.writes: dict[str, int] = {}

    def hold(self, comment: str, zone: str, *, skip: int = 0) -> Gate:
        """Hold a batch on a zone whose comment begins like this."""
        gate = Gate(lambda batch: batch.zone == zone and batch.comment.startswith(comment), skip)
        self.gates.append(gate)
        return gate

    async def create_zone(self, zone: str, record_sets: Sequence[RecordSet]) -> bool:
        return await self._inner.create_zone(zone, record_sets)

    async def read(self, zone: str, keys: Sequence[RecordKey]) -> ZoneRead:
        self._fail()
        if zone in self.away:
            raise StoreUnavailable(f"{zone} is away")
        return await self._inner.read(zone, keys)

    async def page(
        self, zone: str, start: RecordKey | None = None, limit: int = MAX_PAGE, *, within: str | None = None
    ) -> ZonePage:
        self._fail()
        return await self._inner.page(zone, start, limit, within=within)

    async def change(self, batch: ChangeBatch) -> Commit:
        self._fail()
        await self._pass_gates(batch)
        self.writes[batch.zone] = self.writes.get(batch.zone, 0) + 1
        if self.lose_write is None or self.lose_write[:2] != (batch.zone, self.writes[batch.zone]):
            return self._timed(await self._inner.change(batch))
        if self.lose_write[2]:
            await self._inner.change(batch)
        raise OutcomeUnknown("the answer got lost")

    def _timed(self, commit: Commit) -> Commit:
        """Let the store's clock be the virtual one, without anybody's skew."""
        if not isinstance(self._clock, VirtualClock):
            return commit
        return msgspec.structs.replace(commit, at_us=round((EPOCH_S + self._clock.now_s) * 1e6))

    async def commits(self, zone: str, after_serial: int = 0, limit: int = 1000) -> tuple[Commit, ...]:
        return await self._inner.commits(zone, after_serial, limit)

    async def follow(self, positions: Mapping[str, int], wait_s: float) -> tuple[Commit, ...]:
        return await self._inner.follow(positions, wait_s)

    async def close(self) -> None:
        await self._inner.close()

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    async def _pass_gates(self, batch: ChangeBatch) -> None:
        for gate in [gate for gate in self.gates if gate.matches(batch)]:
            gate.skip -= 1
            if gate.skip < 0:
                self.gates.remove(gate)
                gate.arrived.set()
                await gate.opened.wait()


class Staged:
    """One enactor under test with its own store; `tick` does one round."""

    def __init__(
        self, protocol: str, settings: EnactorSettings, plans: PlanStore, zones: ZoneStore, clock: Clock
    ) -> None:
        self.store, self.recorder, self.settings = HeldStore(zones, clock), Recorder(), settings
        self.tools = Tools.of(
            settings,
            plans=plans,
            zones=self.store,
            clock=clock,
            rng=random.Random(settings.name),
            events=EventBus(self.recorder),
        )
        self.enactor = ENACTORS[protocol](self.tools)
        self.tick = self.enactor.tick

    def saw(self, name: str, zone: str | None = None) -> list[Any]:
        """Return the events of a name, of one zone or of all."""
        return [e for e in self.recorder.events if e.name == name and zone in (None, e.zone)]


class World:
    """Zones, plans, enactors and an operator, all over one real server."""

    def __init__(self, url: str) -> None:
        self.url, self.clock = url, VirtualClock()
        self.plans = open_plan_store(EnactorSettings(redis_url=url))
        self.operator = self._zones("operator", operator=True)
        self.zones: list[str] = []
        self._open: list[ZoneStore | PlanStore] = [self.plans, self.operator]

    def _zones(self, name: str, *, operator: bool = False) -> ZoneStore:
        return open_zone_store(EnactorSettings(redis_url=self.url), Actor(name, operator))

    async def close(self) -> None:
        for store in self._open:
            await store.close()

    def enactor(self, protocol: str, name: str, *, clock: Clock | None = None, **settings: Any) -> Staged:
        zones = self._zones(name)
        self._open.append(zones)
        given = EnactorSettings(name=name, redis_url=self.url, protocol=protocol, **settings)
        return Staged(protocol, given, self.plans, zones, clock or self.clock)

    async def add_zones(self, *zones: str) -> None:
        for zone in zones:
            await self.operator.create_zone(zone, (records.soa(zone, ttl=9, minimum=9), records.ns(zone)))
            self.zones.append(zone)

    async def publish(self, *, number: int | None = None, force: bool = False, **contents: Content) -> int:
        """Publish what changes, `a=...` for a.test.; `number` is its generation, `force` an operator's word."""
        latest = await self.plans.latest_generation()
        changes = {f"{name}.test.": value for name, value in contents.items()}
        draft = Draft(changes, "test", operator=force, force=force)
        generation = await self.plans.publish(draft, expected=latest, floor=(number or latest + 1) - 1)
        assert number in (None, generation)
        return generation

    async def kept_plans(self) -> dict[str, bytes]:
        """Return what the plan store holds, for `forget_plans`."""
        client = redis.asyncio.Redis.from_url(self.url)
        kept = {key: await client.dump(key) for key in PLAN_KEYS}
        await client.aclose()
        return kept

    async def forget_plans(self, kept: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Lose the plan store's writes, as a failover may: all of them, or all since `kept_plans`."""
        client = redis.asyncio.Redis.from_url(self.url)
        await client.delete(*PLAN_KEYS)
        for key, dumped in kept.items():
            await client.restore(key, 0, dumped)
        await client.aclose()
        # Plans of one number are told apart by their millisecond, and no failover is over within the same one.
        await asyncio.sleep(0.002)

    async def records(self, zone: str) -> dict[RecordKey, RecordSet]:
        found, start = {}, None
        while True:
            page = await self.operator.page(zone, start)
            found |= {record_set.key: record_set for record_set in page.record_sets}
            if (start := page.next_key) is None:
                return found

    async def text(self, name: str, zone: str) -> str | None:
        """Return the text of a TXT record."""
        found = (await self.records(zone)).get(RecordKey(name, "TXT"))
        return found.text if found else None

    async def root(self, zone: str, kind: str = "A", *, at: str = "") -> str | None:
        """Return the root's target (or, at "rollback.", rollback's)."""
        found = (await self.records(zone)).get(RecordKey(at + zone, kind))
        return found.alias if found else None

    async def fenced(self, zone: str) -> int | None:
        text = await self.text(fence_name(zone), zone)
        return int(text.split(" ")[0]) if text else None

    async def leaves(self, zone: str, generation: int) -> dict[str, str]:
        """Return identifier/type -> address of a tree."""
        name = tree_name(zone, generation)
        found = [r for r in (await self.records(zone)).values() if r.name == name]
        return {f"{r.set_identifier}/{r.type}": r.values[0] for r in found}

    async def operate(self, zone: str, *changes: Change) -> None:
        await self.operator.change(ChangeBatch(zone, changes, comment="by hand"))

    async def foreign_lock(self, zone: str, expires_in_s: float) -> RecordSet:
        """Return a lock of somebody else, to be created."""
        return records.txt(lock_name(zone), f"somebody {round(self.clock.epoch_s() + expires_in_s)}")

    async def comments(self, zone: str) -> list[str]:
        return [commit.comment for commit in await self.operator.commits(zone)]

    async def violations(self, *, clock_skew_s: float = 1e9) -> tuple[Violation, ...]:
        """Judge the real history of every zone; virtual time makes the locks' times meaningless to I6."""
        collected = await collect(self.operator, self.plans, self.zones)
        run = RunInfo(
            mode="fixed",
            seed=1,
            profile="none",
            started_us=0,
            duration_s=0,
            parameters={"clock_skew_s": clock_skew_s},
        )
        history = History(run=run, commits=collected.commits, plans=collected.plans, last_plan=collected.last_plan)
        return check(history, convergence_bound_s=60)

    @staticmethod
    def targets(count: int = 2, *, weight: int = 1, kinds: tuple[str, ...] = ("A",), ttl: int = 5) -> Content:
        """Return a content of `count` load balancers; another weight is another content."""
        found = []
        for n in range(1, count + 1):
            place = f"{n // 250}.{n % 250}"
            if "A" in kinds:
                found.append(Target(f"lb-{n:04d}", "A", f"10.1.{place}", weight))
            if "AAAA" in kinds:
                found.append(Target(f"lb-{n:04d}", "AAAA", f"fd00::{n:x}", weight))
        return content(ttl, found)

    def contents(self, zones: Sequence[str], **given: Any) -> dict[str, Content]:
        """Return a content as `targets` makes it for each of some zones, as `publish` takes them."""
        return {zone.removesuffix(".test."): self.targets(**given) for zone in zones}

    async def ticks(self, staged: Staged, until: Callable[[], Awaitable[bool]], *, most: int = 10) -> None:
        """Do rounds until a condition holds, `most` at most; in between half a second passes, and more than a pause."""
        for _ in range(most):
            outcome = await staged.tick()
            if await until():
                return
            await self.clock.sleep(outcome.wait_s + 0.5)
        raise AssertionError(f"not within {most} rounds: {outcome.text}")

    async def install(self, staged: Staged, *, most: int = 10) -> None:
        """Do rounds until every zone's fence says that it has the latest plan."""

        async def installed() -> bool:
            latest = await self.plans.latest()
            fences = {zone: (await self.records(zone)).get(fence_key(zone)) for zone in self.zones}
            return all(record and Fence.parse(zone, record).has(latest, zone) for zone, record in fences.items())

        await self.ticks(staged, installed, most=most)


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    """An empty world; zones come by `add_zones`."""
    world = World(redis_url)
    yield world
    await world.close()
