"""Bringing the plan store to what the world asks for: read, build, publish what changed, and say why."""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from fencepost.clock import Clock
from fencepost.errors import OutcomeUnknown, PlanConflict, StoreError
from fencepost.events import Events
from fencepost.fence import Fence
from fencepost.plan import Content, Draft, Plan, check_draft
from fencepost.region import Region
from fencepost.stores import PlanStore, ZoneStore
from planner.build import build
from planner.draft import draft_changes, draft_everything
from planner.floor import find_lost, read_fences
from planner.observe import Observed
from planner.requests import NONE, Requests, decode_requests

MAX_ATTEMPTS: Final = 5
"""How often one round builds again because somebody else published, or because an outcome is unknown."""


class Snapshot(NamedTuple):
    """What one attempt decides on: the latest plan, None if there is none, and the requests in force."""

    latest: Plan | None
    requests: Requests

    @property
    def generation(self) -> int:
        """The latest generation, 0 if there is none."""
        return self.latest.generation if self.latest else 0

    @property
    def contents(self) -> Mapping[str, Content]:
        """Endpoint -> what the latest plan has; empty if there is none."""
        return {name: self.latest.content(name) for name in self.latest.digests} if self.latest else {}


class Settled(NamedTuple):
    """The generation that holds the world as it was seen, one sentence on it, and the endpoints that are held back."""

    generation: int
    why: str
    held: Mapping[str, str]


class Publisher:
    """Publishes plans, and remembers what the store must not forget.

    Args:
        plans: the plan store.
        zones: the zones; only their fences are read.
        fences_interval_s: how old the fences may be, seconds.
    """

    def __init__(
        self,
        region: Region,
        plans: PlanStore,
        zones: ZoneStore,
        *,
        events: Events,
        clock: Clock,
        fences_interval_s: float,
    ) -> None:
        self.snapshot = Snapshot(None, NONE)
        self._region, self._plans, self._zones, self._events, self._clock = region, plans, zones, events, clock
        self._fences_interval_s = fences_interval_s
        self._fences: dict[str, Fence] = {}
        self._fences_until_s: float | None = None  # None: read them before anything else
        self._highest = 0  # the highest generation ever seen: the store may forget it, others will not
        self._unanswered: Draft | None = None  # sent, but whether it was published is not known

    async def settle(self, fleet: Mapping[str, Observed]) -> Settled:
        """Publish what the world asks for, if the latest plan does not have it already.

        Args:
            fleet: load balancer -> what was observed.
        Raises: StoreError, PlanInvalid (nothing was published), PlanConflict if somebody else publishes all the time.
        """
        try:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                await self._look()
                try:
                    return await self._attempt(fleet)
                except (PlanConflict, OutcomeUnknown):
                    self.distrust()
                    if attempt == MAX_ATTEMPTS:
                        raise
        except StoreError:
            self.distrust()
            raise
        raise AssertionError("the last attempt returns or raises")

    def distrust(self) -> None:
        """Read the fences before anything else next time: the store may have less than it had."""
        self._fences_until_s = None

    async def _attempt(self, fleet: Mapping[str, Observed]) -> Settled:
        contents, generation = self.snapshot.contents, self.snapshot.generation
        built = build(self._region, fleet, self.snapshot.requests, contents)
        lost = find_lost(self._fences, self.snapshot.latest)
        if lost:
            draft = draft_everything(built, contents, f"whole region again: {lost}")
        else:
            draft = draft_changes(built, contents)
        if draft is None:
            return Settled(generation, f"plan {generation} is what the world asks for", built.held)
        check_draft(draft, frozenset(self._region.endpoint_names))
        published = await self._publish(draft)
        if lost:
            self._events.emit("planner.floor_raised", generation=published, reason=lost)
        return Settled(published, f"published plan {published}: {draft.reason}", built.held)

    async def _look(self) -> None:
        """Take a snapshot. Fences come first, so that a plan published in between is not taken for a lost one."""
        now_s = self._clock.monotonic()
        if self._fences_until_s is None or now_s >= self._fences_until_s:
            self._fences = await read_fences(self._zones, self._region.endpoint_names)
            self._fences_until_s = now_s + self._fences_interval_s
        texts, latest = await asyncio.gather(self._plans.requests(), self._plans.latest(self.snapshot.latest))
        self.snapshot = Snapshot(latest, decode_requests(texts))
        if self.snapshot.generation < self._highest:
            self.distrust()
        self._highest = max(self._highest, self.snapshot.generation)
        if self._unanswered and _holds(self.snapshot, self._unanswered):
            self._report(self._unanswered, self.snapshot.generation, None)
        self._unanswered = None

    async def _publish(self, draft: Draft) -> int:
        started_s = self._clock.monotonic()
        floor = max([self._highest, *(fence.generation for fence in self._fences.values())])
        try:
            generation = await self._plans.publish(draft, expected=self.snapshot.generation, floor=floor)
        except OutcomeUnknown:
            self._unanswered = draft
            raise
        self._highest = generation
        self._report(draft, generation, (self._clock.monotonic() - started_s) * 1000)
        latest = await self._plans.latest(self.snapshot.latest)
        self.snapshot = self.snapshot._replace(latest=latest)
        return generation

    def _report(self, draft: Draft, generation: int, took_ms: float | None) -> None:
        self._events.emit(
            "planner.plan_published",
            generation=generation,
            reason=draft.reason,
            took_ms=took_ms,
            lane=draft.lane.value,
            changed=sorted(draft.changes),
        )


def _holds(snapshot: Snapshot, draft: Draft) -> bool:
    """Say whether the latest plan is the one of a draft."""
    latest = snapshot.latest
    return latest is not None and latest.reason == draft.reason and draft.changes.items() <= snapshot.contents.items()
