"""What the zones' own streams say while a drill goes on: the truth, without any process's word for it."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from fencepost.batch import Action
from fencepost.capacity import Capacity
from fencepost.clock import Clock
from fencepost.fence import Fence, fence_key
from fencepost.plan import Content, Plan, digest, short
from fencepost.records import ADDRESS_TYPES
from fencepost.stores import Commit, ZoneStore
from lab.drills.stage import Stage, beside, first_time
from lab.history import require_next
from lab.invariants.replay import ZoneState

WAIT_S: Final = 1.0


class Moved(NamedTuple):
    """From `at_us` on the zone's fence was at `generation`, with a content of this digest (8 hex)."""

    at_us: int
    generation: int
    digest: str


class Point(NamedTuple):
    """From `at_us` on the root answered with this capacity: the weights of A and of AAAA, each summed up."""

    at_us: int
    capacity: Capacity


def live_capacity(state: ZoneState) -> Capacity:
    """Return the weights of what the root answers, by type."""
    a, aaaa = (
        sum(
            leaf.weight or 0 for root in state.at(state.zone, kind) if root.alias for leaf in state.at(root.alias, kind)
        )
        for kind in ADDRESS_TYPES
    )
    return a, aaaa


def capacity_points(zone: str, commits: Iterable[Commit]) -> tuple[Point, ...]:
    """Return every change of a zone's live capacity, from its whole history."""
    state, points = ZoneState(zone), list[Point]()
    for commit in commits:
        state.apply(commit.changes)
        capacity = live_capacity(state)
        if not points or points[-1].capacity != capacity:
            points.append(Point(commit.at_us, capacity))
    return tuple(points)


class Streams:
    """Follows every zone's stream and keeps what each zone is like now. `run` has to be running."""

    def __init__(self, zone_store: ZoneStore, zones: Sequence[str], clock: Clock) -> None:
        self._store, self._clock = zone_store, clock
        self.states: Mapping[str, ZoneState] = {zone: ZoneState(zone) for zone in zones}
        self.fences: Mapping[str, list[Moved]] = {zone: [] for zone in zones}
        self._serials = dict.fromkeys(zones, 0)

    async def run(self) -> None:
        """Follow until cancelled. Raises: StoreError, and HistoryUnusable if commits were trimmed before they came."""
        while True:
            for commit in await self._store.follow(self._serials, WAIT_S):
                self.take(commit)

    def take(self, commit: Commit) -> None:
        """Take one more commit. Raises: HistoryUnusable if it is not the next one."""
        require_next(commit.zone, self._serials[commit.zone], commit)
        self.states[commit.zone].apply(commit.changes)
        self._serials[commit.zone] = commit.serial
        key = fence_key(commit.zone)
        for change in commit.changes:
            if change.action is not Action.DELETE and change.record_set.key == key:
                fence = Fence.parse(commit.zone, change.record_set)
                self.fences[commit.zone].append(Moved(commit.at_us, fence.generation, fence.digest))

    def generation(self, zone: str) -> int:
        """Return the generation that a zone's fence has, 0 if it has none."""
        return self.fences[zone][-1].generation if self.fences[zone] else 0

    def reached_us(self, zone: str, generation: int) -> int | None:
        """Return when a zone's fence came to a generation or went past it, None if it has not."""
        found = None
        for moved in reversed(self.fences[zone]):
            if moved.generation < generation:
                break
            found = moved.at_us
        return found

    async def reached(
        self, zones: Sequence[str], latest: Plan | None, generation: int, *, within_s: float
    ) -> int | None:
        """Wait until all of these zones have a plan or a newer one; return when the last one had it.

        A zone that was last changed by an earlier plan is there with that one; the latest plan says which that was.
        None if they have not within the bound.
        """
        goals = {zone: min(generation, latest.unchanged_since(zone)) if latest else generation for zone in zones}

        def there() -> bool:
            return all(self.generation(zone) >= goal for zone, goal in goals.items())

        if await first_time(there, self._clock, within_s=within_s, poll_s=0.005) is None:
            return None
        return max((self.reached_us(zone, goal) or 0 for zone, goal in goals.items()), default=None)

    def has(self, zone: str, plan: Plan) -> bool:
        """Say whether a zone's fence says that it has a plan."""
        moved = self.fences[zone]
        return bool(moved) and Fence(moved[-1].generation, moved[-1].digest, "").has(plan, zone)

    def went_live(self, zone: str, value: Content, since_us: int) -> bool:
        """Say whether a zone's fence has had a content from an instant on."""
        return any(m.at_us >= since_us and m.digest == short(digest(value)) for m in self.fences[zone])

    async def until(self, condition: Callable[[], bool], *, within_s: float) -> bool:
        """Wait for something that depends on the zones; say whether it came true within the bound."""
        return await first_time(condition, self._clock, within_s=within_s) is not None


@asynccontextmanager
async def followed(stage: Stage) -> AsyncIterator[Streams]:
    """Follow the zones' streams while the context lasts."""
    streams = Streams(stage.stores.zones, stage.region.endpoint_names, stage.clock)
    async with beside(streams.run()):
        yield streams
