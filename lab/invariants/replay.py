"""A zone's history, replayed commit by commit on a plain dict: what each committed state was like.

This is no zone store: it believes what was committed and checks no rule of a change batch.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from fencepost.batch import Action, Change
from fencepost.names import fence_name, frozen_name, generation_of, lock_name, rollback_name
from fencepost.plan import Content, Target, content
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet
from fencepost.stores import Commit

MAX_ALIAS_HOPS: Final = 8
ROOT: Final = "root"
ROLLBACK: Final = "rollback"


class Pointer(NamedTuple):
    """An alias at the root or at rollback.

    `sets` is how many record sets of its type are at the target; with 0 it dangles. `generation` is None where the
    target is no plan's tree.
    """

    owner: str
    type: str
    target: str
    generation: int | None
    sets: int


@dataclass(frozen=True, slots=True)
class View:
    """What the checker needs of one committed state.

    `addresses` maps A and AAAA to the number of addresses that the root answers, aliases followed; `live` is what it
    answers, with the weights; `lock`, `fence` and `frozen` are the texts of these records, None where there is none.
    """

    pointers: tuple[Pointer, ...]
    addresses: Mapping[str, int]
    live: Content
    lock: str | None
    fence: str | None
    frozen: str | None

    @property
    def root(self) -> Mapping[str, Pointer]:
        """The root's aliases by their type."""
        return {pointer.type: pointer for pointer in self.pointers if pointer.owner == ROOT}

    @property
    def generation(self) -> int | None:
        """The generation that the root shows, the lowest if its types differ; None if it shows none."""
        return min((p.generation for p in self.root.values() if p.generation is not None), default=None)

    @property
    def fenced_generation(self) -> int | None:
        """The generation that the fence says, None if there is no fence."""
        word = (self.fence or "").partition(" ")[0]
        return int(word) if word.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Step:
    """One commit: the states before and after it.

    Attributes:
        removed: record sets that were there before it and are not after it.
        trees_gone: how many trees lost their last address record.
        lost: address types that the root had answered at some time, and does not after this commit.
        back_from: the generation that the root had, where this commit took it down to a lower one; else None.
    """

    commit: Commit
    before: View
    after: View
    removed: tuple[RecordKey, ...]
    trees_gone: int
    lost: tuple[str, ...]
    back_from: int | None

    @property
    def is_flip(self) -> bool:
        """Whether the root points elsewhere than before."""
        return targets(self.before) != targets(self.after)

    @property
    def is_stale_flip(self) -> bool:
        """Whether automation took the root back to an earlier generation."""
        return self.back_from is not None and not self.commit.actor.operator

    @property
    def cut(self) -> tuple[Pointer, ...]:
        """The pointers, as they are after the commit, whose target lost record sets though it was in use before too."""
        if not self.removed:
            return ()
        used = {pointer.target for pointer in self.before.pointers}
        return tuple(
            pointer
            for pointer in self.after.pointers
            if pointer.target in used and any(is_within(key.name, pointer.target) for key in self.removed)
        )


def targets(view: View) -> Mapping[str, str]:
    """Return what the root points to, by address type."""
    return {kind: pointer.target for kind, pointer in view.root.items()}


def is_within(name: str, tree: str) -> bool:
    """Say whether a record belongs to a tree: it is at its name or below it, as the manifest is."""
    return name == tree or name.endswith("." + tree)


class ZoneState:
    """The record sets of one zone."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.records: dict[RecordKey, RecordSet] = {}
        self._sets: dict[tuple[str, str], dict[str, RecordSet]] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._live: tuple[object, Content] = (None, Content(0, ()))
        self._view: View | None = None
        self._moved = True

    def at(self, name: str, record_type: str) -> Collection[RecordSet]:
        """Return the record sets of a name and type."""
        return self._sets.get((name, record_type), {}).values()

    def apply(self, changes: Iterable[Change]) -> tuple[RecordKey, ...]:
        """Carry out a committed batch; return the keys that were there before it and are not any more, in order."""
        there: dict[RecordKey, bool] = {}
        for action, record_set in ((change.action, change.record_set) for change in changes):
            key = record_set.key
            self._moved = self._moved or key.type in ADDRESS_TYPES
            there.setdefault(key, key in self.records)
            self._versions[key.name, key.type] = self._versions.get((key.name, key.type), 0) + 1
            if action is Action.DELETE:
                self._remove(key)
            else:
                self.records[key] = record_set
                self._sets.setdefault((key.name, key.type), {})[key.set_identifier] = record_set
        return tuple(sorted(key for key, was in there.items() if was and key not in self.records))

    def _remove(self, key: RecordKey) -> None:
        if self.records.pop(key, None) is not None:
            del self._sets[key.name, key.type][key.set_identifier]

    def addresses(self, name: str, record_type: str, hops: int = MAX_ALIAS_HOPS) -> int:
        """Return how many addresses a name answers, following aliases inside the zone."""
        return sum(
            len(found.values) if found.alias is None else self.addresses(found.alias, record_type, hops - 1)
            for found in (self.at(name, record_type) if hops else ())
        )

    def live(self) -> Content:
        """Return what the root answers; built anew only when its alias or what that points to was written to.

        A record set without a weight counts as one of weight 1; an alias of an alias as nothing.
        """
        places = [(found.alias or self.zone, kind) for kind in ADDRESS_TYPES for found in self.at(self.zone, kind)]
        state = tuple((place, self._versions.get(place, 0)) for place in places)
        if self._live[0] != state:
            sets = [found for place in dict.fromkeys(places) for found in self.at(*place) if found.alias is None]
            targets = [
                Target(found.set_identifier or "", found.type, found.values[0], _weight(found)) for found in sets
            ]
            self._live = state, content(max((found.ttl or 0 for found in sets), default=0), targets)
        return self._live[1]

    def view(self) -> View:
        """Return what the checker needs of this state.

        Most commits touch control records only: what does not follow from those is then the very same as before.
        """
        texts = (self._text(name(self.zone)) for name in (lock_name, fence_name, frozen_name))
        if self._moved or self._view is None:
            self._view, self._moved = self._served(*texts), False
        else:
            self._view = View(self._view.pointers, self._view.addresses, self._view.live, *texts)
        return self._view

    def _served(self, *texts: str | None) -> View:
        owners = ((ROOT, self.zone), (ROLLBACK, rollback_name(self.zone)))
        return View(
            tuple(
                Pointer(
                    owner, kind, found.alias, generation_of(found.alias, self.zone), len(self.at(found.alias, kind))
                )
                for owner, name in owners
                for kind in ADDRESS_TYPES
                for found in self.at(name, kind)
                if found.alias is not None
            ),
            {kind: self.addresses(self.zone, kind) for kind in ADDRESS_TYPES},
            self.live(),
            *texts,
        )

    def trees_without_address(self, keys: Iterable[RecordKey]) -> int:
        """Return how many of the trees that these keys were addresses of have no address left."""
        names = {key.name for key in keys if key.type in ADDRESS_TYPES and generation_of(key.name, self.zone)}
        return sum(not any(self.at(name, kind) for kind in ADDRESS_TYPES) for name in names)

    def _text(self, name: str) -> str | None:
        found = self.records.get(RecordKey(name, "TXT"))
        return " ".join(value.strip('"') for value in found.values) if found else None


def _weight(record_set: RecordSet) -> int:
    return 1 if record_set.weight is None else record_set.weight


class Replayer:
    """A zone's history as it grows."""

    def __init__(self, zone: str) -> None:
        self.state = ZoneState(zone)
        self._before = self.state.view()
        self._resolved: set[str] = set()
        self._reached: dict[str, int] = {}

    @property
    def memory(self) -> object:
        """What later steps depend on besides the records; equal for two that will be told the same."""
        return frozenset(self._resolved), tuple(sorted(self._reached.items()))

    def step(self, commit: Commit) -> Step:
        """Take the next commit; return what it did."""
        removed = self.state.apply(commit.changes)
        before, after = self._before, self.state.view()
        self._before = after
        self._resolved |= {kind for kind, count in after.addresses.items() if count}
        lost = tuple(kind for kind in ADDRESS_TYPES if kind in self._resolved and not after.addresses[kind])
        gone = self.state.trees_without_address(removed)
        return Step(commit, before, after, removed, gone, lost, _back_from(self._reached, after))


def replay(zone: str, commits: Iterable[Commit]) -> tuple[Step, ...]:
    """Return what each commit of a zone did, in order."""
    replayer = Replayer(zone)
    return tuple(map(replayer.step, commits))


def _back_from(reached: dict[str, int], after: View) -> int | None:
    """Return the highest generation that a type of the root has just left for a lower one; note where each is now.

    A root that is deleted and made again is compared with what it was when it was deleted.
    """
    left = []
    for kind, pointer in after.root.items():
        if pointer.generation is not None:
            if pointer.generation < reached.get(kind, 0):
                left.append(reached[kind])
            reached[kind] = pointer.generation
    return max(left, default=None)
