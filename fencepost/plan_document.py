"""Plans as flat JSON documents, as `plan show --json` writes and `plan publish` reads them, and what differs in two."""

from pathlib import Path
from typing import Any

import msgspec

from fencepost.errors import PlanInvalid
from fencepost.plan import Content, Plan, Target, content


class PlannedTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target in a plan document."""

    identifier: str
    address: str = ""
    type: str = "A"
    weight: int = 1


class PlannedEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint in a plan document."""

    targets: tuple[PlannedTarget, ...]
    ttl: int = 5


class PlanDocument(msgspec.Struct, frozen=True):
    """A plan as a flat JSON document; only `endpoints` is read."""

    endpoints: dict[str, PlannedEndpoint]


def read_document(path: Path) -> dict[str, Content]:
    """Read a plan document. Raises: PlanInvalid with the place."""
    try:
        document = msgspec.json.decode(path.read_bytes(), type=PlanDocument)
    except OSError as error:
        raise PlanInvalid(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise PlanInvalid(f"{path} is no plan: {error}; `fencepost plan show --json FILE` writes one") from error
    return {
        name: content(value.ttl, [Target(t.identifier, t.type, t.address, t.weight) for t in value.targets])
        for name, value in document.endpoints.items()
    }


def plan_document(plan: Plan, endpoints: list[str]) -> dict[str, Any]:
    """Return a plan as a flat JSON document, as `plan publish` reads it."""
    return {
        "generation": plan.generation,
        "published_ms": plan.published_ms,
        "lane": plan.lane.value,
        "reason": plan.reason,
        "forced": {name: plan.forced[name] for name in endpoints if name in plan.forced},
        "endpoints": {
            name: PlannedEndpoint(
                tuple(PlannedTarget(t.identifier, t.address, t.type, t.weight) for t in plan.content(name).targets),
                plan.content(name).ttl,
            )
            for name in endpoints
        },
    }


def difference(existing: Content | None, desired: Content | None) -> list[str]:
    """Return one line for each target that differs: `- gone`, `+ come`, `~ changed`."""
    before = {(t.identifier, t.type): t for t in existing.targets} if existing else {}
    after = {(t.identifier, t.type): t for t in desired.targets} if desired else {}
    lines = []
    for key in sorted({*before, *after}):
        left, right = before.get(key), after.get(key)
        if left == right:
            continue
        if left is None or right is None:
            shown = left or right
            assert shown is not None, key
            lines.append(
                f"{'-' if left else '+'} {shown.identifier} {shown.type} {shown.address} weight {shown.weight}"
            )
        else:
            lines.append(f"~ {left.identifier} {left.type} {left.address} weight {left.weight} -> {right.weight}")
    return lines
