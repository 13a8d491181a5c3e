"""What zones keep in Redis, as text, turned back into values: many at a time, since a call for each costs most."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from fencepost.batch import Action, Change
from fencepost.records import RecordSet
from fencepost.stores import Actor, Commit

_record_sets: Final = msgspec.json.Decoder(tuple[RecordSet, ...])
_changes: Final = msgspec.json.Decoder(tuple[Change, ...])
_OPENINGS: Final = tuple((b"\n%s " % action.encode(), b'],["%s",' % action.encode()) for action in Action)


def record_sets_of(texts: Iterable[bytes]) -> tuple[RecordSet, ...]:
    """Return the record sets of canonical texts."""
    return _record_sets.decode(b"[" + b",".join(texts) + b"]")


def changes_of(lines: bytes) -> tuple[Change, ...]:
    r"""Return the changes that a stream entry keeps: one a line, `CREATE <canonical text>`, and at least one.

    They are made one JSON text, which is decoded in one call: JSON text has no line break of its own.
    """
    text = b"\n" + lines
    for opening, replaced in _OPENINGS:
        text = text.replace(opening, replaced)
    return _changes.decode(b"[" + text[2:] + b"]]")


def commit_of(zone: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Commit:
    """Return the commit of an entry of a zone's stream."""
    generation = fields[b"generation"]
    return Commit(
        zone,
        serial_of(entry_id),
        int(fields[b"at_us"]),
        Actor(fields[b"actor"].decode(), fields[b"operator"] == b"1"),
        int(generation) if generation else None,
        fields[b"comment"].decode(),
        changes_of(fields[b"changes"]),
    )


def serial_of(entry_id: bytes) -> int:
    """Return the serial that an entry's id stands for."""
    return int(entry_id.partition(b"-")[0])
