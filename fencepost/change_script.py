"""The arguments of `lua/change_batch.lua`: how a batch is written for it, and read from there again."""

from collections.abc import Mapping, Sequence
from typing import Final

from fencepost.batch import ChangeBatch, encode_changes
from fencepost.names import frozen_name, order_key
from fencepost.records import RecordSet, orders
from fencepost.redis_client import Argument
from fencepost.stores import Actor

FIRST_TEXT: Final = 11
CHANGE_WIDTH: Final = 2
"""Where the first change's text is in the arguments, behind its key, and how many arguments each change has."""

Failures = Mapping[int, tuple[str, str]]
"""Changes that can never be valid: index -> (reason, what is malformed), see `fencepost.record_rules`."""


COMMIT_SIZE: Final = 512
"""Bytes of changes that a commit may have on average where a zone's history is as long as its limit says."""

FEWEST_COMMITS: Final = 100
"""So many are kept however large they are: who follows a zone must not have to read it whole again."""


def commits_kept(stream_limit: int, batch_size: int) -> int:
    """Return how many commits a zone keeps behind a batch of so many bytes, at most `stream_limit`.

    The batch takes all of them for as large as itself: so small ones trim by number alone, and a large one, such as a
    tree's, makes room for itself. Nobody has to count what is there.
    """
    return min(stream_limit, max(FEWEST_COMMITS, stream_limit * COMMIT_SIZE // max(1, batch_size)))


def arguments(
    batch: ChangeBatch, failures: Failures, actor: Actor, *, processing_us: int, stream_limit: int, creating: bool
) -> list[Argument]:
    """Return ARGV of the script, as it says there."""
    texts = encode_changes(batch.changes)
    sets = [change.record_set for change in batch.changes]
    keys = orders(sets)
    for index in failures:
        keys[index] = ""
    found: list[Argument] = [
        batch.zone,
        order_key(frozen_name(batch.zone), "TXT", None),
        actor.name,
        int(actor.operator),
        "" if batch.generation is None else batch.generation,
        batch.comment,
        processing_us,
        commits_kept(stream_limit, sum(map(len, texts))),
        int(creating),
        _notes(sets, failures),
    ]
    found += [part for both in zip(keys, texts, strict=True) for part in both]
    return found


def _notes(sets: Sequence[RecordSet], failures: Failures) -> str:
    notes = [f"{index} {reason} \n" for index, (reason, _) in failures.items()]
    for index, record_set in enumerate(sets):
        if record_set.alias is not None and index not in failures:
            notes.append(f"{index}  {order_key(record_set.alias, record_set.type, '')[:-1]}\n")
    return "".join(notes)


def texts_in(args: Sequence[Argument]) -> Sequence[Argument]:
    """Return the changes' texts in the script's arguments, see `encode_changes`."""
    return args[FIRST_TEXT::CHANGE_WIDTH]
