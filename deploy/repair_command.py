"""`fencepost repair ENDPOINT`."""

from pathlib import Path
from typing import Annotated

import typer

from fencepost.client import REDIS_URL_HELP


def repair(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="An endpoint's DNS name.")],
    *,
    wait: Annotated[
        float,
        typer.Option(help="How long to watch, in seconds, until both resolvers answer with addresses; 0: not at all."),
    ] = 60.0,
    redis_url: Annotated[str | None, typer.Option(help=REDIS_URL_HELP)] = None,
    port_base: Annotated[int | None, typer.Option(help="Where the system's DNS is; the cache is on +1.")] = None,
    region: Annotated[Path | None, typer.Option(help="The region file; the default is us-east-1.")] = None,
) -> int:
    """Install the newest plan's tree on an endpoint by hand, as the operators did: no enactor is needed.

    It works whether the root points to nothing or to another plan, and within the zone's own rules. Afterwards it
    watches both resolvers: a cached empty answer outlives the repair by up to the negative TTL.

    Exit codes: 0 repaired, 1 refused, with the reason.
    """
    from fencepost.client import Stores, settings_with, with_stores

    settings = settings_with(redis_url=redis_url, port_base=port_base, region_file=region)

    async def work(stores: Stores) -> None:
        from deploy.repair import Repair, addresses, wait_for_addresses
        from fencepost.clock import SystemClock
        from fencepost.events import EventBus

        name, clock = stores.endpoint(endpoint), SystemClock()
        kind = next(e.types[0] for e in stores.region.endpoint if e.name == name)
        ports = {settings.dns_port: "authoritative server", settings.cache_port: "caching resolver"}
        before = {port: await addresses(name, kind, port) for port in ports} if wait else {}
        done = await Repair(stores, clock, EventBus()).run(name)
        was = "nothing" if done.was_dangling else "its tree"
        typer.echo(f"{name}: root moved from plan {done.existing} (it pointed to {was}) to plan {done.desired}")
        for port, (rcode, count) in before.items():
            typer.echo(f"before the repair the {ports[port]} said {rcode} with {count} addresses")
        if not wait:
            return
        for port, took_s in (await wait_for_addresses(name, kind, list(ports), clock, wait)).items():
            when = f"{took_s:.1f} s after the repair" if took_s is not None else f"not within {wait:g} s"
            typer.echo(f"the {ports[port]} answers with an address: {when}")
        typer.echo(f"a cached empty answer lives for {stores.region.negative_ttl_s} s (the zone's negative TTL)")

    with_stores(settings, work)
    return 0
