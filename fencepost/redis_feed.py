"""The data plane's feed over Redis: every call costs what it returns, however many zones there are."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import MsgspecError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from fencepost.errors import NoSuchHostedZone, StoreUnavailable, ZoneDamaged
from fencepost.feed import FeedPage, Since
from fencepost.names import order_key
from fencepost.records import RecordKey
from fencepost.redis_client import ANSWER_TIMEOUT_S, Argument, Scripts, reading
from fencepost.redis_entries import commit_of, record_sets_of
from fencepost.redis_link import RedisLink
from fencepost.redis_pipe import PipedRedis
from fencepost.slices import Look, Slices, no_look
from fencepost.stores import Commit, Position

CHANNEL: Final = "zone-commits"
"""Where lua/change_batch.lua says what was committed. All databases of a server share it; hints may be of others."""
PAGE: Final = 1000
"""Record sets on a page: about 1 ms of the server's time."""
PING_AFTER_S: Final = 2.0
"""A connection without hints is asked for a sign of life after this long: silence may be a cut wire."""
DECODED_AT_ONCE: Final = 150
"""How much is decoded before others have their turn, in changes: about 0.05 ms."""
COMMIT_COST: Final = 20
"""What it costs to decode a commit without its changes, as so many of them."""
MAX_HINTS: Final = 100
"""How many hints one call returns at most, about 0.05 ms; those behind them wait."""
MAX_DIGITS: Final = 15
"""Digits of the largest serial that is believed: anybody can publish anything, and `int` refuses thousands of them."""
UNREADABLE: Final = (KeyError, TypeError, ValueError, MsgspecError)
"""What is raised where a zone's text does not say what ours does: something is missing, or is something else."""


class RedisZoneFeed:
    """The `ZoneFeed` port over Redis or Valkey >= 6.2.

    Args:
        client: does not retry, and is closed by `close`.
        look: called between two pieces of work.
    """

    def __init__(self, client: PipedRedis, look: Look = no_look) -> None:
        self._client, self._scripts, self._look_around = client, Scripts(client), look
        self._asking: RedisLink | None = None
        self._listening: RedisLink | None = None
        self._turn = asyncio.Lock()
        self._is_closed = False
        self._heard_s = self._pinged_s = 0.0

    async def page(self, zone: str, start: RecordKey | None = None) -> FeedPage:
        """Read a page; see `ZoneFeed.page`."""
        self._check_open()
        redis_keys = [f"{{{zone}}}:{part}" for part in ("records", "order", "meta")]
        first = order_key(*start) if start else ""
        try:
            reply = await self._scripts.read("feed_page", redis_keys, (first, PAGE + 1))
        except StoreUnavailable as error:
            if (refusal := refused_key(error.__cause__)) is None:
                raise
            raise ZoneDamaged(zone, " or ".join(redis_keys), refusal) from error
        if not reply:
            raise NoSuchHostedZone(zone)
        try:
            head, found = position_of(reply[0], reply[1]), record_sets_of(reply[2:])
        except UNREADABLE as error:
            raise ZoneDamaged(zone, " or ".join(redis_keys), error) from error
        return FeedPage(head, found[:PAGE], found[PAGE].key if len(found) > PAGE else None)

    async def heads(self, zones: Sequence[str]) -> Mapping[str, Position | ZoneDamaged]:
        """Read the zones' heads; see `ZoneFeed.heads`."""
        replies = await self._ask([("HMGET", f"{{{zone}}}:meta", "serial", "at_us") for zone in zones])
        self._look_around()
        heads: dict[str, Position | ZoneDamaged] = {}
        for zone, reply in zip(zones, replies, strict=True):
            if isinstance(reply, RedisError):
                heads[zone] = ZoneDamaged(zone, f"{{{zone}}}:meta", reply)
                continue
            serial, at_us = reply
            try:
                if serial:
                    heads[zone] = position_of(serial, at_us or b"0")
            except ValueError as error:
                heads[zone] = ZoneDamaged(zone, f"{{{zone}}}:meta", error)
        return heads

    async def since(self, serials: Mapping[str, int], limit: int = 100) -> Mapping[str, Since | ZoneDamaged]:
        """Read histories; see `ZoneFeed.since`."""
        count = limit + 1
        commands: list[tuple[Argument, ...]] = [
            ("XRANGE", f"{{{zone}}}:stream", f"{serial}-0", "+", "COUNT", count) for zone, serial in serials.items()
        ]
        found = zip(serials.items(), await self._ask(commands), strict=True)
        slices = Slices(DECODED_AT_ONCE)
        return {zone: await self._since(zone, serial, entries, slices) for (zone, serial), entries in found}

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
        """Close the client; calls from now on, and those under way, raise StoreUnavailable."""
        self._is_closed = True
        await self._stop_listening()
        await self._stop_asking()
        await self._client.aclose()

    async def _ask(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """Send some commands together, and return their replies. Raises: StoreUnavailable."""
        if not commands:
            return []
        with reading():
            async with self._turn:
                try:
                    return await self._asked(commands)
                except BaseException:
                    # What is still to come must not be taken for the answers to others.
                    await self._stop_asking()
                    raise

    async def _asked(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        if self._asking is None or self._asking.lost is not None:
            await self._stop_asking()
            self._asking = await self._open()
        self._asking.send(commands)
        self._look_around()
        return checked(await self._asking.replies(ANSWER_TIMEOUT_S, len(commands)), len(commands))

    async def _since(
        self, zone: str, serial: int, entries: Sequence[tuple[bytes, Sequence[bytes]]] | RedisError, slices: Slices
    ) -> Since | ZoneDamaged:
        """Return what entries say; the one of the serial itself is large at times, and is not decoded."""
        if isinstance(entries, RedisError):
            return ZoneDamaged(zone, f"{{{zone}}}:stream", entries)
        if not entries:
            return Since(None, ())
        entry_id, fields = entries[0]
        try:
            oldest = position_of(entry_id.partition(b"-")[0], pairs(fields)[b"at_us"])
        except UNREADABLE as error:
            return _damaged_entry(zone, entry_id, error)
        if oldest.serial != serial:
            return Since(oldest, ())
        commits: list[Commit] = []
        for entry_id, fields in entries[1:]:
            self._look_around()
            try:
                commits.append(commit_of(zone, entry_id, pairs(fields)))
            except UNREADABLE as error:
                return _damaged_entry(zone, entry_id, error)
            await slices.spend(len(commits[-1].changes) + COMMIT_COST)
        return Since(oldest, tuple(commits))

    async def _open(self) -> RedisLink:
        """Open a connection. Raises: StoreUnavailable if the feed is closed, or was while it opened."""
        self._check_open()
        link = await RedisLink.open(self._client, self._look_around)
        if self._is_closed:  # nobody else would close it
            await link.close()
        self._check_open()
        return link

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the feed is closed")

    async def _stop_asking(self) -> None:
        link, self._asking = self._asking, None
        if link is not None:
            await link.close()

    async def _listen(self) -> None:
        self._listening = await self._open()
        self._listening.send([("SUBSCRIBE", CHANNEL)])
        (reply,) = checked(await self._listening.replies(ANSWER_TIMEOUT_S, most=1), 1)
        assert reply[0] == b"subscribe", reply
        self._heard_s = self._pinged_s = asyncio.get_running_loop().time()

    async def _stop_listening(self) -> None:
        link, self._listening = self._listening, None
        if link is not None:
            await link.close()

    async def _hear(self, link: RedisLink, wait_s: float) -> dict[str, int]:
        replies = checked(await link.replies(min(wait_s, PING_AFTER_S), most=MAX_HINTS))
        self._look_around()
        if replies:
            self._heard_s = asyncio.get_running_loop().time()
        else:
            self._ask_for_life(link)
        return _highest(hint for reply in replies if (hint := hint_of(reply)) is not None)

    def _ask_for_life(self, link: RedisLink) -> None:
        """Ask a silent connection for an answer. Raises: StoreUnavailable if it has given none for too long."""
        now_s = asyncio.get_running_loop().time()
        silent_s = now_s - self._heard_s
        if self._pinged_s > self._heard_s and now_s - self._pinged_s > ANSWER_TIMEOUT_S:
            raise StoreUnavailable(f"the connection that brings hints was silent for {silent_s:.1f} s")
        if silent_s > PING_AFTER_S and self._pinged_s <= self._heard_s:
            self._pinged_s = now_s
            link.send([("PING",)])


def checked(replies: list[Any], wanted: int = 0) -> list[Any]:
    """Return replies if there are as many as wanted, and no error among them but of single keys. Raises: RedisError."""
    if len(replies) < wanted:
        raise NoAnswer(f"no answer within {ANSWER_TIMEOUT_S:g} s")
    for reply in replies:
        if isinstance(reply, RedisError) and refused_key(reply) is None:
            raise reply
    return replies


def refused_key(error: BaseException | None) -> ResponseError | None:
    """Return an error if it is about what one key has. Any other may be the connection's, or all of the server's.

    A server before Redis 7 has the word within the sentence if a script met with such a key.
    """
    return error if isinstance(error, ResponseError) and "WRONGTYPE" in str(error) else None


def position_of(serial: bytes, at_us: bytes) -> Position:
    """Return a position from its texts. Raises: ValueError, also for a serial that no entry of a stream can have."""
    if len(serial) > MAX_DIGITS or not serial.isdigit():
        raise ValueError(f"{serial.decode(errors='replace')!r} is no serial")
    return Position(int(serial), int(at_us))


def _damaged_entry(zone: str, entry_id: bytes, error: Exception) -> ZoneDamaged:
    return ZoneDamaged(zone, f"entry {entry_id.decode()} of {{{zone}}}:stream", error)


def hint_of(reply: Sequence[bytes]) -> tuple[str, int] | None:
    """Return the zone and serial of a published message; None if it is another reply, or says something else."""
    if reply[0] != b"message":
        return None
    zone, _, serial = reply[2].decode(errors="replace").rpartition(" ")
    return (zone, int(serial)) if len(serial) <= MAX_DIGITS and serial.isascii() and serial.isdecimal() else None


def _highest(hints: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the highest serial by zone: a hint of another database's zone of that name must not hide one of ours."""
    highest: dict[str, int] = {}
    for zone, serial in hints:
        highest[zone] = max(serial, highest.get(zone, serial))
    return highest


def pairs(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return an entry's fields, which come one after the other, by name."""
    every = iter(fields)
    return dict(zip(every, every, strict=True))
