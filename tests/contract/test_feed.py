"""The data plane's feed: what is read at one instant, what is heard, and when listening begins anew."""

import asyncio

import pytest

from fencepost.batch import ChangeBatch, create, upsert
from fencepost.errors import NoSuchHostedZone, StoreUnavailable
from fencepost.feed import FeedPage, Since
from fencepost.records import ns, soa, txt
from fencepost.redis_client import open_client
from fencepost.redis_feed import CHANNEL, MAX_HINTS, RedisZoneFeed
from fencepost.redis_link import RedisLink
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor, Position

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."
APEX = (soa(OTHER, ttl=1, minimum=1), ns(OTHER))


def position(commit):
    """Return where a commit stands."""
    return Position(commit.serial, commit.at_us)


async def test_page_shows_the_zone_and_its_last_commit_at_one_instant(zones, feed, change):
    """A listing of one page is a state of the zone: its record sets, and the commit that made it."""
    commit = await change(*(create(txt(f"r{n}.{ZONE}", "t")) for n in range(400)))

    page = await feed.page(ZONE)

    listed, start = [], None
    while not listed or start is not None:
        one = await zones.page(ZONE, start)
        listed += one.record_sets
        start = one.next_key
    assert page == FeedPage(position(commit), tuple(listed))


async def test_pages_of_a_large_zone_add_up_to_it(zones, feed, change):
    """A zone beyond one page: the next page starts where the last one says, and nothing is repeated or left out."""
    for first in (0, 600):
        await change(*(create(txt(f"r{n:04}.{ZONE}", "t")) for n in range(first, first + 600)))

    first = await feed.page(ZONE)
    second = await feed.page(ZONE, first.next_key)

    assert second.next_key is None
    names = [record_set.name for record_set in first.record_sets + second.record_sets if record_set.type == "TXT"]
    assert names == [f"r{n:04}.{ZONE}" for n in range(1200)]


async def test_page_of_a_zone_that_does_not_exist_is_an_error(feed):
    """As the control API has it."""
    with pytest.raises(NoSuchHostedZone):
        await feed.page(OTHER)


async def test_page_of_a_zone_that_has_not_noted_its_time_says_so(client, feed, change):
    """A zone whose last commit was made by an earlier version: only its history knows when."""
    commit = await change(create(txt(f"a.{ZONE}", "t")))
    await client.hdel(f"{{{ZONE}}}:meta", "at_us")

    assert (await feed.page(ZONE)).head == Position(commit.serial, 0)
    assert await feed.heads([ZONE]) == {ZONE: Position(commit.serial, 0)}


async def test_heads_are_the_last_commits_and_leave_out_what_is_not_there(feed, change):
    """Serial and time of each zone's last commit, which is how a follower knows that it has them all."""
    await change(create(txt(f"a.{ZONE}", "t")))
    commit = await change(create(txt(f"b.{ZONE}", "t")))

    assert await feed.heads([OTHER, ZONE]) == {ZONE: position(commit)}
    assert await feed.heads([]) == {}


async def test_since_has_the_commit_of_the_serial_and_what_came_after_it(zones, feed, change):
    """One reading proves that the history is the one that was followed, and says how it goes on."""
    await zones.create_zone(OTHER, APEX)
    first, second, third = [await change(upsert(txt(f"a.{ZONE}", text))) for text in "abc"]
    (made,) = await zones.commits(OTHER)

    found = await feed.since({ZONE: first.serial, OTHER: 1})
    assert found == {ZONE: Since(position(first), (second, third)), OTHER: Since(position(made), ())}
    assert await feed.since({ZONE: first.serial}, limit=1) == {ZONE: Since(position(first), (second,))}


async def test_since_looks_before_it_decodes_each_commit(redis_url, zones, change):
    """Whoever cannot wait until the loop comes to them is looked for there, and once all is asked for."""
    first, looks = await change(upsert(txt(f"r.{ZONE}", "0"))), []
    for number in range(3):
        await change(upsert(txt(f"r.{ZONE}", str(number))))
    feed = RedisZoneFeed(open_client(redis_url), lambda: looks.append(1))

    found = await feed.since({ZONE: first.serial})
    await feed.close()

    assert len(found[ZONE].commits) == 3
    assert len(looks) == 1 + 3


async def test_since_a_serial_that_is_not_kept_has_no_commits(client, feed, change):
    """A history that does not reach so far back, or forward, brings nothing that could be taken for the next one."""
    commits = [await change(upsert(txt(f"a.{ZONE}", str(n)))) for n in range(5)]
    await client.xtrim(f"{{{ZONE}}}:stream", maxlen=2, approximate=False)

    found = await feed.since({ZONE: commits[0].serial})
    assert found == {ZONE: Since(position(commits[3]), ())}
    assert await feed.since({ZONE: 99, OTHER: 1}) == {ZONE: Since(None, ()), OTHER: Since(None, ())}


async def test_calls_at_the_same_time_have_their_own_answers(zones, feed, change):
    """A follower loads several zones side by side, over one connection."""
    await zones.create_zone(OTHER, APEX)
    first, second = [await change(upsert(txt(f"a.{ZONE}", text))) for text in "ab"]

    found = await asyncio.gather(feed.heads([ZONE]), feed.since({ZONE: first.serial}), feed.heads([OTHER, ZONE]))

    assert found[0] == {ZONE: position(second)}
    assert found[1] == {ZONE: Since(position(first), (second,))}
    assert found[2].keys() == {OTHER, ZONE}


async def test_call_that_was_cancelled_leaves_no_answer_to_the_next_one(feed, change):
    """Whenever a call is given up, what comes for it is not taken for the answer to another one."""
    first, second = [await change(upsert(txt(f"a.{ZONE}", text))) for text in "ab"]

    for steps in range(12):
        given_up = asyncio.create_task(feed.heads([OTHER]))
        for _ in range(steps):
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait({given_up})

        assert await feed.since({ZONE: first.serial}) == {ZONE: Since(position(first), (second,))}


async def test_call_after_an_idle_connection_was_cut_connects_again(client, feed, change):
    """A server that was started again meanwhile is no failure: nothing was asked of the lost connection."""
    commit = await change(create(txt(f"a.{ZONE}", "t")))
    (connection,) = await feed._ask([("CLIENT", "ID")])
    await client.client_kill_filter(_id=str(connection))
    while feed._asking.lost is None:  # noqa: ASYNC110  -- nothing tells of it but the connection itself
        await asyncio.sleep(0.001)

    assert await feed.heads([ZONE]) == {ZONE: position(commit)}


async def test_call_that_is_not_answered_is_an_error_and_the_next_one_is_asked_anew(client, feed, change, monkeypatch):
    """A wire that was cut while it was used: the answer is waited for only so long."""
    commit = await change(create(txt(f"a.{ZONE}", "t")))
    await feed.heads([ZONE])
    with monkeypatch.context() as patch:
        patch.setattr("fencepost.redis_feed.ANSWER_TIMEOUT_S", 0.1)
        await client.client_pause(500, all=True)
        with pytest.raises(StoreUnavailable, match="no answer"):
            await feed.heads([ZONE])

    assert await feed.heads([ZONE]) == {ZONE: position(commit)}


async def test_hints_beyond_what_one_call_returns_come_with_the_next(client, feed):
    """Each call is short, however much was said meanwhile, and nothing is lost."""
    await feed.hints(0)
    for n in range(2 * MAX_HINTS + 1):
        await client.publish(CHANNEL, f"e{n}. 7")

    heard = [await feed.hints(2)]
    while sum(map(len, heard)) <= 2 * MAX_HINTS:
        heard.append(await feed.hints(2))
    assert max(map(len, heard)) <= MAX_HINTS
    assert {zone: 7 for each in heard for zone in each} == {f"e{n}.": 7 for n in range(2 * MAX_HINTS + 1)}


async def test_hints_name_every_zone_that_has_committed_since(zones, feed, change):
    """The first call begins to listen; from then on each commit is heard of, a zone's creation included."""
    assert await feed.hints(0) is None
    assert await feed.hints(0) == {}
    await zones.create_zone(OTHER, APEX)
    await change(create(txt(f"a.{ZONE}", "t")))
    commit = await change(create(txt(f"b.{ZONE}", "t")))

    heard = {}
    while len(heard) < 2 or heard[ZONE] < commit.serial:
        heard |= await feed.hints(2)
    assert heard == {ZONE: commit.serial, OTHER: 1}
    assert await feed.hints(0) == {}


async def test_hints_wait_for_the_first_one(feed, change):
    """A commit ends the wait."""
    await feed.hints(0)

    waiting = asyncio.create_task(feed.hints(2.0))
    await asyncio.sleep(0)
    commit = await change(create(txt(f"a.{ZONE}", "t")))

    assert await asyncio.wait_for(waiting, 1.5) == {ZONE: commit.serial}


async def test_refused_batch_gives_no_hint(zones, feed):
    """Only what was committed is heard of."""
    await feed.hints(0)

    with pytest.raises(NoSuchHostedZone):
        await zones.change(ChangeBatch(OTHER, (create(txt(f"a.{OTHER}", "t")),)))

    assert await feed.hints(0.05) == {}


async def test_commit_of_a_user_without_the_channel_is_committed_and_says_so(redis_url, client, zones, feed):
    """A hint is no part of a commit: a server that lets this user publish nothing takes its batches all the same."""
    await feed.hints(0)
    await client.execute_command("ACL", "SETUSER", "quiet", "on", "nopass", "~*", "resetchannels", "+@all")
    quiet = RedisZoneStore(open_client(redis_url.replace("unix://", "unix://quiet:any@")), Actor("quiet"))

    try:
        commit = await quiet.change(ChangeBatch(ZONE, (create(txt(f"a.{ZONE}", "t")),)))
    finally:
        await quiet.close()
        await client.execute_command("ACL", "DELUSER", "quiet")

    assert (await feed.heads([ZONE]))[ZONE] == position(commit)
    assert await feed.hints(0.05) == {}


async def test_hints_that_are_none_are_passed_over(client, feed, change):
    """Anybody can publish anything on a channel: that stops nobody."""
    await feed.hints(0)
    for text in (b"", b"\xff\xfe 7", f"{ZONE}", f"{ZONE} x", f"{ZONE} -1", f"{ZONE} \u0665", f"{ZONE} {'9' * 5000}"):
        await client.publish(CHANNEL, text)
    commit = await change(create(txt(f"a.{ZONE}", "t")))

    heard = {}
    while ZONE not in heard:
        heard |= await feed.hints(2)
    assert heard[ZONE] == commit.serial


async def test_hints_of_one_zone_are_the_highest_one(client, feed):
    """All databases share the channel: what another one says of a zone of that name hides no commit of ours."""
    await feed.hints(0)
    pipeline = client.pipeline(transaction=True)  # so that one call hears them all
    for serial in (5, 8, 6):
        pipeline.publish(CHANNEL, f"{ZONE} {serial}")
    await pipeline.execute()

    heard = {}
    while not heard:
        heard = await feed.hints(2)
    assert heard == {ZONE: 8}


async def test_calls_after_close_are_errors_and_open_nothing(redis_url, client, zones):
    """A follower's last call may come late: nobody would close what it opened."""
    feed = RedisZoneFeed(open_client(redis_url))
    await feed.heads([ZONE])
    await feed.close()
    before = len(await client.client_list())

    for late in (feed.heads([ZONE]), feed.since({ZONE: 1}), feed.hints(0), feed.page(ZONE)):
        with pytest.raises(StoreUnavailable, match="closed"):
            await late

    assert len(await client.client_list()) == before


@pytest.mark.parametrize("call", [lambda feed: feed.heads([ZONE]), lambda feed: feed.hints(0)], ids=["heads", "hints"])
async def test_connection_that_opens_while_the_feed_is_closed_is_closed_too(redis_url, monkeypatch, call):
    """Whichever comes first, the end or the connection: none is left."""
    feed, opened, open_link = RedisZoneFeed(open_client(redis_url)), [], RedisLink.open

    async def open_and_close_the_feed(client, look):
        opened.append(await open_link(client, look))
        await feed.close()
        return opened[0]

    monkeypatch.setattr(RedisLink, "open", open_and_close_the_feed)

    with pytest.raises(StoreUnavailable, match="closed"):
        await call(feed)

    assert opened[0].lost is not None


async def test_hints_after_a_lost_connection_say_that_listening_began_again(client, feed, change):
    """Nothing tells what was missed: it is an error first, and then any zone may have committed unheard."""
    await feed.hints(0)
    await client.client_kill_filter(_type="pubsub")

    with pytest.raises(StoreUnavailable):
        await feed.hints(2)
    missed = await change(create(txt(f"a.{ZONE}", "t")))
    assert await feed.hints(0) is None

    heard = await change(create(txt(f"b.{ZONE}", "t")))
    assert await feed.hints(2) == {ZONE: heard.serial}
    assert heard.serial == missed.serial + 1


async def test_hints_of_a_silent_connection_are_an_error_in_the_end(client, feed, monkeypatch):
    """A wire that was cut brings no error and no hint: a connection that answers no PING is given up."""
    monkeypatch.setattr("fencepost.redis_feed.PING_AFTER_S", 0.02)
    monkeypatch.setattr("fencepost.redis_feed.ANSWER_TIMEOUT_S", 0.2)
    await feed.hints(0)
    await listen(feed, 20)  # twice as long as a silent one would be let be: this one answers

    await client.client_pause(1000, all=True)
    with pytest.raises(StoreUnavailable, match="was silent for"):
        await listen(feed, 100)


async def listen(feed, times):
    """Listen so often, and hear nothing."""
    for _ in range(times):
        assert await feed.hints(0.02) == {}
