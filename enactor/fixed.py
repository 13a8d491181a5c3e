"""The protocol that cannot break that way. Its twin is buggy.py; the difference between the two files is the fix.

The zone itself refuses a stale plan (the fence, in the same batch as the flip), half a tree never goes live (the
manifest), the plan is looked at again around every wait, the cleaner proves that nothing was flipped since it chose,
and a dangling root does not stop the next plan. Source: docs/invariants.md.
"""

from enactor.build import TreeBuilder
from enactor.cleaner import deletions, older_trees, referenced_trees
from enactor.hand import ZoneHand
from enactor.lock import lock_key
from enactor.protocol import Outcome, Tools
from enactor.tree import flip_rollback, flip_root, root_generation
from enactor.view import ZoneView, view_keys
from fencepost.batch import Change, delete, swap
from fencepost.errors import ChangeRefused, FenceAhead, InvalidChangeBatch, OutcomeUnknown
from fencepost.fence import Fence, fence_key
from fencepost.names import rollback_name
from fencepost.plan import Plan, short


class FixedEnactor:
    """Moves every endpoint to the latest plan; knows nothing that it has not read again before it acts."""

    def __init__(self, tools: Tools) -> None:
        self._tools, self._events, self._pauses = tools, tools.events, tools.settings.pauses
        self._builder = TreeBuilder(tools.api, tools.events)
        self._plan: Plan | None = None
        self._done = 0
        self._swept_s = float("-inf")
        self._flips = 0

    async def tick(self) -> Outcome:
        """Install the latest plan on every endpoint, then clean; an endpoint in trouble holds up no other."""
        plan = await self._latest()
        began_s = self._tools.clock.monotonic()
        if plan is None or (plan.generation == self._done and began_s < self._swept_s + self._tools.settings.sweep_s):
            return Outcome("no newer plan, and every zone was looked at lately", self._pauses.poll_s)
        self._events.emit("enactor.pass_started", generation=plan.generation)
        held_up = [endpoint for endpoint in plan.digests if not await self._install(endpoint)]
        for endpoint in plan.digests:
            await self._clean(endpoint)
        self._done, self._swept_s = (0 if held_up else plan.generation), began_s
        took_ms = (self._tools.clock.monotonic() - began_s) * 1000
        reason = f"held up: {', '.join(held_up)}" if held_up else ""
        self._events.emit("enactor.pass_completed", generation=plan.generation, took_ms=took_ms, reason=reason)
        return Outcome(reason or f"plan {plan.generation} or newer is on every endpoint", self._pauses.poll_s)

    async def _latest(self) -> Plan | None:
        """Read the latest plan; costs what changed since the last look."""
        self._plan = await self._tools.plans.latest(self._plan)
        return self._plan

    async def _install(self, endpoint: str) -> bool:
        """Move one endpoint to the plan that is the latest when the zone takes it; say whether that was done."""
        hand = self._tools.hand(endpoint)
        try:
            for _ in range(self._tools.settings.max_tries):
                if await self._step(hand):
                    return True
            self._events.emit("enactor.lock_exhausted", zone=endpoint, streak=hand.streak)
        except ChangeRefused as error:
            self._events.emit("enactor.endpoint_skipped", zone=endpoint, reason=str(error))
        finally:
            await hand.release()
        return False

    async def _step(self, hand: ZoneHand) -> bool:
        """Look at plan and zone again and do what is next; say whether the zone has the latest plan now."""
        plan = await self._latest()
        if plan is None or hand.zone not in plan.digests:
            return True
        try:
            read = await self._tools.api.read(hand.zone, view_keys(hand.zone, plan.generation))
            view = ZoneView.of(hand.zone, plan.generation, read)
            if view.fence is not None and plan.generation <= view.fence.generation:
                return await self._nothing_newer(hand.zone, plan, view.fence)
            if not hand.holds and not await hand.try_lock(view.lock):
                # A plan that is superseded meanwhile is dropped: the next step begins with the latest.
                await self._tools.clock.sleep(self._pauses.backoff_s(hand.streak, self._tools.rng))
                return False
            return await self._build_and_flip(hand, plan, view)
        except OutcomeUnknown as error:
            # The write may be in the zone: the next step reads it and goes on from what it finds.
            self._events.emit("enactor.outcome_unknown", zone=hand.zone, generation=plan.generation, reason=str(error))
            return False
        except InvalidChangeBatch as error:
            self._events.emit("enactor.step_refused", zone=hand.zone, generation=plan.generation, reason=str(error))
            return False

    async def _nothing_newer(self, zone: str, plan: Plan, fence: Fence) -> bool:
        """Drop a plan that the zone has, or has gone past. Raises: FenceAhead if no plan explains the fence."""
        if (fence.generation, fence.digest) != (plan.generation, short(plan.digests[zone])):
            latest = await self._latest()
            if latest is None or latest.generation <= max(plan.generation, fence.generation - 1):
                raise FenceAhead(zone, fence=f"{fence.generation} {fence.digest}", latest=plan.generation)
            reason = f"the zone is at {fence.generation}"
            self._events.emit("enactor.plan_superseded", zone=zone, generation=plan.generation, reason=reason)
            return False
        return True

    async def _build_and_flip(self, hand: ZoneHand, plan: Plan, view: ZoneView) -> bool:
        """Build the plan's tree and flip the root to it, if the fence is still where the view saw it."""
        zone, generation, digest = hand.zone, plan.generation, short(plan.digests[hand.zone])
        fence = self._next_fence(generation, digest).record(zone)
        flip = swap(view.fence.record(zone) if view.fence else None, fence)
        if view.fence is not None and view.fence.digest == digest and view.root:
            return await self._flip(hand, plan, "enactor.fence_advanced", flip)
        manifest = await self._builder.build(hand, plan, view)
        if manifest is None:
            return False
        flip += (*swap(manifest, manifest), *flip_root(zone, generation, plan.content(zone), view.root))
        if root_generation(zone, view.root) == generation:
            return await self._flip(hand, plan, "enactor.flip_committed", flip)
        kinds = {record_set.type for record_set in view.root}
        spent = tuple(delete(record_set) for record_set in view.rollback if record_set.type not in kinds)
        try:
            return await self._flip(
                hand, plan, "enactor.flip_committed", (*flip, *flip_rollback(zone, view.root), *spent)
            )
        except InvalidChangeBatch:
            # What the root points to is gone: there is nothing to roll back to, and that stops no plan.
            self._events.emit("enactor.rollback_left_out", zone=zone, generation=generation)
            return await self._flip(hand, plan, "enactor.flip_committed", (*flip, *map(delete, view.rollback)))

    def _next_fence(self, generation: int, digest: str) -> Fence:
        self._flips += 1
        return Fence(generation, digest, f"{self._tools.settings.name}-{self._tools.start_s}-{self._flips}")

    async def _flip(self, hand: ZoneHand, plan: Plan, event: str, changes: tuple[Change, ...]) -> bool:
        """Commit a batch that carries the fence; say whether the zone took it.

        Raises: InvalidChangeBatch if the only thing wrong is that rollback's target is missing.
        """
        zone, generation = hand.zone, plan.generation
        try:
            await hand.commit(generation, f"{event.rpartition('.')[2]} {generation}", *changes)
        except InvalidChangeBatch as error:
            if all(failed.name == rollback_name(zone) for failed in error.failed):
                raise
            now = (await self._tools.api.read(zone, [fence_key(zone)])).records.get(fence_key(zone))
            stale = now is not None and Fence.parse(zone, now).generation >= generation
            self._events.emit("enactor.flip_refused", zone=zone, generation=generation, reason=str(error), stale=stale)
            return False
        self._events.emit(event, zone=zone, generation=generation)
        return True

    async def _clean(self, endpoint: str) -> None:
        """Delete old trees that nothing points to, with the proof that this has not changed since they were chosen."""
        hand = self._tools.hand(endpoint)
        try:
            listing = await self._tools.api.listing(endpoint)
            found = {record_set.key: record_set for record_set in listing}
            fence = found.get(fence_key(endpoint))
            if fence is None:
                return
            before = Fence.parse(endpoint, fence).generation - self._tools.settings.keep
            referenced = referenced_trees(endpoint, listing)
            old = [tree for tree in older_trees(endpoint, listing, before) if tree not in referenced]
            if not old or not await hand.try_lock(found.get(lock_key(endpoint))):
                return
            for batch in deletions(endpoint, listing, old):
                await hand.commit(None, f"clean {old[0]} to {old[-1]}", *swap(fence, fence), *batch)
            self._events.emit("enactor.trees_cleaned", zone=endpoint, trees=old)
        except OutcomeUnknown as error:
            self._events.emit("enactor.outcome_unknown", zone=endpoint, reason=str(error))
        except ChangeRefused as error:
            self._events.emit("enactor.clean_refused", zone=endpoint, reason=str(error))
        finally:
            await hand.release()
