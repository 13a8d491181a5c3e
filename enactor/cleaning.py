"""Deleting old trees, found at a cost that follows what there is to delete and not what the zone has."""

from typing import Final, NamedTuple

from enactor.cleaner import deletions, referenced_trees, trees_in
from enactor.held import Held
from enactor.lock import lock_key
from enactor.pace import CleanPace
from enactor.protocol import Tools
from enactor.settings import EnactorSettings
from enactor.tree import in_batches, rollback_keys, root_keys, tree_key
from fencepost.batch import Change, swap
from fencepost.control import ControlApi
from fencepost.errors import ChangeRefused, InvalidChangeBatch, OutcomeUnknown, ZoneFrozen
from fencepost.fence import Fence, fence_key
from fencepost.guards import Guard
from fencepost.names import generation_of, top_label, tree_name
from fencepost.records import RecordKey, RecordSet

TREES_BEGIN: Final = "plan-0"
TREES_END: Final = "plan-:"
"""Between these two are the labels of all trees, in the order of a listing: ":" is next to "9"."""
SORTED_TO: Final = 999_999
"""Up to here names have six digits, and sort as numbers do."""


class Doomed(NamedTuple):
    """What may be deleted from a zone.

    Attributes:
        lock: the lock record as it was seen, None if nobody had it.
        proof: changes that fail if anything was flipped since the trees were chosen.
        batches: the deletions, in order; empty if there is nothing to clean.
    """

    lock: RecordSet | None
    proof: tuple[Change, ...]
    batches: tuple[tuple[Change, ...], ...]


NOTHING = Doomed(None, (), ())


class Cleaner:
    """Gives a zone its turn to be cleaned, and lets the pace know what came of it."""

    def __init__(self, tools: Tools, pace: CleanPace, held: Held) -> None:
        self._tools, self._events, self._pace, self._held = tools, tools.events, pace, held
        self._old_trees = OldTrees(tools.api, tools.settings)
        self._one_batch = Guard.THROTTLING in tools.settings.guards

    async def clean(self, zone: str, latest: int) -> None:
        """Delete old trees that nothing points to, with the proof that this has not changed since they were chosen."""
        hand, end_turn = self._tools.hand(zone), self._pace.unused
        try:
            doomed = await self._old_trees.find(zone, latest, thorough=self._pace.is_thorough(zone))
            if not doomed.batches or not hand.reach(doomed.lock):
                # Who has the lock is at work there; what is left the next flip or sweep finds.
                end_turn(zone)
                return
            end_turn = self._pace.done
            batches = doomed.batches[:1] if self._one_batch else doomed.batches
            for batch in batches:
                trees, last = trees_in(zone, batch), batch is batches[-1]
                await hand.commit(None, f"clean {trees[0]} to {trees[-1]}", *doomed.proof, *batch, last=last)
                self._events.emit("enactor.trees_cleaned", zone=zone, trees=trees)
            self._pace.cleaned(zone, more=len(batches) < len(doomed.batches))
        except OutcomeUnknown as error:
            self._events.emit("enactor.outcome_unknown", zone=zone, reason=str(error))
        except ZoneFrozen as error:
            self._held.freeze(error)
        except ChangeRefused as error:
            # What is not as it was listed somebody else has cleaned, or flipped: that counts as no batch of ours.
            (self._pace.unused if isinstance(error, InvalidChangeBatch) else end_turn)(zone)
            self._events.emit("enactor.clean_refused", zone=zone, reason=str(error))
        finally:
            await hand.release()


class OldTrees:
    """Goes from one tree of a zone to the next, oldest first, and reads only those that may go.

    Names sort as generations do up to `SORTED_TO`; a `thorough` look goes on where they do not. Behind a tree up to
    there that may stay none is older: of as many digits none is, and those of more are newer.
    """

    def __init__(self, api: ControlApi, settings: EnactorSettings) -> None:
        self._api, self._keep = api, settings.keep
        self._checks = Guard.CLEANER_CHECK in settings.guards
        self._one_batch = Guard.THROTTLING in settings.guards

    async def find(self, zone: str, latest: int, *, thorough: bool) -> Doomed:
        """Return what may go from a zone, given the latest plan's generation; with throttling enough for one batch.

        Root, rollback and fence are read at one serial, and say which trees may go: a flip since then breaks the proof.
        What of a tree is deleted has to be as it was listed, or nothing is: so it does not matter when that was.
        """
        # Nothing is older by the fence that is not by the latest plan: as a rule this one look is all.
        oldest = await self._next(zone, tree_key(zone, 0), latest - self._keep, thorough=thorough)
        if oldest is None:
            return NOTHING
        keys = (*root_keys(zone), *rollback_keys(zone), lock_key(zone), fence_key(zone))
        found = (await self._api.read(zone, keys)).records
        fence = found.get(fence_key(zone))
        if fence is None and self._checks:
            return NOTHING
        before, spared, proof = latest - self._keep, set[int](), tuple[Change, ...]()
        if fence is not None and self._checks:
            before, proof = Fence.parse(zone, fence).generation - self._keep, swap(fence, fence)
            spared = referenced_trees(zone, found.values())
        first = oldest if oldest < before else await self._next(zone, tree_key(zone, 0), before, thorough=thorough)
        batches = await self._deletions(zone, first, before, spared, thorough=thorough)
        return Doomed(found.get(lock_key(zone)), proof, batches)

    async def _deletions(
        self, zone: str, tree: int | None, before: int, spared: set[int], *, thorough: bool
    ) -> tuple[tuple[Change, ...], ...]:
        listing: list[RecordSet] = []
        trees: list[int] = []
        while tree is not None:
            if tree not in spared:
                trees.append(tree)
                listing += await self._api.listing(zone, tree_key(zone, tree), within=tree_name(zone, tree))
                if self._one_batch and len(in_batches(listing)) > 1:
                    break
            tree = await self._next(zone, beyond(zone, tree), before, thorough=thorough)
        return deletions(zone, listing, trees)

    async def _next(self, zone: str, start: RecordKey, before: int, *, thorough: bool) -> int | None:
        """Return the first tree from `start` on that is older than `before`, None if there is none."""
        while (first := await self._api.first(zone, start)) is not None:
            tree = _tree_at(first.name, zone)
            if tree is None:
                # One that only looks like a tree's is somebody's note: it is left alone, and no tree behind it is.
                label = top_label(first.name, zone)
                if label is None or not TREES_BEGIN <= label < TREES_END:
                    return None
                start = RecordKey(f"~.{label}.{zone}", "")
            elif tree < before:
                return tree
            elif thorough and tree > SORTED_TO:
                start = beyond(zone, tree)
            else:
                return None
        return None


def _tree_at(name: str, zone: str) -> int | None:
    """Return the generation of a tree's name, or of one below it; None for others, as with too many zeros in front."""
    tree = generation_of(name, zone)
    return tree if tree is not None and f".{name}".endswith(f".{tree_name(zone, tree)}") else None


def beyond(zone: str, generation: int) -> RecordKey:
    """Return where a listing goes on behind a tree and its manifest: "~" sorts behind all that a label may have."""
    return RecordKey(f"~.{tree_name(zone, generation)}", "")
