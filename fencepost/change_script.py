"""The arguments of `lua/change_batch.lua`: how a batch is written for it, and read from there again."""

from collections.abc import Mapping, Sequence
from typing import Final

from fencepost.batch import Change, ChangeBatch, encode_changes
from fencepost.names import frozen_name, order_key
from fencepost.records import orders
from fencepost.redis_client import Argument
from fencepost.stores import Actor

GENERATION: Final = 3
COMMENT: Final = 4
CHANGES: Final = 9
"""Where these are in the arguments, for those who tell what a call was about."""

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
    changes = encode_changes(batch.changes)
    keys = orders([change.record_set for change in batch.changes])
    for index in failures:
        keys[index] = ""
    runs, fields = _runs(batch.changes, keys, failures)
    return [
        batch.zone,
        actor.name,
        int(actor.operator),
        "" if batch.generation is None else batch.generation,
        batch.comment,
        processing_us,
        commits_kept(stream_limit, len(changes)),
        int(creating),
        runs,
        changes,
        len(fields),
        *fields,
        *keys,
        order_key(frozen_name(batch.zone), "TXT", None),
    ]


def _runs(changes: Sequence[Change], keys: Sequence[str], failures: Failures) -> tuple[str, Sequence[str]]:
    """Return the runs of a batch, and the fields of counts that the rules ask for; what both are, the script says."""
    runs: list[tuple[str, int, str, str]] = []
    lengths: list[int] = []
    fields: dict[str, None] = {}
    last: dict[str, int] = {}
    joining = None
    for index, change in enumerate(changes):
        key, record_set = keys[index], change.record_set
        earlier, identifier, target = last.get(key, 0), record_set.set_identifier, record_set.alias
        about = (change.action, record_set.name, record_set.type)
        single = not key or earlier or identifier is None or target is not None
        if single or about != joining:
            joining = None if single or record_set.type == "CNAME" else about
            reason = "" if key else failures[index][0]
            pointed = order_key(target, record_set.type, "")[:-1] if target is not None and key else ""
            runs.append((change.action, earlier, reason, pointed))
            lengths.append(0)
            fields |= dict.fromkeys(_fields(key, pointed))
        lengths[-1] += 1
        if key:
            last[key] = index + 1
    lines = [f"{length} {' '.join(map(str, run))}\n" for length, run in zip(lengths, runs, strict=True)]
    return "".join(lines), tuple(fields)


def _fields(key: str, target: str) -> Sequence[str]:
    if not key:
        return ()
    name, record_type, _ = key.split("\t", 2)
    return (name, f"{name}\t{record_type}", f"{name}\tCNAME", *filter(None, (target,)))


def texts_in(args: Sequence[Argument]) -> Sequence[bytes]:
    """Return the changes' texts in the script's arguments, see `encode_changes`."""
    changes = args[CHANGES]
    assert isinstance(changes, bytes), changes
    return changes.splitlines()
