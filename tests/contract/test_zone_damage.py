"""Batches for a zone whose keys somebody has damaged: whatever the server refuses, no half of a batch is written."""

import pytest

from fencepost.batch import create, delete
from fencepost.errors import StoreError
from fencepost.records import txt

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER_TYPE = ("SET", "text")
DAMAGE = {
    "order of another type": ("order", OTHER_TYPE),
    "stream of another type": ("stream", OTHER_TYPE),
    "stream ahead of the zone": ("stream", ("XADD", "99-0", "at_us", "1")),
    "meta of another type": ("meta", OTHER_TYPE),
    "counts of another type": ("counts", OTHER_TYPE),
    "records of another type": ("records", OTHER_TYPE),
}


async def contents(client):
    """Return what every key has."""
    return {key: await client.dump(key) for key in sorted(await client.keys("*"))}


@pytest.mark.parametrize(("part", "damage"), DAMAGE.values(), ids=DAMAGE)
async def test_batch_for_a_damaged_zone_is_written_not_at_all(client, change, part, damage):
    """Record sets that come, stay and go: a zone that has some of that is no state that anybody meant."""
    await change(create(txt(f"gone.{ZONE}", "t")))
    command, *words = damage
    if damage == OTHER_TYPE:
        await client.delete(f"{{{ZONE}}}:{part}")
    await client.execute_command(command, f"{{{ZONE}}}:{part}", *words)
    before = await contents(client)

    with pytest.raises(StoreError):
        await change(create(txt(f"come.{ZONE}", "t")), delete(txt(f"gone.{ZONE}", "t")))

    assert await contents(client) == before
