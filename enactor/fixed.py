"""The protocol that cannot break that way. Its twin is buggy.py; the difference between the two files is the fix.

The zone itself refuses a stale plan (the fence, in the same batch as the flip), half a tree never goes live (the
manifest), a tree is looked at before it does, a plan that takes too much is refused, the plan is looked at again around
every wait, the cleaner proves that nothing was flipped since it chose, and a dangling root does not stop the next plan.
Each guard can be off by itself, to show what it is worth: `fencepost.guards`. Source: docs/invariants.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from enactor.audit import Auditor
from enactor.build import TreeBuilder
from enactor.cleaning import Cleaner
from enactor.glance import Glances
from enactor.hand import ZoneHand
from enactor.held import STANDING, Held
from enactor.opening import Openings
from enactor.pace import HELP_CALLS, CleanPace, SweepPace
from enactor.protocol import Outcome, Tools
from enactor.reader import PlanReader
from enactor.tree import flip_rollback, flip_root, manifest_of, root_generation
from enactor.verify import TreeVerifier
from enactor.view import ZoneView, view_keys
from fencepost.batch import Change, delete, swap, upsert
from fencepost.capacity import CapacityHistory
from fencepost.errors import (
    ChangeRefused,
    ContentDamaged,
    FenceAhead,
    InvalidChangeBatch,
    OutcomeUnknown,
    PlanUnsafe,
    StoreError,
    ZoneFrozen,
)
from fencepost.fence import Fence, fence_key
from fencepost.guards import Guard
from fencepost.names import lock_name, rollback_name
from fencepost.plan import Plan, short


class FixedEnactor:
    """Moves every endpoint to the latest plan; knows nothing that it has not read again before it acts."""

    def __init__(self, tools: Tools) -> None:
        self._tools, self._events, self._pauses = tools, tools.events, tools.settings.pauses
        self._guards = tools.settings.guards
        self._builder = TreeBuilder(tools.api, tools.events, self._guards)
        self._verifier = TreeVerifier(tools.api, tools.clock, tools.events, tools.settings)
        self._auditor = Auditor(tools.api, tools.protection, tools.clock, tools.events, self._guards)
        self._pace = CleanPace(tools.cleaning, tools.settings.name, self._pauses.head_start_s)
        self._helps = not tools.settings.api_rate or tools.settings.api_rate >= HELP_CALLS
        self._sweep = SweepPace(self._pauses.sweep_s)
        self._held = Held(tools.clock, tools.events, 2 * self._pauses.lock_ttl_s + self._pauses.verify_wait_s)
        self._cleaner = Cleaner(tools, self._pace, self._held)
        self._glances = Glances(tools.api, self._held, tools.clock, self._pauses.sweep_s, tools.settings.api_rate)
        self._plan: Plan | None = None
        self._reader = PlanReader(tools.plans)
        self._openings = Openings(tools, self._held)
        self._told = 0
        self._streaks: dict[str, int] = {}
        self._dropped: set[str] = set()
        self._flips = 0

    async def tick(self) -> Outcome:
        """Install the latest plan on every endpoint, then clean; an endpoint in trouble holds up no other."""
        plan = await self._read_plan()
        began_s = self._tools.clock.monotonic()
        left = await self._openings.left_alone(plan)
        # Where the plan store is empty nothing is looked at, and no zone has had its turn.
        swept, zones = (self._sweep.turns(began_s, but=left), self._sweep.zones) if plan else ([], ())
        due = sorted({*swept, *self._held.due()} - left)
        self._pace.call_for_late(began_s)
        if plan is None or not (self._pace.called or due):
            await self._glances.go_on(zones)
            return self._outcome("nothing is due: each zone has the latest plan, or is left alone for a moment")
        if Guard.SELF_REPAIR in self._guards:
            self._auditor.call_for(swept)
        self._pace.call_for(swept, thorough=True)
        # What is held is tried again and again: that is no news until it is another plan's turn.
        reasons = self._held.reasons
        news = bool(due) and (plan.generation != self._told or any(endpoint not in reasons for endpoint in due))
        self._told = plan.generation if due else self._told
        if news:
            self._events.emit("enactor.pass_started", generation=plan.generation)
        await self._each(self._openings.order(plan, due), self._install)
        await self._glances.go_on(zones)
        cleaned = await self._to_clean(plan)
        latest = (self._plan or plan).generation
        await self._each(cleaned, lambda endpoint: self._cleaner.clean(endpoint, latest))
        took_ms = (self._tools.clock.monotonic() - began_s) * 1000
        outcome = self._outcome(f"plan {plan.generation} or newer is on every endpoint whose lock was free")
        reason = outcome.text if outcome.held else ""
        if news and not self._openings.leaves:
            self._events.emit("enactor.pass_completed", generation=plan.generation, took_ms=took_ms, reason=reason)
        return outcome._replace(wait_s=0.0) if self._pace.goes_on else outcome

    def _outcome(self, text: str) -> Outcome:
        held = self._held.reasons
        text = f"held up: {', '.join(held)}" if held else self._openings.leaves or text
        installed = self._held.installed() if self._plan else 0
        wait_s, came_second = self._openings.wait_s(self._pauses.poll_s), self._openings.take_came_second()
        return Outcome(text, wait_s, installed, held, until_news=True, came_second=came_second)

    async def _each(self, endpoints: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
        """Do some work on all endpoints side by side, so that one that waits holds up no other.

        Without fairness one comes after the other, as in buggy.py. Raises: StoreError, when all have ended and it
        is the same with all of them.
        """
        if Guard.FAIRNESS not in self._guards:
            for endpoint in endpoints:
                await work(endpoint)
            return
        results = await asyncio.gather(*map(work, endpoints), return_exceptions=True)
        errors = {endpoint: error for endpoint, error in zip(endpoints, results, strict=True) if error is not None}
        for error in errors.values():
            # A store that answers for other zones has trouble with this one alone.
            if not isinstance(error, StoreError) or len(errors) == len(endpoints):
                raise error
        for endpoint, error in errors.items():
            self._hold(endpoint, str(error))

    async def _read_plan(self) -> Plan | None:
        """Read the latest plan; costs what changed since the last look."""
        plan = await self._reader.latest()
        if plan is not None and plan is not self._plan:
            self._tools.protection.remember(plan)
            self._held.turn_to(plan)
            self._sweep.turn_to(plan.digests)
            self._pace.turn_to(plan.digests)
        self._plan = plan
        return plan

    async def _current(self) -> Plan | None:
        """Return the latest plan; without the guard the one that was read when the pass began."""
        return await self._read_plan() if Guard.PLAN_RECHECK in self._guards else self._plan

    async def _install(self, endpoint: str) -> None:
        """Move one endpoint to the plan that is the latest when the zone takes it, or note why that cannot be."""
        if not await self._openings.enter(endpoint):
            return
        hand, most = self._tools.hand(endpoint), self._tools.settings.max_tries
        hand.streak = streak = self._streaks.get(endpoint, 0)
        self._held.begin(endpoint)
        tries = 0
        try:
            # Side by side all begin with the plan that was read last, be it by another endpoint before its flip.
            plan = self._plan if Guard.FAIRNESS in self._guards else await self._current()
            while tries < most:
                losses = hand.streak
                if await self._step(hand, plan) or self._held.is_waiting(endpoint):
                    return
                # Without fairness a lock is waited for on the spot, however often it is lost; nothing else is.
                tries += hand.streak <= losses
                plan = await self._current()
            self._hold(endpoint, "")
        except ZoneFrozen as error:
            self._held.freeze(error)
            self._held.wait(endpoint, self._pauses.backoff_cap_s)
        except PlanUnsafe as error:
            self._hold(endpoint, str(error), stands=True)
        except (ChangeRefused, ContentDamaged) as error:
            if self._hold(endpoint, str(error), stands=isinstance(error, STANDING)):
                self._events.emit("enactor.endpoint_skipped", zone=endpoint, reason=str(error))
        finally:
            self._openings.leave(endpoint, missed=hand.streak > streak)
            self._streaks[endpoint] = hand.streak
            await hand.release()

    def _hold(self, endpoint: str, reason: str, *, stands: bool = False) -> bool:
        """Note why an endpoint cannot be moved; it is tried again with another plan, or after a while."""
        self._held.wait(endpoint, self._pauses.backoff_cap_s, self._plan.generation if self._plan else None)
        return self._held.hold(endpoint, reason, stands=stands)

    async def _step(self, hand: ZoneHand, plan: Plan | None) -> bool:
        """Look at the zone again and do what is next; say whether it has this plan, the latest one, now."""
        if plan is None or hand.zone not in plan.digests:
            return True
        if arrived := await self._act(hand, plan):
            self._held.arrived(hand.zone, plan)
            hand.streak = 0
        return arrived

    async def _act(self, hand: ZoneHand, plan: Plan) -> bool:
        try:
            view = await self._look(hand.zone, plan)
            if view.fence is not None and self._is_done(hand.zone, plan, view.fence):
                return await self._nothing_newer(hand, plan, view, view.fence)
            return await self._move(hand, plan, view)
        except OutcomeUnknown as error:
            # The write may be in the zone: the next step reads it and goes on from what it finds.
            self._held.trouble(hand.zone, str(error))
            self._events.emit("enactor.outcome_unknown", zone=hand.zone, generation=plan.generation, reason=str(error))
            return False
        except InvalidChangeBatch as error:
            self._held.trouble(hand.zone, str(error))
            self._events.emit("enactor.step_refused", zone=hand.zone, generation=plan.generation, reason=str(error))
            if error.concerns(lock_name(hand.zone)) and hand.streak:
                return await self._wait_for_lock(hand)
            return False

    async def _look(self, zone: str, plan: Plan) -> ZoneView:
        """Read a zone's control records. Raises: ZoneFrozen."""
        view = ZoneView.of(zone, plan.generation, await self._tools.api.read(zone, view_keys(zone, plan.generation)))
        self._held.look(zone, view)
        self._openings.look(zone, plan, view)
        await self._auditor.look(zone, view)
        return view

    async def _move(self, hand: ZoneHand, plan: Plan, view: ZoneView) -> bool:
        """Move a zone to a plan that is newer than what it has, as soon as its lock is ours or free."""
        zone = hand.zone
        if view.fence is None and await self._moved_by_hand(zone, plan, view):
            return False
        if not hand.reach(view.lock):
            # A plan that is superseded meanwhile is dropped: the next step begins with the latest.
            return await self._wait_for_lock(hand)
        if view.root and view.fence is not None and view.fence.digest == short(plan.digests[zone]):
            # Whoever keeps its content has nothing taken away.
            return await self._build_and_flip(hand, plan, view, None)
        if (view.root or view.capacity) and not self._tools.api.knows_time:
            # What a window allows is judged by the store's time, which the lock's own commit tells.
            return not await hand.try_lock(view.lock) and await self._wait_for_lock(hand)
        return await self._build_and_flip(hand, plan, view, await self._tools.protection.approve(zone, plan, view))

    async def _wait_for_lock(self, hand: ZoneHand) -> Literal[False]:
        """Leave the endpoint alone for a while and go on with the others; without fairness wait on the spot."""
        pause_s = self._pauses.backoff_s(hand.streak, self._tools.rng)
        if Guard.FAIRNESS not in self._guards:
            await self._tools.clock.sleep(pause_s)
            return False
        self._held.wait(hand.zone, pause_s)
        if hand.streak < (most := self._tools.settings.max_tries):
            return False
        reason = f"its lock is lost in {most} tries or more"
        if self._held.hold(hand.zone, reason):
            self._events.emit("enactor.lock_exhausted", zone=hand.zone, streak=hand.streak, reason=reason)
        return False

    def _is_done(self, zone: str, plan: Plan, fence: Fence) -> bool:
        """Say whether a plan has nothing for a zone; one that is damaged is healed by whatever plan is newer."""
        return plan.generation <= fence.generation or (fence.has(plan, zone) and not self._auditor.is_damaged(zone))

    async def _nothing_newer(self, hand: ZoneHand, plan: Plan, view: ZoneView, fence: Fence) -> bool:
        """Drop a plan that the zone has, or has gone past. Raises: FenceAhead if no plan explains the fence."""
        zone = hand.zone
        if fence.has(plan, zone):
            if not self._auditor.is_damaged(zone):
                if view.rollback and self._helps:  # where there is none, one tree is all
                    self._pace.call_after(zone, self._tools.clock.monotonic())
                return True
            if hand.holds:
                return await self._auditor.restore(hand, plan, view)
            plan.content(zone)  # one that is damaged cannot be restored, and is worth no lock
            return not await hand.try_lock(view.lock) and await self._wait_for_lock(hand)
        latest = await self._current()
        if latest is None or latest.generation <= max(plan.generation, fence.generation - 1):
            if Guard.PLAN_RECHECK not in self._guards:
                return True
            raise FenceAhead(zone, fence=f"{fence.generation} {fence.digest}", latest=plan.generation)
        self._drop(zone, plan, f"the zone is at {fence.generation}")
        return False

    async def _moved_by_hand(self, zone: str, plan: Plan, view: ZoneView) -> bool:
        """Say whether a zone that has no fence was moved past a plan that is not the latest any more."""
        if Guard.FENCE not in self._guards or (root_generation(zone, view.root) or 0) <= plan.generation:
            return False
        latest = await self._current()
        if latest is None or latest.generation <= plan.generation:
            return False
        self._drop(zone, plan, "the zone was moved past it, by who keeps no fence")
        return True

    def _drop(self, zone: str, plan: Plan, reason: str) -> None:
        self._events.emit("enactor.plan_superseded", zone=zone, generation=plan.generation, reason=reason)

    async def _build_and_flip(
        self, hand: ZoneHand, plan: Plan, view: ZoneView, history: CapacityHistory | None
    ) -> bool:
        """Build the plan's tree and flip the root to it, if the fence is still where the view saw it."""
        zone, generation, content = hand.zone, plan.generation, plan.content(hand.zone)
        flip = self._fencing(plan, view, zone)
        if history is None and not self._auditor.is_damaged(zone):
            return await self._flip(hand, plan, "enactor.fence_advanced", flip)
        whole = await self._builder.build(hand, plan, view)
        self._openings.leave(zone)
        if whole is None or not await self._verified(hand, plan, view) or await self._superseded(zone, plan):
            return False
        noted = self._tools.protection.noting(zone, content, view, history) if history is not None else ()
        # Where there is no fence, whoever moves the zone by hand moves the root alone: then that is what is compared.
        exactly = view.fence is None and Guard.FENCE in self._guards
        flip += (*whole, *noted, *flip_root(zone, generation, content, view.root, exactly=exactly))
        if root_generation(zone, view.root) == generation:
            return await self._flip(hand, plan, "enactor.flip_committed", flip)
        kinds = {record_set.type for record_set in view.root}
        spent = tuple(delete(record_set) for record_set in view.rollback if record_set.type not in kinds)
        try:
            return await self._flip(
                hand, plan, "enactor.flip_committed", (*flip, *flip_rollback(zone, view.root), *spent)
            )
        except InvalidChangeBatch as error:
            if Guard.ROLLBACK_TOLERANCE not in self._guards:
                self._events.emit("enactor.flip_refused", zone=zone, generation=generation, reason=str(error))
                raise
            # What the root points to is gone: there is nothing to roll back to, and that stops no plan.
            self._events.emit("enactor.rollback_left_out", zone=zone, generation=generation)
            return await self._flip(hand, plan, "enactor.flip_committed", (*flip, *map(delete, view.rollback)))

    async def _verified(self, hand: ZoneHand, plan: Plan, view: ZoneView) -> bool:
        """Look at a tree that is built before it goes live; say whether it is right, and the plan still wanted."""
        zone = hand.zone
        if Guard.TREE_CHECK not in self._guards or self._verifier.knows(zone, plan):
            return True
        if (damage := await self._verifier.damage(zone, plan)) is not None:
            self._held.trouble(zone, damage)
            await self._builder.make_room(hand, plan, view._replace(manifest=manifest_of(plan, zone)))
            return False
        return await self._verifier.resolved(hand, plan, lambda: self._superseded(zone, plan))

    async def _superseded(self, zone: str, plan: Plan) -> bool:
        """Say whether a newer plan wants something else here: then the tree is not worth a wait.

        Once in a row, and not again before a flip: else a steady stream of plans would keep an endpoint where it is.
        """
        latest = await self._current()
        if zone in self._dropped or latest is None or latest.digests.get(zone) == plan.digests[zone]:
            return False
        self._dropped.add(zone)
        self._drop(zone, plan, f"plan {latest.generation} came while its tree was built")
        return True

    def _fencing(self, plan: Plan, view: ZoneView, zone: str) -> tuple[Change, ...]:
        """Return the changes that move the fence, from exactly where it was seen; without the guard from anywhere."""
        self._flips += 1
        flip_id = f"{self._tools.settings.name}-{self._tools.start_s}-{self._flips}"
        fence = Fence(plan.generation, short(plan.digests[zone]), flip_id).record(zone)
        if Guard.FENCE not in self._guards:
            return (upsert(fence),)
        return swap(view.fence.record(zone) if view.fence else None, fence)

    async def _flip(self, hand: ZoneHand, plan: Plan, event: str, changes: tuple[Change, ...]) -> bool:
        """Commit a batch that carries the fence; say whether the zone took it.

        Raises: InvalidChangeBatch if the only thing wrong is that rollback's target is missing.
        """
        zone, generation = hand.zone, plan.generation
        self._pace.call_for([zone])
        try:
            await hand.commit(generation, f"{event.rpartition('.')[2]} {generation}", *changes, last=True)
        except InvalidChangeBatch as error:
            if all(failed.name == rollback_name(zone) for failed in error.failed):
                raise
            now = (await self._tools.api.read(zone, [fence_key(zone)])).records.get(fence_key(zone))
            stale = now is not None and Fence.parse(zone, now).generation >= generation
            self._held.trouble(zone, str(error))
            self._events.emit("enactor.flip_refused", zone=zone, generation=generation, reason=str(error), stale=stale)
            return False
        self._events.emit(event, zone=zone, generation=generation)
        self._held.moved(zone, plan)
        self._dropped.discard(zone)
        self._auditor.healed(zone, generation, f"plan {generation} was installed")
        return True

    async def _to_clean(self, plan: Plan) -> list[str]:
        """Return the endpoints whose turn it is to be cleaned; a newer plan that waits goes before, if it can."""

        def may(zone: str) -> bool:
            return zone in plan.digests and not self._held.is_frozen(zone)

        self._pace.call_for_late(self._tools.clock.monotonic())
        if Guard.THROTTLING not in self._guards:
            return list(filter(may, self._pace.called))
        latest = await self._current() if any(map(may, self._pace.called)) else plan
        hurry = latest is not None and latest.generation != plan.generation
        return self._pace.turns(may, hurry=hurry, calls=self._tools.api.spare)
