"""`plan show|history|diff|publish`: they talk to the stores alone, whatever else is down."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from fencepost.client import Stores, settings_with, with_stores, write_json
from fencepost.clock import SystemClock
from fencepost.errors import PlanInvalid
from fencepost.notice import Notice
from fencepost.operator_log import operator_events
from fencepost.options import By, JsonPath, RedisUrl, RegionFile
from fencepost.plan import Draft, Lane, Plan, PlanSummary, short
from fencepost.plan_document import difference, plan_document, read_document
from fencepost.publish import HandPublisher, Published
from fencepost.show import console, shown_time, told

MOST_LINES: Final = 2000
"""A region can have hundreds of thousands of records; nobody reads so many, and it takes a terminal minutes."""


def plan_show(
    generation: Annotated[int | None, typer.Argument(help="Default: the latest.")] = None,
    *,
    endpoint: Annotated[str | None, typer.Option(help="Only this endpoint.")] = None,
    redis_url: RedisUrl = None,
    region: RegionFile = None,
    json: JsonPath = None,
) -> int:
    """Show what a plan says: every endpoint, its load balancers and their weights, and what an operator forced."""

    async def work(stores: Stores) -> Plan:
        return await _plan(stores, generation)

    plan = with_stores(settings_with(redis_url=redis_url, region_file=region), work)
    wanted = [name for name in plan.digests if endpoint is None or name.rstrip(".") == endpoint.rstrip(".").lower()]
    if not wanted:
        raise PlanInvalid(f"plan {plan.generation} has no endpoint {endpoint}; it has {', '.join(plan.digests)}")
    write_json(json, plan_document(plan, wanted))
    screen = console()
    when = shown_time(plan.published_ms)
    screen.print(Text.assemble((f"plan {plan.generation}", "bold"), f" {when} {plan.lane} lane: {plan.reason}"))
    shown: list[str] = []
    for name in wanted:
        value, forced = plan.content(name), plan.forced.get(name)
        mark = f", last forced by {forced.by} in plan {forced.generation}" if forced else ""
        head = f"{name} digest {short(plan.digests[name])}, TTL {value.ttl} s, {len(value.targets)} targets{mark}"
        shown.append(head)
        shown += (
            f"  {target.identifier:24} {target.type:5} {target.address:20} weight {target.weight}"
            for target in value.targets
        )
    _print_most(shown, "name an --endpoint")
    return 0


def plan_history(
    *, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20, redis_url: RedisUrl = None, json: JsonPath = None
) -> int:
    """List the last plans: number, time, lane, by whom, how many endpoints changed, and why; `!` marks force."""

    async def work(stores: Stores) -> tuple[PlanSummary, ...]:
        return await stores.plans.history(limit)

    found = with_stores(settings_with(redis_url=redis_url), work)
    write_json(json, found)
    table = Table("plan", "published", "lane", "by", "endpoints", "reason", box=None, pad_edge=False)
    for summary in found:
        changed, by = str(len(summary.changed)), summary.by + ("!" if summary.force else "")
        when = shown_time(summary.published_ms)
        table.add_row(str(summary.generation), when, summary.lane, Text(by), changed, Text(summary.reason))
    console().print(table)
    return 0


def plan_diff(
    existing: Annotated[int, typer.Argument(help="An earlier generation.")],
    desired: Annotated[int | None, typer.Argument(help="A later one. Default: the latest.")] = None,
    *,
    redis_url: RedisUrl = None,
    json: JsonPath = None,
) -> int:
    """Show what differs between two plans, endpoint by endpoint."""

    async def work(stores: Stores) -> tuple[Plan, Plan]:
        return await _plan(stores, existing), await _plan(stores, desired)

    before, after = with_stores(settings_with(redis_url=redis_url), work)
    lines = {
        name: difference(*(plan.content(name) if name in plan.digests else None for plan in (before, after)))
        for name in sorted({*before.digests, *after.digests})
        if before.digests.get(name) != after.digests.get(name)
    }
    write_json(json, {"existing": before.generation, "desired": after.generation, "endpoints": lines})
    screen = console()
    screen.print(f"[bold]plan {before.generation} -> {after.generation}[/bold]: {len(lines)} endpoints differ")
    _print_most([line for name, changes in lines.items() for line in (name, *(f"  {change}" for change in changes))])
    return 0


def plan_publish(
    file: Annotated[Path, typer.Argument(help="JSON as `plan show --json` writes it; only its endpoints change.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "published by hand",
    force: Annotated[
        bool,
        typer.Option("--force", help="Let protective checks pass it, which is recorded. It can leave nothing empty."),
    ] = False,
    hold: Annotated[
        bool,
        typer.Option(
            "--hold", help="Hold its endpoints at it: the planner leaves them so until `thaw`, or your next publish."
        ),
    ] = False,
    by: By = None,
    redis_url: RedisUrl = None,
    region: RegionFile = None,
) -> int:
    """Publish a plan by hand. Without `--hold` the planner's next plan puts back what the world asks for.

    With `--hold` the planner leaves its endpoints as they are, until `thaw` or the next `plan publish` for them.

    A plan with an unknown endpoint, without addresses, or with anything else that no region could want is refused, and
    so is one that takes too much from an endpoint or brings it load balancers that the region file does not have: these
    two can be forced. Nothing is changed then. It may be published while the automation is frozen, and ends what
    `rollback` or `--hold` holds its endpoints at.

    Exit codes: 0 published, 1 refused, with the counts, the limit and the remedy, 3 no server answers, or the region
    file is bad.
    """

    async def work(stores: Stores) -> Published:
        clock = SystemClock()
        draft = Draft(
            read_document(file),
            reason,
            Lane.FAST,
            by=stores.actor.name,
            operator=True,
            force=force,
            pin=Notice(stores.actor.name, int(clock.epoch_s()), reason) if hold else None,
        )
        return await HandPublisher(stores, clock, operator_events(stores)).publish(draft)

    done = with_stores(settings_with(redis_url=redis_url, region_file=region), work, by=by)
    _say_published(done, hold=hold)
    return 0


def _say_published(done: Published, *, hold: bool) -> None:
    typer.echo(f"published plan {done.generation}")
    for objection in done.forced:
        typer.echo(f"let pass by force: {objection}")
    for endpoint, pin in done.unpinned.items():
        typer.echo(f"{endpoint} is not held any more (it was, {told(*pin)}): the planner may change it again")
    for endpoint, frozen in done.frozen.items():
        typer.echo(
            f"{endpoint} is frozen {told(*frozen)}: no enactor installs the plan there before `fencepost thaw`; "
            f"`fencepost repair {endpoint}` installs what the latest plan has for it"
        )
    typer.echo(
        "the planner leaves its endpoints so until `fencepost thaw --endpoint ENDPOINT`, or your next publish"
        if hold
        else "the planner's next plan puts back what the world asks for; publish with --hold to keep this one"
    )


def _print_most(lines: Sequence[str], narrower: str = "") -> None:
    """Print as many lines as somebody may read, and say how to see the rest."""
    screen = console()
    for line in lines[:MOST_LINES]:
        screen.print(Text(line, {"  -": "red", "  +": "green"}.get(line[:3], "")))
    if (more := len(lines) - MOST_LINES) > 0:
        remedy = " or ".join(filter(None, (narrower, "write all to a file with --json FILE")))
        screen.print(Text(f"... and {more} more lines; {remedy}"))


async def _plan(stores: Stores, generation: int | None) -> Plan:
    plan = await stores.plans.latest() if generation is None else await stores.plans.get(generation)
    if plan is None:
        raise PlanInvalid("the store has no plan yet; the planner publishes the first one when it has seen the fleet")
    return plan
