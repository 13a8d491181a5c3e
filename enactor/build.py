"""Building a plan's tree in numbered batches, so that two enactors can build one tree and half of one is never live."""

from enactor.hand import ZoneHand
from enactor.tree import Manifest, in_batches, tree_key, tree_records
from enactor.view import ZoneView
from fencepost.batch import Change, create, delete, swap
from fencepost.control import ControlApi
from fencepost.errors import InvalidChangeBatch, TreeTaken
from fencepost.events import Events
from fencepost.names import tree_name
from fencepost.plan import Plan, short
from fencepost.records import RecordSet


class TreeBuilder:
    """Brings a tree from the state that a view shows to complete.

    Invariant: a manifest k/n with a digest means that exactly the first k batches of that content are in the tree;
    every batch moves it by compare-and-swap, so who is refused looks again and goes on from there.
    """

    def __init__(self, api: ControlApi, events: Events) -> None:
        self._api, self._events = api, events

    async def build(self, hand: ZoneHand, plan: Plan, view: ZoneView) -> RecordSet | None:
        """Build what is missing; return the complete manifest, or None: look at the zone again."""
        zone, generation, digest = hand.zone, plan.generation, short(plan.digests[hand.zone])
        parts = in_batches(tree_records(zone, generation, plan.content(zone)))
        start = view.manifest or Manifest(0, len(parts), digest)
        if (start.total, start.digest) != (len(parts), digest):
            await self._make_room(hand, plan, view, len(parts))
            return None
        record = view.manifest.record(zone, generation) if view.manifest else None
        try:
            for part, done in zip(parts[start.done :], range(start.done + 1, len(parts) + 1), strict=True):
                following = Manifest(done, len(parts), digest).record(zone, generation)
                comment = f"tree {generation}, batch {done} of {len(parts)}"
                await hand.commit(generation, comment, *swap(record, following), *map(create, part))
                record = following
        except InvalidChangeBatch as error:
            self._events.emit("enactor.tree_refused", zone=zone, generation=generation, reason=str(error))
            # With the manifest refused too, somebody else is building this very tree: no room has to be made.
            if {failed.name for failed in error.failed} == {tree_name(zone, generation)}:
                await self._make_room(hand, plan, view, len(parts))
            return None
        self._events.emit("enactor.tree_built", zone=zone, generation=generation)
        return record

    async def _make_room(self, hand: ZoneHand, plan: Plan, view: ZoneView, total: int) -> None:
        """Settle what stands under the tree's name: it is the plan's content already, or it goes.

        It comes from a zone that `buggy` left behind, or from a plan of the same number that the plan store has lost.
        """
        zone, generation, digest = hand.zone, plan.generation, short(plan.digests[hand.zone])
        listing = await self._api.listing(zone, tree_key(zone, generation))
        leaves = [record_set for record_set in listing if record_set.name == tree_name(zone, generation)]
        proof = self._proof(zone, view)
        manifest = view.manifest.record(zone, generation) if view.manifest else None
        if set(leaves) == set(tree_records(zone, generation, plan.content(zone))):
            complete = Manifest(total, total, digest).record(zone, generation)
            await hand.commit(generation, f"tree {generation} adopted", *proof, *swap(manifest, complete))
            return
        if view.refers_to(zone, generation):
            raise TreeTaken(zone, generation=generation)
        empty = Manifest(0, total, digest).record(zone, generation)
        for part in in_batches(leaves) or ((),):
            await hand.commit(
                generation, f"tree {generation} cleared", *proof, *swap(manifest, empty), *map(delete, part)
            )
            manifest = empty

    @staticmethod
    def _proof(zone: str, view: ZoneView) -> tuple[Change, ...]:
        """Return changes that fail if anything was flipped since the view was read."""
        return swap(view.fence.record(zone), view.fence.record(zone)) if view.fence else ()
