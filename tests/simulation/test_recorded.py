"""Real enactors' batches, sent again to the small server: the same outcome of every one, committed or refused."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from enactor.buggy import BuggyEnactor
from enactor.fixed import FixedEnactor
from enactor.protocol import Tools
from enactor.settings import EnactorSettings
from fencepost.batch import Change, ChangeBatch, create, delete
from fencepost.clock import SystemClock, stream
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import ChangeRefused, FencepostError
from fencepost.events import EventBus
from fencepost.network import Link, LinkSpec
from fencepost.notice import Notice
from fencepost.plan import Draft, Target, content
from fencepost.records import RecordKey, RecordSet, ns, soa
from fencepost.remote import RemoteZoneStore
from fencepost.stores import MAX_PAGE, Actor, Commit, ZonePage, ZoneRead, ZoneStore
from lab.history import History, RunInfo, collect
from lab.simulation.recorded import Refusal, Sent, replay_batches, replay_history

ZONES = ("a.test.", "b.test.", "c.test.")
PROTOCOLS = {"buggy": BuggyEnactor, "fixed": FixedEnactor}
BATCHES, PLAN_EVERY_S, SEED = 200, 0.02, 5
CONTROL = LinkSpec(0.0005, 0.005, loss=0.02, stall=0.03, stall_min_s=0.02, stall_max_s=0.3, timeout_s=0.3)
OPERATOR = Actor("operator", operator=True)


class RecordingStore:
    """A `ZoneStore` that writes down every batch of its actor and its outcome, in the order of execution."""

    def __init__(self, inner: ZoneStore, actor: Actor, log: list[Sent], turn: asyncio.Lock) -> None:
        self._inner, self._actor, self._log, self._turn = inner, actor, log, turn

    async def create_zone(self, zone: str, record_sets: Sequence[RecordSet]) -> bool:
        created = await self._inner.create_zone(zone, record_sets)
        (commit,) = await self._inner.commits(zone, 0, 1)
        self._log.append(Sent(self._actor, ChangeBatch(zone, commit.changes), creates=True, outcome=commit))
        return created

    async def change(self, batch: ChangeBatch) -> Commit:
        # One at a time: otherwise nobody but the server would know which of two came first.
        async with self._turn:
            try:
                commit = await self._inner.change(batch)
            except ChangeRefused as error:
                self._log.append(Sent(self._actor, batch, creates=False, outcome=Refusal.of(error)))
                raise
            self._log.append(Sent(self._actor, batch, creates=False, outcome=commit))
            return commit

    async def read(self, zone: str, keys: Sequence[RecordKey]) -> ZoneRead:
        return await self._inner.read(zone, keys)

    async def page(
        self, zone: str, start: RecordKey | None = None, limit: int = MAX_PAGE, *, within: str | None = None
    ) -> ZonePage:
        return await self._inner.page(zone, start, limit, within=within)

    async def commits(self, zone: str, after_serial: int = 0, limit: int = 1000) -> tuple[Commit, ...]:
        return await self._inner.commits(zone, after_serial, limit)

    async def follow(self, positions: Mapping[str, int], wait_s: float) -> tuple[Commit, ...]:
        return await self._inner.follow(positions, wait_s)

    async def close(self) -> None:
        await self._inner.close()


class Stage:
    """Three enactors of one protocol, a publisher and an operator on the real server; every batch is recorded."""

    def __init__(self, url: str, protocol: str, resources: AsyncExitStack) -> None:
        self.url, self.protocol, self.resources = url, protocol, resources
        self.clock, self.log, self.turn, self.stopping = SystemClock(), list[Sent](), asyncio.Lock(), asyncio.Event()
        self.plans = open_plan_store(EnactorSettings(redis_url=url))
        resources.push_async_callback(self.plans.close)
        self.operator = self.recorded(OPERATOR)

    def recorded(self, actor: Actor) -> RecordingStore:
        inner = open_zone_store(EnactorSettings(redis_url=self.url), actor)
        self.resources.push_async_callback(inner.close)
        return RecordingStore(inner, actor, self.log, self.turn)

    async def enact(self, name: str) -> None:
        """Do rounds until told to stop, behind a link that delays, stalls and loses calls."""
        settings = EnactorSettings(
            name=name,
            redis_url=self.url,
            protocol=self.protocol,
            keep=1,
            lock_ttl_s=0.1,
            backoff_cap_s=0.05,
            clean_batches_per_s=100,
        )
        link = Link(CONTROL, self.clock, stream(SEED, name, "control"))
        tools = Tools.of(
            settings,
            plans=self.plans,
            zones=RemoteZoneStore(self.recorded(Actor(name)), link),
            clock=self.clock,
            rng=stream(SEED, name),
            events=EventBus(),
        )
        enactor: Any = PROTOCOLS[self.protocol](tools)
        while not self.stopping.is_set():
            try:
                wait_s = (await enactor.tick()).wait_s
            except FencepostError:
                wait_s = 0.01
            await self.clock.sleep(min(wait_s, 0.01))

    async def publish(self) -> None:
        """Publish plan after plan until there are batches enough; an operator freezes a zone for a third of them."""
        freeze, number = create(Notice("ann", 1_790_000_000, "a drill").freezing(ZONES[1])), 0
        steps = [(BATCHES // 3, freeze), (2 * BATCHES // 3, delete(freeze.record_set))]
        while len(self.log) < BATCHES:
            number += 1
            targets = [Target(f"lb-{n}", "A", f"10.0.0.{n}", 1 + number % 200) for n in range(1, 5)]
            draft = Draft(dict.fromkeys(ZONES, content(5, targets)), "test")
            await self.plans.publish(draft, expected=await self.plans.latest_generation())
            if steps and len(self.log) >= steps[0][0]:
                await self.operate(steps.pop(0)[1])
            await self.clock.sleep(PLAN_EVERY_S)

    async def operate(self, change: Change) -> None:
        await self.operator.change(ChangeBatch(ZONES[1], (change,), comment="by hand"))

    async def run(self) -> None:
        """Let everything happen."""
        for zone in ZONES:
            await self.operator.create_zone(zone, (soa(zone, ttl=9, minimum=9), ns(zone)))
        async with asyncio.TaskGroup() as group:
            for number in (1, 2, 3):
                group.create_task(self.enact(f"use1-az{number}-enactor"))
            await self.publish()
            self.stopping.set()

    async def history(self) -> History:
        """Collect what the real server keeps of it."""
        collected = await collect(self.operator, self.plans, ZONES)
        run = RunInfo(mode=self.protocol, seed=SEED, profile="none", started_us=0, duration_s=0)
        return History(run=run, commits=collected.commits, plans=collected.plans, last_plan=collected.last_plan)


@pytest.fixture
async def resources() -> AsyncIterator[AsyncExitStack]:
    """What is closed after the test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_batches_of_real_enactors_have_the_same_outcome_on_the_small_server(protocol, redis_url, resources):
    """Three real enactors in each other's way: every batch, committed or refused, ends on the small server as it did.

    And what the server kept of it, which is what `fencepost compare` writes down, replays whole.
    """
    stage = Stage(redis_url, protocol, resources)
    await stage.run()

    replayed = await replay_batches(stage.log)
    kept = await replay_history(await stage.history())

    assert replayed.first is None, replayed.first.told
    assert replayed.matched == len(stage.log) >= BATCHES
    assert kept.first is None, kept.first.told
    committed = [sent for sent in stage.log if isinstance(sent.outcome, Commit)]
    assert kept.matched == len(committed) < len(stage.log)


async def test_replay_stops_at_the_first_batch_with_another_outcome(redis_url, resources):
    """A replay that differs says where: who sent what, what the real server did, and what the small one did."""
    stage = Stage(redis_url, "fixed", resources)
    await stage.operator.create_zone("a.test.", (soa("a.test.", ttl=9, minimum=9),))
    frozen = ChangeBatch("a.test.", (create(Notice("ann", 0, "x").freezing("a.test.")),), comment="froze")
    await stage.operator.change(frozen)
    wrong = stage.log[1]._replace(outcome=msgspec.structs.replace(stage.log[1].outcome, serial=7))

    replayed = await replay_batches([stage.log[0], wrong, stage.log[1]])

    assert replayed.matched == 1
    assert replayed.first is not None
    assert replayed.first.told == (
        "a.test.: operator's batch 'froze' of 1 changes: the real server committed it as 7, "
        "the small one committed it as 2"
    )
