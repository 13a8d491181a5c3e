"""A connection whose replies are taken as they arrive: their order, errors among them, and what is lost."""

import asyncio

import pytest
from redis.exceptions import RedisError, ResponseError

from fencepost import redis_link
from fencepost.redis_link import RedisLink
from fencepost.redis_wire import AT_ONCE

CHANNEL = "links"


@pytest.fixture
async def link(client):
    """A connection of its own."""
    opened = await RedisLink.open(client)
    yield opened
    await opened.close()


async def test_link_replies_come_in_the_order_of_the_commands(link):
    """Several commands go out together, and are answered one after the other."""
    link.send([("ECHO", "a"), ("ECHO", b"b")])
    link.send([("ECHO", 3)])

    assert await link.replies(5, 3) == [b"a", b"b", b"3"]


async def test_link_error_is_a_reply_among_others(link):
    """The server refuses one command: the replies to the others are there all the same."""
    link.send([("ECHO", "a"), ("NO-SUCH-COMMAND",), ("ECHO", "b")])

    first, refused, last = await link.replies(5, 3)
    assert (first, last) == (b"a", b"b")
    assert isinstance(refused, ResponseError)


async def test_link_returns_what_there_is_when_the_time_is_over(link):
    """Fewer replies than were wanted are no error by themselves."""
    link.send([("ECHO", "a")])

    assert await link.replies(0.2, 2) == [b"a"]
    assert await link.replies(0) == []


async def test_link_gives_no_more_than_were_asked_for_and_keeps_the_rest(link):
    """The next call has them at once."""
    link.send([("ECHO", n) for n in range(5)])
    assert await link.replies(5, 5, most=2) == [b"0", b"1"]

    assert await link.replies(0, most=2) == [b"2", b"3"]
    assert await link.replies(0) == [b"4"]


async def test_link_that_is_cut_has_what_arrived_and_then_an_error(client, link):
    """Who waits is told at once; replies that were there before are not lost."""
    link.send([("CLIENT", "ID")])
    (connection,) = await link.replies(5)
    link.send([("ECHO", "a"), ("BLPOP", "nothing", 0)])
    waiting = asyncio.create_task(link.replies(5, 2))
    await asyncio.sleep(0.05)
    await client.client_kill_filter(_id=str(connection))

    with pytest.raises(RedisError, match="lost"):
        await waiting
    assert await link.replies(0) == [b"a"]
    with pytest.raises(RedisError, match="lost"):
        await link.replies(0)


async def test_link_closed_by_its_user_says_so(link):
    """A closed connection is none, however often it is closed."""
    await link.close()
    await link.close()

    with pytest.raises(RedisError, match="closed"):
        await link.replies(1)


async def test_link_whose_replies_nobody_takes_makes_the_server_wait(client, link, monkeypatch):
    """What is kept is bounded by one more read; when it is taken, all that waited arrives, in order."""
    monkeypatch.setattr(redis_link, "MOST_KEPT", 10)
    link.send([("SUBSCRIBE", CHANNEL)])
    assert len(await link.replies(5)) == 1
    for n in range(3000):
        await client.publish(CHANNEL, f"{n:04}" + "." * 996)
    await asyncio.sleep(0.1)

    taken = await link.replies(5)
    assert len(taken) < 1500
    while len(taken) < 3000:
        taken += await link.replies(5)
    assert [int(message[2][:4]) for message in taken] == list(range(3000))


async def test_link_looks_between_the_parts_of_much_that_has_arrived(client):
    """A reply of several parts is read in parts, with a look between any two, and is the same reply."""
    looks: list[int] = []
    link = await RedisLink.open(client, lambda: looks.append(1))
    text = b"x" * (3 * AT_ONCE)
    packed = b"$%d\r\n%s\r\n" % (len(text), text)

    link.data_received(packed)

    assert await link.replies(0) == [text]
    assert len(looks) == len(packed) // AT_ONCE
    await link.close()
