"""What a drill learns from the zones' streams."""

import asyncio

import pytest

from fencepost.batch import ChangeBatch, create, delete, upsert
from fencepost.clock import SystemClock
from fencepost.connect import open_zone_store
from fencepost.fence import Fence
from fencepost.names import tree_name
from fencepost.records import address, alias
from fencepost.redis_client import open_client
from fencepost.settings import Settings
from fencepost.stores import Actor
from lab.drills.streams import Streams, capacity_points
from lab.history import HistoryUnusable

ZONE = "a.x.test."


def flip(generation, *weights):
    """Return the batch that builds a tree of these weights and points the root at it, fence and all."""
    leaves = [
        create(
            address(tree_name(ZONE, generation), "A", f"127.1.1.{n}", ttl=5, set_identifier=f"lb-{n}", weight=weight)
        )
        for n, weight in enumerate(weights, 1)
    ]
    root = upsert(alias(ZONE, "A", tree_name(ZONE, generation)))
    return ChangeBatch(ZONE, (*leaves, root, upsert(Fence(generation, "0a1b2c3d", "x-1-1").record(ZONE))), generation)


@pytest.fixture
async def store(redis_url):
    """A zone on a real server."""
    opened = open_zone_store(Settings(redis_url=redis_url), Actor("enactor"))
    await opened.create_zone(ZONE, Settings().region().zone_records(ZONE))
    yield opened
    await opened.close()


async def test_capacity_points_follow_the_live_tree(store):
    """A tree counts from the flip on, and what is deleted from it while it is live is missed at once."""
    await store.change(flip(1, 100, 50))
    await store.change(flip(2, 10, 50))
    gone = address(tree_name(ZONE, 2), "A", "127.1.1.2", ttl=5, set_identifier="lb-2", weight=50)
    await store.change(ChangeBatch(ZONE, (delete(gone),)))

    points = capacity_points(ZONE, await store.commits(ZONE))

    assert [point.capacity for point in points] == [(0, 0), (150, 0), (60, 0), (10, 0)]


async def test_streams_refuse_a_history_with_a_gap(store, redis_url):
    """Commits that were trimmed before they were followed: the states would be wrong from then on, without a word."""
    for generation in (1, 2, 3):
        await store.change(flip(generation, 1))
    client = open_client(redis_url)
    await client.xtrim(f"{{{ZONE}}}:stream", maxlen=2, approximate=False)
    await client.aclose()

    with pytest.raises(HistoryUnusable, match=r"commits 1 to 2 are not in the history.*FENCEPOST_STREAM_LIMIT"):
        await Streams(store, [ZONE], SystemClock()).run()


async def test_streams_say_when_a_generation_was_reached(store):
    """The first commit that has it, or a newer one, counts; what is not reached within the bound is None."""
    streams = Streams(store, [ZONE], SystemClock())
    following = asyncio.create_task(streams.run())
    for generation in (3, 5, 6):
        await store.change(flip(generation, 1))
    commits = {commit.generation: commit.at_us for commit in await store.commits(ZONE)}

    reached = [await streams.reached([ZONE], None, generation, within_s=5) for generation in (2, 3, 4, 6)]
    missing = await streams.reached([ZONE], None, 7, within_s=0.05)
    following.cancel()
    await asyncio.wait({following})

    assert reached == [commits[3], commits[3], commits[5], commits[6]]
    assert missing is None
    assert streams.states[ZONE].addresses(ZONE, "A") == 1
