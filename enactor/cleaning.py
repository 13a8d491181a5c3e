"""Finding what the cleaner may delete, at a cost that follows what there is to delete and not what the zone has."""

from typing import Final, NamedTuple

from enactor.cleaner import deletions, referenced_trees
from enactor.lock import lock_key
from enactor.settings import EnactorSettings
from enactor.tree import in_batches, rollback_keys, root_keys, tree_key
from fencepost.batch import Change, swap
from fencepost.control import ControlApi
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
