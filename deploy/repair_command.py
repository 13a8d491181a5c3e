"""`fencepost repair ENDPOINT` and `fencepost rollback ENDPOINT`."""

from typing import Annotated

import typer

from fencepost.options import By, Endpoint, PortBase, RedisUrl, RegionFile, Wait, Why


def repair(
    endpoint: Endpoint,
    *,
    wait: Wait = 60.0,
    by: By = None,
    redis_url: RedisUrl = None,
    port_base: PortBase = None,
    region: RegionFile = None,
) -> int:
    """Install the newest plan's tree on an endpoint by hand, as the operators did: no enactor is needed.

    It works whether the root points to nothing or to another plan, frozen or not, and within the zone's own rules.
    A plan that takes too much from an endpoint that answers is refused; `plan publish --force` lets it pass.
    Afterwards it watches both resolvers: a cached empty answer outlives the repair by up to the negative TTL.

    Exit codes: 0 repaired, 1 refused, with the reason, 2 no such endpoint, 3 no server answers, or the region file is
    bad.
    """
    from fencepost.client import Stores, settings_with, with_stores

    async def work(stores: Stores) -> None:
        from deploy.answers import Watch
        from deploy.repair import Repair, told
        from fencepost.clock import SystemClock
        from fencepost.operator_log import operator_events

        name, clock = stores.endpoint(endpoint), SystemClock()
        watch = Watch(stores, name, clock, wait)
        before = await watch.before()
        done = await Repair(stores, clock, operator_events(stores)).run(name)
        typer.echo(f"{name}: {told(done)}")
        typer.echo("\n".join(before), nl=bool(before))
        await watch.after()
        if wait:
            typer.echo(f"a cached empty answer lives for {stores.region.negative_ttl_s} s (the zone's negative TTL)")

    with_stores(settings_with(redis_url=redis_url, port_base=port_base, region_file=region), work, by=by)
    return 0


def rollback(
    endpoint: Endpoint,
    *,
    to: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="GENERATION",
            help="The plan whose content the endpoint shall have again. Default: what its rollback record points to, "
            "else the last plan in which it was another.",
        ),
    ] = None,
    why: Why = "",
    wait: Wait = 60.0,
    by: By = None,
    redis_url: RedisUrl = None,
    port_base: PortBase = None,
    region: RegionFile = None,
) -> int:
    """Take an endpoint back to an earlier plan, at once, and hold it there: no enactor and no planner is needed.

    It publishes that plan's content as a new plan, which protective checks let pass, and installs it by hand, frozen or
    not. The automation leaves the endpoint so until `thaw --endpoint ENDPOINT` or `plan publish`. An earlier plan that
    is not kept any more is taken from the zone, if its tree is still there, whole.

    Exit codes: 0 rolled back, 1 refused, with the reason, 2 no such endpoint, 3 no server answers, or the region file
    is bad.
    """
    from fencepost.client import Stores, settings_with, with_stores

    async def work(stores: Stores) -> None:
        from deploy.answers import Watch
        from deploy.rollback import Rollback
        from fencepost.clock import SystemClock
        from fencepost.operator_log import operator_events

        name, clock = stores.endpoint(endpoint), SystemClock()
        watch = Watch(stores, name, clock, wait)
        before = await watch.before()
        done = await Rollback(stores, clock, operator_events(stores)).run(name, to, why)
        who = "; an enactor was first to install it" if done.by_automation else ""
        existing = f"plan {done.existing}" if done.existing is not None else "nothing"
        typer.echo(f"{name}: rolled back from {existing} to plan {done.goal}'s content, as plan {done.desired}{who}")
        for warning in done.warnings:
            typer.echo(f"let pass by force: {warning}")
        typer.echo("\n".join(before), nl=bool(before))
        await watch.after(frozenset(target.address for target in done.content.targets))
        if wait:
            typer.echo(f"caches keep earlier answers for up to {stores.region.ttl_s} s (the TTL)")
        typer.echo(
            f"the automation leaves it so until `fencepost thaw --endpoint {name}`, or `fencepost plan publish` for it"
        )

    with_stores(settings_with(redis_url=redis_url, port_base=port_base, region_file=region), work, by=by)
    return 0
