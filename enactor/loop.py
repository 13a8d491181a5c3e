"""The enactor's process: rounds of one protocol, for ever."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from enactor.buggy import BuggyEnactor
from enactor.fixed import FixedEnactor
from enactor.protocol import Enactor, Outcome, Tools
from enactor.settings import EnactorSettings
from fencepost.cancelling import was_cancelled
from fencepost.clock import SystemClock, stream
from fencepost.connect import check_server, control_link, open_plan_store, open_zone_store, store_link
from fencepost.errors import StoreError
from fencepost.events import Event
from fencepost.service import Context, Service
from fencepost.stores import Actor, Report

PROTOCOLS: Mapping[str, type[BuggyEnactor | FixedEnactor]] = {"buggy": BuggyEnactor, "fixed": FixedEnactor}

REPORT_S: Final = 3.0
"""An enactor leaves word of itself at least this often."""


class EnactorService:
    """One enactor process."""

    def __init__(self, context: Context, settings: EnactorSettings) -> None:
        self._context, self._settings = context, settings
        self._clock = SystemClock(settings.clock_skew_s)
        self._rng = stream(settings.seed, settings.name, "enactor")
        self._zones = open_zone_store(settings, Actor(settings.name), link=control_link(settings, self._clock))
        self._plans = open_plan_store(settings, link=store_link(settings, self._clock))
        self._enactor: Enactor | None = None
        self._last = Outcome("not one round yet", 0.0)
        self._streaks = context.gauge("lock_streak", "Lost locks in a row", "zone")
        self._generations = context.gauge("installed_generation", "Generation last installed by this enactor", "zone")
        self._holds = context.gauge("endpoint_held", "1 where the endpoint cannot be moved; /state says why", "zone")
        self._view: dict[str, dict[str, Any]] = {}
        self._said: tuple[int, Mapping[str, str]] | None = None
        self._said_s = 0.0
        context.events.add(self._note)

    async def start(self) -> None:
        """See `Service.start`."""
        await check_server(self._settings.redis_url)
        tools = Tools.of(
            self._settings,
            plans=self._plans,
            zones=self._zones,
            clock=self._clock,
            rng=self._rng,
            events=self._context.events,
        )
        self._enactor = PROTOCOLS[self._settings.protocol](tools)

    async def run(self) -> None:
        """See `Service.run`."""
        assert self._enactor is not None, "started"
        while True:
            try:
                self._last = await self._enactor.tick()
            except StoreError as error:
                before, text = self._last, f"the round ended: {error}"
                self._last = Outcome(text, self._settings.pauses.backoff_cap_s, before.installed, before.held)
                self._context.events.emit("service.round_failed", reason=str(error))
            self._show_held()
            await self._report()
            if was_cancelled():
                raise asyncio.CancelledError
            await self._clock.sleep(self._last.wait_s)

    def _show_held(self) -> None:
        """Show which endpoints cannot be moved, and that the others can."""
        for zone, seen in self._view.items():
            seen["held"] = self._last.held.get(zone)
            self._holds.labels(zone).set(seen["held"] is not None)

    async def _report(self) -> None:
        """Leave word in the plan store when it has changed, and now and then."""
        said, now_s = (self._last.installed, self._last.held), self._clock.monotonic()
        if said == self._said and now_s < self._said_s + REPORT_S:
            return
        words = Report(role="enactor", generation=self._last.installed, text=self._last.text, held=self._last.held)
        try:
            await self._plans.report(self._settings.name, words)
        except StoreError as error:
            self._context.events.emit("enactor.report_failed", reason=str(error))
        self._said, self._said_s = said, now_s

    async def stop(self) -> None:
        """See `Service.stop`."""
        await self._zones.close()
        await self._plans.close()

    def not_ready(self) -> str | None:
        """See `Service.not_ready`."""
        return None if self._enactor else "not started"

    def state(self) -> Mapping[str, Any]:
        """See `Service.state`."""
        return {"protocol": self._settings.protocol, "last_round": self._last.text, "endpoints": self._view}

    def _note(self, event: Event) -> None:
        """Keep what a person on call asks for first: per endpoint the generation, the lock streak, the last trouble."""
        if event.zone is None:
            return
        seen = self._view.setdefault(
            event.zone, {"installed": None, "held": None, "lock_streak": 0, "last_trouble": None}
        )
        if event.name in {"enactor.flip_committed", "enactor.fence_advanced"}:
            seen["installed"] = event.generation
            self._generations.labels(event.zone).set(event.generation or 0)
        elif event.name in {"enactor.lock_missed", "enactor.lock_acquired"}:
            seen["lock_streak"] = event.fields["streak"] if event.name == "enactor.lock_missed" else 0
            self._streaks.labels(event.zone).set(seen["lock_streak"])
        elif event.reason:
            seen["last_trouble"] = f"{event.name}: {event.reason}"


def build(context: Context) -> Service:
    """Return the enactor that the settings name."""
    assert isinstance(context.settings, EnactorSettings), context.settings
    return EnactorService(context, context.settings)
