"""The enactor's process: rounds of one protocol, for ever."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from enactor.protocol import Outcome, Tools
from enactor.rounds import PROTOCOLS, Rounds
from enactor.settings import EnactorSettings
from enactor.shown import Shown
from fencepost.cancelling import was_cancelled
from fencepost.clock import SystemClock, stream
from fencepost.connect import check_server, control_link, open_plan_store, open_zone_store, prepare, store_link
from fencepost.errors import StoreError
from fencepost.service import Context, Service
from fencepost.stores import Actor

LISTEN_S: Final = 2.0
"""So long at most a store is asked to tell of a newer plan, before it is asked again."""
SECOND_S: Final = 0.01
"""So much later at a plan is who came second at the one before: about twice what a plan of one endpoint takes."""


class EnactorService:
    """One enactor process."""

    def __init__(self, context: Context, settings: EnactorSettings) -> None:
        self._context, self._settings = context, settings
        self._clock = SystemClock(settings.clock_skew_s)
        self._rng = stream(settings.seed, settings.name, "enactor")
        self._zones = open_zone_store(settings, Actor(settings.name), link=control_link(settings, self._clock))
        self._plans = open_plan_store(settings, link=store_link(settings, self._clock))
        self._rounds: Rounds | None = None
        self._shown = Shown(context)
        self._news, self._came_second = asyncio.Event(), False
        context.events.add(self._shown.note)

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
                self._shown.note_held(outcome.held)
                if was_cancelled():
                    raise asyncio.CancelledError
                await self._pause(outcome)
        finally:
            listening.cancel()

    async def _pause(self, outcome: Outcome) -> None:
        """Wait until the next round; a newer plan may cut that short.

        Who came second at the last plan lets the others be first at the next one: what it did at the same time would be
        in vain, and in their way. If they are gone, it is first itself, and so it stays.
        """
        if outcome.came_second is not None:
            self._came_second = outcome.came_second
        if not outcome.until_news:
            await self._clock.sleep(outcome.wait_s)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(outcome.wait_s):
                await self._news.wait()
                if self._came_second:
                    await self._clock.sleep(SECOND_S)

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
            "endpoints": self._shown.state,
        }


def build(context: Context) -> Service:
    """Return the enactor that the settings name."""
    assert isinstance(context.settings, EnactorSettings), context.settings
    return EnactorService(context, context.settings)
