"""Change batches: what may be asked of a zone in one transaction, its limits, and what a refusal says.

Source: Route 53 API Reference, ChangeResourceRecordSets; Developer Guide, Quotas.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

import msgspec

from fencepost.errors import FailedChange
from fencepost.records import RecordSet

MAX_RECORD_ELEMENTS: Final = 1000
MAX_VALUE_CHARACTERS: Final = 32_000
MAX_WEIGHT: Final = 255


class Limits(NamedTuple):
    """How large a batch may be: record elements, and value characters."""

    elements: int = MAX_RECORD_ELEMENTS
    characters: int = MAX_VALUE_CHARACTERS


ROUTE_53: Final = Limits()
LIMITS: Final = ContextVar("limits", default=ROUTE_53)
"""What is in force here: Route 53's, but where somebody simulates a zone that takes less."""


class Action(StrEnum):
    """What a change does. UPSERT creates or replaces, and counts twice against the limits."""

    CREATE = "CREATE"
    DELETE = "DELETE"
    UPSERT = "UPSERT"


_UPSERT: Final = Action.UPSERT
"""By its own name: to look it up in the class costs more than to count a change does."""


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One change of a batch: an action on a record set. DELETE carries every field exactly as it is in the zone."""

    action: Action
    record_set: RecordSet


class ChangeBatch(msgspec.Struct, frozen=True):
    """Changes to one zone that commit whole or not at all.

    Attributes:
        zone: the zone's name.
        changes: at least one, carried out in order.
        generation: the plan that they serve; None for control records only. Recorded, never checked.
        comment: one short sentence for the zone's history.
    """

    zone: str
    changes: tuple[Change, ...]
    generation: int | None = None
    comment: str = ""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Change)


def encode_changes(changes: Sequence[Change]) -> bytes:
    """Return a line `["ACTION",text]` of each change, where text is the record set's canonical one."""
    return _encoder.encode_lines(changes)


def decode_changes(text: bytes) -> tuple[Change, ...]:
    """Return the changes of such lines. Raises: msgspec.ValidationError if one is none."""
    return tuple(_decoder.decode_lines(text))


# A large batch is made of hundreds of these: to make each by a function of ours takes twice as long.
create: Final = partial(Change, Action.CREATE)
"""Return a CREATE of a record set: fails if the record set exists."""

delete: Final = partial(Change, Action.DELETE)
"""Return a DELETE of a record set: fails unless it exists and is equal in every field."""

upsert: Final = partial(Change, Action.UPSERT)
"""Return an UPSERT of a record set: creates or replaces."""


def swap(existing: RecordSet | None, desired: RecordSet) -> tuple[Change, ...]:
    """Return compare-and-swap in the zone's own terms: DELETE of exactly `existing`, then CREATE of `desired`.

    With `existing` None the CREATE alone fails if anything is there.
    """
    return (create(desired),) if existing is None else (delete(existing), create(desired))


class Size(NamedTuple):
    """What counts against `Limits`: record elements, and value characters."""

    elements: int
    characters: int


def size_of(changes: Sequence[Change]) -> Size:
    """Return what changes count for: all their values (an alias is one element), twice for UPSERT."""
    values = [change.record_set.values for change in changes]
    values += [change.record_set.values for change in changes if change.action is _UPSERT]
    return Size(sum(map(len, values)) + values.count(()), sum(map(len, map("".join, values))))


REASONS: Final = {
    "not_found": "Tried to delete resource record set {id} but it was not found",
    "mismatch": "Tried to delete resource record set {id} but the values provided do not match the current values",
    "exists": "Tried to create resource record set {id} but it already exists",
    "target_missing": "Tried to create an alias that targets {alias}, type {type} in zone {zone}, "
    "but that target was not found",
    "target_outside": "Tried to create an alias that targets {alias}, type {type} in zone {zone}, "
    "but the alias target name does not lie within the target zone",
    "deleted_twice": "The request contains an invalid set of changes for a resource record set '{type} {name}'",
    "cname_conflict": "RRSet of type {type} with DNS name {name} is not permitted as it conflicts with other records "
    "with the same DNS name in zone {zone}",
    "policy_conflict": "RRSet with DNS name {name}, type {type}, SetIdentifier {set_identifier} cannot be created as "
    "simple and weighted record sets of the same name and type exclude each other",
    "outside_zone": "RRSet with DNS name {name} is not permitted in zone {zone}",
    "apex_required": "A HostedZone must contain exactly one SOA record and at least one NS record for the zone itself",
    "malformed": "Invalid record set {id}: {problem}",
    "elements_limit": "Number of records limit of {elements} exceeded.",
    "characters_limit": "Number of characters limit of {characters} exceeded.",
    "no_changes": "The request contains no changes.",
}
"""Every reason for which a change is refused, and what Route 53 says of it."""


def failed_change(zone: str, index: int, change: Change, reason: str, problem: str = "") -> FailedChange:
    """Return the structured failure of one change with Route 53's words."""
    record_set = change.record_set
    identity = f"[name='{record_set.name}', type='{record_set.type}'"
    if record_set.set_identifier is not None:
        identity += f", set-identifier='{record_set.set_identifier}'"
    text = REASONS[reason].format(
        id=identity + "]",
        name=record_set.name,
        type=record_set.type,
        alias=record_set.alias,
        set_identifier=record_set.set_identifier,
        zone=zone,
        problem=problem,
        **LIMITS.get()._asdict(),
    )
    return FailedChange(index, reason, record_set.name, record_set.type, text)


def limit_failures(batch: ChangeBatch) -> tuple[FailedChange, ...]:
    """Return the limits that a batch exceeds, as failures of index -1; empty if it is within all of them."""
    limits = LIMITS.get()
    size = size_of(batch.changes)
    checks = {
        "no_changes": not batch.changes,
        "elements_limit": size.elements > limits.elements,
        "characters_limit": size.characters > limits.characters,
    }
    texts = {reason: REASONS[reason].format(**limits._asdict()) for reason, hit in checks.items() if hit}
    return tuple(FailedChange(-1, reason, batch.zone, "", text) for reason, text in texts.items())
