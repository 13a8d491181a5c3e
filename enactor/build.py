"""Building a plan's tree in numbered batches, so that two enactors can build one tree and half of one is never live."""

from enactor.hand import ZoneHand
from enactor.tree import Manifest, in_batches, manifest_of, tree_key, tree_parts, tree_records
from enactor.view import ZoneView
from fencepost.batch import Change, create, delete, swap, upsert
from fencepost.control import ControlApi
from fencepost.errors import InvalidChangeBatch, TreeTaken
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.names import lock_name, tree_name
from fencepost.plan import Plan
from fencepost.records import RecordSet


class TreeBuilder:
    """Brings a tree from the state that a view shows to complete.

    Invariant: a manifest k/n with a digest means that exactly the first k batches of that content are in the tree;
    every batch moves it by compare-and-swap, so who is refused looks again and goes on from there.

    Without the guard `whole-trees` there are no manifests: each batch overwrites what is there, and nothing is proved.
    """

    def __init__(self, api: ControlApi, events: Events, guards: frozenset[Guard]) -> None:
        self._api, self._events, self._guards = api, events, guards

    async def build(self, hand: ZoneHand, plan: Plan, view: ZoneView) -> tuple[Change, ...] | None:
        """Build what is missing; return the changes that prove a flip's tree whole, or None: look at the zone again."""
        zone, generation, whole = hand.zone, plan.generation, manifest_of(plan, hand.zone)
        parts = tree_parts(zone, generation, plan.content(zone))
        if Guard.WHOLE_TREES not in self._guards:
            return await self._overwrite(hand, generation, parts)
        start = view.manifest or Manifest(0, whole.total, whole.digest)
        if start[1:] != whole[1:]:
            await self.make_room(hand, plan, view)
            return None
        record = view.manifest.record(zone, generation) if view.manifest else None
        # The view is as old as the way to the zone is long: who is late is refused, and leaves no tree behind.
        proof = view.proof(zone) if Guard.FENCE in self._guards and not hand.holds else ()
        try:
            for part, done in zip(parts[start.done :], range(start.done + 1, whole.total + 1), strict=True):
                following = whole._replace(done=done).record(zone, generation)
                comment = f"tree {generation}, batch {done} of {whole.total}"
                await hand.commit(generation, comment, *proof, *swap(record, following), *map(create, part))
                record, proof = following, ()
        except InvalidChangeBatch as error:
            self._events.emit("enactor.tree_refused", zone=zone, generation=generation, reason=str(error))
            if error.concerns(lock_name(zone)):
                raise
            # With the manifest refused too, somebody else is building this very tree: no room has to be made.
            if {failed.name for failed in error.failed} == {tree_name(zone, generation)}:
                await self.make_room(hand, plan, view)
            return None
        self._events.emit("enactor.tree_built", zone=zone, generation=generation)
        return swap(record, whole.record(zone, generation))

    async def _overwrite(
        self, hand: ZoneHand, generation: int, parts: tuple[tuple[RecordSet, ...], ...]
    ) -> tuple[Change, ...]:
        for part in parts:
            await hand.commit(generation, f"tree {generation}", *map(upsert, part))
        self._events.emit("enactor.tree_built", zone=hand.zone, generation=generation)
        return ()

    async def make_room(self, hand: ZoneHand, plan: Plan, view: ZoneView) -> None:
        """Settle what stands under the tree's name: it is the plan's content, or becomes it by what it lacks, or goes.

        It comes from a zone that `buggy` left behind, from a plan of the same number that the plan store has lost, or
        from somebody who changed a tree. Raises: TreeTaken if it is live with another content.
        """
        zone, generation, whole = hand.zone, plan.generation, manifest_of(plan, hand.zone)
        found = await self._api.listing(zone, tree_key(zone, generation), within=tree_name(zone, generation))
        leaves = [record_set for record_set in found if record_set.name == tree_name(zone, generation)]
        lacking = [r for r in tree_records(zone, generation, plan.content(zone)) if r not in leaves]
        proof = view.proof(zone)
        manifest = view.manifest.record(zone, generation) if view.manifest else None
        live = view.refers_to(zone, generation)
        only_lacks = len(leaves) + len(lacking) == len(plan.content(zone).targets)
        # Where there is no fence, nothing proves that nobody puts this tree live by hand meanwhile: it must not shrink.
        grows = Guard.SELF_REPAIR in self._guards if live else view.fence is None
        if only_lacks and (not lacking or grows):
            for part in in_batches(lacking):
                await hand.commit(generation, f"tree {generation} completed", *proof, *map(create, part))
            adopted = self._marking(manifest, whole.record(zone, generation))
            await hand.commit(generation, f"tree {generation} adopted", *proof, *adopted)
            return
        if live:
            raise TreeTaken(zone, generation=generation)
        empty = whole._replace(done=0).record(zone, generation)
        for part in in_batches(leaves) or ((),):
            await hand.commit(
                generation, f"tree {generation} cleared", *proof, *self._marking(manifest, empty), *map(delete, part)
            )
            manifest = empty

    def _marking(self, existing: RecordSet | None, following: RecordSet) -> tuple[Change, ...]:
        """Return the changes that move a manifest; none without the guard, which leaves no manifest anywhere."""
        return swap(existing, following) if Guard.WHOLE_TREES in self._guards else ()
