"""Keeping images of zones by following the store. The decisions are in `resolver.track`; here is the reading."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from fencepost.cancelling import was_cancelled
from fencepost.clock import Clock, stream
from fencepost.errors import NoSuchHostedZone, StoreError
from fencepost.events import Events
from fencepost.names import lock_name
from fencepost.network import LinkSpec
from fencepost.records import RecordKey
from fencepost.stores import Commit, ZonePage, ZoneStore
from resolver.track import Track, assemble, visible_after_s
from resolver.zone import ZoneImage

CHECK_S: Final = 1.0
"""How often every zone's last commit is compared with the store's, in case the store went back without a word."""
WAIT_TO_LOAD_S: Final = 0.2
"""How long to wait for commits while some zone must be read whole, or does not exist yet."""
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between tries while the store is lost; the last one is repeated."""

Changed = Callable[[str, ZoneImage, Sequence[Commit]], None]
"""Is told whenever a zone answers something else, in the same turn: name, image, and the commits that it was moved on
by; none if it was read whole."""


class Follower:
    """Images of some zones, kept as close to the store as the network's propagation lets them be.

    When the store is lost, the images stay as they are. A zone that does not exist yet is waited for.

    Args:
        store: the zones; bare, as the data plane's feed does not go through the control API.
        zones: the names of the zones to follow.
        propagation: how long a commit takes to become visible.
        seed, name: fix the draws of the propagation, one stream for each zone.
        changed: is told whenever an image has moved on.

    Attributes:
        images: what may be answered from: every zone that was read once. It is updated in place.
        lost: whether the store does not answer.
    """

    def __init__(
        self,
        store: ZoneStore,
        zones: Sequence[str],
        *,
        events: Events,
        clock: Clock,
        propagation: LinkSpec,
        seed: int,
        name: str,
        changed: Changed = lambda _zone, _image, _commits: None,
    ) -> None:
        self.images: dict[str, ZoneImage] = {}
        self.lost = False
        self._changed = changed
        self._store, self._events, self._clock, self._propagation = store, events, clock, propagation
        self._tracks = {zone: Track(zone) for zone in sorted(zones)}
        self._chance = {zone: stream(seed, name, "propagation", zone) for zone in self._tracks}
        self._check_at_s, self._failures = 0.0, 0
        self._queued = asyncio.Event()

    def not_loaded(self) -> tuple[str, ...]:
        """Return the zones that were never read."""
        return tuple(zone for zone, track in self._tracks.items() if track.image is None)

    def pending(self, zone: str) -> int:
        """Return how many commits of a zone have arrived but are not visible yet."""
        return len(self._tracks[zone].pending)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._release_forever())
            while not was_cancelled():
                await self.tick()
            raise asyncio.CancelledError

    async def tick(self) -> None:
        """Do one round: read whole what must be, wait for commits, check that the history is still the one followed."""
        try:
            await _all(self._load(track) for track in self._tracks.values() if track.reload is not None)
            received = await self._receive()
            now_s = self._clock.monotonic()
            due = now_s >= self._check_at_s
            zones = self._tracks if due else {commit.zone: None for commit in received}
            await _all(self._check(self._tracks[zone]) for zone in zones)
        except StoreError as error:
            await self._store_failed(error)
            return
        if due:
            self._check_at_s = now_s + CHECK_S
        self._store_answered()
        self._take(received)
        self.release()

    def release(self) -> float | None:
        """Make visible what is due; return in how many seconds the next commit is, None if none waits."""
        now_s = self._clock.monotonic()
        for track in self._tracks.values():
            released = track.release(now_s)
            if released and track.image is not None:
                self.images[track.zone] = track.image
                self._changed(track.zone, track.image, released)
                self._tell(track.zone, released)
        due = [track.pending[0].due_s for track in self._tracks.values() if track.pending]
        return max(0.0, min(due) - now_s) if due else None

    async def _release_forever(self) -> None:
        while True:
            self._queued.clear()
            wait_s = self.release()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._queued.wait()

    async def _load(self, track: Track) -> None:
        """Read a zone whole; leave it to the next round if it is not there, or has changed too much meanwhile."""
        began_s = self._clock.monotonic()
        try:
            pages = await self._pages(track.zone)
            state = assemble(track.zone, pages, await self._history(track.zone, pages))
        except NoSuchHostedZone:
            return
        if state is None:
            return
        track.loaded(*state)
        self.images[track.zone] = state[0]
        self._changed(track.zone, state[0], ())
        took_ms = (self._clock.monotonic() - began_s) * 1000
        self._events.emit("resolver.zone_loaded", zone=track.zone, took_ms=took_ms, serial=state[0].serial)

    async def _pages(self, zone: str) -> list[ZonePage]:
        pages: list[ZonePage] = []
        start: RecordKey | None = None
        while not pages or start is not None:
            pages.append(await self._store.page(zone, start))
            start = pages[-1].next_key
        return pages

    async def _history(self, zone: str, pages: Sequence[ZonePage]) -> list[Commit]:
        """Return the commits from the first page's serial on, at least to the last page's if the store has them."""
        history: list[Commit] = []
        after = pages[0].serial - 1
        while after < pages[-1].serial and (more := await self._store.commits(zone, after)):
            history += more
            after = more[-1].serial
        return history

    async def _receive(self) -> tuple[Commit, ...]:
        followed = {zone: track for zone, track in self._tracks.items() if track.reload is None}
        positions = {zone: track.head.serial for zone, track in followed.items() if track.head is not None}
        wait_s = max(0.0, self._check_at_s - self._clock.monotonic())
        if len(followed) < len(self._tracks):
            wait_s = min(wait_s, WAIT_TO_LOAD_S)
        if positions:
            return await self._store.follow(positions, wait_s)
        await self._clock.sleep(WAIT_TO_LOAD_S)
        return ()

    async def _check(self, track: Track) -> None:
        if track.head is None:
            return
        try:
            problem = track.check(await self._store.commits(track.zone, track.head.serial - 1, limit=1))
        except NoSuchHostedZone:
            problem = track.gone()
        self._tell_gap(track.zone, problem)

    def _take(self, received: Sequence[Commit]) -> None:
        now_s, epoch_s = self._clock.monotonic(), self._clock.epoch_s()
        for commit in received:
            propagation_s = self._propagation.draw_s(self._chance[commit.zone])
            delay_s = visible_after_s(commit, propagation_s, epoch_s)
            self._tell_gap(commit.zone, self._tracks[commit.zone].take(commit, now_s, delay_s))
        self._queued.set()

    async def _store_failed(self, error: StoreError) -> None:
        if not self.lost:
            self._events.emit("resolver.store_lost", reason=str(error))
        self.lost, self._check_at_s = True, 0.0
        pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        await self._clock.sleep(pause_s)

    def _store_answered(self) -> None:
        if self.lost:
            self._events.emit("resolver.store_regained")
        self.lost, self._failures = False, 0

    def _tell(self, zone: str, released: Sequence[Commit]) -> None:
        """Tell of commits that became visible, but not of those that only move the lock: they are many."""
        lock = lock_name(zone)
        for commit in released:
            if any(change.record_set.name != lock for change in commit.changes):
                self._events.emit(
                    "resolver.zone_updated", zone=zone, generation=commit.generation, serial=commit.serial
                )

    def _tell_gap(self, zone: str, problem: str | None) -> None:
        if problem is not None:
            self._events.emit("resolver.gap_found", zone=zone, reason=problem)


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Do several things at once, each to its end; then raise what one of them raised."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if result is not None:
            raise result
