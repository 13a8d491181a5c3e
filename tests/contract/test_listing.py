"""Whole listings over any store: they have what was asked for and nothing else."""

import pytest

from fencepost.batch import create
from fencepost.clock import SystemClock, stream
from fencepost.control import ControlApi
from fencepost.events import EventBus
from fencepost.names import manifest_name, order_key, tree_name
from fencepost.records import RecordKey, address, txt

ZONE = "dynamodb.us-east-1.fencepost.test."
TREE = tree_name(ZONE, 9)


@pytest.mark.parametrize(
    "start", [RecordKey(TREE, "A"), RecordKey(TREE, "A", "lb-2"), RecordKey(f"plan-000009a.{ZONE}", "A")]
)
async def test_listing_within_a_name_has_all_of_it_from_the_start_on_and_nothing_else(zones, change, start):
    """Neighbours whose names begin alike are not of it, and a start behind it finds nothing."""
    names = (tree_name(ZONE, 8), TREE, f"plan-000009a.{ZONE}", f"rollback.{ZONE}")
    leaves = [
        address(name, "A", f"127.1.0.{n}", ttl=5, set_identifier=f"lb-{n}", weight=1)
        for name in names
        for n in range(5)
    ]
    manifests = [txt(manifest_name(ZONE, generation), "1/1 00000000") for generation in (8, 9)]
    await change(*map(create, [*leaves, *manifests]))
    api = ControlApi(zones, SystemClock(), stream(1), EventBus(), pause_s=0.01)

    found = await api.listing(ZONE, start, within=TREE)

    assert found == tuple(r for r in (*leaves[5:10], manifests[1]) if r.order >= order_key(*start))
