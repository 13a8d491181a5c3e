"""What zones keep in Redis, as text, turned back into values: many at a time, since a call for each costs most."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from fencepost.batch import decode_changes
from fencepost.records import RecordSet
from fencepost.stores import Actor, Commit

_record_sets: Final = msgspec.json.Decoder(tuple[RecordSet, ...])


def record_sets_of(texts: Iterable[bytes]) -> tuple[RecordSet, ...]:
    """Return the record sets of canonical texts."""
    return _record_sets.decode(b"[" + b",".join(texts) + b"]")


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
        decode_changes(fields[b"changes"]),
    )


def serial_of(entry_id: bytes) -> int:
    """Return the serial that an entry's id stands for."""
    return int(entry_id.partition(b"-")[0])
