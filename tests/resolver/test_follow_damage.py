"""Following zones of which the store has one damaged: that one is served on, the others are followed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from fencepost.feed import FeedPage
from fencepost.records import RecordKey
from fencepost.redis_feed import CHANNEL, RedisZoneFeed

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."


class Counting(RedisZoneFeed):
    """A feed that counts the pages that were asked for, by zone."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.pages: list[str] = []

    async def page(self, zone: str, start: RecordKey | None = None) -> FeedPage:
        self.pages.append(zone)
        return await super().page(zone, start)


class Damage:
    """A key of `ZONE`, its right content put aside and something else in its place."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client

    async def do(self, part: str) -> None:
        await self.client.rename(f"{{{ZONE}}}:{part}", f"{{{ZONE}}}:{part}:aside")
        await self.client.set(f"{{{ZONE}}}:{part}", "text")

    async def repair(self, part: str) -> None:
        await self.client.rename(f"{{{ZONE}}}:{part}:aside", f"{{{ZONE}}}:{part}")


@pytest.fixture
async def damage(redis_url) -> AsyncIterator[Damage]:
    client = redis.asyncio.Redis.from_url(redis_url)
    yield Damage(client)
    await client.aclose()


async def a_round(followed, clock) -> None:
    """Look at all heads, and then do what follows from that."""
    for _ in range(2):
        clock.now_s += 1
        await followed.follower.tick()


async def following_both(redis_url, follow, clock):
    """Return what follows two zones, each with a record."""
    followed = follow(redis_url, (ZONE, OTHER), feed=Counting, clock=clock)
    for zone in (ZONE, OTHER):
        await followed.make_zone(zone)
        await followed.put("1", zone=zone)
    await a_round(followed, clock)
    return followed


@pytest.mark.parametrize("part", ["meta", "stream"])
async def test_follower_key_of_the_wrong_type_stops_its_zone_alone(redis_url, follow, clock, damage, part) -> None:
    """It is told once, and the zone is followed again when the key is right."""
    followed = await following_both(redis_url, follow, clock)
    await followed.put("2")
    await damage.do(part)

    for n in range(4):
        await followed.put(str(n), zone=OTHER)
        await a_round(followed, clock)
        assert followed.served(zone=OTHER) == str(n)
    assert not followed.follower.lost
    assert followed.served() == "1"
    (reason,) = followed.told("resolver.gap_found")
    assert reason.startswith(f"{{{ZONE}}}:{part} is damaged")
    assert "WRONGTYPE" in reason

    await damage.repair(part)
    await a_round(followed, clock)
    await followed.put("3")
    await a_round(followed, clock)
    assert followed.served() == "3"
    await followed.put("4")
    await followed.follower.tick()
    assert followed.served() == "4"
    assert [told for told in followed.told("resolver.gap_found") if "damaged" in told] == [reason]
    assert not followed.told("resolver.store_lost")


async def test_follower_history_that_was_deleted_for_being_damaged_is_gone_on_with(
    redis_url, follow, clock, damage
) -> None:
    """The plainest repair: what the zone has is read whole, and its next commit is taken."""
    followed = await following_both(redis_url, follow, clock)
    await followed.put("2")
    await damage.do("stream")
    await a_round(followed, clock)
    assert followed.served() == "1"

    await damage.client.delete(f"{{{ZONE}}}:stream")
    await a_round(followed, clock)
    assert followed.served() == "2"
    await followed.put("3")
    await a_round(followed, clock)

    assert followed.served() == "3"


@pytest.mark.parametrize("part", ["meta", "order", "records"])
async def test_follower_zone_that_is_damaged_from_the_start_keeps_no_other_waiting(
    redis_url, follow, clock, damage, part
) -> None:
    """It counts as not read, whatever is heard of it, and is read as soon as it can be."""
    followed = follow(redis_url, (ZONE, OTHER), feed=Counting, clock=clock)
    for zone in (ZONE, OTHER):
        await followed.make_zone(zone)
        await followed.put("1", zone=zone)
    await damage.do(part)

    await a_round(followed, clock)
    assert followed.served(zone=OTHER) == "1"
    assert followed.follower.not_loaded() == (ZONE,)
    assert followed.follower.first_read.is_set()
    assert not followed.follower.lost

    await damage.repair(part)
    await a_round(followed, clock)
    assert followed.served() == "1"
    assert not followed.follower.not_loaded()
    (reason,) = followed.told("resolver.gap_found")
    assert "WRONGTYPE" in reason


async def test_follower_damaged_zone_is_tried_once_a_round(redis_url, follow, clock, damage) -> None:
    """However often it is heard of: each try is a whole reading."""
    followed = await following_both(redis_url, follow, clock)
    await followed.put("2")
    await damage.do("stream")
    await a_round(followed, clock)
    tried = followed.feed.pages.count(ZONE)

    for n in range(5):
        await damage.client.publish(CHANNEL, f"{ZONE} {100 + n}")
        await followed.follower.tick()
    assert followed.feed.pages.count(ZONE) <= tried + 1  # of a round that was begun before
    for rounds in range(1, 4):
        tried = followed.feed.pages.count(ZONE)
        clock.now_s += 1
        for _ in range(3):
            await damage.client.publish(CHANNEL, f"{ZONE} {200 + rounds}")
            await followed.follower.tick()
        assert followed.feed.pages.count(ZONE) == tried + 1
    assert len(followed.told("resolver.gap_found")) == 1


@pytest.mark.parametrize("changes", ["{", "[1]"])
async def test_follower_damaged_commit_is_passed_over_by_reading_the_zone_whole(
    redis_url, follow, clock, damage, changes
) -> None:
    """What it has done is in the zone, whatever its entry says; nothing else is held up by it."""
    followed = await following_both(redis_url, follow, clock)
    commit = await followed.put("2")
    entry = {"at_us": commit.at_us, "actor": "a", "operator": 0, "generation": "", "comment": "", "changes": changes}
    await damage.client.delete(f"{{{ZONE}}}:stream")
    await damage.client.xadd(f"{{{ZONE}}}:stream", entry | {"changes": ""}, f"{commit.serial - 1}-0")
    await damage.client.xadd(f"{{{ZONE}}}:stream", entry, f"{commit.serial}-0")
    await followed.put("5", zone=OTHER)

    await a_round(followed, clock)

    assert (followed.served(), followed.served(zone=OTHER)) == ("2", "5")
    (reason,) = followed.told("resolver.gap_found")
    assert reason.startswith(f"entry {commit.serial}-0 of {{{ZONE}}}:stream is damaged")
    await followed.put("3")
    await followed.follower.tick()
    assert followed.served() == "3"
    assert not followed.follower.lost


async def test_follower_runs_on_with_a_damaged_zone(redis_url, follow, eventually, damage) -> None:
    """With a real clock, from the damage to its end."""
    followed = follow(redis_url, (ZONE, OTHER))
    for zone in (ZONE, OTHER):
        await followed.make_zone(zone)
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())

    await damage.do("meta")
    await eventually(lambda: followed.told("resolver.gap_found"))
    for n in range(10):
        await followed.put(str(n), zone=OTHER)
        await asyncio.sleep(0)
    await eventually(lambda: followed.served(zone=OTHER) == "9", timeout_s=0.9)  # by hints, not by rounds
    await damage.repair("meta")
    await followed.put("after")

    await eventually(lambda: followed.served() == "after")
    assert not followed.told("resolver.store_lost")
    assert len(followed.told("resolver.gap_found")) == 1
