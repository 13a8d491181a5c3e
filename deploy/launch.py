"""A whole system as one context manager: checked, started, ready; stopped again whatever happens."""

import fcntl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.embedded import server_binary, server_command, server_url, socket_path
from deploy.first_answers import silent_endpoints
from deploy.log_view import LogView
from deploy.ports import check_free
from deploy.provision import provision
from deploy.supervisor import SUPERVISOR, Supervisor, logs_dir
from deploy.topology import Stage, SystemOptions, check_options, client_settings, ports, process_specs
from fencepost.clock import Clock, SystemClock, stream
from fencepost.connect import check_server, open_plan_store, open_zone_store
from fencepost.errors import NoSuchHostedZone, StartupError, StoreError
from fencepost.events import EventBus, Events
from fencepost.log import json_logger
from fencepost.region import Region, load_region
from fencepost.settings import Settings
from fencepost.sinks import LogSink
from fencepost.stores import Actor, ZoneStore

FIRST_ANSWERS_S: Final = 60.0
"""How long a start waits for every endpoint to answer; the profile `region` may need all of it."""


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """A system that is ready.

    Attributes:
        supervisor: its processes.
        settings: with these a client finds it.
        run_dir: where its logs and the embedded server's data are.
        redis_url: of the server that holds its zones and plans.
    """

    supervisor: Supervisor
    settings: Settings
    run_dir: Path
    redis_url: str


@asynccontextmanager
async def running_system(
    options: SystemOptions,
    *,
    events: Events | None = None,
    echo: Callable[[str], None] | None = None,
    verbose: bool = False,
    colours: bool = False,
) -> AsyncIterator[RunningSystem]:
    """Run a system: every process is ready, and every endpoint answers if it can, when this yields.

    A store that has plans or zones already is refused unless `options.reuse`: it may be somebody's.

    Args:
        options: what to run.
        events: gets supervisor.*; None: they are written to `supervisor.jsonl` beside the other logs.
        echo: gets the merged log, line by line, rendered; None: nobody looks.
        verbose: whether `echo` gets routine events too.
        colours: whether `echo` gets ANSI colours.

    Raises: StartupError, RegionInvalid among them; nothing is left running then.
    """
    check_options(options)
    region, clock = load_region(options.region_file), SystemClock()
    with (
        _run_dir(options.run_dir) as run_dir,
        _server(options, run_dir) as (redis_url, server_argv),
        _log(run_dir) as log,
    ):
        settings = client_settings(options, redis_url)
        specs = process_specs(options, region, redis_url, server_argv)
        check_free(ports(settings, region, specs))
        bus = events or log
        preparation = _Preparation(settings, region, options, bus, clock)
        if server_argv is None:
            await preparation.after(Stage.SERVER)
        supervisor = Supervisor(
            specs,
            run_dir=run_dir,
            events=bus,
            echo=echo,
            clock=clock,
            rng=stream(options.seed, SUPERVISOR),
            view=LogView((SUPERVISOR, *(spec.name for spec in specs)), verbose, colours),
            after_stage=preparation.after,
        )
        await supervisor.start()
        try:
            yield RunningSystem(supervisor, settings, run_dir, redis_url)
        finally:
            await supervisor.stop()


class _Preparation:
    """What a start does between its stages."""

    def __init__(
        self, settings: Settings, region: Region, options: SystemOptions, events: Events, clock: Clock
    ) -> None:
        self._settings, self._region, self._reuse = settings, region, options.reuse
        self._planned = "planner" not in options.absent
        self._events, self._clock = events, clock

    async def after(self, stage: Stage) -> None:
        """Do what comes after a stage."""
        if stage is Stage.SERVER:
            await prepare_store(self._settings, self._region, reuse=self._reuse)
        if stage is Stage.ENACTORS and self._planned:
            await self._first_answers()

    async def _first_answers(self) -> None:
        """Wait for the first plan to be live, so that `ready` means what it says. Silence is told, not fatal."""
        began_s = self._clock.monotonic()
        silent = await silent_endpoints(self._region, self._settings.dns_port, self._clock, FIRST_ANSWERS_S)
        reason = f"no address yet: {', '.join(silent)}" if silent else "every endpoint answers"
        took_ms = 1000 * (self._clock.monotonic() - began_s)
        self._events.emit("supervisor.endpoints_checked", reason=reason, took_ms=took_ms, silent=silent)


async def prepare_store(settings: Settings, region: Region, *, reuse: bool) -> None:
    """Make sure that the server answers, that it may be used, and that every zone exists.

    Raises: StartupError.
    """
    await check_server(settings.redis_url)
    zones = open_zone_store(settings, Actor(SUPERVISOR, operator=True))
    try:
        if not reuse and (found := await _found(settings, zones, region)):
            raise StartupError(
                f"the store at {settings.redis_url} has {found} already, and nothing in it was changed; "
                "name an empty database (--redis-url) or a new --run-dir, or go on with what is there by --reuse"
            )
        await provision(zones, region)
    except StoreError as error:
        raise StartupError(f"the server at {settings.redis_url} cannot be used: {error}") from error
    finally:
        await zones.close()


async def _found(settings: Settings, zones: ZoneStore, region: Region) -> str:
    """Return what a store has that a system of this region would go on with or change; "" if nothing."""
    plans = open_plan_store(settings)
    try:
        latest = await plans.latest_generation()
    finally:
        await plans.close()
    if latest:
        return f"plan {latest}"
    for name in region.endpoint_names:
        try:
            await zones.read(name, [])
        except NoSuchHostedZone:
            continue
        return f"the zone {name}"
    return ""


@contextmanager
def _run_dir(path: Path) -> Iterator[Path]:
    """Have the run directory for this system alone."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        run_dir = path.resolve()
        handle = (run_dir / "lock").open("w")
    except OSError as error:
        raise StartupError(f"cannot use the run directory {path} ({error.strerror}); name another --run-dir") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartupError(f"another system runs in {run_dir}; stop it, or name another --run-dir") from error
        yield run_dir


@contextmanager
def _server(options: SystemOptions, run_dir: Path) -> Iterator[tuple[str, Sequence[str] | None]]:
    """Yield the server's URL, and the command line that starts it if it is the embedded one."""
    if options.redis_url is not None:
        yield options.redis_url, None
        return
    data = run_dir / "server"
    data.mkdir(exist_ok=True)
    binary = server_binary()
    with socket_path(data) as socket:
        yield server_url(data, socket=socket), server_command(binary, data, socket=socket)


@contextmanager
def _log(run_dir: Path) -> Iterator[Events]:
    """Yield where the supervisor's own events go: `supervisor.jsonl` beside the other logs."""
    logs = logs_dir(run_dir)
    logs.mkdir(exist_ok=True)
    with (logs / f"{SUPERVISOR}.jsonl").open("a") as file:
        yield EventBus(LogSink(json_logger(SUPERVISOR, file)))
