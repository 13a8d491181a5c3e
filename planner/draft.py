"""From contents to a draft: what differs from the last plan, how urgent it is, and one sentence on it. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from fencepost.plan import Content, Draft, Lane, Target
from planner.build import View

MAX_PARTS: Final = 4
"""How many different things the reason of a plan says."""


def draft_changes(
    contents: Mapping[str, Content], views: Mapping[str, View], last: Mapping[str, Content]
) -> Draft | None:
    """Return what differs from the last plan, None if nothing does.

    An endpoint of the last plan that the region does not have (any more) is left alone: nothing is deleted because a
    file does not mention it.
    """
    changes = {name: desired for name, desired in contents.items() if last.get(name) != desired}
    if not changes:
        return None
    if not last:
        return Draft(changes, f"first plan: {len(contents)} endpoints over {len(views)} load balancers")
    moves = {name: list(_moves(last.get(name), desired)) for name, desired in changes.items()}
    gone = {who for listed in moves.values() for who, _, after in listed if after is None}
    urgent = any(views[who].emergency for who in gone if who in views)
    return Draft(changes, _sentence(moves, views), Lane.FAST if urgent else Lane.SLOW)


def draft_everything(
    contents: Mapping[str, Content], last: Mapping[str, Content], kept: Collection[str], reason: str
) -> Draft | None:
    """Return a draft of every endpoint, changed or not; the kept ones stay as the last plan has them.

    None if there is no endpoint to publish at all.
    """
    changes = dict(sorted({**contents, **{name: last[name] for name in kept if name in last}}.items()))
    return Draft(changes, reason, Lane.FAST) if changes else None


Move = tuple[str, int | None, int | None]
"""A load balancer and its weight before and after, None where it is not in the endpoint."""


def _moves(existing: Content | None, desired: Content) -> Iterator[Move]:
    before, after = _by_name(existing), _by_name(desired)
    for who in sorted(before.keys() | after.keys()):
        if before.get(who) != after.get(who):
            yield who, _weight(before.get(who)), _weight(after.get(who))


def _by_name(value: Content | None) -> dict[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for target in value.targets if value else ():
        found.setdefault(target.identifier, []).append(target)
    return found


def _weight(targets: list[Target] | None) -> int | None:
    return targets[0].weight if targets else None


def _sentence(moves: Mapping[str, list[Move]], views: Mapping[str, View]) -> str:
    """Say what moves, each load balancer once, those that go first; those of which the same is said together."""
    said: dict[str, str] = {}
    for who, before, after in sorted({move for listed in moves.values() for move in listed}, key=_removed_first):
        said.setdefault(who, _said(before, after, views.get(who)))
    together: dict[str, list[str]] = {}
    for who, what in said.items():
        together.setdefault(what, []).append(who)
    parts = [f"{_named(who)} {what}" for what, who in together.items()]
    more = [f"and {len(parts) - MAX_PARTS} more"] if len(parts) > MAX_PARTS else []
    return "; ".join(parts[:MAX_PARTS] + more) or "TTL changed"


def _removed_first(move: Move) -> tuple[bool, str, int, int]:
    who, before, after = move
    return (after is not None, who, before or 0, after or 0)


def _said(before: int | None, after: int | None, view: View | None) -> str:
    if after is None:
        return f"out ({(view.taken_out if view else '') or 'no longer a member'})"
    if before is None:
        return f"in (weight {after})"
    return f"weight {before} to {after}" if before != after else "has a new address"


def _named(who: list[str]) -> str:
    return who[0] if len(who) == 1 else f"{who[0]} and {len(who) - 1} more"
