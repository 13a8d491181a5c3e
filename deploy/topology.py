"""Which processes make a system, in which order they start, and what each is told. Pure: nothing is started here."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from deploy.page_list import Page, format_pages
from fencepost.errors import StartupError
from fencepost.guards import Guard, parse_guards
from fencepost.network import PROFILES
from fencepost.region import Region, default_region_path
from fencepost.settings import DEFAULT_PORT_BASE, LOOPBACK, Settings, load_settings

FIRST_ADMIN_PORT: Final = 10
"""Admin pages are served from `port_base + 10` on, one port for each process, in the order of the topology."""
MAX_ENACTORS: Final = 99
MAX_WORKERS: Final = 32
MAX_PORT: Final = 65_535
KINDS: Final = ("fleet", "resolver", "planner", "enactor", "watch", "load")


class Mode(StrEnum):
    """Which protocol the enactors follow."""

    FIXED = "fixed"
    BUGGY = "buggy"


class Stage(IntEnum):
    """What starts together. A stage is started when the one before is ready, and stopped before it."""

    SERVER = 0
    DATA_PLANE = 1
    PLANNER = 2
    ENACTORS = 3
    WATCH = 4
    LOAD = 5


@dataclass(frozen=True, slots=True)
class SystemOptions:
    """What a user can choose about a running system.

    Attributes:
        run_dir: where logs and the embedded server's data go; one system at a time may use it.
        mode: the enactors' protocol.
        profile: the network profile's name.
        enactors: how many, 1 to 99, over the Availability Zones in turn.
        workers: how many resolver processes answer on the DNS port together, 1 to 32.
        seed: fixes every draw.
        port_base: the DNS port; all other ports follow it.
        region_file: None means the default region.
        redis_url: a server that exists; None means an embedded one.
        reuse: whether a store that already has zones or plans may be gone on with.
        load_rate: requests a second of the load clients; None means no load.
        without: guards that are off in planner and enactors, by name, separated by commas; `buggy` has none.
        extra: further settings by kind of process, e.g. {"enactor": {"FENCEPOST_KEEP": "10"}}; kinds are `KINDS`.
        absent: kinds of process that are not started, since somebody else does their work, or nobody.
    """

    run_dir: Path
    mode: Mode = Mode.FIXED
    profile: str = "lan"
    enactors: int = 3
    workers: int = 1
    seed: int = 1
    port_base: int = DEFAULT_PORT_BASE
    region_file: Path | None = None
    redis_url: str | None = None
    reuse: bool = False
    load_rate: float | None = None
    without: str = ""
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to run.

    Attributes:
        name: readable and unique; names its log files.
        argv: program, by its absolute path, and arguments.
        env: added to the environment that the supervisor itself has.
        admin_port: where it serves /readyz on loopback; None for the server.
        ping_url: the server's URL, which is ready when it answers PING; None for all others.
        stage: when it is started and stopped.
        kind: what it is, one of `KINDS`; "" for the server.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    admin_port: int | None = None
    ping_url: str | None = None
    stage: Stage = Stage.DATA_PLANE
    kind: str = ""

    @property
    def log_name(self) -> str:
        """Name of the file that has its standard output: JSON lines of our processes, text of the server."""
        return f"{self.name}.log" if self.admin_port is None else f"{self.name}.jsonl"

    @property
    def err_name(self) -> str:
        """Name of the file that has its standard error; the server, which speaks on both, has one for both."""
        return self.log_name if self.admin_port is None else f"{self.name}.err"


@dataclass(frozen=True, slots=True)
class Port:
    """A port that must be free: `purpose` says for what, `kind` is tcp or udp."""

    kind: str
    host: str
    number: int
    purpose: str


def check_options(options: SystemOptions) -> None:
    """Refuse what cannot be run. Raises: StartupError naming the bad option and what it may be."""
    if options.profile not in PROFILES:
        raise StartupError(f"no network profile {options.profile!r}; there are {', '.join(PROFILES)}")
    if not 1 <= options.enactors <= MAX_ENACTORS:
        raise StartupError(f"--enactors {options.enactors} is outside 1 to {MAX_ENACTORS}")
    if not 1 <= options.workers <= MAX_WORKERS:
        raise StartupError(f"--workers {options.workers} is outside 1 to {MAX_WORKERS}")
    highest = MAX_PORT - FIRST_ADMIN_PORT - len(KINDS) - options.enactors - (options.workers - 1)
    if not 1 <= options.port_base <= highest:
        raise StartupError(f"--port-base {options.port_base} is outside 1 to {highest}")
    if options.load_rate is not None and options.load_rate <= 0:
        raise StartupError(f"--load {options.load_rate:g} is no rate; it is requests a second, above 0")
    parse_guards(options.without)
    if unknown := sorted({*options.extra, *options.absent} - set(KINDS)):
        raise StartupError(f"no kind of process {', '.join(unknown)}; there are {', '.join(KINDS)}")


def enactor_names(region: Region, count: int) -> tuple[str, ...]:
    """Return readable names over the Availability Zones in turn: use1-az1-enactor, ..., use1-az1-enactor-2, ..."""
    zones = [zone.id for zone in region.availability_zone]
    rounds = (divmod(number, len(zones)) for number in range(count))
    return tuple(f"{zones[at]}-enactor" + (f"-{lap + 1}" if lap else "") for lap, at in rounds)


class _Process(NamedTuple):
    kind: str
    name: str
    module: str
    stage: Stage
    number: int = 1


def process_specs(
    options: SystemOptions, region: Region, redis_url: str, server_argv: Sequence[str] | None = None
) -> tuple[ProcessSpec, ...]:
    """Return the processes of a system in the order in which they start.

    `server_argv` is the embedded server's command line; None means that the server at `redis_url` exists already.
    """
    server = [ProcessSpec("server", tuple(server_argv), ping_url=redis_url, stage=Stage.SERVER)] if server_argv else []
    present = (process for process in _processes(options, region) if process.kind not in options.absent)
    numbered = list(enumerate(present, start=options.port_base + FIRST_ADMIN_PORT))
    pages = [Page(process.kind, process.name, admin_port) for admin_port, process in numbered]
    return (*server, *(_spec(process, options, redis_url, admin_port, pages) for admin_port, process in numbered))


def pages_of(specs: Sequence[ProcessSpec]) -> tuple[Page, ...]:
    """Return where the processes of a system serve their pages."""
    return tuple(Page(spec.kind, spec.name, spec.admin_port) for spec in specs if spec.admin_port is not None)


def _processes(options: SystemOptions, region: Region) -> Iterator[_Process]:
    yield _Process("fleet", "fleet", "lab.fleet", Stage.DATA_PLANE)
    for number in range(1, options.workers + 1):
        name = "resolver" if number == 1 else f"resolver-{number}"
        yield _Process("resolver", name, "resolver", Stage.DATA_PLANE, number)
    yield _Process("planner", "planner", "planner", Stage.PLANNER)
    for name in enactor_names(region, options.enactors):
        yield _Process("enactor", name, "enactor", Stage.ENACTORS)
    yield _Process("watch", "watch", "deploy.watch", Stage.WATCH)
    if options.load_rate is not None:
        yield _Process("load", "load", "lab.load", Stage.LOAD)


def _spec(
    process: _Process, options: SystemOptions, redis_url: str, admin_port: int, pages: Sequence[Page]
) -> ProcessSpec:
    env = {
        "FENCEPOST_NAME": process.name,
        "FENCEPOST_REDIS_URL": redis_url,
        "FENCEPOST_REGION_FILE": str((options.region_file or default_region_path()).resolve()),
        "FENCEPOST_PROFILE": options.profile,
        "FENCEPOST_SEED": str(options.seed),
        "FENCEPOST_PORT_BASE": str(options.port_base),
        "FENCEPOST_ADMIN_PORT": str(admin_port),
    }
    if process.kind == "resolver":
        env["FENCEPOST_WORKERS"] = str(options.workers)
        env["FENCEPOST_WORKER"] = str(process.number)
    if process.kind in {"planner", "enactor"}:
        env["FENCEPOST_WITHOUT"] = guards_off(options)
    if process.kind == "enactor":
        env["FENCEPOST_PROTOCOL"] = options.mode.value
        env["FENCEPOST_VERIFY_PORT"] = str(options.port_base)
    if process.kind == "watch":
        env["FENCEPOST_PROCESSES"] = format_pages(pages)
        env["FENCEPOST_RUN_DIR"] = str(options.run_dir.resolve())
    if process.kind == "load":
        env["FENCEPOST_LOAD_RATE"] = str(options.load_rate)
        env["FENCEPOST_LOAD_FILE"] = str(options.run_dir.resolve() / "load.jsonl")
    env |= options.extra.get(process.kind, {})
    # -P keeps the working directory out of the imports: a planner.py that lies there is not ours.
    argv = (sys.executable, "-P", "-m", process.module)
    return ProcessSpec(process.name, argv, env, admin_port, stage=process.stage, kind=process.kind)


def guards_off(options: SystemOptions) -> str:
    """Return the guards that are off, as the processes are told: all of them where the protocol is `buggy`."""
    return ",".join(Guard) if options.mode is Mode.BUGGY else options.without


def client_settings(options: SystemOptions, redis_url: str) -> Settings:
    """Return the settings with which a client, an operator say, finds this system.

    Raises: StartupError for a bad setting in the environment.
    """
    return load_settings(
        Settings,
        redis_url=redis_url,
        region_file=options.region_file,
        profile=options.profile,
        seed=options.seed,
        port_base=options.port_base,
    )


def ports(settings: Settings, region: Region, specs: Sequence[ProcessSpec]) -> tuple[Port, ...]:
    """Return every port that a system listens on."""
    resolver = [
        Port(kind, LOOPBACK, number, f"the {purpose} DNS server")
        for number, purpose in ((settings.dns_port, "authoritative"), (settings.cache_port, "caching"))
        for kind in ("udp", "tcp")
    ]
    pages = [Port("tcp", LOOPBACK, settings.api_port, "the operator API")]
    pages += [Port("tcp", LOOPBACK, settings.fleet_control_port, "the fleet's control")]
    balancers = region.load_balancer if any(spec.kind == "fleet" for spec in specs) else ()
    fleet = [Port("tcp", lb.address, settings.fleet_port, f"load balancer {lb.name}") for lb in balancers]
    admin = [
        Port("tcp", LOOPBACK, spec.admin_port, f"the admin pages of {spec.name}") for spec in specs if spec.admin_port
    ]
    return (*resolver, *pages, *fleet, *admin)
