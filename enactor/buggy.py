"""The protocol that broke in October 2025. Its twin is fixed.py; the difference between the two files is the fix.

It is faithful to what AWS has said: one staleness check before the loop over all endpoints, waiting for a lock without
ever looking at the plan again, a flip whatever the root has become, and a cleaner that goes by age alone.
Sources: aws.amazon.com/message/101925; AWS re:Invent 2025, DAT453.
"""

from enactor.cleaner import deletions, older_trees
from enactor.hand import ZoneHand
from enactor.protocol import Outcome, Tools
from enactor.tree import flip_rollback, flip_root, in_batches, root_generation, root_keys, tree_records
from fencepost.batch import upsert
from fencepost.errors import ChangeRefused, InvalidChangeBatch, OutcomeUnknown
from fencepost.plan import Plan


class BuggyEnactor:
    """Installs plans one after the other; knows a plan as it read it at the start of the pass."""

    def __init__(self, tools: Tools) -> None:
        self._tools, self._events, self._pauses = tools, tools.events, tools.settings.pauses
        self._plan: Plan | None = None
        self._done = 0

    async def tick(self) -> Outcome:
        """Take the latest plan, install it on every endpoint, then clean; a refusal ends the pass."""
        plan = self._plan = await self._tools.plans.latest(self._plan)
        if plan is None or plan.generation <= self._done:
            return Outcome("no plan that was not looked at", self._pauses.poll_s, self._done)
        # The one staleness check. All that follows trusts it, however long it takes.
        if plan.generation <= await self._highest_root(plan):
            self._done = plan.generation
            return Outcome(f"plan {plan.generation} is not newer than what is applied", self._pauses.poll_s, self._done)
        began_s = self._tools.clock.monotonic()
        self._events.emit("enactor.pass_started", generation=plan.generation)
        try:
            for endpoint in plan.digests:
                await self._install(endpoint, plan)
        except (ChangeRefused, OutcomeUnknown) as error:
            self._events.emit("enactor.pass_failed", generation=plan.generation, reason=str(error))
            return Outcome(f"plan {plan.generation} ended early: {error}", self._pauses.poll_s, self._done)
        for endpoint in plan.digests:
            await self._clean(endpoint, plan)
        self._done = plan.generation
        took_ms = (self._tools.clock.monotonic() - began_s) * 1000
        self._events.emit("enactor.pass_completed", generation=plan.generation, took_ms=took_ms)
        return Outcome(f"plan {plan.generation} is on every endpoint", 0.0, plan.generation)

    async def _highest_root(self, plan: Plan) -> int:
        highest = 0
        for endpoint in plan.digests:
            read = await self._tools.api.read(endpoint, root_keys(endpoint))
            highest = max(highest, root_generation(endpoint, tuple(read.records.values())) or 0)
        return highest

    async def _install(self, endpoint: str, plan: Plan) -> None:
        """Build the plan's tree and flip the root to it, whatever has happened since the pass began."""
        hand = self._tools.hand(endpoint)
        try:
            await self._take_lock(hand)
            await self._build_and_flip(hand, plan)
        finally:
            await hand.release()

    async def _take_lock(self, hand: ZoneHand) -> None:
        """Try until the lock is ours. The pauses grow with each loss; the plan is never looked at again."""
        while not await hand.try_lock(await hand.read_lock()):
            await self._tools.clock.sleep(self._pauses.backoff_s(hand.streak, self._tools.rng))

    async def _build_and_flip(self, hand: ZoneHand, plan: Plan) -> None:
        zone, generation, content = hand.zone, plan.generation, plan.content(hand.zone)
        root = tuple((await self._tools.api.read(zone, root_keys(zone))).records.values())
        if root_generation(zone, root) == generation:
            return
        for part in in_batches(tree_records(zone, generation, content)):
            await hand.commit(generation, f"tree {generation}", *map(upsert, part))
        self._events.emit("enactor.tree_built", zone=zone, generation=generation)
        flip = (*flip_rollback(zone, root), *flip_root(zone, generation, content, root))
        try:
            await hand.commit(generation, f"flip to {generation}", *flip)
        except InvalidChangeBatch as error:
            self._events.emit("enactor.flip_refused", zone=zone, generation=generation, reason=str(error))
            raise
        self._events.emit("enactor.flip_committed", zone=zone, generation=generation)

    async def _clean(self, endpoint: str, plan: Plan) -> None:
        """Delete trees many generations older than the plan that was just installed. Age is all that counts."""
        hand = self._tools.hand(endpoint)
        try:
            await self._take_lock(hand)
            listing = await self._tools.api.listing(endpoint)
            old = older_trees(endpoint, listing, plan.generation - self._tools.settings.keep)
            for batch in deletions(endpoint, listing, old):
                await hand.commit(None, f"clean {old[0]} to {old[-1]}", *batch)
            if old:
                self._events.emit("enactor.trees_cleaned", zone=endpoint, trees=old)
        except OutcomeUnknown as error:
            self._events.emit("enactor.outcome_unknown", zone=endpoint, reason=str(error))
        except ChangeRefused as error:
            self._events.emit("enactor.clean_refused", zone=endpoint, reason=str(error))
        finally:
            await hand.release()
