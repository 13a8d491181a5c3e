"""`python -m lab.bench.dns.replanner`: publishes one plan of every endpoint after the other, each when the last is in.

A process of its own, so that it can give way to the load that it runs beside.
"""

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field

from fencepost.clock import Clock, SystemClock
from fencepost.connect import open_plan_store
from fencepost.service import Context, serve
from fencepost.settings import Settings, load_settings
from lab.bench.dns.endpoints import MOST_BALANCERS, MOST_ENDPOINTS, Endpoints

LOOK_EVERY_S: Final = 0.05


class ReplannerSettings(Settings):
    """What the endpoints are; see `lab.bench.dns.endpoints.Endpoints`."""

    endpoints: Annotated[int, Field(ge=1, le=MOST_ENDPOINTS)] = 1_000
    balancers: Annotated[int, Field(ge=2, le=MOST_BALANCERS)] = 24


class Replanner:
    """Publishes plans in which every weight of every endpoint is another one than before."""

    def __init__(self, settings: ReplannerSettings, clock: Clock) -> None:
        self._endpoints = Endpoints(settings.endpoints, settings.balancers, settings.seed)
        self._plans, self._clock = open_plan_store(settings), clock
        self._published = self._installed = 0

    async def start(self) -> None:
        """See `Service.start`."""
        self._published = self._installed = await self._plans.latest_generation()

    async def run(self) -> None:
        """See `Service.run`."""
        while True:
            draft = self._endpoints.draft(self._published + 1)
            self._published = await self._plans.publish(draft, expected=self._published)
            while self._installed < self._published:
                await self._clock.sleep(LOOK_EVERY_S)
                reports = (await self._plans.reports()).values()
                self._installed = max((r.generation for r in reports if r.role == "enactor"), default=0)

    async def stop(self) -> None:
        """See `Service.stop`."""
        await self._plans.close()

    def not_ready(self) -> str | None:
        """See `Service.not_ready`: it is when it has published a plan."""
        return None if self._published > self._installed else "no plan is on its way"

    def state(self) -> Mapping[str, Any]:
        """See `Service.state`."""
        return {"published": self._published, "installed": self._installed}


def main() -> int:
    """Run it until it is told to stop."""
    settings = load_settings(ReplannerSettings)

    def build(_: Context) -> Replanner:
        return Replanner(settings, SystemClock())

    return serve(lambda: settings, build)


if __name__ == "__main__":
    sys.exit(main())
