"""How a command finds a running system, and how it ends."""

import asyncio
import getpass
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import typer

from fencepost.clock import Clock, stream
from fencepost.connect import check_server, open_plan_store, open_zone_store
from fencepost.control import ControlApi
from fencepost.errors import UsageError
from fencepost.events import Events
from fencepost.names import absolute
from fencepost.redis_client import FIND_IT
from fencepost.region import Region
from fencepost.settings import Settings, load_settings
from fencepost.stores import Actor, PlanStore, ZoneStore

T = TypeVar("T")

OPERATOR: Final = Actor("operator", operator=True)
"""A person who has not said who."""

MAX_NAME: Final = 40
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._@-]+", re.ASCII)
PAUSE_S: Final = 0.005
"""How soon a busy zone is tried again, at first: a freeze must get in between three enactors' batches."""

REDIS_URL_HELP: Final = (
    "The server that holds zones and plans. Default: FENCEPOST_REDIS_URL, which `. RUN-DIR/env` sets for the system "
    "that runs there."
)


class EndpointUnknown(UsageError):
    """The region has no endpoint of this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{name} is no endpoint of this region; it has {', '.join(known)}")
        self.name, self.known = name, known


@dataclass(frozen=True, slots=True)
class Stores:
    """Both stores of a running system, as an operator sees them, with nothing in between; `actor` is who that is."""

    settings: Settings
    region: Region
    zones: ZoneStore
    plans: PlanStore
    actor: Actor = OPERATOR

    def endpoint(self, name: str) -> str:
        """Return the full name of an endpoint. Raises: EndpointUnknown."""
        full = absolute(name)
        if full not in self.region.endpoint_names:
            raise EndpointUnknown(name, self.region.endpoint_names)
        return full

    def control(self, clock: Clock, events: Events) -> ControlApi:
        """Return the zones as a person uses them: a zone that is busy for a moment is waited for."""
        return ControlApi(self.zones, clock, stream(self.settings.seed, self.actor.name), events, pause_s=PAUSE_S)


def operator_name(by: str | None) -> str:
    """Return who acts, as one word that records can hold: as given, else the login name, else `operator`."""
    try:
        given = by or getpass.getuser()
    except (OSError, KeyError):  # no login name: a container's user without an entry
        given = ""
    return _UNFIT.sub("-", given).strip("-")[:MAX_NAME] or OPERATOR.name


def settings_with(**given: Any) -> Settings:
    """Return the environment's settings with the options that were given (None: not given)."""
    return load_settings(Settings).model_copy(update={k: v for k, v in given.items() if v is not None})


@asynccontextmanager
async def stores(settings: Settings, actor: Actor = OPERATOR) -> AsyncIterator[Stores]:
    """Open both stores of a running system. Raises: StartupError if it is not there."""
    region = settings.region()
    await check_server(settings.redis_url, FIND_IT)
    zones, plans = open_zone_store(settings, actor), open_plan_store(settings)
    try:
        yield Stores(settings, region, zones, plans, actor)
    finally:
        await zones.close()
        await plans.close()


def with_stores(settings: Settings, work: Callable[[Stores], Awaitable[T]], *, by: str | None = None) -> T:
    """Do some work with both stores, from a command; `by` is who typed it, None: whoever is logged in."""

    async def run() -> T:
        async with stores(settings, Actor(operator_name(by), operator=True)) as opened:
            return await work(opened)

    return asyncio.run(run())


def write_json(path: Path | None, value: Any) -> None:
    """Write a result to a file, if one was named. Raises: typer.BadParameter if that cannot be."""
    if path is None:
        return
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror}", param_hint="--json") from error
