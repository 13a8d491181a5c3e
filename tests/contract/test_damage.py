"""Writes to a store whose keys somebody has damaged: whatever the server refuses, no half of it is written."""

import pytest

from fencepost.batch import create, delete, upsert
from fencepost.errors import StoreError
from fencepost.notice import Notice
from fencepost.plan import Draft, Target, content, digest
from fencepost.records import txt

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."
OTHER_TYPE = ("SET", "text")
AHEAD = ("XADD", "99-0", "at_us", "1")
ZONE_DAMAGE = [*((part, OTHER_TYPE) for part in ("order", "stream", "meta", "counts", "records")), ("stream", AHEAD)]
PLAN_KEYS = ("head", "current", "log", "contents", "references", "forced", "pins")
PLAN_DAMAGE = [*((part, OTHER_TYPE) for part in PLAN_KEYS), ("log", AHEAD)]


def value(number):
    """Return a content of its own for each number."""
    return content(5, [Target("use1-az1-lb-001", "A", f"127.1.0.{number}", 10)])


def named(case):
    """Return a case's name."""
    part, damage = case
    return f"{part} {'of another type' if damage == OTHER_TYPE else 'ahead'}"


async def everything(client):
    """Return what every key has."""
    return {key: await client.dump(key) for key in sorted(await client.keys("*"))}


async def put(client, key, damage):
    """Leave something in a key that does not belong there."""
    command, *words = damage
    if damage == OTHER_TYPE:
        await client.delete(key)
    await client.execute_command(command, key, *words)


@pytest.mark.parametrize("case", ZONE_DAMAGE, ids=named)
async def test_batch_for_a_damaged_zone_is_written_not_at_all(client, change, case):
    """Record sets that come and go: a zone that has some of that is no state that anybody meant."""
    await change(create(txt(f"gone.{ZONE}", "t")))
    await put(client, f"{{{ZONE}}}:{case[0]}", case[1])
    before = await everything(client)

    with pytest.raises(StoreError):
        await change(create(txt(f"come.{ZONE}", "t")), delete(txt(f"gone.{ZONE}", "t")))

    assert await everything(client) == before


@pytest.mark.parametrize("case", PLAN_DAMAGE, ids=named)
async def test_plan_for_a_damaged_store_is_written_not_at_all(client, plans, case):
    """By force and with a pin, so that it has something for each key; the earlier plan stays what it was."""
    await plans.publish(Draft({ZONE: value(1), OTHER: value(1)}, "first"), expected=0)
    await put(client, f"{{plans}}:{case[0]}", case[1])
    before = await everything(client)

    pin, changes = Notice("anna", 1, "why"), {ZONE: value(2), OTHER: None}
    with pytest.raises(StoreError):
        await plans.publish(Draft(changes, "second", by="anna", operator=True, force=True, pin=pin), expected=1)

    assert await everything(client) == before


async def test_batch_for_a_zone_whose_count_is_no_number_is_written_not_at_all(client, change):
    """Of a name that the rules ask about and the batch does not change the number of: its record set stays."""
    await change(create(txt(f"there.{ZONE}", "1")))
    (name,) = (f for f in await client.hkeys(f"{{{ZONE}}}:counts") if b"there" in f and b"\t" not in f)
    await client.hset(f"{{{ZONE}}}:counts", name, "x")
    before = await everything(client)

    with pytest.raises(StoreError):
        await change(upsert(txt(f"there.{ZONE}", "2")))

    assert await everything(client) == before


async def test_plan_whose_references_are_no_number_is_written_not_at_all(client, plans):
    """Else the log has a plan that the head does not know, and who looks there believes that it was published."""
    await plans.publish(Draft({ZONE: value(1)}, "first"), expected=0)
    await client.hset("{plans}:references", digest(value(2)), "x")
    before = await everything(client)

    with pytest.raises(StoreError):
        await plans.publish(Draft({ZONE: value(2)}, "second"), expected=1)

    assert await everything(client) == before
