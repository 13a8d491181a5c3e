"""Bringing the plan store to what the world asks for: read, decide, publish what may go, and say why."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from fencepost.clock import Clock, stream
from fencepost.errors import EndpointPinned, OutcomeUnknown, PlanConflict, PlansFrozen, StoreError
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.plan import Content, Contents, Draft, Plan
from fencepost.stores import PlanStore, Report, ZoneStore
from planner.decide import Decider, Decision, Snapshot
from planner.each import Lately
from planner.floor import ZoneSeen, fences_of, forgot, read_zones
from planner.lanes import Lanes
from planner.layout import Layout
from planner.memory import Memory, awaited_force
from planner.observe import Observed
from planner.requests import decode_requests
from planner.safety import Limited
from planner.settings import PlannerSettings

MAX_ATTEMPTS: Final = 5
"""How often one round decides again: somebody else published, an outcome is unknown, or there is more to publish."""


class Settled(NamedTuple):
    """What a round came to.

    Attributes:
        generation: the latest plan.
        why: one sentence: what was done, and why.
        waits: whether something is built that may not be published yet; a later round will.
        held: endpoint -> why it stays as the last plan has it.
        limited: endpoint -> what was cut short.
        pinned: endpoint -> which operator's word it stays by.
        frozen: who has frozen the automation, when and why; None: nobody.
    """

    generation: int
    why: str
    waits: bool = False
    held: Mapping[str, str] = {}
    limited: Mapping[str, Limited] = {}
    pinned: Mapping[str, str] = {}
    frozen: str | None = None


class Publisher:
    """Publishes plans, and remembers what the store must not forget.

    Args:
        plans: the plan store.
        zones: the zones; only their fences and capacities are read.
    """

    def __init__(
        self,
        settings: PlannerSettings,
        layout: Layout,
        plans: PlanStore,
        zones: ZoneStore,
        *,
        events: Events,
        clock: Clock,
    ) -> None:
        self.snapshot = Snapshot()
        self.lanes = Lanes(settings.pace) if Guard.THROTTLING in settings.guards else None
        self._decider = Decider(layout, settings.limits if Guard.PROTECTIVE_CHECKS in settings.guards else None)
        self._layout, self._plans, self._zones, self._events, self._clock = layout, plans, zones, events, clock
        self._memory = Memory(settings.limits.window_s)
        self._chance = stream(settings.seed, settings.name, "lanes")
        self._zones_interval_s = settings.look_interval_s
        self._zones_seen: dict[str, ZoneSeen] = {}
        self._meant: Mapping[str, Content] = {}
        self._zones_until_s: float | None = None  # None: read them before anything else
        self._highest = 0  # the highest generation ever seen: the store may forget it, others will not
        self._lost: str | None = None  # that the store has lost a plan, until the whole region is published again
        self._unanswered: Draft | None = None  # sent, but whether it was published is not known

    async def settle(self, fleet: Mapping[str, Observed]) -> Settled:
        """Publish what the world asks for, if the latest plan does not have it already and it may go.

        Args:
            fleet: load balancer -> what was observed.
        Raises: StoreError, PlanInvalid (nothing was published), PlanConflict if somebody else publishes all the time.
        """
        try:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                await self._look()
                try:
                    settled, published = await self._attempt(fleet)
                except (PlanConflict, PlansFrozen, EndpointPinned, OutcomeUnknown):
                    self.distrust()
                    if attempt == MAX_ATTEMPTS:
                        raise
                else:
                    # What operators force is a plan of its own, and the rest comes after it.
                    if published is None or not published.force:
                        return settled
            return settled._replace(waits=True)
        except StoreError:
            self.distrust()
            raise

    def distrust(self) -> None:
        """Read the fences before anything else next time: the store may have less than it had."""
        self._zones_until_s = None

    async def _attempt(self, fleet: Mapping[str, Observed]) -> tuple[Settled, Draft | None]:
        """Decide once; return also the draft that was published."""
        now_s, snapshot = self._clock.monotonic(), self.snapshot
        seen, epoch_s = (snapshot.latest, self._zones_seen, self._meant), self._clock.epoch_s()
        live = self._memory.live(*seen, epoch_s=epoch_s)
        highest = self._memory.highest(live, now_s=now_s)
        decision = self._decider.decide(fleet, snapshot, Lately(self._zones_seen, highest, live))
        standing = Settled(
            snapshot.generation,
            f"plan {snapshot.generation} is what the world asks for",
            held=decision.held,
            limited=decision.limited,
            pinned=decision.pinned,
        )
        if frozen := snapshot.controls.frozen:
            why = f"nothing is published: the automation is frozen ({frozen.told}); `fencepost thaw` ends that"
            return standing._replace(why=why, frozen=frozen.text, waits=decision.draft is not None), None
        if decision.draft is None:
            return standing, None
        draft = self.lanes.sorted_in(decision.draft) if self.lanes else decision.draft
        if (why_not := self._why_not(draft, decision, now_s)) is not None:
            return standing._replace(why=f"{draft.reason}, but {why_not}", waits=True), None
        published = await self._publish(draft, anew=decision.lost is not None)
        if decision.lost:
            self._events.emit("planner.floor_raised", generation=published, reason=decision.lost)
        return standing._replace(generation=published, why=f"published plan {published}: {draft.reason}"), draft

    def _why_not(self, draft: Draft, decision: Decision, now_s: float) -> str | None:
        # Nothing can be installed before the floor is raised: it waits for no queue.
        if self.lanes is None or decision.lost:
            return None
        return self.lanes.why_not(draft.lane, now_s)

    async def _look(self) -> None:
        """Take a snapshot. Fences come first, so that a plan published in between is not taken for a lost one."""
        now_s = self._clock.monotonic()
        if self._zones_until_s is None or now_s >= self._zones_until_s:
            self._zones_seen = await read_zones(self._zones, self._layout.region.endpoint_names, self._zones_seen)
            self._zones_until_s = now_s + self._zones_interval_s
        texts, latest, controls, queue = await asyncio.gather(
            self._plans.requests(), self._latest(), self._plans.controls(), self._reports()
        )
        self.snapshot = Snapshot(latest, decode_requests(texts), controls, self._lost)
        self._highest = max(self._highest, self.snapshot.generation)
        self._memory.note(latest, now_s)
        await self._recall(latest)
        if self._unanswered and _holds(self.snapshot, self._unanswered):
            self._report(self._unanswered, self.snapshot.generation, None)
        self._unanswered = None
        self._see_queue(queue)

    async def _latest(self) -> Plan | None:
        """Read the latest plan, and take note if the one before it was lost: others may be about to install that."""
        known = self.snapshot.latest
        latest = await self._plans.latest(known)
        if latest and latest is not known:
            self._see_damaged(latest, known.contents.damaged if known else set())
        if lost := await forgot(self._plans, known, latest):
            self._lost = lost
            self.distrust()
        return latest

    def _see_damaged(self, latest: Plan, told: Collection[str]) -> None:
        """Tell which contents of a plan are damaged, each once: what the world asks for is published in their place."""
        for error in latest.damaged():
            if error.digest not in told:
                number, reason = latest.generation, str(error)
                self._events.emit("planner.content_damaged", zone=error.endpoint, generation=number, reason=reason)

    async def _recall(self, latest: Plan | None) -> None:
        """Know what operators' plans by force had that are not live yet, though later plans have other contents."""
        wanted = {forced.digest for forced in awaited_force(latest, self._zones_seen).values()}
        missing = sorted(wanted - self._meant.keys() - (latest.contents.keys() if latest else set()))
        brought = await self._plans.contents(missing) if missing else Contents({})
        found = {**self._meant, **{digest: value for digest in brought if (value := brought.readable(digest))}}
        self._meant = {digest: content for digest, content in found.items() if digest in wanted}

    async def _reports(self) -> Mapping[str, Report]:
        return await self._plans.reports() if self.lanes else {}

    def _see_queue(self, reports: Mapping[str, Report]) -> None:
        """Take note of how many plans are not installed; lanes are held back, and let go, by that."""
        if self.lanes is None:
            return
        installed = max((said.generation for said in reports.values() if said.role == "enactor"), default=0)
        before, queue = self.lanes, max(0, self.snapshot.generation - installed)
        self.lanes = before.seeing(queue)
        for lane in sorted(before.held ^ self.lanes.held):
            name = "planner.plans_held" if lane in self.lanes.held else "planner.plans_resumed"
            reason = f"{queue} plans are published and not installed"
            self._events.emit(name, generation=self.snapshot.generation, reason=reason, lane=lane.value, queue=queue)

    async def _publish(self, draft: Draft, *, anew: bool) -> int:
        """Publish a draft; `anew`: it has the whole region, and nothing from before may pass for unchanged."""
        started_s = self._clock.monotonic()
        fences = fences_of(self._zones_seen).values()
        # Above the latest it makes the store take every endpoint for changed, also those of no region any more.
        least = self.snapshot.generation + 1 if anew else self._highest
        floor = max([self._highest, least, *(fence.generation for fence in fences)])
        try:
            generation = await self._plans.publish(draft, expected=self.snapshot.generation, floor=floor)
        except OutcomeUnknown:
            self._unanswered = draft
            raise
        self._highest = generation
        self._lost = None if anew else self._lost
        self._report(draft, generation, (self._clock.monotonic() - started_s) * 1000)
        latest = await self._latest()
        self.snapshot = self.snapshot._replace(latest=latest, lost=self._lost)
        self._memory.note(latest, self._clock.monotonic())
        return generation

    def _report(self, draft: Draft, generation: int, took_ms: float | None) -> None:
        if self.lanes:
            self.lanes = self.lanes.after(draft, self._clock.monotonic(), self._chance.random())
        self._events.emit(
            "planner.plan_published",
            generation=generation,
            reason=draft.reason,
            took_ms=took_ms,
            lane=draft.lane.value,
            changed=sorted(draft.changes),
            by=draft.by,
            force=draft.force,
        )

    def standing(self) -> dict[str, object]:
        """Return queue size, held lanes and when the slow lane's next plan may go, for `/state`."""
        lanes, now_s = self.lanes, self._clock.monotonic()
        return {
            "queue_size": lanes.queue if lanes else None,
            "plans_held": sorted(lane.value for lane in lanes.held) if lanes else [],
            "next_slow_plan_s": round(max(0.0, lanes.slow_from_s - now_s), 3) if lanes else 0.0,
        }


def _holds(snapshot: Snapshot, draft: Draft) -> bool:
    """Say whether the latest plan is the one of a draft."""
    latest = snapshot.latest
    return latest is not None and latest.reason == draft.reason and draft.changes.items() <= snapshot.contents.items()
