"""`zone show` and `plan show|history|diff|publish`: they talk to the stores alone, whatever else is down."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fencepost.client import REDIS_URL_HELP, Stores, settings_with, with_stores, write_json
from fencepost.clock import SystemClock
from fencepost.errors import PlanInvalid
from fencepost.events import EventBus
from fencepost.names import generation_of, tree_name
from fencepost.plan import Content, Draft, Plan, PlanSummary, Target, check_draft, content, short
from fencepost.records import RecordSet
from fencepost.stores import Commit

RedisUrl = Annotated[str | None, typer.Option("--redis-url", help=REDIS_URL_HELP)]
RegionFile = Annotated[Path | None, typer.Option("--region", help="The region file; the default is us-east-1.")]
JsonPath = Annotated[Path | None, typer.Option("--json", help="Write the result there as JSON.")]
Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="An endpoint's DNS name.")]


def register(app: typer.Typer) -> None:
    """Add this room's commands to the command line."""
    zone = typer.Typer(no_args_is_help=True, help="Look at an endpoint's zone.")
    zone.command("show")(zone_show)
    app.add_typer(zone, name="zone")
    plan = typer.Typer(no_args_is_help=True, help="Look at plans, compare them, publish one by hand.")
    plan.command("show")(plan_show)
    plan.command("history")(plan_history)
    plan.command("diff")(plan_diff)
    plan.command("publish")(plan_publish)
    app.add_typer(plan, name="plan")


class ZoneReport(msgspec.Struct, frozen=True):
    """What a zone holds: its control records, its trees (generation -> record sets), its last commits."""

    zone: str
    serial: int
    control: tuple[RecordSet, ...]
    trees: dict[int, tuple[RecordSet, ...]]
    root: int | None
    dangling: bool
    commits: tuple[Commit, ...]


async def zone_report(stores: Stores, endpoint: str) -> ZoneReport:
    """Read a zone whole. Raises: NoSuchHostedZone, StoreError."""
    record_sets = await stores.control(SystemClock(), EventBus()).listing(endpoint)
    trees: dict[int, list[RecordSet]] = {}
    for record_set in record_sets:
        if (generation := generation_of(record_set.name, endpoint)) is not None:
            trees.setdefault(generation, []).append(record_set)
    control = tuple(r for r in record_sets if generation_of(r.name, endpoint) is None)
    targets = [r.alias for r in control if r.name == endpoint and r.alias is not None]
    roots = [generation for target in targets if (generation := generation_of(target, endpoint)) is not None]
    dangling = any(not any(r.name == target for r in record_sets) for target in targets)
    serial = (await stores.zones.read(endpoint, [])).serial
    commits = await stores.zones.commits(endpoint, max(0, serial - 5))
    return ZoneReport(
        endpoint,
        serial,
        control,
        {generation: tuple(tree) for generation, tree in sorted(trees.items())},
        max(roots, default=None),
        dangling,
        commits,
    )


def zone_show(
    endpoint: Endpoint, *, redis_url: RedisUrl = None, region: RegionFile = None, json: JsonPath = None
) -> int:
    """Show what an endpoint's zone holds: root, rollback, fence, lock, its trees, and its last commits.

    Exit code 1 if the root points to nothing.
    """
    settings = settings_with(redis_url=redis_url, region_file=region)

    async def work(stores: Stores) -> ZoneReport:
        return await zone_report(stores, stores.endpoint(endpoint))

    report = with_stores(settings, work)
    write_json(json, report)
    console = Console()
    console.print(f"[bold]{report.zone}[/bold] at serial {report.serial}")
    table = Table("record", "type", "value", box=None, pad_edge=False)
    for record_set in report.control:
        table.add_row(record_set.name, record_set.type, _value(record_set))
    console.print(table)
    trees = Table("tree", "record sets", "", box=None, pad_edge=False)
    for generation, tree in report.trees.items():
        mark = "live" if generation == report.root else ""
        trees.add_row(tree_name(report.zone, generation), str(len(tree)), mark)
    console.print(trees)
    for commit in report.commits:
        console.print(f"{_time(commit.at_us // 1000)}  serial {commit.serial}  {commit.actor.name}: {commit.comment}")
    if report.dangling:
        console.print(
            f"[bold red]the root points to nothing: {report.zone} answers without addresses.[/bold red] "
            f"`fencepost repair {report.zone}` installs the newest plan"
        )
    return 1 if report.dangling else 0


def plan_show(
    generation: Annotated[int | None, typer.Argument(help="Default: the latest.")] = None,
    *,
    endpoint: Annotated[str | None, typer.Option(help="Only this endpoint.")] = None,
    redis_url: RedisUrl = None,
    region: RegionFile = None,
    json: JsonPath = None,
) -> int:
    """Show what a plan says: every endpoint, its load balancers and their weights."""

    async def work(stores: Stores) -> Plan:
        return await _plan(stores, generation)

    plan = with_stores(settings_with(redis_url=redis_url, region_file=region), work)
    wanted = [name for name in plan.digests if endpoint is None or name.rstrip(".") == endpoint.rstrip(".").lower()]
    if not wanted:
        raise PlanInvalid(f"plan {plan.generation} has no endpoint {endpoint}; it has {', '.join(plan.digests)}")
    write_json(json, plan_document(plan, wanted))
    console = Console()
    console.print(f"[bold]plan {plan.generation}[/bold] {_time(plan.published_ms)} {plan.lane} lane: {plan.reason}")
    for name in wanted:
        value = plan.content(name)
        console.print(f"{name} digest {short(plan.digests[name])}, TTL {value.ttl} s, {len(value.targets)} targets")
        for target in value.targets:
            console.print(f"  {target.identifier:24} {target.type:5} {target.address:20} weight {target.weight}")
    return 0


def plan_history(
    *, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20, redis_url: RedisUrl = None, json: JsonPath = None
) -> int:
    """List the last plans: number, time, lane, how many endpoints changed, and why."""

    async def work(stores: Stores) -> tuple[PlanSummary, ...]:
        return await stores.plans.history(limit)

    found = with_stores(settings_with(redis_url=redis_url), work)
    write_json(json, found)
    table = Table("plan", "published", "lane", "endpoints", "reason", box=None, pad_edge=False)
    for summary in found:
        changed = str(len(summary.changed))
        table.add_row(str(summary.generation), _time(summary.published_ms), summary.lane, changed, summary.reason)
    Console().print(table)
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
        name: difference(
            before.contents.get(before.digests.get(name, "")), after.contents.get(after.digests.get(name, ""))
        )
        for name in sorted({*before.digests, *after.digests})
        if before.digests.get(name) != after.digests.get(name)
    }
    write_json(json, {"existing": before.generation, "desired": after.generation, "endpoints": lines})
    console = Console()
    console.print(f"[bold]plan {before.generation} -> {after.generation}[/bold]: {len(lines)} endpoints differ")
    for name, changes in lines.items():
        console.print(name)
        for line in changes:
            console.print(f"  {line}", style={"-": "red", "+": "green"}.get(line[0]), highlight=False)
    return 0


def plan_publish(
    file: Annotated[Path, typer.Argument(help="JSON as `plan show --json` writes it; only its endpoints change.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "published by hand",
    redis_url: RedisUrl = None,
    region: RegionFile = None,
) -> int:
    """Publish a plan by hand. The planner's next change of the world builds on top of it.

    A plan with an unknown endpoint, without addresses, or with anything else that no region could want is refused,
    and nothing is changed.
    """

    async def work(stores: Stores) -> int:
        draft = Draft(read_document(file), reason)
        check_draft(draft, frozenset(stores.region.endpoint_names))
        return await stores.plans.publish(draft, expected=await stores.plans.latest_generation())

    generation = with_stores(settings_with(redis_url=redis_url, region_file=region), work)
    Console().print(f"published plan {generation}")
    return 0


class PlannedTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target in a plan document."""

    identifier: str
    address: str = ""
    type: str = "A"
    weight: int = 1


class PlannedEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint in a plan document."""

    targets: tuple[PlannedTarget, ...]
    ttl: int = 5


class PlanDocument(msgspec.Struct, frozen=True):
    """A plan as a flat JSON document; only `endpoints` is read."""

    endpoints: dict[str, PlannedEndpoint]


def read_document(path: Path) -> dict[str, Content]:
    """Read a plan document. Raises: PlanInvalid with the place."""
    try:
        document = msgspec.json.decode(path.read_bytes(), type=PlanDocument)
    except OSError as error:
        raise PlanInvalid(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise PlanInvalid(f"{path} is no plan: {error}; `fencepost plan show --json FILE` writes one") from error
    return {
        name: content(value.ttl, [Target(t.identifier, t.type, t.address, t.weight) for t in value.targets])
        for name, value in document.endpoints.items()
    }


def plan_document(plan: Plan, endpoints: list[str]) -> dict[str, Any]:
    """Return a plan as a flat JSON document, as `plan publish` reads it."""
    return {
        "generation": plan.generation,
        "published_ms": plan.published_ms,
        "lane": plan.lane.value,
        "reason": plan.reason,
        "endpoints": {
            name: PlannedEndpoint(
                tuple(PlannedTarget(t.identifier, t.address, t.type, t.weight) for t in plan.content(name).targets),
                plan.content(name).ttl,
            )
            for name in endpoints
        },
    }


def difference(existing: Content | None, desired: Content | None) -> list[str]:
    """Return one line for each target that differs: `- gone`, `+ come`, `~ changed`."""
    before = {(t.identifier, t.type): t for t in existing.targets} if existing else {}
    after = {(t.identifier, t.type): t for t in desired.targets} if desired else {}
    lines = []
    for key in sorted({*before, *after}):
        left, right = before.get(key), after.get(key)
        if left == right:
            continue
        if left is None or right is None:
            shown = left or right
            assert shown is not None, key
            lines.append(
                f"{'-' if left else '+'} {shown.identifier} {shown.type} {shown.address} weight {shown.weight}"
            )
        else:
            lines.append(f"~ {left.identifier} {left.type} {left.address} weight {left.weight} -> {right.weight}")
    return lines


async def _plan(stores: Stores, generation: int | None) -> Plan:
    plan = await stores.plans.latest() if generation is None else await stores.plans.get(generation)
    if plan is None:
        raise PlanInvalid("the store has no plan yet; the planner publishes the first one when it has seen the fleet")
    return plan


def _value(record_set: RecordSet) -> str:
    return f"-> {record_set.alias}" if record_set.alias else " ".join(record_set.values)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
