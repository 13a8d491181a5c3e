"""Our side of `fencepost bench dns`: the processes that `fencepost up` starts, over zones that `fixed` wrote."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from deploy.embedded import server_binary, server_command, server_url, socket_path
from deploy.launch import prepare_store
from deploy.topology import ProcessSpec, SystemOptions, client_settings, process_specs
from fencepost.clock import Clock
from fencepost.connect import check_server, open_plan_store
from fencepost.errors import StartupError
from fencepost.region import Region, load_region
from fencepost.settings import Settings
from lab.bench.cores import Cores, pinned
from lab.bench.dns.asking import answering, judge_of, listens
from lab.bench.dns.endpoints import Endpoints
from lab.bench.processes import free_ports, running

PORTS: Final = 20
"""What a system of one enactor may take, from its DNS port on."""
INSTALL_S, INSTALL_EACH_S = 60.0, 0.2
"""How long the first plan may take until every endpoint answers: in all, and for each of them besides."""
YIELDS: Final = 10
"""How far store and enactor give way to the load, on whose core they are."""


class Ours(NamedTuple):
    """Our side, answering.

    Attributes:
        port: where the resolver answers.
        settings: with these a client finds the store.
        enactor: what moves the zones when there is a plan; it does not run by itself.
    """

    port: int
    settings: Settings
    enactor: ProcessSpec


@asynccontextmanager
async def serving(
    endpoints: Endpoints, place: Path, cores: Cores, clock: Clock, *, workers: int, tell: Callable[[str], None]
) -> AsyncIterator[Ours]:
    """Run store and resolver, and have an enactor install plan 1 in every zone; it has ended when this yields.

    Raises: BenchFailed if something does not start, or an endpoint is not answered in time.
    """
    with socket_path(place) as socket:
        url, region_file = server_url(place, socket=socket), endpoints.write_region(place / "region.toml")
        options = SystemOptions(
            place,
            profile="none",
            enactors=1,
            seed=endpoints.seed,
            port_base=free_ports(PORTS),
            region_file=region_file,
            extra={"resolver": {"FENCEPOST_WORKERS": str(workers)}},
        )
        region, settings = load_region(region_file), client_settings(options, url)
        server = _on(ProcessSpec("server", tuple(server_command(server_binary(), place, socket=socket))), cores.load)
        resolver, enactor = _specs(options, region, url, cores)
        async with running(server, place, lambda: _pings(url), clock):
            tell(f"ours: {endpoints.count} zones, an enactor installs {endpoints.balancers} addresses in each")
            await prepare_store(settings, region, reuse=False)
            await _publish(settings, endpoints)
            judge, port = judge_of(endpoints.weighted), settings.dns_port
            longest_s = INSTALL_S + INSTALL_EACH_S * endpoints.count
            async with running(resolver, place, lambda: listens(port), clock):
                async with running(enactor, place, answering(port, endpoints.names, judge), clock, timeout_s=longest_s):
                    pass
                yield Ours(port, settings, enactor)


def _specs(options: SystemOptions, region: Region, url: str, cores: Cores) -> tuple[ProcessSpec, ProcessSpec]:
    """Return resolver and enactor as `fencepost up` starts them, but each on its core."""
    by_kind = {spec.kind: spec for spec in process_specs(options, region, url)}
    resolver, enactor = by_kind["resolver"], by_kind["enactor"]
    return replace(resolver, argv=pinned(resolver.argv, cores.server)), _on(enactor, cores.load)


def _on(spec: ProcessSpec, cores: tuple[int, ...]) -> ProcessSpec:
    """Return a process that gives way to the load, on whose core it is."""
    return replace(spec, argv=pinned(spec.argv, cores, nice=YIELDS))


async def _pings(url: str) -> bool:
    try:
        await check_server(url)
    except StartupError:
        return False
    return True


async def _publish(settings: Settings, endpoints: Endpoints) -> None:
    plans = open_plan_store(settings)
    try:
        await plans.publish(endpoints.draft(1), expected=0)
    finally:
        await plans.close()
