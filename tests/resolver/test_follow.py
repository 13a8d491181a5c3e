"""Following zones in a real server: what arrives, and when it is shown."""

import asyncio

import pytest

from fencepost import records
from fencepost.batch import ChangeBatch, create, delete, swap, upsert
from fencepost.clock import SystemClock
from fencepost.events import Event
from fencepost.names import fence_name, manifest_name, tree_name
from fencepost.network import LinkSpec
from resolver.answer import addresses

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."


async def test_follower_reads_a_zone_and_then_its_commits(redis_url, follow) -> None:
    """One tick reads the zone whole, the next takes what was committed since; without delay it is visible at once."""
    followed = follow(redis_url)
    await followed.make_zone()
    await followed.put("1")

    await followed.follower.tick()
    assert followed.served() == "1"
    await followed.put("2")
    await followed.follower.tick()

    assert followed.served() == "2"
    assert followed.events.names() == ["resolver.zone_loaded", "resolver.zone_updated"]


async def test_follower_waits_for_a_zone_that_does_not_exist_yet(redis_url, follow, eventually) -> None:
    """It is not ready until every zone was read; one that exists is served while another is waited for."""
    followed = follow(redis_url, (ZONE, OTHER))
    await followed.make_zone()
    followed.run()
    await eventually(lambda: followed.follower.not_loaded() == (OTHER,))

    await followed.put("1")
    await eventually(lambda: followed.served() == "1")
    await followed.make_zone(OTHER)

    await eventually(lambda: not followed.follower.not_loaded())
    assert not followed.told("resolver.gap_found")


async def test_follower_reads_a_large_zone_while_it_changes(redis_url, follow, eventually) -> None:
    """Pages of a listing differ in serial under a stream of commits; what is served in the end is the zone."""
    followed = follow(redis_url)
    await followed.make_zone()
    for first in range(0, 900, 300):
        leaves = (
            records.address(f"t.{ZONE}", "A", f"127.2.{n // 100}.{n % 100}", ttl=5, set_identifier=f"{n:04}", weight=1)
            for n in range(first, first + 300)
        )
        await followed.store.change(ChangeBatch(ZONE, tuple(map(create, leaves))))

    async def write() -> None:
        for n in range(60):
            await followed.put(str(n), name=f"n{n % 7}")

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
    await followed.make_zone()
    await followed.follower.tick()

    await followed.store.change(ChangeBatch(ZONE, (create(records.txt(f"_lock.{ZONE}", "a 1")),)))
    await followed.follower.tick()

    assert followed.served("_lock") == "a 1"
    assert "resolver.zone_updated" not in followed.events.names()


async def test_follower_trees_are_not_told_but_the_flip_is(redis_url, follow) -> None:
    """Building and cleaning come with every plan, and the enactor tells of them; what is answered moves by the flip."""
    followed, fence = follow(redis_url), records.txt(fence_name(ZONE), "6")
    await followed.make_zone()
    await followed.store.change(ChangeBatch(ZONE, (create(fence),)))
    await followed.follower.tick()
    tree = manifest_name(ZONE, 7), records.address(tree_name(ZONE, 7), "A", "127.1.0.1", ttl=5)
    lock, manifest = records.txt(f"_lock.{ZONE}", "a 1"), records.txt(tree[0], "1/1 0123abcd")
    build = (create(lock), *swap(fence, fence), create(manifest), create(tree[1]))
    flip = swap(fence, records.txt(fence_name(ZONE), "7"))

    built = await followed.store.change(ChangeBatch(ZONE, build, 7))
    flipped = await followed.store.change(ChangeBatch(ZONE, flip, 7))
    await followed.store.change(ChangeBatch(ZONE, (delete(manifest),), 7))
    while followed.follower.images[ZONE].serial <= flipped.serial:
        await followed.follower.tick()

    assert [(event.generation, event.fields["serial"]) for event in told_in(followed)] == [(7, flipped.serial)]
    assert built.serial < flipped.serial


async def test_follower_change_of_the_live_tree_is_told_with_and_without_proof(redis_url, follow) -> None:
    """A repair in place, or who deletes what is live, changes what is answered, though root and fence stay."""
    followed, fence = follow(redis_url), records.txt(fence_name(ZONE), "7")
    await followed.make_zone()
    lost, kept = (
        records.address(tree_name(ZONE, 7), "A", f"127.1.0.{n}", ttl=5, set_identifier=f"lb-{n}", weight=1)
        for n in (1, 2)
    )
    manifest, root = records.txt(manifest_name(ZONE, 7), "1/1 0123abcd"), records.alias(ZONE, "A", tree_name(ZONE, 7))
    await followed.store.change(ChangeBatch(ZONE, (*map(create, (fence, kept, manifest, root)),), 7))
    await followed.follower.tick()
    told_before = len(told_in(followed))

    restored = await followed.store.change(ChangeBatch(ZONE, (*swap(fence, fence), create(lost)), 7))
    gone = await followed.store.change(ChangeBatch(ZONE, (delete(lost),)))
    marked = await followed.store.change(ChangeBatch(ZONE, (*swap(fence, fence), *swap(manifest, manifest)), 7))
    while followed.follower.images[ZONE].serial < marked.serial:
        await followed.follower.tick()

    assert [event.fields["serial"] for event in told_in(followed)[told_before:]] == [restored.serial, gone.serial]


async def test_follower_record_that_is_put_and_then_deleted_is_told(redis_url, follow) -> None:
    """What is created again is proved, and no news; what is overwritten and then deleted is gone."""
    followed, note = follow(redis_url), records.txt(f"note.{ZONE}", "x")
    await followed.make_zone()
    await followed.store.change(ChangeBatch(ZONE, (create(note),)))
    await followed.follower.tick()
    told_before = len(told_in(followed))

    await followed.store.change(ChangeBatch(ZONE, swap(note, note)))
    gone = await followed.store.change(ChangeBatch(ZONE, (upsert(note), delete(note))))
    while followed.follower.images[ZONE].serial < gone.serial:
        await followed.follower.tick()

    assert [event.fields["serial"] for event in told_in(followed)[told_before:]] == [gone.serial]


def told_in(followed) -> list[Event]:
    """Return what was told of commits."""
    return [event for event in followed.events.events if event.name == "resolver.zone_updated"]


async def test_follower_commit_is_visible_after_its_propagation_and_not_before(redis_url, follow, clock) -> None:
    """With a propagation of 10 s a commit is on its way first, and is answered when its time has come."""
    followed = follow(redis_url, propagation=LinkSpec(median_s=10.0, p99_s=10.0), clock=clock)
    await followed.make_zone()
    await followed.follower.tick()
    await followed.put("1")

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
    await followed.make_zone()
    followed.run()
    await eventually(lambda: not followed.follower.not_loaded())

    began_s = SystemClock().monotonic()
    await followed.put("1")
    await eventually(lambda: followed.served() == "1")

    assert SystemClock().monotonic() - began_s > 0.29


async def test_follower_cancelled_at_any_moment_ends(redis_url, follow) -> None:
    """A client that drops a cancellation (redis-py on Python 3.11) must not keep the process from its end."""
    followed = follow(redis_url, (ZONE, OTHER))
    await followed.make_zone()

    for steps in range(60):
        running = asyncio.create_task(followed.follower.run())
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait({running})
        assert running.cancelled()


async def test_follower_commits_made_while_it_starts_are_not_missed(redis_url, follow, eventually) -> None:
    """Before it listens, between the pages and behind them: whenever a commit comes, it is served in the end."""
    followed = follow(redis_url)
    await followed.make_zone()
    for n in range(30):
        starting = follow(redis_url)
        starting.run()
        for _ in range(n):
            await asyncio.sleep(0)
        await followed.put(str(n))
        await eventually(lambda starting=starting, n=n: starting.served() == str(n))
        assert not starting.told("resolver.gap_found")
        await starting.close()


async def test_follower_applies_many_commits_in_parts_and_shows_only_whole_ones(redis_url, follow, eventually) -> None:
    """A commit moves two records together: however much comes at once, nobody sees one without the other."""
    followed = follow(redis_url)
    await followed.make_zone()
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
    await followed.make_zone()
    await followed.follower.tick()

    await followed.put("1")
    await followed.put("2")
    while not told or told[-1][1] < 3:
        await followed.follower.tick()

    assert told[0] == (ZONE, 1, [])
    assert [serial for _, _, serials in told for serial in serials] == [2, 3]
    assert followed.follower.images[ZONE].serial == 3
