"""The control API as its callers use it: at their own rate, patient where it asks for patience, and whole listings."""

import random
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Final, TypeVar

from fencepost.batch import ChangeBatch
from fencepost.clock import Clock
from fencepost.errors import ChangeRefused, StoreUnavailable, Throttling
from fencepost.events import Events
from fencepost.records import RecordKey, RecordSet
from fencepost.stores import Commit, ZonePage, ZoneRead, ZoneStore
from fencepost.throttle import TokenBucket

T = TypeVar("T")

MAX_TRIES: Final = 8
"""Calls that were certainly not executed are made again this often, then the error goes up."""
LONGEST_S: Final = 1.0
"""The longest pause of a person's command."""


class ControlApi:
    """A zone store with patience: refusals that are `retryable` are tried again after a pause with full jitter.

    Args:
        pause_s: the first pause is drawn from 0 to twice as many seconds, and its bound doubles with each try. Where
            `Throttling` says how long the account needs, that stands for it.
        longest_s: no pause is longer than this.
        bucket: what each call takes a token from; None: calls are made as they come.
    """

    def __init__(
        self,
        zones: ZoneStore,
        clock: Clock,
        rng: random.Random,
        events: Events,
        *,
        pause_s: float,
        longest_s: float = LONGEST_S,
        bucket: TokenBucket | None = None,
    ) -> None:
        self._ahead_s: float | None = None
        self._zones, self._clock, self._rng, self._events = zones, clock, rng, events
        self._pause_s, self._longest_s, self._bucket = pause_s, longest_s, bucket

    @property
    def spare(self) -> float:
        """How many calls can be made without a wait, as far as the own rate goes."""
        return inf if self._bucket is None else self._bucket.spare

    async def read(self, zone: str, keys: Sequence[RecordKey]) -> ZoneRead:
        """Read some record sets; see `ZoneStore.read`."""
        return await self._patient(zone, lambda: self._zones.read(zone, keys))

    async def glance(self, zone: str, keys: Sequence[RecordKey]) -> ZoneRead | None:
        """Read some record sets without patience: one try, and None where the own rate leaves no call for it now.

        Raises: ChangeRefused, StoreError.
        """
        if self._bucket is not None and not self._bucket.try_take():
            return None
        return await self._zones.read(zone, keys)

    async def change(self, batch: ChangeBatch) -> Commit:
        """Commit a batch; see `ZoneStore.change`. An unknown outcome goes up at once."""
        commit = await self._patient(batch.zone, lambda: self._zones.change(batch))
        self._ahead_s = self._clock.epoch_s() - commit.at_us / 1e6
        return commit

    def epoch_s(self) -> float:
        """Return the time by the store's clock, as its last commit told it; by our own before there was one.

        What several callers write into a zone and compare there must not depend on whose wall clock is right.
        """
        return self._clock.epoch_s() - (self._ahead_s or 0.0)

    @property
    def knows_time(self) -> bool:
        """Whether a commit has told the store's time."""
        return self._ahead_s is not None

    async def listing(
        self, zone: str, start: RecordKey | None = None, *, within: str | None = None
    ) -> tuple[RecordSet, ...]:
        """Return every record set of a zone from `start` on. Its pages may be of different serials: prove, then act.

        `within`: only what has this name, or a name below it, which all follow each other in a listing; `start` is not
        before them.
        """
        page = await self._page(zone, start, within)
        found = list(page.record_sets)
        while page.next_key is not None and _is_within(page.next_key.name, within):
            page = await self._page(zone, page.next_key, within)
            found += page.record_sets
        while found and not _is_within(found[-1].name, within):
            found.pop()
        return tuple(found)

    async def first(self, zone: str, start: RecordKey) -> RecordSet | None:
        """Return the first record set of a zone from `start` on, None if none follows. Costs one small read."""
        found = (await self._patient(zone, lambda: self._zones.page(zone, start, 1))).record_sets
        return found[0] if found else None

    async def _page(self, zone: str, start: RecordKey | None, within: str | None) -> ZonePage:
        return await self._patient(zone, lambda: self._zones.page(zone, start, within=within))

    async def _patient(self, zone: str, call: Callable[[], Awaitable[T]]) -> T:
        for tries in range(1, MAX_TRIES + 1):
            if self._bucket is not None:
                await self._bucket.take()
            try:
                return await call()
            except (ChangeRefused, StoreUnavailable) as error:
                if not error.retryable or tries == MAX_TRIES:
                    raise
                self._events.emit("control.call_throttled", zone=zone, reason=str(error), tries=tries)
                asked_s = error.wait_s if isinstance(error, Throttling) else 0.0
            await self._clock.sleep(self._pause(tries, asked_s or self._pause_s))
        raise AssertionError("the last try returns or raises")

    def _pause(self, tries: int, base_s: float) -> float:
        """Return how long to wait after the nth try, drawn from all of its span."""
        return self._rng.uniform(0, min(self._longest_s, base_s * 2.0**tries))


def _is_within(name: str, domain: str | None) -> bool:
    return domain is None or name == domain or name.endswith("." + domain)
