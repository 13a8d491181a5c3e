"""The planner as a process: its stores, its operator API and its loop."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from fencepost.clock import SystemClock
from fencepost.connect import check_server, open_plan_store, open_zone_store, store_link
from fencepost.service import LOOPBACK, Context, start_site
from fencepost.stores import Actor
from planner.api import api_app
from planner.loop import Planner
from planner.settings import PlannerSettings

API_SHUTDOWN_S: Final = 0.2
"""How long a stopping planner waits for API calls under way; a request that is stored stays stored."""


class PlannerService:
    """A `fencepost.service.Service`."""

    def __init__(self, context: Context, settings: PlannerSettings) -> None:
        clock = SystemClock(settings.clock_skew_s)
        self._settings = settings
        self._plans = open_plan_store(settings, link=store_link(settings, clock))
        self._zones = open_zone_store(settings, Actor(settings.name))
        self.planner = Planner(
            settings, settings.region(), self._plans, self._zones, events=context.events, clock=clock
        )
        self._api = web.AppRunner(api_app(self.planner), access_log=None, shutdown_timeout=API_SHUTDOWN_S)

    async def start(self) -> None:
        """Check the server and open the operator API. Raises: StartupError."""
        await check_server(self._settings.redis_url)
        await start_site(self._api, LOOPBACK, self._settings.api_port)

    async def run(self) -> None:
        """Observe and publish until cancelled."""
        await self.planner.run()

    async def stop(self) -> None:
        """Close the API and the stores."""
        await self._api.cleanup()
        await self._plans.close()
        await self._zones.close()

    def not_ready(self) -> str | None:
        """Return why no plan can be in force yet, None if one is."""
        return self.planner.not_ready()

    def state(self) -> Mapping[str, Any]:
        """Return what a person on call wants to know."""
        return self.planner.state()


def build(context: Context) -> PlannerService:
    """Return the planner of the region that the settings name."""
    assert isinstance(context.settings, PlannerSettings), "planner/__main__.py loads these"
    return PlannerService(context, context.settings)
