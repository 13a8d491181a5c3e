"""`fencepost freeze` and `fencepost thaw`."""

from typing import TYPE_CHECKING, Annotated

import typer

from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from fencepost.options import By, JsonPath, RedisUrl, RegionFile, Why

if TYPE_CHECKING:
    from deploy.freeze import Frozen, Held, Thawed, Word

One = Annotated[
    str | None, typer.Option("--endpoint", metavar="ENDPOINT", help="Only this endpoint. Default: everything.")
]


def freeze(
    *,
    endpoint: One = None,
    why: Why = "",
    by: By = None,
    redis_url: RedisUrl = None,
    region: RegionFile = None,
    json: JsonPath = None,
) -> int:
    """Switch the automation off, in the stores: when this returns, nothing automated can commit any more.

    DNS stays as it is. Planner and enactors go on running, and say that they are frozen; none of them is needed for
    this. Who, when and why is recorded in each zone. What is frozen already is left as it is. `repair`, `rollback` and
    `plan publish` work all the same; `thaw` ends it.

    Exit codes: 0 frozen, 1 not everything is; what is and what is not is said, and the same command goes on,
    2 no such endpoint, 3 no server answers, or the region file is bad.
    """
    from deploy.freeze import Freezer, Frozen
    from fencepost.client import Stores, settings_with, with_stores, write_json
    from fencepost.clock import SystemClock
    from fencepost.notice import Notice
    from fencepost.operator_log import operator_events

    async def work(stores: Stores) -> Frozen:
        clock = SystemClock()
        zones = None if endpoint is None else [stores.endpoint(endpoint)]
        notice = Notice(stores.actor.name, int(clock.epoch_s()), why)
        return await Freezer(stores, clock, operator_events(stores)).freeze(notice, zones)

    done = with_stores(settings_with(redis_url=redis_url, region_file=region), work, by=by)
    write_json(json, done)
    return _say_frozen(done, endpoint)


def thaw(
    *,
    endpoint: One = None,
    by: By = None,
    redis_url: RedisUrl = None,
    region: RegionFile = None,
    json: JsonPath = None,
) -> int:
    """Let the automation go on: end freezes, and what `rollback` holds; everywhere, or for one endpoint.

    It says what it ended: who had frozen, when and why. Where nothing is frozen, it says so.

    Exit codes: 0 nothing is frozen or held any more, 1 something still is; the same command goes on, 2 no such
    endpoint, 3 no server answers, or the region file is bad.
    """
    from deploy.freeze import Freezer, Thawed
    from fencepost.client import Stores, settings_with, with_stores, write_json
    from fencepost.clock import SystemClock
    from fencepost.operator_log import operator_events

    async def work(stores: Stores) -> Thawed:
        zones = None if endpoint is None else [stores.endpoint(endpoint)]
        return await Freezer(stores, SystemClock(), operator_events(stores)).thaw(zones)

    done = with_stores(settings_with(redis_url=redis_url, region_file=region), work, by=by)
    write_json(json, done)
    return _say_thawed(done, endpoint)


def _say_frozen(done: "Frozen", endpoint: str | None) -> int:
    held = (*([done.plans] if done.plans else []), *done.zones)
    for one in held:
        if not one.done:
            typer.echo(f"NOT FROZEN  {_name(one)}: {one.error}")
        elif one.already:
            typer.echo(f"frozen      {_name(one)} already, {_told(one.notice)}")
        else:
            serial = f", from serial {one.serial} on" if one.serial else ""
            typer.echo(f"frozen      {_name(one)} in {one.took_ms:.1f} ms{serial}")
    again = "fencepost freeze" + (f" --endpoint {endpoint}" if endpoint else "")
    if not done.complete:
        count = sum(not one.done for one in held)
        typer.echo(f"{count} of {len(held)} are not frozen: automation still commits there; `{again}` goes on")
        return EXIT_CHECK_FAILED
    what = "this zone" if endpoint else "any zone, and no plan is published"
    ending = again.replace("freeze", "thaw")
    typer.echo(f"nothing automated commits to {what} any more (it took {done.took_ms:.0f} ms); `{ending}` ends that")
    return EXIT_FINE


def _say_thawed(done: "Thawed", endpoint: str | None) -> int:
    held = (*done.zones, *([done.plans] if done.plans else []))
    for one in held:
        if not one.done:
            typer.echo(f"NOT THAWED  {_name(one)}: {one.error}")
        elif one.notice:
            typer.echo(f"thawed      {_name(one)}, frozen {_told(one.notice)}")
    for name, pin in done.pins.items():
        typer.echo(f"let go      {name}, held {_told(pin)}")
    if done.nothing:
        typer.echo(f"{endpoint or 'nothing'} is{' not' if endpoint else ''} frozen or held")
    if done.left:
        typer.echo(f"no plan is published all the same: frozen {_told(done.left)}; `fencepost thaw` ends that")
    if not done.complete:
        again = "fencepost thaw" + (f" --endpoint {endpoint}" if endpoint else "")
        typer.echo(f"{sum(not one.done for one in held)} of {len(held)} may still be frozen; `{again}` goes on")
        return EXIT_CHECK_FAILED
    return EXIT_FINE


def _name(held: "Held") -> str:
    return held.zone or "the plan store"


def _told(word: "Word | None") -> str:
    from fencepost.show import told

    assert word is not None, "what is frozen has somebody who froze it"
    return told(word.by, word.at_s, word.why)
