"""Glances: in a large region each zone's fence is looked at more often than a sweep comes round to the zone.

A zone store that fails over may forget its last writes. What an enactor takes for installed there is not any more, and
no plan says so. A sweep finds it, but looks at so much of each zone that it takes its time; one record takes little.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from enactor.held import Held
from enactor.pace import sweep_span_s
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.errors import ChangeRefused, ControlRecordInvalid, StoreError
from fencepost.fence import Fence, fence_key

GLANCE_S: Final = 0.0025
"""So long a glance at each zone takes at least: 2,000 zones in 5 s."""
SHARE: Final = 0.5
"""The share of an enactor's own bound on calls that glances may take."""
MOST: Final = 16
"""So many zones are glanced at in one round."""


def glance_span_s(zones: int, sweep_s: float, api_rate: float) -> float | None:
    """Return within how long each of so many zones is glanced at, seconds; None if the sweep is as soon as that.

    Args:
        zones: how many there are.
        sweep_s: as in `Pauses`.
        api_rate: calls a second that the enactor allows itself; 0: no bound.
    """
    each_s = max(GLANCE_S, 1 / (SHARE * api_rate)) if api_rate else GLANCE_S
    span_s = max(sweep_s, each_s * zones)
    return span_s if span_s < sweep_span_s(zones, sweep_s) else None


class Glances:
    """Goes round all zones, a few a round, and lets those be due whose fence is not what is known."""

    def __init__(self, api: ControlApi, held: Held, clock: Clock, sweep_s: float, api_rate: float) -> None:
        self._api, self._held, self._clock = api, held, clock
        self._sweep_s, self._api_rate = sweep_s, api_rate
        self._next, self._at_s, self._credit = 0, clock.monotonic(), 0.0

    async def go_on(self, zones: Sequence[str]) -> None:
        """Glance at those zones whose turn it is. One that cannot be read now is looked at in its next turn."""
        turns = self._turns(zones)
        if turns:
            await asyncio.gather(*map(self._glance, turns))

    def _turns(self, zones: Sequence[str]) -> list[str]:
        now_s = self._clock.monotonic()
        passed_s, self._at_s = now_s - self._at_s, now_s
        span_s = glance_span_s(len(zones), self._sweep_s, self._api_rate)
        if span_s is None:
            return []
        # What a long round has left over is caught up with, but not all at once.
        self._credit = min(float(len(zones)), self._credit + passed_s * len(zones) / span_s)
        count = min(MOST, int(self._credit))
        self._credit -= count
        turns = [zones[(self._next + index) % len(zones)] for index in range(count)]
        self._next = (self._next + count) % len(zones)
        return turns

    async def _glance(self, zone: str) -> None:
        try:
            read = await self._api.glance(zone, [fence_key(zone)])
            record = read.records.get(fence_key(zone)) if read else None
            fence = Fence.parse(zone, record) if record else None
        except ControlRecordInvalid:
            fence = None
        except (ChangeRefused, StoreError):
            return
        if read is not None:
            self._held.glance(zone, fence)
