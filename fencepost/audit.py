"""An endpoint's audit trail, told from its zone's own commits: who changed what, when, by which plan and why. Pure."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fencepost.deed import ROUTINE, Deed, Effect, Kind, deed_of, with_text
from fencepost.plan import PlanSummary
from fencepost.records import ADDRESS_TYPES, RecordKey
from fencepost.stores import Commit


def deeds(zone: str, commits: Iterable[Commit], *, everything: bool = False) -> tuple[Deed, ...]:
    """Return what commits did, oldest first.

    Args:
        zone: whose commits they are.
        commits: oldest first, without a gap; earlier ones may be missing.
        everything: one deed for each commit, routine included. Else locks and moves of the fence alone are left out,
            and what is built, or cleaned away, between two other things is one deed.
    """
    told_so_far: list[Deed] = []
    for deed in _each(zone, commits):
        if everything:
            told_so_far.append(deed)
        elif deed.kind not in ROUTINE:
            if told_so_far and _go_together(told_so_far[-1], deed):
                deed = _joined(told_so_far.pop(), deed)  # noqa: PLW2901  -- it is one deed with the last
            told_so_far.append(deed)
    return tuple(told_so_far)


def _each(zone: str, commits: Iterable[Commit]) -> Iterator[Deed]:
    root: dict[str, str] = {}
    for commit in commits:
        effect = Effect.of(commit)
        deed = deed_of(zone, commit, effect, root)
        _follow(zone, effect, root)
        yield deed


def _follow(zone: str, effect: Effect, root: dict[str, str]) -> None:
    """Keep where the root points to, by address type."""
    for kind in ADDRESS_TYPES:
        key = RecordKey(zone, kind)
        if key in effect.gone:
            root.pop(kind, None)
        if key in effect.put and effect.put[key].alias:
            root[kind] = effect.put[key].alias or ""


def _go_together(first: Deed, second: Deed) -> bool:
    """Say whether two deeds are one line: where nothing is flipped any more, each build would push the cause away."""
    if first.kind is not second.kind or first.kind not in (Kind.BUILT, Kind.CLEANED):
        return False
    return first.actor == second.actor or not (first.operator or second.operator)


def _joined(first: Deed, second: Deed) -> Deed:
    return with_text(
        msgspec.structs.replace(
            second,
            actor=", ".join(sorted({*first.actor.split(", "), second.actor})),
            trees=tuple(sorted({*first.trees, *second.trees})),
            records=first.records + second.records,
        )
    )


def explained(zone: str, found: Sequence[Deed], plans: Sequence[PlanSummary]) -> tuple[Deed, ...]:
    """Return deeds with the plans' reasons: a flip's plan is the last one up to it that changed the endpoint.

    `plans` are summaries in any order; a flip whose plan is not among them keeps no reason.
    """
    return tuple(_explained(zone, deed, plans) if deed.kind is Kind.FLIPPED else deed for deed in found)


def _explained(zone: str, deed: Deed, plans: Sequence[PlanSummary]) -> Deed:
    if deed.desired is None:
        return deed
    start = deed.existing if deed.existing is not None and deed.existing < deed.desired else deed.desired - 1
    since = [p for p in plans if zone in p.changed and start < p.generation <= deed.desired]
    summary = max(since, key=lambda plan: plan.generation, default=None)
    if summary is None:
        return deed
    by = "" if summary.by == "planner" else f" (by {summary.by}{', by force' if summary.force else ''})"
    if f"(forced by {summary.by})" in summary.reason:  # the planner says so itself of what it was asked for
        by = ""
    more = f", and {len(since) - 1} before it" if len(since) > 1 and not summary.operator else ""
    return msgspec.structs.replace(deed, plan=summary.generation, why=f"{summary.reason}{by}{more}")


def span(found: Sequence[Deed]) -> tuple[int, int] | None:
    """Return which plans explain these deeds, the first and the last generation; None if there is no flip."""
    flips = [(deed.existing, deed.desired) for deed in found if deed.desired is not None]
    numbers = [number for existing, desired in flips for number in (existing, desired) if number is not None]
    return (min(numbers), max(numbers)) if numbers else None
