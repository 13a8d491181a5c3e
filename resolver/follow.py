"""Keeping images of zones by following the store. The decisions are in `resolver.track`; here is the reading."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from typing import Final

from fencepost.batch import Action
from fencepost.cancelling import was_cancelled
from fencepost.clock import Clock, stream
from fencepost.errors import NoSuchHostedZone, StoreError, ZoneDamaged
from fencepost.events import Events
from fencepost.feed import FeedPage, Since, ZoneFeed
from fencepost.names import generation_of, lock_name, tree_name
from fencepost.network import LinkSpec
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet
from fencepost.slices import Look, Slices, no_look
from fencepost.stores import Commit
from resolver.rounds import Rounds
from resolver.track import AT_ONCE, Track, assemble, cost, visible_after_s
from resolver.zone import ZoneImage

LOADERS: Final = 4
"""How many zones are read whole side by side: enough to keep the store busy, with few connections."""
ZONES_AT_ONCE: Final = 8
COMMITS_AT_ONCE: Final = 32
"""How many zones' histories are read by one call, and how much of each."""
TAKEN_AT_ONCE: Final = 16
"""How many commits are put in line for their time before others have their turn, or those of one zone: 0.1 ms."""
WAIT_TO_LOAD_S: Final = 0.2
"""How long to wait for hints while some zone must be read whole."""
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between tries while the store is lost; the last one is repeated."""

_DELETE: Final = Action.DELETE
_UPSERT: Final = Action.UPSERT

Changed = Callable[[str, ZoneImage, Sequence[Commit]], None]
"""Told of a zone whose image has moved on, by which commits; none if it was read whole."""


def _nothing(_zone: str, _image: ZoneImage, _commits: Sequence[Commit]) -> None:
    """Care about no change."""


class Follower:
    """Images of some zones, kept as close to the store as the network's propagation lets them be.

    When the store is lost, the images stay as they are. A zone that does not exist yet is waited for. One that the
    store has damaged stays as it is, alone, and is tried again when its turn comes in the rounds.

    Args:
        feed: the zones, without the control API's delays; closed by whoever opened it.
        zones: the names of the zones to follow.
        propagation: how long a commit takes to become visible.
        seed, name: fix the draws of the propagation, one stream for each zone.
        changed: called whenever `images` has another image of a zone.
        look: called between two pieces of work. Between the parts of one commit `images` is not to be used: whoever
            keeps what was made from it has the state before until `changed` returns.

    Attributes:
        images: what may be answered from: every zone that was read once. It is updated in place.
        lost: whether the store does not answer.
        first_read: set as soon as every zone that the store has, and not damaged, was read once.
    """

    def __init__(
        self,
        feed: ZoneFeed,
        zones: Sequence[str],
        *,
        events: Events,
        clock: Clock,
        propagation: LinkSpec,
        seed: int,
        name: str,
        changed: Changed = _nothing,
        look: Look = no_look,
    ) -> None:
        self.images: dict[str, ZoneImage] = {}
        self.lost = False
        self.first_read = asyncio.Event()
        self._feed, self._events, self._clock, self._propagation = feed, events, clock, propagation
        self._changed, self._look_around = changed, look
        self._tracks = {zone: Track(zone) for zone in sorted(zones)}
        self._chance = {zone: stream(seed, name, "propagation", zone) for zone in self._tracks}
        self._to_load, self._to_read = dict.fromkeys(self._tracks), dict[str, None]()
        self._to_look: dict[tuple[str, ...], None] = {}
        self._due: list[tuple[float, str]] = []  # one for each commit that is pending
        self._rounds, self._failures = Rounds(tuple(self._tracks)), 0
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
        """Do one round: read whole what must be, wait for hints, look at some heads, read what is new."""
        try:
            await self._load_all()
            if not self._to_load:
                self.first_read.set()
            await self._look_at_heads()
            await self._read_on()
        except StoreError as error:
            await self._store_failed(error)
            return
        self._store_answered()

    def release(self) -> float | None:
        """Make visible what is due, as much as takes little time.

        Returns: in how many seconds there is more to make visible, None if nothing waits.
        """
        now_s, left = self._clock.monotonic(), AT_ONCE
        while self._due and self._due[0][0] <= now_s and left > 0:
            track = self._tracks[self._due[0][1]]
            if not track.is_due(now_s):  # what it stood for became part of a zone that was read whole
                heappop(self._due)
                left -= 1
                continue
            self._look_around()
            heappop(self._due)
            released = track.release(now_s, most=1, look=self._look_around)
            left -= sum(map(cost, released))
            assert track.image is not None, "commits are taken only after the zone was read"
            self._look_around()
            self._show(track.zone, track.image, released)
        return max(0.0, self._due[0][0] - now_s) if self._due else None

    async def _release_forever(self) -> None:
        while True:
            self._queued.clear()
            wait_s = self.release()
            if wait_s == 0:
                await asyncio.sleep(0)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._queued.wait()

    async def _load_all(self) -> None:
        zones = iter(tuple(self._to_load))

        async def work() -> None:
            for zone in zones:
                await self._load(self._tracks[zone])

        await _all(work() for _ in range(min(LOADERS, len(self._to_load))))

    async def _load(self, track: Track) -> None:
        """Read a zone whole; leave it to a later round if it is not there, or has changed too much meanwhile."""
        zone, began_s = track.zone, self._clock.monotonic()
        try:
            pages = await self._pages(zone)
            state = assemble(zone, pages, await self._history(track, pages))
        except NoSuchHostedZone:
            del self._to_load[zone]  # its first commit will be heard of
            return
        except ZoneDamaged as error:
            del self._to_load[zone]  # a later round tries again
            self._tell_gap(zone, track.damaged(str(error)))
            return
        if state is None:
            return
        del self._to_load[zone]
        track.loaded(*state)
        took_ms = (self._clock.monotonic() - began_s) * 1000
        self._events.emit("resolver.zone_loaded", zone=zone, took_ms=took_ms, serial=state[0].serial)
        self._show(zone, state[0], ())

    async def _pages(self, zone: str) -> list[FeedPage]:
        pages: list[FeedPage] = []
        start: RecordKey | None = None
        while not pages or start is not None:
            pages.append(await self._feed.page(zone, start))
            start = pages[-1].next_key
        return pages

    async def _history(self, track: Track, pages: Sequence[FeedPage]) -> Since:
        """Return what came since the first page, at least up to the last page's serial if the store has that."""
        zone, first, last = track.zone, pages[0].head, pages[-1].head
        if first == last and first.at_us:
            if track.is_damaged:  # it may be the history: without that, the zone could be read but not followed
                await self._since(zone, first.serial)
            return Since(first, ())
        found = await self._since(zone, first.serial)
        oldest, commits = found.oldest, list(found.commits)
        while found.commits and commits[-1].serial < last.serial:
            found = await self._since(zone, commits[-1].serial)
            commits += found.commits
        return Since(oldest, tuple(commits))

    async def _since(self, zone: str, serial: int) -> Since:
        found = (await self._feed.since({zone: serial}))[zone]
        if isinstance(found, ZoneDamaged):
            raise found
        return found

    async def _look_at_heads(self) -> None:
        """Wait for hints, look at the heads whose turn it is; note the zones of which there is something to read.

        What was heard, and what is still to be looked at, is kept first: when the store is lost meanwhile, nobody says
        it again.
        """
        wait_s = self._rounds.wait_s(self._clock.monotonic())
        hints = await self._feed.hints(min(wait_s, WAIT_TO_LOAD_S) if self._to_load else wait_s)
        self._look_around()
        parts = self._rounds.all() if hints is None else (self._rounds.take(self._clock.monotonic()),)
        self._to_look.update(dict.fromkeys(filter(None, parts)))
        for zone, serial in (hints or {}).items():
            if self._is_news(zone, serial):
                self._moved_on(zone)
        for part in tuple(self._to_look):
            heads = await self._feed.heads(part)
            self._look_around()
            for zone in part:
                track, head = self._tracks[zone], heads.get(zone)
                if head is None:
                    self._tell_gap(zone, track.gone())
                elif isinstance(head, ZoneDamaged):
                    self._tell_gap(zone, track.damaged(str(head)))
                elif head != track.head or track.is_damaged:
                    self._moved_on(zone)
            del self._to_look[part]

    def _moved_on(self, zone: str) -> None:
        (self._to_read if self._tracks[zone].reload is None else self._to_load)[zone] = None

    def _is_news(self, zone: str, serial: int) -> bool:
        """Say whether a zone that we follow is at a serial that we do not have; a damaged one is left to the rounds."""
        track = self._tracks.get(zone)
        if track is None or track.is_damaged:
            return False
        return track.head is None or track.head.serial < serial or track.reload is not None

    async def _read_on(self) -> None:
        """Read what is new of the zones that have moved on, a few at a time."""
        while self._to_read:
            some = tuple(self._to_read)[:ZONES_AT_ONCE]
            heads = {zone: head.serial for zone in some if (head := self._tracks[zone].head) is not None}
            slices = Slices(TAKEN_AT_ONCE)
            self._look_around()
            for zone, since in (await self._feed.since(heads, COMMITS_AT_ONCE)).items():
                self._look_around()
                arrived = self._take(self._tracks[zone], since)
                await slices.spend(arrived)
                if arrived < COMMITS_AT_ONCE or zone in self._to_load:
                    del self._to_read[zone]
            await asyncio.sleep(0)
            while (wait_s := self.release()) == 0:  # noqa: ASYNC110  -- nothing is waited for: others have their turn
                await asyncio.sleep(0)
            if wait_s is not None:
                self._queued.set()

    def _take(self, track: Track, since: Since | ZoneDamaged) -> int:
        """Take what was read of a zone, as far as it follows; return how many commits that was."""
        if isinstance(since, ZoneDamaged):
            self._to_load[track.zone] = None  # a whole reading needs less of the history
            self._tell_gap(track.zone, track.damaged(str(since)))
            return 0
        problem = track.check(since.oldest)
        now_s, epoch_s = self._clock.monotonic(), self._clock.epoch_s()
        for commit in () if track.reload else since.commits:
            propagation_s = self._propagation.draw_s(self._chance[track.zone])
            delay_s = visible_after_s(commit, propagation_s, epoch_s)
            waiting = len(track.pending)
            problem = problem or track.take(commit, now_s, delay_s)
            if len(track.pending) > waiting:
                heappush(self._due, (track.pending[-1].due_s, track.zone))
        if track.reload is not None:
            self._to_load[track.zone] = None
        self._tell_gap(track.zone, problem)
        return len(since.commits)

    def _show(self, zone: str, image: ZoneImage, commits: Sequence[Commit]) -> None:
        self.images[zone] = image
        self._changed(zone, image, commits)
        for commit in commits:
            if is_told(commit, image):
                self._look_around()
                self._events.emit(
                    "resolver.zone_updated", zone=zone, generation=commit.generation, serial=commit.serial
                )

    async def _store_failed(self, error: StoreError) -> None:
        if not self.lost:
            self._events.emit("resolver.store_lost", reason=str(error))
        self.lost = True
        pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        await self._clock.sleep(pause_s)

    def _store_answered(self) -> None:
        if self.lost:
            self._events.emit("resolver.store_regained")
        self.lost, self._failures = False, 0

    def _tell_gap(self, zone: str, problem: str | None) -> None:
        if problem is not None:
            self._events.emit("resolver.gap_found", zone=zone, reason=problem)


def is_told(commit: Commit, image: ZoneImage) -> bool:
    """Say whether a commit is news to people: not if it only moves the lock, builds a tree or cleans one.

    Those are many, and whoever made them has told of them. A tree that the root points to is another matter: what is
    answered changes. To prove that the fence is as it was read, they delete and create it, which changes nothing.

    Args:
        commit: one.
        image: the zone after it.
    """
    lock, passed = lock_name(commit.zone), ""
    proved: list[RecordSet] = []
    made = 0
    for change in commit.changes:
        record_set = change.record_set
        if (name := record_set.name) == passed:
            continue
        tree = generation_of(name, commit.zone)
        if name == lock or tree is not None:
            if tree is not None and name == tree_name(commit.zone, tree) and tree in _live(image):
                return True
            passed = name
        elif change.action is _DELETE:
            proved.append(record_set)
        elif change.action is _UPSERT or proved[made : made + 1] != [record_set]:
            return True
        else:
            made += 1
    return made < len(proved)


def _live(image: ZoneImage) -> set[int | None]:
    """Return the generations of the trees that the root points to."""
    roots = [record_set for kind in ADDRESS_TYPES for record_set in image.sets(image.name, kind).values()]
    return {generation_of(record_set.alias, image.name) for record_set in roots if record_set.alias is not None}


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Do several things at once, each to its end; then raise what one of them raised."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if result is not None:
            raise result
