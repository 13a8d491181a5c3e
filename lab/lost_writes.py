"""A store that fails over and forgets its last write, played on one that does not.

The zones' streams are followed, and the last batch of a tree that is being built is taken back before its flip: its
records go, the manifest is again what it was. Only batches are taken back that left the lock's text as it was (it has
whole seconds), so what is left is exactly the zone before that batch, as after a failover that has lost it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fencepost.batch import Action, Change, ChangeBatch, delete, swap
from fencepost.clock import Clock
from fencepost.errors import InvalidChangeBatch, PriorRequestNotComplete
from fencepost.names import fence_name, generation_of, lock_name, manifest_name, tree_name
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet
from fencepost.stores import Commit, ZoneStore
from lab.history import require_next
from lab.invariants.replay import ZoneState

FOLLOW_S: Final = 0.2
BUSY_PAUSE_S: Final = 0.001
MOST: Final = 6
"""How many batches of one run are forgotten."""
CHANCE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Build:
    """A batch that went on with a tree: what it created, and the control records before it, by name."""

    generation: int
    created: tuple[RecordSet, ...]
    before: Mapping[str, RecordSet | None]


class LostWrites:
    """Follows zones from their first commit, so that it knows each state, and takes builds back: each by `chance`."""

    def __init__(self, zones: ZoneStore, names: Sequence[str], rng: random.Random, chance: float = CHANCE) -> None:
        self._zones, self._rng, self._chance = zones, rng, chance
        self._states = {name: ZoneState(name) for name in names}
        self._serials = dict.fromkeys(names, 0)
        self.taken_back = 0
        self.too_late = 0

    async def run(self, clock: Clock, duration_s: float) -> None:
        """Follow for a while."""
        end_s = clock.monotonic() + duration_s
        while clock.monotonic() < end_s and self.taken_back < MOST:
            for commit in await self._zones.follow(self._serials, FOLLOW_S):
                build = self.take_in(commit)
                # Only the newest state of a zone can be acted on; a reply may hold many commits.
                if build is not None and self._rng.random() < self._chance:
                    await self.take_back(commit.zone, build, clock)

    def take_in(self, commit: Commit) -> Build | None:
        """Note a commit; return what it built if it went on with a tree that had records and is not live.

        Raises: HistoryUnusable if it is not the zone's next commit.
        """
        require_next(commit.zone, self._serials[commit.zone], commit)
        state = self._states[commit.zone]
        created = tuple(
            change.record_set
            for change in commit.changes
            if change.action is not Action.DELETE
            and change.record_set.type in ADDRESS_TYPES
            and change.record_set.alias is None
            and change.record_set.key not in state.records
        )
        generations = {generation_of(record_set.name, commit.zone) for record_set in created}
        generation = generations.pop() if len(generations) == 1 else None
        found = None if generation is None else self._build(state, commit, generation, created)
        state.apply(commit.changes)
        self._serials[commit.zone] = commit.serial
        return found

    @staticmethod
    def _build(state: ZoneState, commit: Commit, generation: int, created: tuple[RecordSet, ...]) -> Build | None:
        tree = tree_name(state.zone, generation)
        live = any(pointer.target == tree for pointer in state.view().pointers)
        begun = any(state.at(tree, kind) for kind in ADDRESS_TYPES)
        lock = _control(state, lock_name(state.zone))
        lock_after = next(
            (c.record_set for c in reversed(commit.changes) if lock and c.record_set.key == lock.key), lock
        )
        # Without a root there is nothing by which the reversal could prove that nothing was flipped since.
        rooted = any(state.at(state.zone, kind) for kind in ADDRESS_TYPES)
        if live or not begun or not rooted or lock_after != lock or commit.actor.operator:
            return None
        names = (manifest_name(state.zone, generation), fence_name(state.zone))
        return Build(generation, created, {name: _control(state, name) for name in names})

    async def take_back(self, zone: str, build: Build, clock: Clock) -> None:
        """Undo a build, unless the zone was flipped since."""
        batch = ChangeBatch(zone, self.reversal(zone, build), comment="lab: the last write is forgotten")
        while True:
            try:
                await self._zones.change(batch)
            except PriorRequestNotComplete:
                await clock.sleep(BUSY_PAUSE_S)
            except InvalidChangeBatch:
                self.too_late += 1
                return
            else:
                self.taken_back += 1
                return

    def reversal(self, zone: str, build: Build) -> tuple[Change, ...]:
        """Return the changes that undo a build, if nothing was flipped since."""
        state = self._states[zone]
        manifest = manifest_name(zone, build.generation)
        existing, earlier = _control(state, manifest), build.before[manifest]
        fence = build.before[fence_name(zone)]
        root = [found for kind in ADDRESS_TYPES for found in state.at(zone, kind)]
        proof = [change for found in (*root, *([fence] if fence else [])) for change in swap(found, found)]
        undone: tuple[Change, ...] = ()
        if existing is not None and existing != earlier:
            undone = (delete(existing),) if earlier is None else swap(existing, earlier)
        return (*proof, *undone, *map(delete, build.created))


def _control(state: ZoneState, name: str) -> RecordSet | None:
    return state.records.get(RecordKey(name, "TXT"))
