"""Our side of `fencepost bench dns`: the processes that `fencepost up` starts, over zones that `fixed` wrote."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from deploy.embedded import server_binary, server_command, server_url, socket_path
from deploy.launch import prepare_store
from deploy.readiness import Probe
from deploy.topology import ProcessSpec, SystemOptions, client_settings, process_specs
from fencepost.clock import Clock
from fencepost.connect import open_plan_store
from fencepost.region import Region, load_region
from fencepost.settings import Settings
from lab.bench.cores import Cores, pinned
from lab.bench.dns.asking import check_all, judge_of
from lab.bench.dns.endpoints import Endpoints
from lab.bench.processes import free_ports, running

PORTS: Final = 20
"""What a system of one enactor and no more workers may take, from its DNS port on."""
INSTALL_S, INSTALL_EACH_S = 60.0, 0.2
"""How long the first plan may take until every endpoint answers: in all, and for each of them besides."""


class Ours(NamedTuple):
    """Our side, answering.

    Attributes:
        port: where the resolver answers.
        settings: with these a client finds the store.
        enactor: what moves the zones when there is a plan; it does not run by itself.
        pids: of the resolver's workers, each of which leads a session.
    """

    port: int
    settings: Settings
    enactor: ProcessSpec
    pids: tuple[int, ...]


@asynccontextmanager
async def serving(
    endpoints: Endpoints, place: Path, cores: Cores, clock: Clock, *, workers: int, tell: Callable[[str], None]
) -> AsyncIterator[Ours]:
    """Run a store, have an enactor install plan 1 in every zone, then run the resolver; the enactor has ended by then.

    Raises: BenchFailed if something does not start, or an endpoint is not answered in time.
    """
    with socket_path(place) as socket:
        url, region_file = server_url(place, socket=socket), endpoints.write_region(place / "region.toml")
        options = SystemOptions(
            place,
            profile="none",
            enactors=1,
            seed=endpoints.seed,
            port_base=free_ports(PORTS + workers),
            region_file=region_file,
            workers=workers,
        )
        region, settings = load_region(region_file), client_settings(options, url)
        argv = tuple(server_command(server_binary(), place, socket=socket))
        server = _on(ProcessSpec("server", argv, ping_url=url), cores.load)
        resolvers, enactor = _specs(options, region, url, cores)
        longest_s = INSTALL_S + INSTALL_EACH_S * endpoints.count
        async with running(server, place, _ready(server), clock, yields=True):
            tell(f"ours: {endpoints.count} zones, an enactor installs {endpoints.balancers} addresses in each")
            await prepare_store(settings, region, reuse=False)
            await _publish(settings, endpoints)
            async with running(unverified(enactor), place, lambda: _installed(settings), clock, timeout_s=longest_s):
                pass
            async with AsyncExitStack() as stack:
                ready = [running(one, place, _ready(one), clock, timeout_s=longest_s) for one in resolvers]
                pids = [(await stack.enter_async_context(one)).pid for one in ready]
                port, judge = settings.dns_port, judge_of(endpoints.weighted)
                await check_all(port, endpoints.names, judge, edns=False, when="after the start")
                yield Ours(port, settings, enactor, tuple(pids))


def _ready(spec: ProcessSpec) -> Callable[[], Awaitable[bool]]:
    """Return what asks a process as the supervisor does."""

    async def ready() -> bool:
        probe = Probe()
        try:
            return await probe.problem(spec) is None
        finally:
            await probe.close()

    return ready


def _specs(
    options: SystemOptions, region: Region, url: str, cores: Cores
) -> tuple[tuple[ProcessSpec, ...], ProcessSpec]:
    """Return the resolver's workers and an enactor as `fencepost up` starts them, but each on its core."""
    specs = process_specs(options, region, url)
    resolvers = (spec for spec in specs if spec.kind == "resolver")
    enactor = next(spec for spec in specs if spec.kind == "enactor")
    on_core = (replace(spec, argv=pinned(spec.argv, cores.server)) for spec in resolvers)
    return tuple(on_core), _on(enactor, cores.load)


def unverified(enactor: ProcessSpec) -> ProcessSpec:
    """Return an enactor that asks no resolver about its trees, as there is none yet."""
    return replace(enactor, env={key: value for key, value in enactor.env.items() if key != "FENCEPOST_VERIFY_PORT"})


def _on(spec: ProcessSpec, cores: tuple[int, ...]) -> ProcessSpec:
    """Return a process that gives way to the load, on whose core it is."""
    return replace(spec, argv=pinned(spec.argv, cores, yields=True))


async def _installed(settings: Settings) -> bool:
    """Say whether the enactor has moved every endpoint to plan 1."""
    return await installed_generation(settings) >= 1


async def installed_generation(settings: Settings) -> int:
    """Return the last plan that every endpoint has, as the enactor says; 0 if it has not said anything."""
    plans = open_plan_store(settings)
    try:
        reports = (await plans.reports()).values()
    finally:
        await plans.close()
    return max((report.generation for report in reports if report.role == "enactor"), default=0)


async def _publish(settings: Settings, endpoints: Endpoints) -> None:
    plans = open_plan_store(settings)
    try:
        await plans.publish(endpoints.draft(1), expected=0)
    finally:
        await plans.close()
