"""Following zones in a real server: what arrives, what is lost, and what is served meanwhile."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import redis.asyncio

from deploy.embedded import server_binary, server_command, server_url
from fencepost import records
from fencepost.batch import ChangeBatch, create, delete, upsert
from fencepost.clock import Clock, SystemClock
from fencepost.connect import open_zone_store
from fencepost.errors import StoreError, StoreUnavailable
from fencepost.events import EventBus, Recorder
from fencepost.feed import ZoneFeed
from fencepost.names import manifest_name, tree_name
from fencepost.network import LinkSpec
from fencepost.redis_client import open_client
from fencepost.redis_feed import RedisZoneFeed
from fencepost.settings import Settings
from fencepost.stores import Actor, Commit, Position, ZoneStore
from resolver.answer import addresses
from resolver.follow import Changed, Follower

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."


class Followed:
    """A follower, what it told, and a store to change its zones through."""

    def __init__(
        self,
        url: str,
        zones: tuple[str, ...] = (ZONE,),
        *,
        propagation: LinkSpec | None = None,
        clock: Clock | None = None,
        feed: Callable[[redis.asyncio.Redis], ZoneFeed] = RedisZoneFeed,
        changed: Changed | None = None,
    ) -> None:
        settings = Settings(redis_url=url, stream_limit=100)
        self.events = Recorder()
        self.feed = feed(open_client(url))
        self.store = open_zone_store(settings, Actor("writer"))
        self.follower = Follower(
            self.feed,
            zones,
            events=EventBus(self.events),
            clock=clock or SystemClock(),
            propagation=propagation or LinkSpec(),
            seed=1,
            name="resolver",
            **({"changed": changed} if changed else {}),
        )
        self.running: asyncio.Task[None] | None = None

    def run(self) -> None:
        self.running = asyncio.create_task(self.follower.run())

    def served(self, name: str = "n", zone: str = ZONE) -> str | None:
        """Return the TXT that is served under a name, None if nothing is."""
        image = self.follower.images.get(zone)
        found = image.sets(f"{name}.{zone}", "TXT").get("") if image else None
        return found.text if found else None

    def told(self, name: str) -> list[str]:
        return [event.reason for event in self.events.events if event.name == name]

    async def close(self) -> None:
        if self.running is not None:
            self.running.cancel()
            with suppress(asyncio.CancelledError):
                await self.running
        await self.feed.close()
        await self.store.close()


async def make_zone(store: ZoneStore, zone: str = ZONE) -> None:
    await store.create_zone(zone, (records.soa(zone, ttl=9, minimum=864), records.ns(zone)))


async def put(store: ZoneStore, text: str, name: str = "n", zone: str = ZONE) -> Commit:
    return await store.change(ChangeBatch(zone, (upsert(records.txt(f"{name}.{zone}", text)),)))


@pytest.fixture
async def follow() -> AsyncIterator[Callable[..., Followed]]:
    """Follow zones of a server; everything is closed in the end."""
    made: list[Followed] = []

    def start(*args: object, **options: object) -> Followed:
        made.append(Followed(*args, **options))
        return made[-1]

    yield start
    for followed in made:
        await followed.close()


async def test_follower_reads_a_zone_and_then_its_commits(redis_url, follow) -> None:
    """One tick reads the zone whole, the next takes what was committed since; without delay it is visible at once."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    await put(followed.store, "1")

    await followed.follower.tick()
    assert followed.served() == "1"
    await put(followed.store, "2")
    await followed.follower.tick()

    assert followed.served() == "2"
    assert followed.events.names() == ["resolver.zone_loaded", "resolver.zone_updated"]


async def test_follower_waits_for_a_zone_that_does_not_exist_yet(redis_url, follow, eventually) -> None:
    """It is not ready until every zone was read; one that exists is served while another is waited for."""
    followed = follow(redis_url, (ZONE, OTHER))
    await make_zone(followed.store)
    followed.run()
    await eventually(lambda: followed.follower.not_loaded() == (OTHER,))

    await put(followed.store, "1")
    await eventually(lambda: followed.served() == "1")
    await make_zone(followed.store, OTHER)

    await eventually(lambda: not followed.follower.not_loaded())
    assert not followed.told("resolver.gap_found")


async def test_follower_reads_a_large_zone_while_it_changes(redis_url, follow, eventually) -> None:
    """Pages of a listing differ in serial under a stream of commits; what is served in the end is the zone."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    for first in range(0, 900, 300):
        leaves = (
            records.address(f"t.{ZONE}", "A", f"127.2.{n // 100}.{n % 100}", ttl=5, set_identifier=f"{n:04}", weight=1)
            for n in range(first, first + 300)
        )
        await followed.store.change(ChangeBatch(ZONE, tuple(map(create, leaves))))

    async def write() -> None:
        for n in range(60):
            await put(followed.store, str(n), name=f"n{n % 7}")

    writing = asyncio.create_task(write())
    await asyncio.sleep(0)
    followed.run()
    await writing

    await eventually(lambda: followed.served("n3") == "59")
    assert [followed.served(f"n{n}") for n in range(7)] == ["56", "57", "58", "59", "53", "54", "55"]
    assert len(addresses(followed.follower.images[ZONE], f"t.{ZONE}", "A")) == 900
    assert not followed.told("resolver.gap_found")


async def test_follower_lock_changes_are_not_told(redis_url, follow) -> None:
    """Every batch moves the lock; a commit of that alone is no news to a person on call."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    await followed.follower.tick()

    await followed.store.change(ChangeBatch(ZONE, (create(records.txt(f"_lock.{ZONE}", "a 1")),)))
    await followed.follower.tick()

    assert followed.served("_lock") == "a 1"
    assert "resolver.zone_updated" not in followed.events.names()


async def test_follower_trees_are_not_told_but_the_flip_is(redis_url, follow) -> None:
    """Building and cleaning come with every plan, and the enactor tells of them; what is answered moves by the flip."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    await followed.follower.tick()
    tree = manifest_name(ZONE, 7), records.address(tree_name(ZONE, 7), "A", "127.1.0.1", ttl=5)
    build = (create(records.txt(f"_lock.{ZONE}", "a 1")), create(records.txt(tree[0], "1/1 0123abcd")), create(tree[1]))

    built = await followed.store.change(ChangeBatch(ZONE, build, 7))
    flipped = await followed.store.change(ChangeBatch(ZONE, (upsert(records.alias(ZONE, "A", tree[1].name)),), 7))
    await followed.store.change(ChangeBatch(ZONE, (delete(records.txt(tree[0], "1/1 0123abcd")),), 7))
    while followed.follower.images[ZONE].serial <= flipped.serial:
        await followed.follower.tick()

    told = [event for event in followed.events.events if event.name == "resolver.zone_updated"]
    assert [(event.generation, event.fields["serial"]) for event in told] == [(7, flipped.serial)]
    assert built.serial < flipped.serial


async def test_follower_commit_is_visible_after_its_propagation_and_not_before(redis_url, follow, clock) -> None:
    """With a propagation of 10 s a commit is on its way first, and is answered when its time has come."""
    followed = follow(redis_url, propagation=LinkSpec(median_s=10.0, p99_s=10.0), clock=clock)
    await make_zone(followed.store)
    await followed.follower.tick()
    await put(followed.store, "1")

    await followed.follower.tick()
    assert (followed.follower.pending(ZONE), followed.served()) == (1, None)
    assert followed.follower.release() == pytest.approx(10.0)
    clock.now_s += 9.9
    followed.follower.release()
    assert followed.served() is None
    clock.now_s += 0.2
    assert followed.follower.release() is None

    assert (followed.follower.pending(ZONE), followed.served()) == (0, "1")


async def test_follower_running_releases_commits_by_itself(redis_url, follow, eventually) -> None:
    """What is due becomes visible without any further word from the store."""
    followed = follow(redis_url, propagation=LinkSpec(median_s=0.3, p99_s=0.3))
    await make_zone(followed.store)
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())

    began_s = SystemClock().monotonic()
    await put(followed.store, "1")
    await eventually(lambda: followed.served() == "1")

    assert SystemClock().monotonic() - began_s > 0.29


async def test_follower_gap_is_noticed_and_the_zone_read_again(redis_url, follow, eventually) -> None:
    """Commits that were trimmed away before they were followed: the zone is read whole, and one event says so."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    await followed.follower.tick()
    for n in range(20):
        await put(followed.store, str(n))
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
    await make_zone(followed.store)
    await put(followed.store, "base")
    client = redis.asyncio.Redis.from_url(redis_url)
    keys = sorted(await client.keys("*"))
    saved = [await client.dump(key) for key in keys]
    await put(followed.store, "lost", name="a")
    await put(followed.store, "lost", name="b")
    await followed.follower.tick()
    assert followed.served("a") == "lost"

    await client.flushall()
    for key, text in zip(keys, saved, strict=True):
        await client.restore(key, 0, text)
    await client.aclose()
    for n in range(3):
        await put(followed.store, f"other {n}")
    await followed.follower.tick()

    (reason,) = followed.told("resolver.gap_found")
    assert "commit 4 is another one" in reason
    await followed.follower.tick()
    assert (followed.served(), followed.served("a")) == ("other 2", None)


async def test_follower_store_that_went_back_in_silence_is_noticed(redis_url, follow, eventually) -> None:
    """Without any new commit the check of about once a second finds it."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    await put(followed.store, "kept")
    client = redis.asyncio.Redis.from_url(redis_url)
    keys = sorted(await client.keys("*"))
    saved = [await client.dump(key) for key in keys]
    await put(followed.store, "lost")
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
    await make_zone(followed.store)
    await put(followed.store, "1")
    followed.run()
    await eventually(lambda: followed.served() == "1")

    client = redis.asyncio.Redis.from_url(redis_url)
    await client.flushall()
    await client.aclose()
    await eventually(lambda: followed.told("resolver.gap_found"))
    assert followed.served() == "1"
    await make_zone(followed.store)

    await eventually(lambda: followed.served() is None)
    assert len(followed.told("resolver.gap_found")) == 1


async def test_follower_cancelled_at_any_moment_ends(redis_url, follow) -> None:
    """A client that drops a cancellation (redis-py on Python 3.11) must not keep the process from its end."""
    followed = follow(redis_url, (ZONE, OTHER))
    await make_zone(followed.store)

    for steps in range(60):
        running = asyncio.create_task(followed.follower.run())
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait({running})
        assert running.cancelled()


class Deaf(RedisZoneFeed):
    """A feed that loses every hint."""

    async def hints(self, wait_s: float) -> Mapping[str, int] | None:
        return None if await super().hints(min(wait_s, 0.05)) is None else {}


async def test_follower_hints_that_are_lost_cost_a_round_at_most(redis_url, follow, eventually) -> None:
    """A hint is no promise: every zone's head is compared about once a second, and what was missed is read."""
    zones = tuple(f"e{n:03}.fencepost.test." for n in range(120))
    followed = follow(redis_url, zones, feed=Deaf)
    for zone in zones:
        await make_zone(followed.store, zone)
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())

    for zone in zones:
        await put(followed.store, "1", zone=zone)

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


async def test_follower_keeps_hints_when_the_store_is_lost_behind_them(redis_url, follow, clock) -> None:
    """A hint is given once: what it says is read when the store is there again, not when the zone's round comes."""
    zones = tuple(f"e{n:03}.fencepost.test." for n in range(120))
    followed = follow(redis_url, zones, feed=Failing, clock=clock)
    for zone in zones:
        await make_zone(followed.store, zone)
    await followed.follower.tick()
    await put(followed.store, "1", zone=zones[119])
    clock.now_s += 1  # the first zones are to be looked at, not this one
    followed.feed.fail_at = 1

    await followed.follower.tick()
    assert followed.follower.lost
    assert followed.served(zone=zones[119]) is None
    await followed.follower.tick()

    assert followed.served(zone=zones[119]) == "1"


async def test_follower_looks_at_all_that_is_left_when_the_store_is_lost_meanwhile(redis_url, follow, clock) -> None:
    """Listening anew compares every zone: those that were not reached are compared when the store answers again."""
    zones = tuple(f"e{n:03}.fencepost.test." for n in range(120))
    followed = follow(redis_url, zones, feed=Failing, clock=clock)
    for zone in zones:
        await make_zone(followed.store, zone)
    await followed.follower.tick()
    await followed.feed._stop_listening()
    await put(followed.store, "unheard", zone=zones[119])
    followed.feed.fail_at = 2

    await followed.follower.tick()
    assert followed.follower.lost
    await followed.follower.tick()

    assert followed.served(zone=zones[119]) == "unheard"


async def test_follower_listens_again_after_its_connections_were_cut(redis_url, follow, eventually) -> None:
    """What was committed while nobody listened is found at once: listening anew compares every zone."""
    followed = follow(redis_url, (ZONE, OTHER))
    await make_zone(followed.store)
    await make_zone(followed.store, OTHER)
    await followed.follower.tick()
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.client_kill_filter(_type="pubsub")
    await put(followed.store, "unheard", zone=OTHER)
    await client.aclose()

    await followed.follower.tick()
    assert followed.follower.lost
    await followed.follower.tick()

    assert followed.served(zone=OTHER) == "unheard"
    assert not followed.follower.lost
    assert not followed.told("resolver.gap_found")


async def test_follower_commits_made_while_it_starts_are_not_missed(redis_url, follow, eventually) -> None:
    """Before it listens, between the pages and behind them: whenever a commit comes, it is served in the end."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    for n in range(30):
        starting = follow(redis_url)
        starting.run()
        for _ in range(n):
            await asyncio.sleep(0)
        await put(followed.store, str(n))
        await eventually(lambda starting=starting, n=n: starting.served() == str(n))
        assert not starting.told("resolver.gap_found")
        await starting.close()


async def test_follower_applies_many_commits_in_parts_and_shows_only_whole_ones(redis_url, follow, eventually) -> None:
    """A commit moves two records together: however much comes at once, nobody sees one without the other."""
    followed = follow(redis_url)
    await make_zone(followed.store)
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())
    seen: set[str | None] = set()

    async def look() -> None:
        while followed.served("b") != "39":
            assert followed.served("a") == followed.served("b")
            seen.add(followed.served("a"))
            await asyncio.sleep(0)

    async def write() -> None:
        for n in range(40):
            changes = (upsert(records.txt(f"{name}.{ZONE}", str(n))) for name in names)
            await followed.store.change(ChangeBatch(ZONE, tuple(changes)))

    names = ["a", *(f"x{n}" for n in range(60)), "b"]
    async with asyncio.timeout(60):
        await asyncio.gather(look(), write())

    assert len(seen) > 3, "it was looked at between commits"


async def test_follower_tells_what_has_changed(redis_url, follow) -> None:
    """Who prepares answers is told of every image that comes: read whole without commits, else with those it took."""
    told: list[tuple[str, int, list[int]]] = []
    followed = follow(
        redis_url, changed=lambda zone, image, commits: told.append((zone, image.serial, [c.serial for c in commits]))
    )
    await make_zone(followed.store)
    await followed.follower.tick()

    await put(followed.store, "1")
    await put(followed.store, "2")
    while not told or told[-1][1] < 3:
        await followed.follower.tick()

    assert told[0] == (ZONE, 1, [])
    assert [serial for _, _, serials in told for serial in serials] == [2, 3]
    assert followed.follower.images[ZONE].serial == 3


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
    await make_zone(followed.store)
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())
    await put(followed.store, "before")
    await eventually(lambda: followed.follower.pending(ZONE) or followed.served())
    client = redis.asyncio.Redis.from_url(own_server.url)
    await client.execute_command("WAITAOF", 1, 0, 2000)  # so that the kill loses nothing
    await client.aclose()

    own_server.kill()
    await eventually(lambda: followed.follower.lost)
    await eventually(lambda: followed.served() == "before")  # what was on its way still becomes visible
    with pytest.raises(StoreError):
        await put(followed.store, "nobody takes this")
    own_server.start()
    await own_server.wait_until_it_answers()
    await eventually(lambda: not followed.follower.lost)
    await put(followed.store, "after")
    await eventually(lambda: followed.served() == "after")

    assert len(followed.told("resolver.store_lost")) == 1
    assert len(followed.told("resolver.store_regained")) == 1
    assert not followed.told("resolver.gap_found")
