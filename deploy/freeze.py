"""Freeze and thaw: an operator stops the automation in the stores themselves, so that it does not matter who runs.

The plan store takes no plan of an automation any more, and each zone gets its `_frozen` record, after which the zone's
own script refuses every batch that is not an operator's. So when the last of these is in, nothing automated can commit
anything anywhere. Source: docs/invariants.md, I9.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from fencepost.batch import ChangeBatch, delete, swap
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.errors import FencepostError, InvalidChangeBatch, OutcomeUnknown
from fencepost.events import Events
from fencepost.live import read_notice
from fencepost.notice import Notice, frozen_key

PATIENCE_S: Final = 15.0
PAUSE_S: Final = 0.05
"""Between two tries of a zone or a store that could not be changed."""


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notice as JSON: who, when (epoch seconds), why."""

    by: str
    at_s: int
    why: str = ""

    @classmethod
    def of(cls, notice: Notice | None) -> "Word | None":
        """Return a notice's word, None for None."""
        return cls(*notice) if notice else None


class Held(msgspec.Struct, frozen=True):
    """What became of one zone, or of the plan store (`zone` is None).

    Attributes:
        zone: which one.
        done: whether it is now as it was asked for; if not, `error` says why.
        notice: freeze: whose freeze is in force now; thaw: whose was ended, None if there was none.
        already: freeze: it was frozen before, and is left as it was.
        serial: the zone's serial from which on it holds; None for the plan store.
        took_ms: how long it took, milliseconds.
    """

    zone: str | None
    done: bool
    notice: Word | None
    already: bool = False
    serial: int | None = None
    took_ms: float = 0.0
    error: str = ""


class Frozen(msgspec.Struct, frozen=True):
    """What a freeze did: `plans` is None where only some endpoints were asked for."""

    plans: Held | None
    zones: tuple[Held, ...]
    took_ms: float

    @property
    def complete(self) -> bool:
        """Whether nothing that was asked for is still to be done."""
        return all(held.done for held in (*self.zones, *([self.plans] if self.plans else [])))


class Thawed(msgspec.Struct, frozen=True):
    """What a thaw did; `pins` maps endpoints to the pins that it ended, `left` says what it left in force."""

    plans: Held | None
    zones: tuple[Held, ...]
    pins: dict[str, Word]
    took_ms: float
    left: Word | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing that was asked for is still to be done."""
        return all(held.done for held in (*self.zones, *([self.plans] if self.plans else [])))

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to end."""
        ended = [held.notice for held in (*self.zones, *([self.plans] if self.plans else []))]
        return self.complete and not self.pins and not any(ended)


class Freezer:
    """Freezes and thaws the plan store and zones, as one operator.

    Args:
        patience_s: how long each zone, and the plan store, is tried again, seconds.
    """

    def __init__(self, stores: Stores, clock: Clock, events: Events, *, patience_s: float = PATIENCE_S) -> None:
        self._stores, self._api, self._clock, self._events = stores, stores.control(clock, events), clock, events
        self._patience_s = patience_s
        self._ending: dict[str | None, Notice] = {}  # being deleted; an outcome that was not learnt finds it gone

    async def freeze(self, notice: Notice, endpoints: Sequence[str] | None = None) -> Frozen:
        """Freeze everything, or only some endpoints' zones; never raises for one that could not be frozen.

        When it returns with `complete`, no batch of an automation commits to these zones until a thaw.
        """
        began_s = self._clock.monotonic()
        # All at once: a plan store that is away for a while holds up no zone.
        attempts: dict[str | None, Callable[[], Awaitable[Held]]] = {
            zone: partial(self._freeze_zone, zone, notice) for zone in self._zones(endpoints)
        }
        if endpoints is None:
            attempts[None] = partial(self._freeze_plans, notice)
        done = await asyncio.gather(*(self._persist(what, attempt) for what, attempt in attempts.items()))
        plans = next((held for held in done if held.zone is None), None)
        return Frozen(plans, tuple(held for held in done if held.zone is not None), self._since_ms(began_s))

    async def thaw(self, endpoints: Sequence[str] | None = None) -> Thawed:
        """End freezes and pins, everywhere or of some endpoints; never raises for one that could not be thawed.

        Raises: StoreError if the plan store does not answer about pins.
        """
        began_s = self._clock.monotonic()
        self._ending.clear()
        zones = await asyncio.gather(
            *(self._persist(zone, partial(self._thaw_zone, zone)) for zone in self._zones(endpoints))
        )
        plans = None
        if endpoints is None:
            plans = await self._persist(None, self._thaw_plans)
        controls = await self._stores.plans.controls()
        pinned = [endpoint for endpoint in controls.pins if endpoints is None or endpoint in endpoints]
        ended = await self._stores.plans.unpin(pinned) if pinned else {}
        left = Word.of(controls.frozen) if endpoints is not None else None
        pins = {endpoint: Word(*notice) for endpoint, notice in sorted(ended.items())}
        return Thawed(plans, tuple(zones), pins, self._since_ms(began_s), left)

    def _zones(self, endpoints: Sequence[str] | None) -> Sequence[str]:
        return self._stores.region.endpoint_names if endpoints is None else sorted(set(endpoints))

    async def _persist(self, zone: str | None, attempt: Callable[[], Awaitable[Held]]) -> Held:
        """Try until it is done, or for as long as there is patience.

        A refused batch means that somebody else was first, an unknown outcome that it may be in: either way the next
        attempt reads what there is before anything is said.
        """
        began_s = self._clock.monotonic()
        while True:
            try:
                held = await attempt()
            except FencepostError as error:
                if not (error.retryable or isinstance(error, InvalidChangeBatch | OutcomeUnknown)):
                    return self._failed(zone, error, began_s)
                if self._clock.monotonic() >= began_s + self._patience_s:
                    return self._failed(zone, error, began_s)
            else:
                return msgspec.structs.replace(held, took_ms=self._since_ms(began_s))
            await self._clock.sleep(PAUSE_S)

    def _failed(self, zone: str | None, error: FencepostError, began_s: float) -> Held:
        return Held(zone, done=False, notice=None, took_ms=self._since_ms(began_s), error=str(error))

    def _since_ms(self, began_s: float) -> float:
        return round((self._clock.monotonic() - began_s) * 1000, 3)

    async def _freeze_plans(self, notice: Notice) -> Held:
        before = (await self._stores.plans.controls()).frozen
        if before is not None and before != _kept(notice):
            return Held(None, done=True, notice=Word.of(before), already=True)
        await self._stores.plans.freeze(notice)
        self._events.emit("operator.plans_frozen", reason=notice.text)
        return Held(None, done=True, notice=Word.of(notice))

    async def _freeze_zone(self, zone: str, notice: Notice) -> Held:
        read = await self._api.read(zone, [frozen_key(zone)])
        before = read_notice(read.records.get(frozen_key(zone)))
        if before is not None and before != _kept(notice):
            return Held(zone, done=True, notice=Word.of(before), already=True, serial=read.serial)
        # Our own, whose outcome was not learnt, is written once more: only then do the replicas have it for certain.
        changes = swap(read.records.get(frozen_key(zone)), notice.freezing(zone))
        comment = f"frozen by {_kept(notice).by}: {_kept(notice).why}".removesuffix(": ")
        commit = await self._api.change(ChangeBatch(zone, changes, comment=comment))
        self._events.emit("operator.zone_frozen", zone=zone, reason=notice.text, serial=commit.serial)
        return Held(zone, done=True, notice=Word.of(notice), serial=commit.serial)

    async def _thaw_plans(self) -> Held:
        before = (await self._stores.plans.controls()).frozen
        if before is None:
            return Held(None, done=True, notice=Word.of(self._ending.get(None)))
        self._ending[None] = before
        await self._stores.plans.thaw()
        self._events.emit("operator.plans_thawed", reason=before.text)
        return Held(None, done=True, notice=Word.of(before))

    async def _thaw_zone(self, zone: str) -> Held:
        read = await self._api.read(zone, [frozen_key(zone)])
        existing = read.records.get(frozen_key(zone))
        before = read_notice(existing)
        if existing is None or before is None:
            return Held(zone, done=True, notice=Word.of(self._ending.get(zone)), serial=read.serial)
        self._ending[zone] = before
        comment = f"thawed by {self._stores.actor.name}"
        commit = await self._api.change(ChangeBatch(zone, (delete(existing),), comment=comment))
        self._events.emit("operator.zone_thawed", zone=zone, reason=before.text, serial=commit.serial)
        return Held(zone, done=True, notice=Word.of(before), serial=commit.serial)


def _kept(notice: Notice) -> Notice:
    """Return a notice as it is read back: what a record cannot hold is replaced."""
    return Notice.parse(notice.text)
