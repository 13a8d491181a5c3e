"""The storm's generator, `python -m lab.drills.storm_load`: capacity changes at the operator API, at a stated rate.

A process of its own, so that nothing that the drill measures beside it can hold it up. It sends for as long as it
should, then waits to be stopped; `/state` says what came of it.
"""

import random
import sys
from collections.abc import Mapping
from itertools import takewhile
from typing import Annotated, Any, Final

import aiohttp
import msgspec
from pydantic import Field

from fencepost.clock import Clock, SystemClock, stream
from fencepost.region import Region
from fencepost.service import Context, serve
from fencepost.settings import LOOPBACK, Settings, load_settings
from lab.clients import Answer, OpenLoop, Tally, Target, arrivals
from lab.drills.storm import ACCEPTED, is_refusal

TIMEOUT_S: Final = 10.0
STEP_MAX: Final = 10
ADDED_MAX: Final = 40
"""Capacity comes and goes between what a load balancer reports and so much more: far from any protective check."""


class StormSettings(Settings):
    """The storm's settings.

    Attributes:
        storm_rate: changes a second, Poisson.
        storm_duration_s: for how long.
        storm_in_flight: how many may be in flight; what is due beyond that is the generator's own failure.
    """

    name: str = "storm"
    storm_rate: Annotated[float, Field(gt=0, le=10_000)] = 500.0
    storm_duration_s: Annotated[float, Field(gt=0)] = 20.0
    storm_in_flight: Annotated[int, Field(ge=1)] = 3000


class Added(msgspec.Struct):
    """What a storm has added so far, by load balancer, as far as the API has said so.

    `unclear` has those with a change of which it did not say whether it was stored.
    """

    by_name: dict[str, int]
    unclear: set[str] = msgspec.field(default_factory=set)

    @classmethod
    def of(cls, region: Region) -> "Added":
        """Return what there is before a storm."""
        return cls({lb.name: 0 for lb in region.load_balancer})

    def step(self, name: str, rng: random.Random) -> int:
        """Return the next change of a load balancer, which keeps it within 0 and `ADDED_MAX`."""
        amount = rng.randint(1, STEP_MAX) * rng.choice((1, -1))
        return amount if 0 <= self.by_name[name] + amount <= ADDED_MAX else -amount


class Storm:
    """Sends the changes; a target of the open loop is a load balancer here."""

    def __init__(self, settings: StormSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._rng = stream(settings.seed, settings.name, "amounts")
        self._added = Added.of(settings.region())
        self._loop: OpenLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self.last_accepted_us = 0
        self.done = False

    @property
    def added(self) -> Added:
        """What was added so far; while requests are in flight, as if they were accepted."""
        return self._added

    @property
    def tally(self) -> Tally:
        """What was done so far."""
        return self._loop.tally if self._loop else Tally()

    async def run(self) -> None:
        """Send for as long as the settings say."""
        settings = self._settings
        targets = tuple(Target(name, "capacity") for name in self._added.by_name)
        plan = takewhile(
            lambda arrival: arrival.due_s < settings.storm_duration_s,
            arrivals(settings.storm_rate, targets, stream(settings.seed, settings.name)),
        )
        connector = aiohttp.TCPConnector(limit=0, resolver=aiohttp.ThreadedResolver())
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
        ) as self._session:
            self._loop = OpenLoop(self._ask, self._noted, self._clock, limit=settings.storm_in_flight)
            await self._loop.run(plan)
        self.done = True

    async def _ask(self, target: Target) -> Answer:
        assert self._session is not None
        name, amount = target.endpoint, self._added.step(target.endpoint, self._rng)
        url = f"http://{LOOPBACK}:{self._settings.api_port}/v1/load-balancers/{name}/capacity?wait=false"
        self._added.by_name[name] += amount
        try:
            async with self._session.post(url, json={"add": amount}) as response:
                await response.read()
                if response.status in ACCEPTED:
                    return Answer("")
                error, clear = f"http {response.status}", is_refusal(response.status)
        except (aiohttp.ClientError, OSError) as failure:
            error, clear = f"broken {type(failure).__name__}", False
        if not clear:
            self._added.unclear.add(name)
        self._added.by_name[name] -= amount
        return Answer(error)

    def _noted(self, _: Target, answer: Answer, __: float) -> None:
        if not answer.error:
            self.last_accepted_us = int(self._clock.epoch_s() * 1e6)


class StormService:
    """The storm as a process."""

    def __init__(self, settings: StormSettings) -> None:
        self._settings, self._clock = settings, SystemClock(settings.clock_skew_s)
        self._storm: Storm | None = None

    async def start(self) -> None:
        """Make ready."""
        self._storm = Storm(self._settings, self._clock)

    async def run(self) -> None:
        """Send, then wait to be stopped: a process that ends would be started again."""
        assert self._storm is not None
        await self._storm.run()
        while True:
            await self._clock.sleep(1.0)

    async def stop(self) -> None:
        """Nothing is open outside `run`."""

    def not_ready(self) -> str | None:
        """Return None as soon as changes are sent."""
        return None if self._storm is not None else "it has not started"

    def state(self) -> Mapping[str, Any]:
        """Return the tally, whether it is over, what was accepted of which load balancer, and when last."""
        if self._storm is None:
            return {}
        storm = self._storm
        return {
            "storm": msgspec.to_builtins(storm.tally),
            "done": storm.done,
            "accepted": storm.added.by_name,
            "unclear": sorted(storm.added.unclear),
            "last_accepted_us": storm.last_accepted_us,
        }


def build(context: Context) -> StormService:
    """Return the storm of the settings."""
    assert isinstance(context.settings, StormSettings)
    return StormService(context.settings)


if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(StormSettings), build))
