"""The enactor's process: rounds of one protocol, for ever."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from enactor.protocol import Outcome, Tools
from enactor.rounds import PROTOCOLS, Rounds
from enactor.settings import EnactorSettings
from fencepost.cancelling import was_cancelled
from fencepost.clock import SystemClock, stream
from fencepost.connect import check_server, control_link, open_plan_store, open_zone_store, prepare, store_link
from fencepost.errors import StoreError
from fencepost.events import Event
from fencepost.service import Context, Service
from fencepost.stores import Actor

LISTEN_S: Final = 2.0
"""So long at most a store is asked to tell of a newer plan, before it is asked again."""


class EnactorService:
    """One enactor process."""

    def __init__(self, context: Context, settings: EnactorSettings) -> None:
        self._context, self._settings = context, settings
        self._clock = SystemClock(settings.clock_skew_s)
        self._rng = stream(settings.seed, settings.name, "enactor")
        self._zones = open_zone_store(settings, Actor(settings.name), link=control_link(settings, self._clock))
        self._plans = open_plan_store(settings, link=store_link(settings, self._clock))
        self._rounds: Rounds | None = None
        self._streaks = context.gauge("lock_streak", "Lost locks in a row", "zone")
        self._generations = context.gauge("installed_generation", "Generation last installed by this enactor", "zone")
        self._holds = context.gauge("endpoint_held", "1 where the endpoint cannot be moved; /state says why", "zone")
        self._news = asyncio.Event()
        self._shown: Mapping[str, str] = {}
        self._view: dict[str, dict[str, Any]] = {}
        context.events.add(self._note)

    async def start(self) -> None:
        """See `Service.start`."""
        await check_server(self._settings.redis_url)
        await prepare(self._zones, self._plans)
        tools = Tools.of(
            self._settings,
            plans=self._plans,
            zones=self._zones,
            clock=self._clock,
            rng=self._rng,
            events=self._context.events,
        )
        enactor, settings = PROTOCOLS[self._settings.protocol](tools), self._settings
        self._rounds = Rounds(enactor, settings, self._plans, clock=self._clock, events=self._context.events)

    async def run(self) -> None:
        """See `Service.run`."""
        assert self._rounds is not None, "started"
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                self._news.clear()  # what comes from here on may come too late for this round
                outcome = await self._rounds.one()
                if listening.done():
                    listening.result()
                self._show_held(outcome.held)
                if was_cancelled():
                    raise asyncio.CancelledError
                await self._pause(outcome)
        finally:
            listening.cancel()

    async def _pause(self, outcome: Outcome) -> None:
        """Wait until the next round; a newer plan may cut that short."""
        if not outcome.until_news:
            await self._clock.sleep(outcome.wait_s)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(outcome.wait_s):
                await self._news.wait()

    async def _listen(self) -> None:
        """Be told of newer plans, for ever; who is not told of one looks for it all the same."""
        told = None
        while True:
            try:
                before = told if told is not None else await self._plans.latest_generation()
                told = await self._plans.wait(before, LISTEN_S)
            except StoreError:
                told = None
                await self._clock.sleep(self._settings.pauses.backoff_cap_s)
                continue
            if told != before:
                self._news.set()
            else:
                told = None  # the store may have lost plans: what it tells of next is above what it has now

    def _show_held(self, held: Mapping[str, str]) -> None:
        """Show which endpoints cannot be moved, and that the others can."""
        if held == self._shown:
            return
        for zone in sorted({*held, *self._shown}):
            if zone in self._view:
                self._view[zone]["held"] = held.get(zone)
                self._holds.labels(zone).set(zone in held)
        self._shown = held

    async def stop(self) -> None:
        """See `Service.stop`."""
        await self._zones.close()
        await self._plans.close()

    def not_ready(self) -> str | None:
        """See `Service.not_ready`."""
        return None if self._rounds else "not started"

    def state(self) -> Mapping[str, Any]:
        """See `Service.state`."""
        return {
            "protocol": self._settings.protocol,
            "last_round": self._rounds.last.text if self._rounds else "not started",
            "endpoints": self._view,
        }

    def _note(self, event: Event) -> None:
        """Keep what a person on call asks for first: per endpoint the generation, the lock streak, the last trouble."""
        if event.zone is None:
            return
        if event.zone not in self._view:
            held = self._shown.get(event.zone)
            self._view[event.zone] = {"installed": None, "held": held, "lock_streak": 0, "last_trouble": None}
            self._holds.labels(event.zone).set(held is not None)
        seen = self._view[event.zone]
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
