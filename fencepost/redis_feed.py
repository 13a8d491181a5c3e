"""The data plane's feed over Redis: every call costs what it returns, however many zones there are."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from fencepost.errors import NoSuchHostedZone, StoreUnavailable
from fencepost.feed import FeedPage, Since
from fencepost.names import order_key
from fencepost.records import RecordKey
from fencepost.redis_client import ANSWER_TIMEOUT_S, Scripts, reading
from fencepost.redis_entries import commit_of, record_sets_of, serial_of
from fencepost.stores import Commit, Position

CHANNEL: Final = "zone-commits"
"""Where lua/change_batch.lua says what was committed. All databases of a server share it; hints may be of others."""
PAGE: Final = 1000
"""Record sets on a page: about 1 ms of the server's time."""
PING_AFTER_S: Final = 2.0
"""A connection without hints is asked for a sign of life after this long: silence may be a cut wire."""
CHANGES_AT_ONCE: Final = 300
"""How many changes are decoded, about 0.15 ms, before others have their turn."""
HINTS_AT_ONCE: Final = 20
"""How many hints are read before others have their turn."""
MAX_HINTS: Final = 1000
"""How many hints one call returns at most; those behind them wait."""
MAX_DIGITS: Final = 15
"""Digits of the largest serial that is believed: anybody can publish anything, and `int` refuses thousands of them."""


class RedisZoneFeed:
    """The `ZoneFeed` port over Redis or Valkey >= 6.2. `client` does not retry, and is closed by `close`."""

    def __init__(self, client: Redis) -> None:
        self._client, self._scripts = client, Scripts(client)
        self._listening: PubSub | None = None
        self._heard_s = self._pinged_s = 0.0

    async def page(self, zone: str, start: RecordKey | None = None) -> FeedPage:
        """Read a page; see `ZoneFeed.page`."""
        redis_keys = [f"{{{zone}}}:{part}" for part in ("records", "order", "meta")]
        first = order_key(*start) if start else ""
        reply = await self._scripts.read("feed_page", redis_keys, (first, PAGE + 1))
        if not reply:
            raise NoSuchHostedZone(zone)
        found = record_sets_of(reply[2:])
        next_key = found[PAGE].key if len(found) > PAGE else None
        return FeedPage(Position(int(reply[0]), int(reply[1])), found[:PAGE], next_key)

    async def heads(self, zones: Sequence[str]) -> Mapping[str, Position]:
        """Read the zones' heads; see `ZoneFeed.heads`."""
        with reading():
            async with self._client.pipeline(transaction=False) as pipeline:
                for zone in zones:
                    pipeline.hmget(f"{{{zone}}}:meta", ["serial", "at_us"])
                replies: Any = await pipeline.execute()
        found = zip(zones, replies, strict=True)
        return {zone: Position(int(serial), int(at_us or 0)) for zone, (serial, at_us) in found if serial}

    async def since(self, serials: Mapping[str, int], limit: int = 100) -> Mapping[str, Since]:
        """Read histories; see `ZoneFeed.since`."""
        with reading():
            async with self._client.pipeline(transaction=False) as pipeline:
                for zone, serial in serials.items():
                    pipeline.xrange(f"{{{zone}}}:stream", f"{serial}-0", "+", count=limit + 1)
                replies: Any = await pipeline.execute()
        return {
            zone: await _since(zone, serial, entries)
            for (zone, serial), entries in zip(serials.items(), replies, strict=True)
        }

    async def hints(self, wait_s: float) -> Mapping[str, int] | None:
        """Listen for hints; see `ZoneFeed.hints`."""
        with reading():
            try:
                if self._listening is not None:
                    return await self._hear(self._listening, wait_s)
                await self._listen()
            except BaseException:
                # Nobody knows what was missed: a later call listens anew, and says so.
                await self._stop_listening()
                raise
        return None

    async def close(self) -> None:
        """Close the client."""
        await self._stop_listening()
        await self._client.aclose()

    async def _listen(self) -> None:
        self._listening = self._client.pubsub()
        await self._listening.subscribe(CHANNEL)
        if (message := await self._listening.get_message(timeout=ANSWER_TIMEOUT_S)) is None:
            raise StoreUnavailable("the store does not answer to SUBSCRIBE")
        assert message["type"] == "subscribe", message
        self._heard_s = self._pinged_s = asyncio.get_running_loop().time()

    async def _stop_listening(self) -> None:
        pubsub, self._listening = self._listening, None
        if pubsub is not None:
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py has left it out

    async def _hear(self, pubsub: PubSub, wait_s: float) -> dict[str, int]:
        heard: dict[str, int] = {}
        message = await pubsub.get_message(timeout=min(wait_s, PING_AFTER_S))
        if message is None:
            await self._ask_for_life(pubsub)
        else:
            self._heard_s = asyncio.get_running_loop().time()
        for count in range(1, MAX_HINTS):
            if message is None:
                break
            if message["type"] == "message":
                zone, _, serial = message["data"].decode(errors="replace").rpartition(" ")
                if len(serial) <= MAX_DIGITS and serial.isascii() and serial.isdecimal():
                    heard[zone] = int(serial)
            if count % HINTS_AT_ONCE == 0:
                await asyncio.sleep(0)
            message = await pubsub.get_message(timeout=0)
        return heard

    async def _ask_for_life(self, pubsub: PubSub) -> None:
        """Ask a silent connection for an answer. Raises: StoreUnavailable if it has given none for too long."""
        now_s = asyncio.get_running_loop().time()
        silent_s = now_s - self._heard_s
        if self._pinged_s > self._heard_s and now_s - self._pinged_s > ANSWER_TIMEOUT_S:
            raise StoreUnavailable(f"the connection that brings hints was silent for {silent_s:.1f} s")
        if silent_s > PING_AFTER_S and self._pinged_s <= self._heard_s:
            self._pinged_s = now_s
            await pubsub.ping()


async def _since(zone: str, serial: int, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> Since:
    """Return what entries say; the one of the serial itself is large at times, and is not decoded."""
    if not entries:
        return Since(None, ())
    entry_id, fields = entries[0]
    oldest = Position(serial_of(entry_id), int(fields[b"at_us"]))
    if oldest.serial != serial:
        return Since(oldest, ())
    commits: list[Commit] = []
    changes = 0
    for entry in entries[1:]:
        commits.append(commit_of(zone, *entry))
        changes += len(commits[-1].changes)
        if changes >= CHANGES_AT_ONCE:
            changes = 0
            await asyncio.sleep(0)
    return Since(oldest, tuple(commits))
