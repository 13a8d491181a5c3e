"""Opening the stores that the settings name, bare or over a link of the network profile."""

import asyncio
from contextlib import suppress
from typing import Final

from fencepost.clock import Clock, SystemClock, stream
from fencepost.errors import StoreError
from fencepost.feed import ZoneFeed
from fencepost.network import Link
from fencepost.redis_client import check_server, open_client
from fencepost.redis_feed import RedisZoneFeed
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.remote import RemotePlanStore, RemoteZoneStore
from fencepost.settings import Settings
from fencepost.slices import Look, no_look
from fencepost.stores import Actor, PlanStore, ZoneStore

__all__ = [
    "check_server",
    "control_link",
    "open_plan_store",
    "open_zone_feed",
    "open_zone_store",
    "prepare",
    "store_link",
]


PREPARE_TIMEOUT_S: Final = 1.0
"""How long a service waits at its start for what it can also do later."""


def open_zone_store(settings: Settings, actor: Actor, *, link: Link | None = None) -> ZoneStore:
    """Return the zones for one actor; with a link, behind the control API with its delays, losses and limits."""
    network = settings.network
    bare = RedisZoneStore(
        open_client(settings.redis_url),
        actor,
        replicas=settings.replicas,
        stream_limit=settings.stream_limit,
        processing_s=network.processing_s if link else 0.0,
        requests_per_s=network.requests_per_s if link else 0.0,
    )
    return RemoteZoneStore(bare, link) if link and not link.spec.is_free else bare


def open_zone_feed(settings: Settings, look: Look = no_look) -> ZoneFeed:
    """Return the data plane's feed of the zones, which calls `look` between two pieces of work."""
    return RedisZoneFeed(open_client(settings.redis_url), look)


def open_plan_store(settings: Settings, *, link: Link | None = None) -> PlanStore:
    """Return the plans; with a link, at its distance."""
    bare = RedisPlanStore(open_client(settings.redis_url), replicas=settings.replicas)
    return RemotePlanStore(bare, link) if link and not link.spec.is_free else bare


async def prepare(*stores: ZoneStore | PlanStore) -> None:
    """Let stores do what their first calls would wait for; one whose server is away, or slow, does that later."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            await asyncio.gather(*(_prepare_one(store) for store in stores))


async def _prepare_one(store: ZoneStore | PlanStore) -> None:
    with suppress(StoreError):
        await store.prepare()


def control_link(settings: Settings, clock: Clock | None = None) -> Link:
    """Return this process's link to the zones' control API."""
    return Link(settings.network.control_api, clock or SystemClock(), stream(settings.seed, settings.name, "control"))


def store_link(settings: Settings, clock: Clock | None = None) -> Link:
    """Return this process's link to the plan store, in another Availability Zone."""
    return Link(settings.network.across_zones, clock or SystemClock(), stream(settings.seed, settings.name, "plans"))
