"""Zones in Redis: one hash slot a zone, one script a transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fencepost.batch import ChangeBatch, create, failed_change, limit_failures
from fencepost.change_script import Failures, arguments
from fencepost.errors import (
    ChangeRefused,
    FailedChange,
    InvalidChangeBatch,
    NoSuchHostedZone,
    PriorRequestNotComplete,
    Throttling,
    ZoneFrozen,
)
from fencepost.names import order_end, order_key
from fencepost.notice import Notice
from fencepost.record_rules import static_failures
from fencepost.records import RecordKey, RecordSet, decode
from fencepost.redis_client import Scripts, reading
from fencepost.redis_entries import commit_of, record_sets_of
from fencepost.redis_pipe import PipedRedis
from fencepost.stores import MAX_PAGE, Actor, Commit, ZonePage, ZoneRead

SCRIPTS: Final = ("read_records", "page_records", "change_batch")
"""What every store of zones runs."""
THROTTLE: Final = "take_token"
"""What only one with a limit of requests runs."""

MAX_WAIT_S: Final = 2.0
"""Longest wait of one `follow` call: well below the client's time-out for an answer."""


class RedisZoneStore:
    """The `ZoneStore` port over Redis or Valkey >= 6.2, for one actor.

    Args:
        client: a client that does not retry; closed by `close`.
        actor: who writes.
        replicas: how many replicas must have a batch before it counts as committed.
        stream_limit: how many commits a zone keeps at least; of large ones fewer, see
            `change_script.commits_kept`.
        processing_s: how long a zone refuses another batch after it took one (0: not at all).
        requests_per_s: the account's token bucket (0: no limit); its burst is one second's worth.

    Keys: `{<zone>}:records`, `:order`, `:counts`, `:meta`, `:stream`; `{account}:requests` for the account.
    """

    def __init__(
        self,
        client: PipedRedis,
        actor: Actor,
        *,
        replicas: int = 0,
        stream_limit: int = 10_000,
        processing_s: float = 0.0,
        requests_per_s: float = 0.0,
    ) -> None:
        self._client, self._actor = client, actor
        self._stream_limit, self._processing_us = stream_limit, round(processing_s * 1_000_000)
        self._requests_per_s = requests_per_s
        self._scripts = Scripts(client, replicas)

    async def prepare(self) -> None:
        """Connect, and load scripts; see `ZoneStore.prepare`."""
        await self._scripts.prepare((*SCRIPTS, THROTTLE) if self._requests_per_s else SCRIPTS)

    async def create_zone(self, zone: str, record_sets: Sequence[RecordSet]) -> bool:
        """Create a zone with its first record sets; see `ZoneStore.create_zone`."""
        batch = ChangeBatch(zone, tuple(create(record_set) for record_set in record_sets), comment="zone created")
        return await self._commit(batch, creating=True) is not None

    async def read(self, zone: str, keys: Sequence[RecordKey]) -> ZoneRead:
        """Read some record sets; see `ZoneStore.read`."""
        await self._admit(zone)
        redis_keys = (_key(zone, "records"), _key(zone, "meta"))
        reply = await self._scripts.read("read_records", redis_keys, [order_key(*key) for key in keys])
        if not reply:
            raise NoSuchHostedZone(zone)
        found = [decode(text) for text in reply[1:] if text is not None]
        return ZoneRead(reply[0], {record_set.key: record_set for record_set in found})

    async def page(
        self, zone: str, start: RecordKey | None = None, limit: int = MAX_PAGE, *, within: str | None = None
    ) -> ZonePage:
        """Read a page; see `ZoneStore.page`."""
        await self._admit(zone)
        size = max(1, min(limit, MAX_PAGE))
        redis_keys = (_key(zone, "records"), _key(zone, "order"), _key(zone, "meta"))
        first, end = order_key(*start) if start else "", order_end(within) if within else ""
        reply = await self._scripts.read("page_records", redis_keys, (first, size + 1, end))
        if not reply:
            raise NoSuchHostedZone(zone)
        found = record_sets_of(reply[1:])
        return ZonePage(reply[0], found[:size], found[size].key if len(found) > size else None)

    async def change(self, batch: ChangeBatch) -> Commit:
        """Commit a batch or refuse it; see `ZoneStore.change`."""
        await self._admit(batch.zone)
        commit = await self._commit(batch, creating=False)
        assert commit is not None, "only a creation may find that the zone exists"
        return commit

    async def commits(self, zone: str, after_serial: int = 0, limit: int = 1000) -> tuple[Commit, ...]:
        """Read the history of a zone; see `ZoneStore.commits`."""
        with reading():
            entries: Any = await self._client.xrange(_key(zone, "stream"), f"{after_serial + 1}-0", "+", count=limit)
            if not entries and not await self._client.exists(_key(zone, "meta")):
                raise NoSuchHostedZone(zone)
        return tuple(commit_of(zone, entry_id, fields) for entry_id, fields in entries)

    async def follow(self, positions: Mapping[str, int], wait_s: float) -> tuple[Commit, ...]:
        """Wait for commits of several zones; see `ZoneStore.follow`."""
        zones = {_key(zone, "stream").encode(): zone for zone in positions}
        starts: Any = {_key(zone, "stream"): f"{serial}-0" for zone, serial in positions.items()}
        block_ms = max(1, round(min(wait_s, MAX_WAIT_S) * 1000))
        with reading():
            reply: Any = await self._client.xread(starts, count=1000, block=block_ms)
        return tuple(commit_of(zones[key], *entry) for key, entries in reply or () for entry in entries)

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def _admit(self, zone: str) -> None:
        """Take a token of the account's bucket, which lives in a slot of its own."""
        if not self._requests_per_s:
            return
        args = (str(self._requests_per_s), str(max(1.0, self._requests_per_s)))
        wait_us = await self._scripts.read(THROTTLE, ("{account}:requests",), args)
        if wait_us:
            raise Throttling(zone, wait_s=wait_us / 1_000_000)

    async def _commit(self, batch: ChangeBatch, *, creating: bool) -> Commit | None:
        if over := limit_failures(batch):
            raise InvalidChangeBatch(batch.zone, over)
        failures = static_failures(batch.zone, batch.changes)
        redis_keys = [_key(batch.zone, part) for part in ("records", "order", "counts", "meta", "stream")]
        args = arguments(
            batch,
            failures,
            self._actor,
            processing_us=self._processing_us,
            stream_limit=self._stream_limit,
            creating=creating,
        )
        head, *rest = await self._scripts.write("change_batch", redis_keys, args)
        if head == b"exists":
            return None
        if head == b"committed":
            fields = (batch.generation, batch.comment, batch.changes)
            return Commit(batch.zone, rest[0], int(rest[1]), self._actor, *fields)
        raise _refusal(batch, head.decode(), rest, failures)


def _key(zone: str, part: str) -> str:
    return f"{{{zone}}}:{part}"


def _refusal(batch: ChangeBatch, head: str, rest: Sequence[Any], failures: Failures) -> ChangeRefused:
    if head == "no_zone":
        return NoSuchHostedZone(batch.zone)
    if head == "busy":
        return PriorRequestNotComplete(batch.zone)
    if head == "frozen":
        text = " ".join(value.strip('"') for value in decode(rest[0]).values)
        return ZoneFrozen(batch.zone, Notice.parse(text).told)
    assert head == "refused", head
    return InvalidChangeBatch(batch.zone, tuple(_failed(batch, failures, rest)))


def _failed(batch: ChangeBatch, failures: Failures, reply: Sequence[Any]) -> Sequence[FailedChange]:
    found = []
    for index, reason in zip(map(int, reply[::2]), reply[1::2], strict=True):
        _, problem = failures.get(index, ("", ""))
        found.append(failed_change(batch.zone, index, batch.changes[index], reason.decode(), problem))
    return found
