"""`fencepost history ENDPOINT`: the audit trail, from the zone's own commits and the plans' reasons."""

from typing import Annotated, Final

import msgspec
import typer

from fencepost.audit import deeds, explained, span
from fencepost.client import Stores, settings_with, with_stores, write_json
from fencepost.deed import Deed
from fencepost.options import Endpoint, JsonPath, RedisUrl, RegionFile
from fencepost.plan import PlanSummary
from fencepost.show import console, shown_time
from fencepost.stores import Commit

FIRST_LOOK: Final = 500
"""Commits that are read at first; if they tell too little, four times as many."""

PAGE: Final = 1000
MAX_PLANS: Final = 20_000
"""Plans whose reasons are read at most."""


class Trail(msgspec.Struct, frozen=True):
    """An endpoint's audit trail: deeds, oldest first; `complete` if it goes back to the zone's creation.

    Where `complete` is false, `kept_from` says from which serial on the zone keeps its commits.
    """

    zone: str
    complete: bool
    kept_from: int
    deeds: tuple[Deed, ...]


async def trail(stores: Stores, endpoint: str, limit: int, *, everything: bool = False) -> Trail:
    """Read an endpoint's last deeds. Raises: NoSuchHostedZone, StoreError."""
    look = FIRST_LOOK
    while True:
        after = max(0, (await stores.zones.read(endpoint, [])).serial - look)
        commits = await _commits(stores, endpoint, after)
        found = deeds(endpoint, commits, everything=everything)
        kept_from = commits[0].serial if commits else after + 1
        if len(found) > limit or kept_from > after + 1 or after == 0:
            break
        look *= 4
    shown = found[-limit:]
    plans = await _plans(stores, span(shown))
    return Trail(endpoint, kept_from == 1 and len(found) <= limit, kept_from, explained(endpoint, shown, plans))


async def _commits(stores: Stores, endpoint: str, after: int) -> list[Commit]:
    found: list[Commit] = []
    while page := await stores.zones.commits(endpoint, found[-1].serial if found else after, PAGE):
        found += page
    return found


async def _plans(stores: Stores, wanted: tuple[int, int] | None) -> list[PlanSummary]:
    found: list[PlanSummary] = []
    if wanted is None:
        return found
    before = wanted[1] + 1
    while len(found) < MAX_PLANS and (page := await stores.plans.history(PAGE, before)):
        found += page
        before = page[-1].generation
        if before <= wanted[0]:
            break
    return found


def history(
    endpoint: Endpoint,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many lines, the newest ones.")] = 20,
    everything: Annotated[
        bool, typer.Option("--all", help="Each commit by itself, locks and moves of the fence alone included.")
    ] = False,
    redis_url: RedisUrl = None,
    region: RegionFile = None,
    json: JsonPath = None,
) -> int:
    """Tell who changed what in an endpoint's zone, when, by which plan and why; the newest last.

    What was done is read from the zone's own commits, and why from the plans. What people did, freezes, and whatever
    hurt a live tree or took the root back stand out.
    """

    async def work(stores: Stores) -> Trail:
        return await trail(stores, stores.endpoint(endpoint), limit, everything=everything)

    found = with_stores(settings_with(redis_url=redis_url, region_file=region), work)
    write_json(json, found)
    if not found.complete:
        kept = f"earlier commits are not kept: the zone has them from serial {found.kept_from} on"
        typer.echo("earlier ones are not shown; --limit" if len(found.deeds) == limit else kept)
    screen = console()
    for deed in found.deeds:
        style = "bold yellow" if deed.stands_out else ""
        screen.print(line(deed), style=style, soft_wrap=True, markup=False, highlight=False)
    return 0


def line(deed: Deed) -> str:
    """Return a deed as one line: when (UTC), the serial, who, what, and why."""
    who = f"{deed.actor} (operator)" if deed.operator else deed.actor
    why = f"plan {deed.plan}: {deed.why}" if deed.plan is not None else deed.why
    what = f"{deed.text:34}  {why}" if why else deed.text
    return f"{shown_time(deed.at_us // 1000)}  {deed.serial:>6}  {who:20}  {what}"
