"""The invariants that a zone's commits alone can break: I1 to I4, I6 and I9; I7 has a module of its own."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from fencepost.batch import Action
from fencepost.names import lock_name
from fencepost.records import RecordKey
from fencepost.stores import Commit
from lab.history import History
from lab.invariants.replay import ROLLBACK, ROOT, Pointer, Step
from lab.invariants.violation import Violation, counted, episodes, lasting

Steps = Sequence[Step]


def never_empty(history: History, steps: Steps) -> Iterator[Violation]:
    """I1: once the root has resolved to an address, it does so in every committed state."""
    for episode, after in episodes(steps, lambda step: bool(step.lost)):
        first = episode[0]
        had = sum(first.before.addresses[kind] for kind in first.lost)
        duration = lasting(history, first.commit.at_us, after.commit.at_us if after else None)
        yield _violation(
            "I1",
            first,
            f"{duration}, the root had no {' and no '.join(first.lost)} address; "
            f"it had {had} until {_who(first)} committed serial {first.commit.serial}",
        )


def no_regression(_: History, steps: Steps) -> Iterator[Violation]:
    """I2: the generation of the root never goes down, but by an operator's hand."""
    for step in steps:
        if step.is_stale_flip:
            yield _violation(
                "I2",
                step,
                f"{_who(step)} took the root back from plan {step.back_from} to plan {step.after.generation} "
                f"(serial {step.commit.serial})",
            )


def no_dangling(history: History, steps: Steps) -> Iterator[Violation]:
    """I3: the targets of root and rollback exist in every committed state."""
    for owner in (ROOT, ROLLBACK):
        for episode, after in episodes(steps, lambda step, owner=owner: bool(_dangling(step, owner))):  # type: ignore[misc]
            first = episode[0]
            pointer = _dangling(first, owner)[0]
            duration = lasting(history, first.commit.at_us, after.commit.at_us if after else None)
            yield _violation("I3", first, f"{duration}, {owner} pointed to {pointer.target}, which did not exist")


def _dangling(step: Step, owner: str) -> tuple[Pointer, ...]:
    return tuple(pointer for pointer in step.after.pointers if pointer.owner == owner and not pointer.sets)


def referenced_kept(_: History, steps: Steps) -> Iterator[Violation]:
    """I4: nothing of a tree that root or rollback points to, before a batch and still after it, is deleted."""
    for step in steps:
        by_target: dict[str, list[Pointer]] = {}
        for pointer in step.cut:
            by_target.setdefault(pointer.target, []).append(pointer)
        for target, pointers in sorted(by_target.items()):
            yield _violation("I4", step, _cut_words(step, target, pointers))


def _cut_words(step: Step, target: str, pointers: Sequence[Pointer]) -> str:
    removed = sum(key.name == target or key.name.endswith("." + target) for key in step.removed)
    left = sum({pointer.type: pointer.sets for pointer in pointers}.values())
    owners = " and ".join(owner for owner in (ROOT, ROLLBACK) if any(p.owner == owner for p in pointers))
    return (
        f"{_who(step)} deleted {counted(removed, 'record set')} of {target} while {owners} pointed to it; "
        f"{left or 'none'} left (serial {step.commit.serial})"
    )


class Lock(NamedTuple):
    """A lock record's text: who holds it, and until when (epoch seconds)."""

    holder: str
    expires_s: float


def parse_lock(text: str | None) -> Lock | None:
    """Return what a lock record says, None if there is none; one without a readable time never expires."""
    if not text:
        return None
    holder, _, expires = text.partition(" ")
    try:
        return Lock(holder, float(expires))
    except ValueError:
        return Lock(holder, float("inf"))


FIRST_SERIAL: Final = 1


def only_holder(history: History, steps: Steps) -> Iterator[Violation]:
    """I6: automation commits only under its lock, or in the batch that takes a lock nobody holds any more."""
    skew_s = clock_skew_s(history.run.parameters)
    for step in steps:
        if step.commit.serial == FIRST_SERIAL or step.commit.actor.operator:
            continue
        if problem := _lock_problem(step, skew_s):
            yield _violation("I6", step, f"{_who(step)} committed serial {step.commit.serial} {problem}")


def clock_skew_s(parameters: dict[str, Any]) -> float:
    """Return by how much clocks may differ in a run, seconds; 0 where its parameters do not say."""
    skew = parameters.get("clock_skew_s", 0)
    return abs(float(skew)) if isinstance(skew, int | float) else 0.0


def _lock_problem(step: Step, skew_s: float) -> str | None:
    lock, commit = parse_lock(step.before.lock), step.commit
    if lock is None:
        return None if _takes_lock(commit) else "without the lock, which nobody held"
    if lock.holder == commit.actor.name:
        return None
    left_s = lock.expires_s - commit.at_us / 1e6
    if left_s > skew_s:
        return f"while {lock.holder} held the lock for another {left_s:.3f} s"
    return None if _takes_lock(commit) else f"without taking the lock, which was still {lock.holder}'s, though expired"


def _takes_lock(commit: Commit) -> bool:
    """Say whether a batch creates the lock for its own actor; CREATE, unlike UPSERT, fails if it is there."""
    key = RecordKey(lock_name(commit.zone), "TXT")
    return any(
        change.action is Action.CREATE
        and change.record_set.key == key
        and change.record_set.values[:1] != ()
        and change.record_set.values[0].strip('"').partition(" ")[0] == commit.actor.name
        for change in commit.changes
    )


def frozen(_: History, steps: Steps) -> Iterator[Violation]:
    """I9: while a zone says that it is frozen, nobody but an operator commits to it."""
    since_us = 0
    for step in steps:
        if step.before.frozen is not None and not step.commit.actor.operator:
            after_s = (step.commit.at_us - since_us) / 1e6
            yield _violation(
                "I9",
                step,
                f"{_who(step)} committed serial {step.commit.serial} {after_s:.3f} s after the zone was frozen "
                f"({step.before.frozen})",
            )
        if step.before.frozen is None:
            since_us = step.commit.at_us


def _who(step: Step) -> str:
    actor = step.commit.actor
    return f"operator {actor.name}" if actor.operator else actor.name


def _violation(invariant: str, step: Step, detail: str) -> Violation:
    return Violation(invariant, step.commit.zone, detail, step.commit.at_us, step.commit.serial)
