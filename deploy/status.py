"""Collecting the facts of a running system: from its stores, from DNS and from the processes' pages, all at once.

Nothing is written anywhere. With every process dead the stores alone suffice; without a store DNS and pages are left.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from pydantic import Field

from deploy.page_list import parse_pages
from deploy.pages import Pages, guessed_pages
from deploy.questions import Questions
from deploy.said import Behind, DnsSaid, More, StoreSaid, facts_of, generation_of_zone, is_broken, is_late
from deploy.zone_look import ZoneLook, find_loss, look_at_zone, read_control
from fencepost.client import OPERATOR
from fencepost.clock import Clock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import ChangeRefused, StoreError
from fencepost.facts import Answer, Facts, Loss, Place
from fencepost.plan import Plan
from fencepost.region import Endpoint
from fencepost.settings import Settings
from fencepost.stores import PlanStore, ZoneStore

WINDOW: Final = 100
WINDOWS: Final = 5
"""Plans that are looked through, from the one that an endpoint has, for the first one that it waits for: so many times
so many. Nearly always it is among the first few."""


class StatusSettings(Settings):
    """Where a status finds the processes.

    Attributes:
        processes: `kind:name:port` of each, separated by commas; "": those of a system without options are guessed.
        run_dir: the system's run directory, "" if that is not known.
        pages_interval_s: how old what the processes say on their pages may be, seconds.
    """

    processes: str = ""
    run_dir: str = ""
    pages_interval_s: Annotated[float, Field(ge=0, le=60)] = 0.0


class Collector:
    """Looks at a system, again and again; what it remembers only saves work.

    Args:
        zones, plans: the stores, bare: nothing that an enactor's budget is used for.
    """

    def __init__(self, settings: StatusSettings, zones: ZoneStore, plans: PlanStore, clock: Clock) -> None:
        self._settings, self._zones, self._plans, self._clock = settings, zones, plans, clock
        self._region = settings.region()
        self._endpoints = sorted(self._region.endpoint, key=lambda endpoint: endpoint.name)
        self._pages = Pages(parse_pages(settings.processes) or guessed_pages(settings), without=settings.name)
        self._authoritative, self._caching = Questions(settings.dns_port), Questions(settings.cache_port)
        self._plan: Plan | None = None
        self._losses: dict[tuple[str, str], Loss] = {}
        self._waiting: dict[tuple[str, int], int | None] = {}  # what an endpoint with this generation waits for
        self._states: Mapping[str, Mapping[str, Any]] = {}
        self._states_until_s = float("-inf")

    async def open(self) -> None:
        """Open the sockets to both name servers; nobody need listen."""
        await self._authoritative.open()
        await self._caching.open()

    async def close(self) -> None:
        """Give up sockets and connections; the stores are the caller's."""
        self._authoritative.close()
        self._caching.close()
        await self._pages.close()

    async def look(self) -> Facts:
        """Return the facts of now. What cannot be asked is said in them, and raises nothing."""
        asked = await asyncio.gather(self._ask_dns(), self._ask_pages(), self._try_stores())
        dns: Mapping[str, DnsSaid] = asked[0]
        stores: StoreSaid | str = asked[2]
        more = More()
        if not isinstance(stores, str):
            try:
                more = await self._more(stores, dns)
            except StoreError as error:
                stores = str(error)
        return facts_of(
            self._place(),
            self._region,
            self._pages.pages,
            at_s=self._clock.epoch_s(),
            dns=dns,
            states=asked[1],
            stores=stores,
            more=more,
        )

    def _place(self) -> Place:
        settings = self._settings
        return Place(
            store=settings.redis_url,
            dns_port=settings.dns_port,
            cache_port=settings.cache_port,
            api_port=settings.api_port,
            run_dir=settings.run_dir,
        )

    async def _ask_dns(self) -> Mapping[str, DnsSaid]:
        said = await asyncio.gather(*map(self._ask_about, self._endpoints))
        return {endpoint.name: found for endpoint, found in zip(self._endpoints, said, strict=True)}

    async def _ask_about(self, endpoint: Endpoint) -> DnsSaid:
        kinds, name = endpoint.types, endpoint.name
        asked = await asyncio.gather(
            *(self._authoritative.ask(name, kind) for kind in kinds), *(self._caching.ask(name, kind) for kind in kinds)
        )
        answers: list[Answer] = list(asked)
        serial = (
            await self._authoritative.serial(name) if any(answer.rcode for answer in answers[: len(kinds)]) else None
        )
        return DnsSaid(
            dict(zip(kinds, answers[: len(kinds)], strict=True)),
            dict(zip(kinds, answers[len(kinds) :], strict=True)),
            serial,
        )

    async def _ask_pages(self) -> Mapping[str, Mapping[str, Any]]:
        now_s = self._clock.monotonic()
        if now_s >= self._states_until_s:
            self._states, self._states_until_s = await self._pages.states(), now_s + self._settings.pages_interval_s
        return self._states

    async def _try_stores(self) -> StoreSaid | str:
        try:
            return await self._ask_stores()
        except StoreError as error:
            return str(error)

    async def _ask_stores(self) -> StoreSaid:
        names = [endpoint.name for endpoint in self._endpoints]
        looks = dict(zip(names, await asyncio.gather(*map(self._look_at, names)), strict=True))
        plan = await self._plans.latest(self._plan)
        for error in plan.damaged() if plan else ():
            raise error  # what is concluded from the facts later is to have no errors
        self._plan = plan
        controls, reports = await asyncio.gather(self._plans.controls(), self._plans.reports())
        waiting_ms = await self._what_waits(looks, self._plan) if self._plan else {}
        return StoreSaid(looks, self._plan, controls, reports, waiting_ms, self._clock.epoch_s())

    async def _look_at(self, zone: str) -> ZoneLook | str:
        has = self._plan is not None and zone in self._plan.digests
        expected = len(self._plan.content(zone).targets) if self._plan and has else None
        try:
            return await look_at_zone(self._zones, zone, expected)
        except ChangeRefused as error:
            return str(error)

    async def _what_waits(self, looks: Mapping[str, ZoneLook | str], latest: Plan) -> dict[str, int]:
        """Return when the first plan was published that each late endpoint waits for."""
        found = {}
        for name, look in looks.items():
            if isinstance(look, str):
                continue
            control = read_control(name, look.records, 0.0)
            if not is_late(name, look, control, latest):
                continue
            key = (name, generation_of_zone(look, control))
            if self._waiting.get(key) is None:
                self._waiting = {k: v for k, v in self._waiting.items() if k[0] != name}
                self._waiting[key] = await self._first_change_ms(*key, latest)
            if (since_ms := self._waiting[key]) is not None:
                found[name] = since_ms
        return found

    async def _first_change_ms(self, name: str, has: int, latest: Plan) -> int | None:
        """Return when the first plan after `has` was published that changes an endpoint; None if none is known to."""
        for window in range(WINDOWS):
            first = has + window * WINDOW
            if first >= latest.generation:
                return None
            plans = await self._plans.history(WINDOW, before=min(first + WINDOW, latest.generation) + 1)
            changes = [plan.published_ms for plan in plans if plan.generation > first and name in plan.changed]
            if changes:
                return min(changes)
        return latest.published_ms

    async def _more(self, stores: StoreSaid, dns: Mapping[str, DnsSaid]) -> More:
        looks = {name: look for name, look in stores.zones.items() if not isinstance(look, str)}
        behind = await asyncio.gather(
            *(self._behind(look.serial, dns[name].serial, name) for name, look in looks.items())
        )
        losses = {
            name: await self._loss(name, look) for name, look in looks.items() if is_broken(name, look, stores.latest)
        }
        return More(dict(zip(looks, behind, strict=True)), losses)

    async def _behind(self, serial: int, visible: int | None, zone: str) -> Behind:
        """Return how old the oldest commit is that DNS does not show, as far back as the zone's history goes."""
        if visible is None:
            return Behind()
        if visible >= serial:
            return Behind(0.0)
        missing = await self._zones.commits(zone, visible, 1)
        if not missing:
            return Behind()
        age_s = max(0.0, self._clock.epoch_s() - missing[0].at_us / 1e6)
        return Behind(age_s, more=missing[0].serial != visible + 1)

    async def _loss(self, zone: str, look: ZoneLook) -> Loss:
        """Return how a live tree got lost; the history is searched once for each tree."""
        targets = sorted(
            {pointer.target for pointer in look.root}, key=lambda target: (self._is_whole(look, target), target)
        )
        key = (zone, targets[0])
        if key not in self._losses:
            self._losses[key] = await find_loss(self._zones, *key, look.serial)
        return self._losses[key]

    @staticmethod
    def _is_whole(look: ZoneLook, target: str) -> bool:
        return all(pointer.exists for pointer in look.root if pointer.target == target)


@asynccontextmanager
async def collecting(settings: StatusSettings, clock: Clock) -> AsyncIterator[Collector]:
    """Yield a collector over a system that may or may not be there. Raises: StartupError for settings that are none."""
    zones, plans = open_zone_store(settings, OPERATOR), open_plan_store(settings)
    collector = Collector(settings, zones, plans, clock)
    try:
        await collector.open()
        yield collector
    finally:
        await collector.close()
        await zones.close()
        await plans.close()
