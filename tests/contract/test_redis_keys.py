"""What only the Redis adapters promise: one slot, declared keys, and a cost that does not follow the zone's size."""

import re
from importlib.resources import files

import pytest
from redis.crc import key_slot

from fencepost.batch import ChangeBatch, create, delete, swap, upsert
from fencepost.plan import Draft, Target, content
from fencepost.records import address, ns, soa, txt
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
SCRIPTS = sorted(path.name for path in (files("fencepost") / "lua").iterdir() if path.name.endswith(".lua"))


@pytest.fixture
def zones(client):
    """The bare adapter, on that client, with the account's bucket in use."""
    return RedisZoneStore(client, Actor("use1-az1-enactor"), requests_per_s=100_000.0)


async def fill(zones, zone, count):
    """Create a zone with so many record sets besides SOA and NS."""
    await zones.create_zone(zone, (soa(zone, ttl=900, minimum=86_400), ns(zone)))
    for first in range(0, count, 500):
        numbers = range(first, min(first + 500, count))
        await zones.change(ChangeBatch(zone, tuple(create(txt(f"r{n}.{zone}", "t")) for n in numbers)))


async def spent(client, work):
    """Return how often the server ran each command for a piece of work."""
    await client.config_resetstat()
    await work()
    stats = await client.info("commandstats")
    ours = ("cmdstat_info", "cmdstat_config|resetstat")
    return {name: figures["calls"] for name, figures in stats.items() if name not in ours}


async def test_batch_cost_is_the_same_in_a_zone_of_3000(client, zones):
    """No script's cost grows with the zone: the same batch runs the same commands in a small zone and a large one."""
    costs = []
    for zone, count in ((f"small.{ZONE}", 10), (f"large.{ZONE}", 3000)):
        await fill(zones, zone, count)
        leaf = address(f"plan-000001.{zone}", "A", "127.1.0.1", ttl=5, set_identifier="lb", weight=1)
        batch = ChangeBatch(zone, (*swap(txt(f"r1.{zone}", "t"), txt(f"r1.{zone}", "u")), upsert(leaf)))
        costs.append(await spent(client, lambda batch=batch: zones.change(batch)))

    assert costs[0] == costs[1]
    assert costs[0]["cmdstat_xadd"] == 1


async def test_read_and_page_cost_is_the_same_in_a_zone_of_3000(client, zones):
    """The same holds for reads: they cost what they return."""
    costs = []
    for zone, count in ((f"small.{ZONE}", 10), (f"large.{ZONE}", 3000)):
        await fill(zones, zone, count)
        await zones.read(zone, [])
        await zones.page(zone, None, 1)

        async def work(zone=zone):
            await zones.read(zone, [txt(f"r1.{zone}", "t").key])
            await zones.page(zone, txt(f"r1.{zone}", "t").key, 5)

        costs.append(await spent(client, work))

    assert costs[0] == costs[1]


async def test_keys_of_a_zone_and_of_the_plans_are_in_one_slot_each(client, zones):
    """Redis Cluster: no script touches two slots, since all keys of a zone, and all of the plans, share one."""
    await fill(zones, ZONE, 1)
    plans = RedisPlanStore(client)
    value = content(5, [Target("lb", "A", "127.1.0.1", 1)])
    await plans.publish(Draft({ZONE: value}, "test"), expected=0)
    await plans.set_requests({"k": "{}"})

    slots = {}
    for key in await client.keys("*"):
        slots.setdefault(key.split(b":")[0].decode(), set()).add(key_slot(key))
    assert {tag: len(found) for tag, found in slots.items()} == {f"{{{ZONE}}}": 1, "{plans}": 1, "{account}": 1}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_touches_declared_keys_only(name):
    """Redis, EVAL: "all keys accessed must be explicitly provided", else Cluster could not route the script."""
    text = (files("fencepost") / "lua" / name).read_text("utf-8")
    code = "\n".join(line.split("--")[0] for line in text.splitlines())
    declared = {"KEYS"}
    for names, values in re.findall(r"^local ([\w, ]+) = (KEYS\[\d\](?:, KEYS\[\d\])*)$", code, re.MULTILINE):
        assert len(names.split(",")) == len(values.split(","))
        declared |= {part.strip() for part in names.split(",")}

    called = re.findall(r"redis\.p?call\('(\w+)'(?:, *(\w+))?", code)
    assert called
    assert [call for call in called if call[0] not in {"TIME", "PUBLISH"} and call[1] not in declared] == []
    assert not [part for part in declared - {"KEYS"} if re.search(rf"^\s+(local )?{part} =", code, re.MULTILINE)]


async def test_script_forgotten_by_the_server_is_loaded_again(client, zones):
    """A restarted server knows no script: EVALSHA answers NOSCRIPT, and the call succeeds all the same, once."""
    await fill(zones, ZONE, 1)
    plans = RedisPlanStore(client)
    value = content(5, [Target("lb", "A", "127.1.0.1", 1)])
    await plans.publish(Draft({ZONE: value}, "test"), expected=0)

    await client.script_flush()
    commit = await zones.change(ChangeBatch(ZONE, (delete(txt(f"r0.{ZONE}", "t")),)))
    await client.script_flush()
    assert await plans.publish(Draft({ZONE: None}, "test"), expected=1) == 2
    await client.script_flush()
    assert (await zones.read(ZONE, [])).serial == commit.serial == 3
