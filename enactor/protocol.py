"""What both protocols have in common: their tools, and the shape of a round."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from enactor.check import Protection
from enactor.hand import ZoneHand
from enactor.lock import ZoneLock
from enactor.settings import EnactorSettings
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.events import Events
from fencepost.safety import known_addresses
from fencepost.stores import PlanStore, ZoneStore
from fencepost.throttle import TokenBucket


class Outcome(NamedTuple):
    """What a round did and why, in one sentence, and how long to wait before the next.

    `installed` is the generation that every endpoint which can be moved has now, 0 if the round cannot tell; `held`
    says of each of the others why it cannot. `until_news`: whether a newer plan may cut the wait short. `came_second`:
    whether somebody else was first at a plan; None if that did not come up.
    """

    text: str
    wait_s: float
    installed: int = 0
    held: Mapping[str, str] = {}
    until_news: bool = False
    came_second: bool | None = None


class Enactor(Protocol):
    """A protocol: `tick` does one round."""

    async def tick(self) -> Outcome:
        """Look for a plan and install it. Raises: StoreError; the next round starts afresh."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What an enactor works with; everything that is not a decision is behind these."""

    settings: EnactorSettings
    plans: PlanStore
    api: ControlApi
    clock: Clock
    rng: random.Random
    events: Events
    start_s: int
    lock_ttl_s: float
    protection: Protection
    cleaning: TokenBucket

    @classmethod
    def of(
        cls,
        settings: EnactorSettings,
        *,
        plans: PlanStore,
        zones: ZoneStore,
        clock: Clock,
        rng: random.Random,
        events: Events,
    ) -> "Tools":
        """Return the tools of one enactor process that starts now. Raises: RegionInvalid."""
        region = settings.region()
        rate, cleans = settings.api_rate, settings.clean_batches_per_s or max(5.0, len(region.endpoint))
        bucket = TokenBucket(rate, max(1.0, rate), clock)
        pauses = settings.pauses
        api = ControlApi(
            zones,
            clock,
            rng,
            events,
            pause_s=pauses.backoff_base_s,
            longest_s=pauses.backoff_cap_s,
            bucket=bucket,
        )
        known = known_addresses(region)
        protection = Protection(settings, known, plans=plans, api=api, events=events)
        cleaning = TokenBucket(cleans, max(1.0, cleans), clock)
        return cls(
            settings, plans, api, clock, rng, events, int(clock.epoch_s()), pauses.lock_ttl_s, protection, cleaning
        )

    def hand(self, zone: str) -> ZoneHand:
        """Return this enactor's hand on a zone, without its lock."""
        lock = ZoneLock(zone, self.settings.name, self.lock_ttl_s, self.clock)
        return ZoneHand(self.api, lock, self.events)
