"""The data plane's feed over zones that are damaged in the store: that is an error of theirs, and of nobody else."""

import re
from typing import Final

import pytest

from fencepost.batch import create, upsert
from fencepost.errors import StoreUnavailable, ZoneDamaged
from fencepost.feed import Since
from fencepost.records import ns, soa, txt
from fencepost.redis_client import open_client
from fencepost.redis_feed import RedisZoneFeed
from fencepost.stores import Position

ZONE = "dynamodb.us-east-1.fencepost.test."
OTHER = "dynamodb-fips.us-east-1.fencepost.test."
APEX = (soa(OTHER, ttl=1, minimum=1), ns(OTHER))


async def test_key_of_the_wrong_type_is_an_error_of_its_zone_alone(client, feed, change):
    """What is no history cannot be read as one, nor what is no head; the other zone is answered."""
    commit = await change(create(txt(f"a.{ZONE}", "t")))
    for part in ("stream", "meta"):
        await client.set(f"{{{OTHER}}}:{part}", "text")

    since = await feed.since({OTHER: 1, ZONE: commit.serial})
    heads = await feed.heads([OTHER, ZONE])

    for found, part in ((since, "stream"), (heads, "meta")):
        assert isinstance(found[OTHER], ZoneDamaged)
        assert re.match(rf"{{{OTHER}}}:{part} .*WRONGTYPE", str(found[OTHER]))
    assert since[ZONE] == Since(Position(commit.serial, commit.at_us), ())
    assert heads[ZONE] == Position(commit.serial, commit.at_us)


@pytest.mark.parametrize("part", ["meta", "order", "records"])
async def test_page_of_a_zone_with_a_key_of_the_wrong_type_is_an_error_that_says_so(client, zones, feed, part):
    """A script meets with it; the store is there all the same."""
    await zones.create_zone(OTHER, APEX)
    await client.delete(f"{{{OTHER}}}:{part}")
    await client.set(f"{{{OTHER}}}:{part}", "text")

    with pytest.raises(ZoneDamaged, match=f"{{{OTHER}}}:{part} .*WRONGTYPE"):
        await feed.page(OTHER)


@pytest.mark.parametrize("damage", [("serial", "x"), ("at_us", "x"), ("serial", "-1"), ("serial", "9" * 20)])
async def test_head_that_is_no_number_is_an_error_of_its_zone_alone(client, zones, feed, change, damage):
    """Whoever writes into a zone's keys may write anything; a serial has to be one that an entry can have."""
    await zones.create_zone(OTHER, APEX)
    commit = await change(create(txt(f"a.{ZONE}", "t")))
    await client.hset(f"{{{OTHER}}}:meta", *damage)

    heads = await feed.heads([OTHER, ZONE])
    assert isinstance(heads[OTHER], ZoneDamaged)
    assert heads[ZONE] == Position(commit.serial, commit.at_us)
    with pytest.raises(ZoneDamaged, match=f"'{damage[1]}'"):
        await feed.page(OTHER)


@pytest.mark.parametrize("text", [None, "{", "[1]"], ids=["missing", "no JSON", "no record set"])
async def test_page_with_a_damaged_record_set_is_an_error_that_says_so(client, zones, feed, text):
    """No part of a zone is taken for the zone."""
    await zones.create_zone(OTHER, APEX)
    key = (await client.hkeys(f"{{{OTHER}}}:records"))[0]
    await client.hdel(f"{{{OTHER}}}:records", key)
    if text is not None:
        await client.hset(f"{{{OTHER}}}:records", key, text)

    with pytest.raises(ZoneDamaged, match="records"):
        await feed.page(OTHER)


GOOD: Final = {"at_us": "7", "actor": "a", "operator": "0", "generation": "", "comment": "", "changes": ""}


@pytest.mark.parametrize(
    "damage", [{"changes": "{"}, {"changes": "[1]"}, {"at_us": "x"}, {"generation": "x"}, {"actor": b"\xff"}]
)
async def test_since_with_a_damaged_commit_is_an_error_of_its_zone_alone(client, zones, feed, change, damage):
    """What is behind such a commit cannot be taken for what follows the serial."""
    await zones.create_zone(OTHER, APEX)
    first, second = [await change(upsert(txt(f"a.{ZONE}", text))) for text in "ab"]
    await client.xadd(f"{{{OTHER}}}:stream", GOOD, "2-0")
    assert len((await feed.since({OTHER: 1}))[OTHER].commits) == 1
    await client.xadd(f"{{{OTHER}}}:stream", GOOD | damage, "3-0")

    found = await feed.since({OTHER: 1, ZONE: first.serial})

    assert isinstance(found[OTHER], ZoneDamaged)
    assert str(found[OTHER]).startswith("entry 3-0 of ")
    assert found[ZONE] == Since(Position(first.serial, first.at_us), (second,))


@pytest.mark.parametrize("missing", sorted(GOOD))
async def test_since_with_a_commit_that_lacks_a_field_is_an_error_of_its_zone_alone(client, zones, feed, missing):
    """The oldest is asked for its time alone, the others for all that they have."""
    await zones.create_zone(OTHER, APEX)
    await client.xadd(f"{{{OTHER}}}:stream", {name: text for name, text in GOOD.items() if name != missing}, "2-0")

    assert isinstance((await feed.since({OTHER: 1}))[OTHER], ZoneDamaged)
    assert isinstance((await feed.since({OTHER: 2}))[OTHER], ZoneDamaged) == (missing == "at_us")


async def test_calls_of_a_user_who_may_not_are_errors_of_the_store(redis_url, client, feed, change):
    """No zone is damaged by that: who may read nothing has lost the store."""
    await change(create(txt(f"a.{ZONE}", "t")))
    await feed.page(ZONE)  # so that the server knows the script
    await client.execute_command("ACL", "SETUSER", "stranger", "on", "nopass", "~other", "&*", "+@all")
    strange = RedisZoneFeed(open_client(redis_url.replace("unix://", "unix://stranger:any@")))

    try:
        for call in (strange.heads([ZONE]), strange.since({ZONE: 1}), strange.page(ZONE)):
            with pytest.raises(StoreUnavailable, match="permission"):
                await call
    finally:
        await strange.close()
        await client.execute_command("ACL", "DELUSER", "stranger")
    assert await feed.since({}) == {}
