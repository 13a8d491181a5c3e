"""What one commit did to a zone, read from its changes, not from what it says of itself. Pure.

A root that moved is a flip, whoever wrote which comment.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from fencepost.batch import Action
from fencepost.fence import fence_key
from fencepost.live import read_fence, read_notice
from fencepost.names import generation_of, lock_name, rollback_name, tree_name
from fencepost.notice import frozen_key
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet
from fencepost.show import told
from fencepost.stores import Commit

Root = Mapping[str, str]
"""Where a zone's root points to, by address type, as far as that is known."""


class Kind(StrEnum):
    """What a commit did, by the most important of its changes."""

    CREATED = "created"
    FROZEN = "frozen"
    THAWED = "thawed"
    FLIPPED = "flipped"
    UNROOTED = "unrooted"
    DAMAGED = "damaged"
    BUILT = "built"
    CLEANED = "cleaned"
    FENCED = "fenced"
    LOCKED = "locked"
    CHANGED = "changed"


ROUTINE: Final = frozenset({Kind.FENCED, Kind.LOCKED})
"""What is left out unless all of it is asked for."""

LOUD: Final = frozenset({Kind.FROZEN, Kind.THAWED, Kind.UNROOTED, Kind.DAMAGED})
"""What stands out, whoever did it."""


class Deed(msgspec.Struct, frozen=True):
    """One or more commits in a row that did one thing.

    Attributes:
        kind: what was done.
        at_us: when, epoch microseconds by the store's clock; of the last commit.
        serial: the zone's serial, of the last commit.
        actor, operator: who, separated by commas if several automations, and whether that is a person.
        text: what was done, in words.
        existing, desired: the generations that a flip moved the root between; None where nobody can say.
        trees: the generations whose trees were built, cleaned or damaged, in order.
        records: how many of their record sets.
        plan: the generation of the plan whose change this is, None if there is none or it is not kept.
        why: that plan's reason, or the operator's.
    """

    kind: Kind
    at_us: int
    serial: int
    actor: str
    operator: bool
    text: str
    existing: int | None = None
    desired: int | None = None
    trees: tuple[int, ...] = ()
    records: int = 0
    plan: int | None = None
    why: str = ""

    @property
    def stands_out(self) -> bool:
        """Whether a reader has to see it at once: a person's work, a freeze, damage, a root that went back."""
        back = self.existing is not None and self.desired is not None and self.desired < self.existing
        return self.operator or back or self.kind in LOUD


class Effect(NamedTuple):
    """What a batch made of a zone: the record sets that it put there or changed, and those that it took away.

    DELETE and CREATE of an equal record set are a proof, not a change; `before` has what each DELETE found.
    """

    put: Mapping[RecordKey, RecordSet]
    gone: Mapping[RecordKey, RecordSet]
    before: Mapping[RecordKey, RecordSet]

    @classmethod
    def of(cls, commit: Commit) -> "Effect":
        """Return the effect of a commit's changes, in order."""
        put: dict[RecordKey, RecordSet] = {}
        gone: dict[RecordKey, RecordSet] = {}
        before: dict[RecordKey, RecordSet] = {}
        for change in commit.changes:
            record_set = change.record_set
            if change.action is Action.DELETE:
                before.setdefault(record_set.key, record_set)
                put.pop(record_set.key, None)
                gone[record_set.key] = record_set
            else:
                gone.pop(record_set.key, None)
                put[record_set.key] = record_set
        changed = {key: record_set for key, record_set in put.items() if before.get(key) != record_set}
        return cls(changed, gone, before)


def deed_of(zone: str, commit: Commit, effect: Effect, root: Root) -> Deed:
    """Return what a commit did; `root` is what the root pointed to before it."""
    trees, records = _trees(zone, (*effect.put.values(), *effect.gone.values()))
    kind = _kind(zone, effect, root)
    base = Deed(kind, commit.at_us, commit.serial, commit.actor.name, commit.actor.operator, commit.comment)
    match kind:
        case Kind.CREATED:
            return msgspec.structs.replace(base, text="created the zone")
        case Kind.FROZEN | Kind.THAWED:
            return _frozen(base, effect, frozen_key(zone))
        case Kind.FLIPPED:
            return _flipped(zone, base, effect, root)
        case Kind.DAMAGED:
            trees, records = _trees(zone, _lost(zone, effect, root))
            return with_text(msgspec.structs.replace(base, trees=trees, records=records))
        case Kind.BUILT | Kind.CLEANED:
            return with_text(msgspec.structs.replace(base, trees=trees, records=records))
        case _:
            return msgspec.structs.replace(base, text=_other(zone, kind, effect))


def _kind(zone: str, effect: Effect, root: Root) -> Kind:
    """Return the kind of the most important change."""
    frozen, fence, changed = frozen_key(zone), fence_key(zone), {*effect.put, *effect.gone}
    roots = [RecordKey(zone, kind) for kind in ADDRESS_TYPES]
    rules = (
        (Kind.CREATED, RecordKey(zone, "SOA") in effect.put),
        (Kind.FROZEN, frozen in effect.put),
        (Kind.THAWED, frozen in effect.gone),
        (Kind.FLIPPED, any(key in effect.put and effect.put[key].alias != root.get(key.type) for key in roots)),
        (Kind.UNROOTED, any(key in effect.gone for key in roots)),
        (Kind.DAMAGED, _trees(zone, _lost(zone, effect, root))[1] > 0),
        (Kind.BUILT, any(generation_of(r.name, zone) is not None for r in effect.put.values())),
        (Kind.CLEANED, any(generation_of(r.name, zone) is not None for r in effect.gone.values())),
        (Kind.FENCED, fence in effect.put and read_fence(zone, effect.put[fence]) is not None),
        (Kind.LOCKED, {key.name for key in changed} == {lock_name(zone)}),
    )
    return next((kind for kind, holds in rules if holds), Kind.CHANGED)


def _lost(zone: str, effect: Effect, root: Root) -> list[RecordSet]:
    """Return what a commit takes away from trees that the root points to."""
    live = {generation_of(target, zone) for target in root.values()} - {None}
    return [record_set for record_set in effect.gone.values() if generation_of(record_set.name, zone) in live]


def _other(zone: str, kind: Kind, effect: Effect) -> str:
    if kind is Kind.UNROOTED:
        gone = [name for name in ADDRESS_TYPES if RecordKey(zone, name) in effect.gone]
        return f"TOOK AWAY the root ({', '.join(gone)})"
    if kind is Kind.FENCED:
        fence = read_fence(zone, effect.put[fence_key(zone)])
        assert fence is not None, "that is what makes it one"
        return f"moved the fence to {fence.generation}, the content stays"
    if kind is Kind.LOCKED:
        return "took or kept the lock" if effect.put else "gave the lock back"
    names = sorted({key.name.removesuffix(zone).rstrip(".") or zone for key in (*effect.put, *effect.gone)})
    return f"changed {', '.join(names)}" if names else "changed nothing"


def _frozen(base: Deed, effect: Effect, key: RecordKey) -> Deed:
    notice = read_notice(effect.put.get(key))
    if notice is not None:
        return msgspec.structs.replace(base, kind=Kind.FROZEN, text="froze it", why=notice.why)
    before = read_notice(effect.gone.get(key))
    assert before is not None, "one of the two is there"
    return msgspec.structs.replace(base, text=f"thawed it; it was frozen {told(*before)}")


def _flipped(zone: str, base: Deed, effect: Effect, root: Mapping[str, str]) -> Deed:
    """Tell a flip. Where the root pointed to is known from earlier commits, from its DELETE, or from rollback."""
    puts = [effect.put[key].alias or "" for kind in ADDRESS_TYPES if (key := RecordKey(zone, kind)) in effect.put]
    befores = list(root.values())
    for kind in ADDRESS_TYPES:
        found = effect.before.get(RecordKey(zone, kind)) or effect.put.get(RecordKey(rollback_name(zone), kind))
        befores += [found.alias] if found is not None and found.alias and not root else []
    desired, existing = _highest(zone, puts), _highest(zone, befores)
    text = f"plan {existing} -> {desired}" if existing is not None else f"-> plan {desired}"
    if existing is not None and desired is not None and desired < existing:
        text += ", BACK to an older plan"
    if base.operator:
        text += f", by hand ({base.text.partition(':')[0]})" if base.text else ", by hand"
    return msgspec.structs.replace(base, text=text, existing=existing, desired=desired)


def _highest(zone: str, targets: Iterable[str]) -> int | None:
    found = [generation_of(target, zone) for target in targets]
    return max((generation for generation in found if generation is not None), default=None)


def _trees(zone: str, record_sets: Iterable[RecordSet]) -> tuple[tuple[int, ...], int]:
    """Return the trees that record sets belong to, and how many of them are address records, not manifests."""
    found = [(generation, r.name) for r in record_sets if (generation := generation_of(r.name, zone)) is not None]
    leaves = sum(name == tree_name(zone, generation) for generation, name in found)
    return tuple(sorted({generation for generation, _ in found})), leaves


def with_text(deed: Deed) -> Deed:
    """Return a deed on trees with the words for it."""
    trees, records = _named(deed.trees), f"{deed.records} record set" + ("" if deed.records == 1 else "s")
    texts = {
        Kind.BUILT: f"built {trees}, {records}",
        Kind.CLEANED: f"cleaned away {trees}, {records}",
        Kind.DAMAGED: f"DELETED {records} of {trees}, WHICH IS LIVE",
    }
    return msgspec.structs.replace(deed, text=texts[deed.kind])


def _named(trees: Sequence[int]) -> str:
    if len(trees) == 1:
        return f"tree {trees[0]}"
    return f"{len(trees)} trees, {trees[0]} to {trees[-1]}"
