"""Freezing and thawing a whole region as an operator does it: the plan store first, then every zone."""

import asyncio
import random
from typing import Final

from fencepost.batch import ChangeBatch, create, delete
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.events import Events
from fencepost.notice import Notice, frozen_key

PAUSE_S: Final = 0.005


async def freeze(stores: Stores, notice: Notice, *, clock: Clock, events: Events, rng: random.Random) -> None:
    """Freeze everything; when this returns, no automation can publish or commit anywhere.

    Raises: ChangeRefused for a zone that is frozen already, StoreError.
    """
    api = ControlApi(stores.zones, clock, rng, events, pause_s=PAUSE_S)
    await stores.plans.freeze(notice)
    await asyncio.gather(
        *(
            api.change(ChangeBatch(zone, (create(notice.freezing(zone)),), comment="freeze"))
            for zone in stores.region.endpoint_names
        )
    )


async def thaw(stores: Stores, *, clock: Clock, events: Events, rng: random.Random) -> None:
    """End a freeze everywhere. Raises: ChangeRefused, StoreError."""
    api = ControlApi(stores.zones, clock, rng, events, pause_s=PAUSE_S)

    async def thaw_zone(zone: str) -> None:
        record = (await api.read(zone, [frozen_key(zone)])).records.get(frozen_key(zone))
        if record is not None:
            await api.change(ChangeBatch(zone, (delete(record),), comment="thaw"))

    await asyncio.gather(*(thaw_zone(zone) for zone in stores.region.endpoint_names))
    await stores.plans.thaw()
