"""The planner's process from within: what it has done by the time at which it has started."""

import aiohttp

from fencepost import redis_plans, redis_zones
from fencepost.redis_client import load_script, open_client
from fencepost.service import Context
from planner.service import build
from planner.settings import PlannerSettings


async def test_planner_that_has_started_needs_to_load_no_script_later(redis_url, port_base):
    """What it would have to wait for with its first plan is done before it is ready; its API is open."""
    client = open_client(redis_url)
    await client.script_flush()
    service = build(Context(PlannerSettings(redis_url=redis_url, port_base=port_base)))

    await service.start()

    hashes = [client.register_script(load_script(name)).sha for name in (*redis_plans.SCRIPTS, *redis_zones.SCRIPTS)]
    assert await client.script_exists(*hashes) == [True] * len(hashes)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port_base + 2}/v1/load-balancers") as response,
    ):
        assert response.status == 200
    await service.stop()
    await client.aclose()
