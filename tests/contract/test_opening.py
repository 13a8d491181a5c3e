"""Calls that wait for a connection to open: what is sent once it is there, and what is not."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError as LostConnection

from fencepost.batch import ChangeBatch, create
from fencepost.errors import StoreUnavailable
from fencepost.records import txt
from fencepost.redis_client import ANSWER_TIMEOUT_S, open_client
from fencepost.redis_pipe import NotSent
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor


@pytest.fixture
async def client(redis_url):
    """A client of the real server."""
    opened = open_client(redis_url)
    yield opened
    await opened.aclose()


@asynccontextmanager
async def slow_to_open(scripted):
    """Give a client of a server that answers nothing before an event, that event, and the fields that were asked."""
    go_on, asked = asyncio.Event(), []

    async def talk(commands, writer):
        async for words in commands:
            await go_on.wait()
            if words[0] == b"HGET":
                asked.append(words[2])
            writer.write(b"$1\r\nx\r\n" if words[0] == b"HGET" else b"+OK\r\n")

    async with scripted(talk) as url:
        client = open_client(url)  # a connection is open once its introduction is answered
        yield client, go_on, asked
        await client.aclose()


async def until(condition):
    """Wait for what no event tells, 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  -- as said
            await asyncio.sleep(0)


async def calls_of(client, fields):
    """Return calls that wait for the first connection to open."""
    calls = [asyncio.create_task(client.hget("h", field)) for field in fields]
    await until(lambda: client._opening)
    return calls


async def changed(client):
    """Change a zone over a client."""
    zones = RedisZoneStore(client, Actor("use1-az1-enactor"))
    return await zones.change(ChangeBatch("z.test.", (create(txt("x.z.test.", "t")),)))


async def test_calls_that_are_late_or_cancelled_when_the_connection_is_open_are_never_sent(scripted):
    """A connection may take long to open; the calls that waited for it are looked at again, and keep their order."""
    async with slow_to_open(scripted) as (client, go_on, asked):
        calls = await calls_of(client, "abcd")
        calls[1].cancel()
        (waiting,) = client._opening.values()
        waiting[2].made_s -= ANSWER_TIMEOUT_S
        go_on.set()
        found = await asyncio.gather(*calls, return_exceptions=True)

    assert asked == [b"a", b"d"]
    assert [found[0], found[3]] == [b"x", b"x"]
    assert [type(error) for error in found[1:3]] == [asyncio.CancelledError, NotSent]


async def test_connection_that_opens_for_calls_that_are_all_cancelled_serves_the_next(scripted):
    """Nothing is sent over it before, and no other is opened."""
    async with slow_to_open(scripted) as (client, go_on, asked):
        for call in await calls_of(client, "ab"):
            call.cancel()
        go_on.set()
        await until(lambda: client._idle)
        (line,) = client._idle

        assert await client.hget("h", "c") == b"x"
        assert client._idle == [line]

    assert asked == [b"c"]


@pytest.mark.parametrize("user", ["", "somebody:secret@"])
@pytest.mark.parametrize("listens", [False, True])
async def test_calls_for_which_no_connection_could_be_opened_are_not_sent(tmp_path, listens, user):
    """Nobody listens, or who does ends the connection while it opens: certainly nothing was executed."""
    place = tmp_path / "redis.sock"
    async with await asyncio.start_unix_server(lambda _, writer: writer.close(), place):
        client = open_client(f"unix://{user}{place if listens else tmp_path / 'nowhere.sock'}")
        found = await asyncio.gather(client.hget("h", "a"), changed(client), return_exceptions=True)
        await client.aclose()

    assert [type(error) for error in found] == [NotSent, StoreUnavailable]
    assert isinstance(found[0].__cause__, LostConnection)


@pytest.mark.parametrize("reason", ["ERR max number of clients reached", "NOAUTH Authentication required."])
async def test_server_that_serves_nobody_now_says_why_to_writes_that_were_not_sent(tmp_path, reason):
    """The first that it says on a connection is an answer to the opening, not to a call that may be under way."""

    async def refuse(reader, writer):
        writer.write(f"-{reason}\r\n".encode())
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(refuse, tmp_path / "redis.sock"):
        client = open_client(f"unix://{tmp_path / 'redis.sock'}")
        with pytest.raises(StoreUnavailable, match=reason.partition(" ")[2]):
            await changed(client)
        await client.aclose()


async def test_calls_on_a_connection_that_had_ended_are_not_sent_and_later_ones_have_another(client):
    """The transport tells of an end only in a later turn than it sees it: what is called between is not written."""
    await client.hset("h", "f", "v")
    assert await client.hget("h", "f") == b"v"
    (line,) = client._idle
    call = asyncio.create_task(client.hget("h", "f"))
    await asyncio.sleep(0)  # it is made, and goes out in the next turn
    line._transport.close()

    found = await asyncio.gather(call, return_exceptions=True)

    assert [type(error) for error in found] == [NotSent]
    assert await client.hget("h", "f") == b"v"
    assert line not in client._idle


async def test_connection_that_ends_as_soon_as_it_is_open_is_not_kept(client):
    """Its calls are not sent, and those that come later have another."""
    calls = await calls_of(client, "f")
    (opening,) = client._opening
    # Runs before the client's own, which is told of the connection in the same turn.
    opening.remove_done_callback(client._opened)
    opening.add_done_callback(lambda task: task.result().end(LostConnection("it has ended")))
    opening.add_done_callback(client._opened)

    found = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(error) for error in found] == [NotSent]
    assert await client.hget("h", "f") is None
    assert opening.result() not in client._idle
    assert not client._busy
