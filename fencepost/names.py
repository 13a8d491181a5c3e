"""The names of records in a zone, and how they are ordered.

Source: design of the zone (docs/architecture.md) and RFC 1035 section 2.3 for what a name may be.
"""

import re
from functools import lru_cache
from typing import Final

from fencepost.errors import PlanInvalid

LABEL: Final = re.compile(r"^(?!-)[a-z0-9_-]{1,63}(?<!-)$")
TREE_LABEL: Final = re.compile(r"^plan-([0-9]{6,})$")
MAX_NAME: Final = 253


def absolute(name: str) -> str:
    """Return a DNS name in lower case with its trailing dot.

    Raises: PlanInvalid where RFC 1035 would not have it (a label of 0 or over 63 characters, over 253 in all).
    """
    text = name.lower().rstrip(".")
    if not text or len(text) > MAX_NAME or not all(LABEL.fullmatch(label) for label in text.split(".")):
        raise PlanInvalid(
            f"{name!r} is not a DNS name: labels of 1 to 63 letters, digits, '-' or '_', at most 253 in all"
        )
    return text + "."


def tree_name(zone: str, generation: int) -> str:
    """Return the name of a plan's tree: `plan-000145.<zone>`; more digits when six do not suffice."""
    return f"plan-{generation:06d}.{zone}"


def manifest_name(zone: str, generation: int) -> str:
    """Return the name of a tree's manifest: `_tree.plan-000145.<zone>`."""
    return f"_tree.{tree_name(zone, generation)}"


def rollback_name(zone: str) -> str:
    """Return the name of the alias to what the root pointed to before."""
    return f"rollback.{zone}"


def lock_name(zone: str) -> str:
    """Return the name of the zone's lock record."""
    return f"_lock.{zone}"


def fence_name(zone: str) -> str:
    """Return the name of the zone's fence: the generation that it has."""
    return f"_generation.{zone}"


def frozen_name(zone: str) -> str:
    """Return the name of the record that freezes the zone while it exists."""
    return f"_frozen.{zone}"


def capacity_name(zone: str) -> str:
    """Return the name of the record that says how much capacity the zone had lately."""
    return f"_capacity.{zone}"


@lru_cache(maxsize=16_384)
def generation_of(name: str, zone: str) -> int | None:
    """Return the generation of a tree's name or of any name below it, None for other names."""
    label = top_label(name, zone)
    match = TREE_LABEL.fullmatch(label) if label else None
    return int(match[1]) if match else None


def top_label(name: str, zone: str) -> str | None:
    """Return the label of a name that is next to the zone's own, None for the zone's own name and names elsewhere."""
    return name[: -len(zone) - 1].rsplit(".", 1)[-1] if name.endswith("." + zone) else None


def order_key(name: str, record_type: str, set_identifier: str | None) -> str:
    """Return the text by which ListResourceRecordSets orders record sets, smallest first.

    Labels are reversed and separated by a space, which sorts before every character of a label; type and set
    identifier follow behind tabs. Source: Route 53 API Reference, ListResourceRecordSets, Sort order.
    """
    # A tree's record sets have one name and type: that part is worth keeping, the whole of each key is not.
    return order_prefix(name, record_type) + (set_identifier or "")


@lru_cache(maxsize=16_384)
def order_prefix(name: str, record_type: str) -> str:
    """Return what the order keys of all record sets of one name and type begin with."""
    return f"{' '.join(reversed(name.rstrip('.').split('.')))}\t{record_type}\t"


def order_end(domain: str) -> str:
    """Return what sorts behind the order keys of all record sets at a name and below it, and before all that follow."""
    # Behind the name there is a tab or, below it, a space; in another name that begins so there is a label's character.
    return order_key(domain, "", None).rstrip("\t") + "!"
