"""What calls would have to wait for at first: connections, and scripts that the server does not know."""

import asyncio
import gc
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from fencepost import connect
from fencepost.batch import ChangeBatch, create
from fencepost.connect import prepare
from fencepost.errors import StoreUnavailable
from fencepost.plan import Draft, Target, content
from fencepost.records import ns, soa, txt
from fencepost.redis_client import ANSWER_TIMEOUT_S, open_client
from fencepost.redis_pipe import MAX_LOADS, MAX_PIPELINES, NotSent
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
ADD = "return redis.call('HINCRBY', KEYS[1], 'n', ARGV[1])"
CALLERS = 8


@pytest.fixture
async def add(redis_url, client):
    """A script that its server does not know, of a client that was never used."""
    await client.script_flush()
    opened = open_client(redis_url)
    yield opened.register_script(ADD)
    await opened.aclose()


async def loads(client):
    """Return how often the server was told of a script since it started."""
    stats = await client.info("commandstats")
    return stats.get("cmdstat_script|load", {"calls": 0})["calls"]


async def until(condition):
    """Wait for what no event tells, 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  -- as said
            await asyncio.sleep(0)


async def test_callers_at_once_of_a_script_that_the_server_does_not_know_share_one_load(add, client):
    """Each call is made once, and each has an answer of its own."""
    before = await loads(client)

    found = await asyncio.gather(*(add(keys=["h"], args=[1]) for _ in range(CALLERS)))

    assert sorted(found) == list(range(1, CALLERS + 1))
    assert await loads(client) - before == 1


async def test_script_that_was_forgotten_between_calls_is_loaded_once_more(add, client):
    """A server that was started again, or a replica that has taken over, knows none."""
    await add(keys=["h"], args=[1])
    before = await loads(client)
    await client.script_flush()

    found = await asyncio.gather(*(add(keys=["h"], args=[1]) for _ in range(CALLERS)))

    assert sorted(found) == list(range(2, CALLERS + 2))
    assert await loads(client) - before == 1


async def test_caller_who_is_cancelled_while_a_script_is_loaded_leaves_the_others_their_calls(add, client):
    """Not even the one who began the load takes it away with him."""
    before = await loads(client)
    calls = [asyncio.create_task(add(keys=["h"], args=[1])) for _ in range(CALLERS)]
    await until(lambda: add._loading)
    calls[0].cancel()

    found = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert sorted(found[1:]) == list(range(1, CALLERS))
    assert await loads(client) - before == 1


async def test_callers_who_are_all_cancelled_while_a_script_is_loaded_leave_it_loaded(add, client):
    """The load ends without anybody who waits for it, and later calls are made as ever."""
    calls = [asyncio.create_task(add(keys=["h"], args=[1])) for _ in range(CALLERS)]
    await until(lambda: add._loading)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)

    await until(lambda: add._loading is None)

    assert await client.script_exists(add.sha) == [True]
    assert await add(keys=["h"], args=[1]) == 1


async def test_load_that_fails_when_nobody_waits_for_it_any_more_is_nobodys_trouble(add):
    """The loop is told of no error that was never looked at."""
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    calls = [asyncio.create_task(add(keys=["h"], args=[1])) for _ in range(CALLERS)]
    await until(lambda: add._loading)
    for call in calls:
        call.cancel()
    await asyncio.sleep(0)  # they have let go of it, and the server cannot have answered yet

    await add._client.aclose()
    await asyncio.wait(calls)
    assert add._loading is None
    gc.collect()

    assert told == []


async def test_scripts_that_are_prepared_together_are_one_write(add, client):
    """Twenty loads reach the server in a few reads."""
    opened = add._client
    await opened.prepare([])
    before = (await client.info("stats"))["total_reads_processed"], await loads(client)

    await opened.prepare([opened.register_script(f"return {number}") for number in range(20)])

    assert await loads(client) - before[1] == 20
    assert (await client.info("stats"))["total_reads_processed"] - before[0] < 10


async def test_client_that_is_closed_while_a_script_is_loaded_leaves_nobody_waiting(add, client):
    """The call was refused and not sent again: it has certainly done nothing."""
    calls = [asyncio.create_task(add(keys=["h"], args=[1])) for _ in range(CALLERS)]
    await until(lambda: add._loading)

    await add._client.aclose()
    found = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(error) for error in found] == [NotSent] * CALLERS
    assert await client.exists("h") == 0


@asynccontextmanager
async def forgetful(scripted, times, before_answer=lambda: None):
    """Give a client of a server that has forgotten the script at so many calls; and what it was told, in order."""
    told, left = [], [times]

    async def talk(commands, writer):
        async for words in commands:
            if words[0] != b"CLIENT":
                told.append(words[0])
                before_answer()
            if words[0] == b"EVALSHA" and left[0] > 0:
                left[0] -= 1
                writer.write(b"-NOSCRIPT No matching script.\r\n")
            else:
                writer.write(b":1\r\n" if words[0] == b"EVALSHA" else b"+OK\r\n")

    async with scripted(talk) as url:
        client = open_client(url)
        yield client, told
        await client.aclose()


async def test_script_that_is_forgotten_again_as_soon_as_it_was_loaded_is_loaded_again(scripted):
    """A call may have shared a load that the server had forgotten by the time at which that call came to it."""
    async with forgetful(scripted, MAX_LOADS) as (client, told):
        assert await client.register_script(ADD)(keys=["h"], args=[1]) == 1

    assert told == [b"EVALSHA", b"SCRIPT", b"EVALSHA", b"SCRIPT", b"EVALSHA"]


async def test_call_that_is_late_once_its_script_is_loaded_is_not_sent_again(scripted, monkeypatch):
    """Its time runs from when it was made: three answers that each come in time may be too late together."""
    loop, late_s = asyncio.get_running_loop(), [0.0]
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + late_s[0])

    def be_slow():
        late_s[0] += 0.6 * ANSWER_TIMEOUT_S

    async with forgetful(scripted, 1, be_slow) as (client, told):
        with pytest.raises(NotSent, match="it waited for 6"):
            await client.register_script(ADD)(keys=["h"], args=[1])

    assert told == [b"EVALSHA", b"SCRIPT"]


async def test_script_that_is_none_fails_with_the_servers_reason(add):
    """To make the same call again would not help."""
    with pytest.raises(ResponseError, match="compiling"):
        await add._client.register_script("no Lua")(keys=["h"], args=[1])


async def test_script_that_this_user_may_not_load_fails_with_the_servers_reason(redis_url, client):
    """As above."""
    await client.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@all", "-script")
    limited = open_client(redis_url.replace("unix://", "unix://reader:any@"))
    try:
        with pytest.raises(NoPermissionError):
            await limited.register_script("return 'never known'")(keys=["h"], args=[1])
    finally:
        await limited.aclose()
        await client.execute_command("ACL", "DELUSER", "reader")


async def test_write_whose_script_is_never_known_was_certainly_not_executed(scripted):
    """A server that forgets again and again is not asked for ever, and its refusals leave no doubt."""
    async with forgetful(scripted, MAX_LOADS + 1) as (client, _):
        with pytest.raises(NoScriptError):
            await client.register_script(ADD)(keys=["h"], args=[1])
    async with forgetful(scripted, MAX_LOADS + 1) as (client, _):
        zones = RedisZoneStore(client, Actor("use1-az1-enactor"))
        with pytest.raises(StoreUnavailable, match="the store takes no writes"):
            await zones.change(ChangeBatch(ZONE, (create(txt(f"x.{ZONE}", "t")),)))


async def test_stores_that_are_prepared_open_nothing_and_load_nothing_later(redis_url, client):
    """Not with their first calls, nor with as many at once as have a connection each."""
    await client.script_flush()
    zones = RedisZoneStore(open_client(redis_url), Actor("use1-az1-enactor"), requests_per_s=1000.0)
    plans = RedisPlanStore(open_client(redis_url))
    await prepare(zones, plans)
    before = (await client.info("stats"))["total_connections_received"], await loads(client)

    await zones.create_zone(ZONE, (soa(ZONE, ttl=9, minimum=9), ns(ZONE)))
    await plans.publish(
        Draft({ZONE: content(5, [Target("use1-az1-lb-001", "A", "127.1.0.1", 10)])}, "test"), expected=0
    )
    calls = []
    for _ in range(MAX_PIPELINES):
        calls += [asyncio.create_task(zones.read(ZONE, [])), asyncio.create_task(plans.latest())]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*calls, zones.page(ZONE), plans.reports(), plans.controls())

    assert ((await client.info("stats"))["total_connections_received"], await loads(client)) == before
    for store in (zones, plans):
        await store.close()


async def test_store_that_is_prepared_again_or_while_calls_are_under_way_opens_no_more_than_it_uses(redis_url):
    """The connections that there are count, those in use and those that are still opening included."""
    opened = open_client(redis_url)
    zones = RedisZoneStore(opened, Actor("use1-az1-enactor"))

    await asyncio.gather(zones.create_zone(ZONE, (soa(ZONE, ttl=9, minimum=9), ns(ZONE))), zones.prepare())
    await asyncio.gather(zones.prepare(), zones.prepare(), zones.read(ZONE, []))

    assert (len(opened._idle), len(opened._busy), len(opened._opening)) == (MAX_PIPELINES, 0, 0)
    await zones.close()


async def test_store_whose_server_is_away_when_it_is_prepared_is_used_once_it_is_there(tmp_path, scripted):
    """To prepare is to be early, not to be able: services start without their store."""
    opened = open_client(f"unix://{tmp_path / 'redis.sock'}")
    zones = RedisZoneStore(opened, Actor("use1-az1-enactor"))

    with pytest.raises(StoreUnavailable):
        await zones.prepare()
    await prepare(zones)

    async def talk(commands, writer):
        async for _ in commands:
            writer.write(b"+x\r\n")

    async with scripted(talk):
        assert await opened.hget("h", "f") == b"x"
        await zones.close()


async def test_stores_whose_server_does_not_answer_are_not_waited_for_and_are_prepared_once_it_does(
    scripted, monkeypatch
):
    """A start that takes long is worse than a first call that does; one store has not to wait for the other."""
    monkeypatch.setattr(connect, "PREPARE_TIMEOUT_S", 0.1)
    go_on = asyncio.Event()

    async def talk(commands, writer):
        async for words in commands:
            if words[0] == b"SCRIPT":
                await go_on.wait()
            writer.write(b"+OK\r\n")

    async with scripted(talk) as url, asyncio.timeout(3):
        clients = [open_client(url) for _ in range(2)]
        await prepare(RedisZoneStore(clients[0], Actor("use1-az1-enactor")), RedisPlanStore(clients[1]))
        lines = [(len(client._idle), len(client._busy)) for client in clients]
        go_on.set()
        await until(lambda: not any(client._busy for client in clients))
        for client in clients:
            await client.aclose()

    assert lines == [(MAX_PIPELINES - 1, 1)] * 2


async def test_store_that_is_closed_while_it_is_prepared_leaves_no_connection(redis_url, client):
    """Neither one that was open by then nor one that was opening, and who prepares is told."""
    zones = RedisZoneStore(open_client(redis_url), Actor("use1-az1-enactor"))
    preparing = asyncio.create_task(zones.prepare())
    await until(lambda: zones._client._opening)

    await zones.close()

    with pytest.raises(StoreUnavailable):
        await preparing
    async with asyncio.timeout(5):
        while (await client.info("clients"))["connected_clients"] > 1:  # noqa: ASYNC110  -- the server sees it later
            await asyncio.sleep(0)
