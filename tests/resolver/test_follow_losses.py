"""Following zones when something is lost: hints, commits, connections, the store; and what is served meanwhile."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import redis.asyncio

from deploy.embedded import server_binary, server_command, server_url
from fencepost.errors import StoreError, StoreUnavailable
from fencepost.network import LinkSpec
from fencepost.redis_feed import RedisZoneFeed
from fencepost.stores import Position

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."


async def test_follower_gap_is_noticed_and_the_zone_read_again(redis_url, follow, eventually) -> None:
    """Commits that were trimmed away before they were followed: the zone is read whole, and one event says so."""
    followed = follow(redis_url)
    await followed.make_zone()
    await followed.follower.tick()
    for n in range(20):
        await followed.put(str(n))
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.xtrim(f"{{{ZONE}}}:stream", maxlen=5, approximate=False)
    await client.aclose()

    followed.run()

    await eventually(lambda: followed.served() == "19")
    (reason,) = followed.told("resolver.gap_found")
    assert "no longer kept" in reason


async def test_follower_store_that_went_back_is_noticed_though_serials_went_on(redis_url, follow, eventually) -> None:
    """The incident of a failover: commits 3 and 4 are forgotten, others get their numbers, and one more comes.

    1. The follower has commit 4.
    2. The store goes back to commit 2.
    3. Three other commits follow, numbered 3, 4 and 5: number 5 is the next one, of another history.
    """
    followed = follow(redis_url)
    await followed.make_zone()
    await followed.put("base")
    client = redis.asyncio.Redis.from_url(redis_url)
    keys = sorted(await client.keys("*"))
    saved = [await client.dump(key) for key in keys]
    await followed.put("lost", name="a")
    await followed.put("lost", name="b")
    await followed.follower.tick()
    assert followed.served("a") == "lost"

    await client.flushall()
    for key, text in zip(keys, saved, strict=True):
        await client.restore(key, 0, text)
    await client.aclose()
    for n in range(3):
        await followed.put(f"other {n}")
    await followed.follower.tick()

    (reason,) = followed.told("resolver.gap_found")
    assert "commit 4 is another one" in reason
    await followed.follower.tick()
    assert (followed.served(), followed.served("a")) == ("other 2", None)


async def test_follower_store_that_went_back_in_silence_is_noticed(redis_url, follow, eventually) -> None:
    """Without any new commit the check of about once a second finds it."""
    followed = follow(redis_url)
    await followed.make_zone()
    await followed.put("kept")
    client = redis.asyncio.Redis.from_url(redis_url)
    keys = sorted(await client.keys("*"))
    saved = [await client.dump(key) for key in keys]
    await followed.put("lost")
    followed.run()
    await eventually(lambda: followed.served() == "lost")

    async with client.pipeline(transaction=True) as at_once:  # a store that fails over shows no state in between
        at_once.flushall()
        for key, text in zip(keys, saved, strict=True):
            at_once.restore(key, 0, text)
        await at_once.execute()
    await client.aclose()

    await eventually(lambda: followed.served() == "kept", timeout_s=5)
    (reason,) = followed.told("resolver.gap_found")
    assert "no commit 3" in reason or "not have the zone" in reason


async def test_follower_zone_that_vanished_is_served_on(redis_url, follow, eventually) -> None:
    """An emptied store is no reason to answer nothing: the last good state stays until the zone is there again."""
    followed = follow(redis_url)
    await followed.make_zone()
    await followed.put("1")
    followed.run()
    await eventually(lambda: followed.served() == "1")

    client = redis.asyncio.Redis.from_url(redis_url)
    await client.flushall()
    await client.aclose()
    await eventually(lambda: followed.told("resolver.gap_found"))
    assert followed.served() == "1"
    await followed.make_zone()

    await eventually(lambda: followed.served() is None)
    assert len(followed.told("resolver.gap_found")) == 1


class Deaf(RedisZoneFeed):
    """A feed that loses every hint."""

    async def hints(self, wait_s: float) -> Mapping[str, int] | None:
        return None if await super().hints(min(wait_s, 0.05)) is None else {}


async def test_follower_hints_that_are_lost_cost_a_round_at_most(redis_url, follow, eventually) -> None:
    """A hint is no promise: every zone's head is compared about once a second, and what was missed is read."""
    zones = tuple(f"e{n:03}.fencepost.test." for n in range(120))
    followed = follow(redis_url, zones, feed=Deaf)
    for zone in zones:
        await followed.make_zone(zone)
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())

    for zone in zones:
        await followed.put("1", zone=zone)

    await eventually(lambda: all(followed.served(zone=zone) == "1" for zone in zones), timeout_s=10)
    assert not followed.told("resolver.gap_found")


class Failing(RedisZoneFeed):
    """A feed whose `fail_at`th look at heads from now on fails, counted from 1."""

    fail_at = 0

    async def heads(self, zones: Sequence[str]) -> Mapping[str, Position]:
        self.fail_at -= 1
        if self.fail_at == 0:
            raise StoreUnavailable("lost")
        return await super().heads(zones)


LAST = "e119.fencepost.test."


async def following_many(redis_url, follow, clock):
    """Return what follows 120 zones, up to `LAST`, by a feed that may fail."""
    zones = tuple(f"e{n:03}.fencepost.test." for n in range(120))
    followed = follow(redis_url, zones, feed=Failing, clock=clock)
    for zone in zones:
        await followed.make_zone(zone)
    await followed.follower.tick()
    return followed


async def test_follower_keeps_hints_when_the_store_is_lost_behind_them(redis_url, follow, clock) -> None:
    """A hint is given once: what it says is read when the store is there again, not when the zone's round comes."""
    followed = await following_many(redis_url, follow, clock)
    await followed.put("1", zone=LAST)
    clock.now_s += 1  # the first zones are to be looked at, not this one
    followed.feed.fail_at = 1

    await followed.follower.tick()
    assert followed.follower.lost
    assert followed.served(zone=LAST) is None
    await followed.follower.tick()

    assert followed.served(zone=LAST) == "1"


async def test_follower_looks_at_all_that_is_left_when_the_store_is_lost_meanwhile(redis_url, follow, clock) -> None:
    """Listening anew compares every zone: those that were not reached are compared when the store answers again."""
    followed = await following_many(redis_url, follow, clock)
    await followed.feed._stop_listening()
    await followed.put("unheard", zone=LAST)
    followed.feed.fail_at = 2

    await followed.follower.tick()
    assert followed.follower.lost
    await followed.follower.tick()

    assert followed.served(zone=LAST) == "unheard"


async def test_follower_listens_again_after_its_connections_were_cut(redis_url, follow, eventually) -> None:
    """What was committed while nobody listened is found at once: listening anew compares every zone."""
    followed = follow(redis_url, (ZONE, OTHER))
    await followed.make_zone()
    await followed.make_zone(OTHER)
    await followed.follower.tick()
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.client_kill_filter(_type="pubsub")
    await followed.put("unheard", zone=OTHER)
    await client.aclose()

    await followed.follower.tick()
    assert followed.follower.lost
    await followed.follower.tick()

    assert followed.served(zone=OTHER) == "unheard"
    assert not followed.follower.lost
    assert not followed.told("resolver.gap_found")


class OwnServer:
    """A server of the test's own, on a unix socket, that can be killed and started again on its data."""

    def __init__(self, place: Path) -> None:
        self.url = server_url(place)
        self._command = server_command(server_binary(), place)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    async def answers(self) -> bool:
        client = redis.asyncio.Redis.from_url(self.url)
        try:
            return bool(await client.ping())
        except redis.RedisError:
            return False
        finally:
            await client.aclose()

    async def wait_until_it_answers(self) -> None:
        for _ in range(1000):
            if await self.answers():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the server does not answer")


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[OwnServer]:
    server = OwnServer(tmp_path)
    server.start()
    await server.wait_until_it_answers()
    yield server
    server.kill()


async def test_follower_serves_its_last_good_state_while_the_store_is_down(own_server, follow, eventually) -> None:
    """The server is killed and started again: answers go on, losing and regaining it are told once each."""
    followed = follow(own_server.url, propagation=LinkSpec(median_s=0.5, p99_s=0.5))
    await followed.make_zone()
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())
    await followed.put("before")
    await eventually(lambda: followed.follower.pending(ZONE) or followed.served())
    client = redis.asyncio.Redis.from_url(own_server.url)
    await client.execute_command("WAITAOF", 1, 0, 2000)  # so that the kill loses nothing
    await client.aclose()

    own_server.kill()
    await eventually(lambda: followed.follower.lost)
    await eventually(lambda: followed.served() == "before")  # what was on its way still becomes visible
    with pytest.raises(StoreError):
        await followed.put("nobody takes this")
    own_server.start()
    await own_server.wait_until_it_answers()
    await eventually(lambda: not followed.follower.lost)
    await followed.put("after")
    await eventually(lambda: followed.served() == "after")

    assert len(followed.told("resolver.store_lost")) == 1
    assert len(followed.told("resolver.store_regained")) == 1
    assert not followed.told("resolver.gap_found")
