"""What can be said of a change without looking at the zone: the rules that need no store."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from fencepost.batch import MAX_WEIGHT, Action, Change
from fencepost.names import LABEL, MAX_NAME
from fencepost.plan import MAX_IDENTIFIER, all_well, is_address
from fencepost.records import ADDRESS_TYPES, RecordSet

TYPES: Final = ("A", "AAAA", "TXT", "SOA", "NS", "CNAME")
ALIAS_TYPES: Final = ADDRESS_TYPES
MAX_TTL_S: Final = 2_147_483_647
"""Source: RFC 2181 section 8."""

MAX_STRING: Final = 255
"""Characters in one TXT string. Source: RFC 1035 section 3.3."""


def static_failures(zone: str, changes: Sequence[Change]) -> dict[int, tuple[str, str]]:
    """Return the changes that can never be valid in a zone, by their index: what `static_failure` says of each.

    Most of a large batch are a tree's addresses: these are looked at together, and one by one only if that says no.
    """
    tree = [change.record_set for change in changes if change.record_set.weight is not None]
    together = all_well_in(zone, tree)
    found = {}
    for index, change in enumerate(changes):
        if (change.record_set.weight is None or not together) and (failure := static_failure(zone, change)):
            found[index] = failure
    return found


def all_well_in(zone: str, record_sets: Sequence[RecordSet]) -> bool:
    """Say of many weighted record sets with one address each whether nothing is wrong with any; of others no."""
    identifiers = [record_set.set_identifier for record_set in record_sets if record_set.set_identifier is not None]
    values = [value for record_set in record_sets for value in record_set.values]
    return (
        len(identifiers) == len(record_sets)
        and {len(record_set.values) for record_set in record_sets} <= {1}
        and {record_set.alias for record_set in record_sets} <= {None}
        and all(_within(name, zone) and _is_name(name) for name in {record_set.name for record_set in record_sets})
        and all(_is_ttl(ttl) for ttl in {record_set.ttl for record_set in record_sets})
        and all_well(
            identifiers,
            [record_set.type for record_set in record_sets],
            values,
            [record_set.weight for record_set in record_sets if record_set.weight is not None],
        )
    )


def static_failure(zone: str, change: Change) -> tuple[str, str] | None:
    """Return (reason, problem) if a change can never be valid in a zone, None if only the zone can tell.

    `reason` is one of `fencepost.batch.REASONS`; `problem` is "" or what is malformed.
    """
    record_set = change.record_set
    if not _within(record_set.name, zone):
        return "outside_zone", ""
    if problem := _malformed(record_set):
        return "malformed", problem
    if record_set.alias is not None and not _within(record_set.alias, zone):
        return "target_outside", ""
    if change.action is Action.DELETE and record_set.name == zone and record_set.type in {"SOA", "NS"}:
        return "apex_required", ""
    return None


def _within(name: str, zone: str) -> bool:
    return name == zone or name.endswith("." + zone)


def _malformed(record_set: RecordSet) -> str | None:
    if not _is_name(record_set.name):
        return f"{record_set.name!r} is not a name in lower case with labels of 1 to 63 letters, digits, '-' or '_'"
    if record_set.type not in TYPES:
        return f"type {record_set.type} is not supported; types are {', '.join(TYPES)}"
    identifier, weight = record_set.set_identifier, record_set.weight
    if (identifier is None) != (weight is None):
        return "a weighted record set needs both a set identifier and a weight"
    if identifier is not None and not _is_identifier(identifier):
        return f"set identifier {identifier!r} must be 1 to {MAX_IDENTIFIER} printable characters"
    if weight is not None and not 0 <= weight <= MAX_WEIGHT:
        return f"weight {weight} is outside 0 to {MAX_WEIGHT}"
    return _malformed_values(record_set) if record_set.alias is None else _malformed_alias(record_set)


# Of what a tree's record sets consist, names recur, and addresses: they are looked at once. The rest costs less than a
# look at what is known of it.
@lru_cache(maxsize=16_384)
def _is_name(name: str) -> bool:
    # Keys in the store separate labels by spaces and fields by tabs: a name may hold neither.
    return len(name) <= MAX_NAME + 1 and all(map(LABEL.fullmatch, name[:-1].split(".")))


def _is_identifier(text: str) -> bool:
    return 0 < len(text) <= MAX_IDENTIFIER and text.isprintable()


def _is_ttl(ttl: int | None) -> bool:
    return ttl is not None and 0 <= ttl <= MAX_TTL_S


def _malformed_values(record_set: RecordSet) -> str | None:
    if not record_set.values:
        return "expected exactly one of AliasTarget, or TTL and ResourceRecords, but found none"
    if not _is_ttl(record_set.ttl):
        return f"TTL {record_set.ttl} is outside 0 to {MAX_TTL_S}"
    values = record_set.values
    if len(values) > 1 and len(set(values)) != len(values):
        return "duplicate resource record"
    for value in values:
        if not _fits(record_set.type, value):
            return f"value {value!r} is not a {record_set.type} value"
    return None


def _malformed_alias(record_set: RecordSet) -> str | None:
    if record_set.values or record_set.ttl is not None:
        return "expected exactly one of AliasTarget, or TTL and ResourceRecords, but found more than one"
    if record_set.type not in ALIAS_TYPES:
        return f"an alias of type {record_set.type} is not supported"
    assert record_set.alias is not None, "who has none is looked at as a record set of values"
    if not _is_name(record_set.alias):
        return f"alias target {record_set.alias!r} is not a name"
    return None


def _fits(record_type: str, value: str) -> bool:
    if record_type in ADDRESS_TYPES:
        return is_address(value, record_type)
    if record_type == "TXT":
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        return quoted and len(value) <= MAX_STRING + 2 and value.isascii() and '"' not in value[1:-1]
    return bool(value) and value.isascii() and value.isprintable()
