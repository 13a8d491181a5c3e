"""The planner as a process: its stores, its operator API and its loop."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from aiohttp import web

from fencepost.clock import SystemClock
from fencepost.connect import check_server, open_plan_store, open_zone_store, prepare, store_link
from fencepost.plan import Lane
from fencepost.service import Context, start_site
from fencepost.settings import LOOPBACK
from fencepost.stores import Actor
from planner.api import api_app
from planner.lanes import Lanes
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
        self._measure(context)
        self._api = web.AppRunner(api_app(self.planner), access_log=None, shutdown_timeout=API_SHUTDOWN_S)

    def _measure(self, context: Context) -> None:
        """Make the gauges; each asks the planner when it is read."""
        planner, settings = self.planner, self._settings

        def lanes() -> Lanes:
            return planner.publisher.lanes or Lanes(settings.pace)

        queue = context.gauge("queue_size", "Plans published and not installed yet")
        queue.set_function(lambda: lanes().queue)
        frozen = context.gauge("frozen", "1 while the automation is frozen")
        frozen.set_function(lambda: float(planner.outcome.settled.frozen is not None))
        held = context.gauge("plans_held", "1 while a lane is held back by the queue", "lane")
        for lane in Lane:
            held.labels(lane.value).set_function(partial(lambda lane: float(lane in lanes().held), lane))
        limited = context.gauge("removal_limited", "1 while an endpoint's plan is cut short", "zone")
        for zone in settings.region().endpoint_names:
            limited.labels(zone).set_function(partial(lambda zone: float(zone in planner.outcome.limited), zone))

    async def start(self) -> None:
        """Check the server and open the operator API. Raises: StartupError."""
        await check_server(self._settings.redis_url)
        await start_site(self._api, LOOPBACK, self._settings.api_port)
        await prepare(self._zones, self._plans)

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
