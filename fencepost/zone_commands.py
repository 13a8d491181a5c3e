"""`zone show`: what an endpoint's zone holds, from the store alone, whatever else is down."""

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.client import Stores, settings_with, with_stores, write_json
from fencepost.clock import SystemClock
from fencepost.events import EventBus
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from fencepost.live import read_capacity, read_notice
from fencepost.names import generation_of, tree_name
from fencepost.notice import frozen_key
from fencepost.options import Endpoint, JsonPath, RedisUrl, RegionFile
from fencepost.records import ADDRESS_TYPES, RecordSet
from fencepost.show import console, shown_time, shown_value, told
from fencepost.stores import Commit


class FrozenBy(msgspec.Struct, frozen=True):
    """Who has frozen a zone, when (epoch seconds), and why."""

    by: str
    at_s: int
    why: str


class ZoneReport(msgspec.Struct, frozen=True):
    """What a zone holds: its control records, its trees (generation -> record sets), its last commits.

    Attributes:
        root: the generation that the root points to, None if there is none.
        dangling: whether the root points to nothing.
        frozen: None if the zone is not.
        capacity, recent_capacity: weights by address type: what is live, and the most there was within the window of
            velocity control; empty where nobody has noted it.
    """

    zone: str
    serial: int
    control: tuple[RecordSet, ...]
    trees: dict[int, tuple[RecordSet, ...]]
    root: int | None
    dangling: bool
    commits: tuple[Commit, ...]
    frozen: FrozenBy | None = None
    capacity: dict[str, int] = {}
    recent_capacity: dict[str, int] = {}


async def zone_report(stores: Stores, endpoint: str) -> ZoneReport:
    """Read a zone whole. Raises: NoSuchHostedZone, StoreError."""
    clock = SystemClock()
    record_sets = await stores.control(clock, EventBus()).listing(endpoint)
    found = {r.key: r for r in record_sets}
    trees: dict[int, list[RecordSet]] = {}
    for record_set in record_sets:
        if (generation := generation_of(record_set.name, endpoint)) is not None:
            trees.setdefault(generation, []).append(record_set)
    control = tuple(r for r in record_sets if generation_of(r.name, endpoint) is None)
    targets = [r.alias for r in control if r.name == endpoint and r.alias is not None]
    roots = [generation for target in targets if (generation := generation_of(target, endpoint)) is not None]
    dangling = any(not any(r.name == target for r in record_sets) for target in targets)
    serial = (await stores.zones.read(endpoint, [])).serial
    frozen = read_notice(found.get(frozen_key(endpoint)))
    live, recent = _capacities(
        read_capacity(endpoint, found.get(capacity_key(endpoint))), clock.epoch_s(), stores.settings.limits.window_s
    )
    return ZoneReport(
        endpoint,
        serial,
        control,
        {generation: tuple(tree) for generation, tree in sorted(trees.items())},
        max(roots, default=None),
        dangling,
        await stores.zones.commits(endpoint, max(0, serial - 5)),
        FrozenBy(*frozen) if frozen else None,
        live,
        recent,
    )


def _capacities(history: CapacityHistory, now_s: float, window_s: float) -> tuple[dict[str, int], dict[str, int]]:
    """Return what is live, and the most within the window, by the address types that there are."""
    if not history.samples:
        return {}, {}
    live, recent = history.samples[-1].capacity, history.highest(now_s, window_s)
    kinds = [kind for kind, weight in zip(ADDRESS_TYPES, recent, strict=True) if weight]
    return (
        {kind: weight for kind, weight in zip(ADDRESS_TYPES, live, strict=True) if kind in kinds},
        {kind: weight for kind, weight in zip(ADDRESS_TYPES, recent, strict=True) if kind in kinds},
    )


def zone_show(
    endpoint: Endpoint, *, redis_url: RedisUrl = None, region: RegionFile = None, json: JsonPath = None
) -> int:
    """Show what an endpoint's zone holds: root, rollback, fence, lock, who has frozen it, its trees, its last commits.

    Exit code 1 if the root points to nothing.
    """
    settings = settings_with(redis_url=redis_url, region_file=region)

    async def work(stores: Stores) -> ZoneReport:
        return await zone_report(stores, stores.endpoint(endpoint))

    report = with_stores(settings, work)
    write_json(json, report)
    _print(report, console(), settings.limits.window_s)
    return EXIT_CHECK_FAILED if report.dangling else EXIT_FINE


def _print(report: ZoneReport, screen: Console, window_s: float) -> None:
    screen.print(Text.assemble((report.zone, "bold"), f" at serial {report.serial}"))
    table = Table("record", "type", "value", box=None, pad_edge=False)
    for record_set in report.control:
        table.add_row(*map(Text, (record_set.name, record_set.type, shown_value(record_set))))
    screen.print(table)
    trees = Table("tree", "record sets", "", box=None, pad_edge=False)
    for generation, tree in report.trees.items():
        name, mark = tree_name(report.zone, generation), ""
        if generation == report.root:
            mark = "live" if any(r.name == name for r in tree) else "the root points to it, and its records are gone"
        trees.add_row(name, str(len(tree)), mark)
    screen.print(trees)
    for kind, weight in report.capacity.items():
        most = report.recent_capacity[kind]
        screen.print(f"capacity of {kind} addresses: {weight}; the most within {window_s:g} s was {most}")
    for commit in report.commits:
        when = shown_time(commit.at_us // 1000)
        screen.print(Text(f"{when}  serial {commit.serial}  {commit.actor.name}: {commit.comment}"))
    if report.frozen:
        who = told(report.frozen.by, report.frozen.at_s, report.frozen.why)
        ending = f"; `fencepost thaw --endpoint {report.zone}` ends that"
        screen.print(Text.assemble((f"frozen {who}", "bold yellow"), ending))
    if report.dangling:
        screen.print(
            f"[bold red]the root points to nothing: {report.zone} answers without addresses.[/bold red] "
            f"`fencepost repair {report.zone}` installs the newest plan"
        )
