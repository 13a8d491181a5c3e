"""The load process, `python -m lab.load`: customers' requests at a stated rate, each one written to a file."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import Field

from fencepost.clock import Clock, SystemClock, stream
from fencepost.events import Events
from fencepost.service import Context, serve
from fencepost.settings import Settings, load_settings
from lab.clients import Answer, Customers, OpenLoop, Tally, Target, arrivals, targets_of
from lab.history import LOAD_FILE, Request
from lab.lines import FLUSH_S, LinesFile


class LoadSettings(Settings):
    """The load's settings.

    Attributes:
        load_rate: requests a second over all endpoints, Poisson.
        load_file: where each request is written, a JSON line each.
        load_timeout_s: after how long a customer gives up.
        load_in_flight: how many requests may be in flight; arrivals beyond that are the generator's own failures.
    """

    name: str = "load"
    load_rate: Annotated[float, Field(gt=0, le=10_000)] = 100.0
    load_file: Path = Path(LOAD_FILE)
    load_timeout_s: Annotated[float, Field(gt=0)] = 3.0
    load_in_flight: Annotated[int, Field(ge=1)] = 1000


class LoadGenerator:
    """Drives the load and hands each request to `note`; shared by the process and by `fencepost load`."""

    def __init__(self, settings: LoadSettings, clock: Clock, events: Events, note: Callable[[Request], None]) -> None:
        self._settings, self._clock, self._events, self._note = settings, clock, events, note
        self._loop: OpenLoop | None = None
        self._failing: dict[Target, str] = {}

    @property
    def tally(self) -> Tally:
        """What was done so far."""
        return self._loop.tally if self._loop else Tally()

    async def run(self) -> None:
        """Send requests until cancelled."""
        settings = self._settings
        plan = arrivals(settings.load_rate, targets_of(settings.region()), stream(settings.seed, settings.name))
        async with Customers(
            dns_port=settings.cache_port, http_port=settings.fleet_port, timeout_s=settings.load_timeout_s
        ) as customers:
            self._loop = OpenLoop(customers.ask, self._done, self._clock, limit=settings.load_in_flight)
            await self._loop.run(plan)

    def _done(self, target: Target, answer: Answer, took_ms: float) -> None:
        at_us = int(self._clock.epoch_s() * 1e6 - took_ms * 1000)
        took_ms = round(took_ms, 3)
        self._note(Request(at_us, target.endpoint, not answer.error, answer.error, took_ms, answer.load_balancer))
        self._tell(target, answer.error, took_ms)

    def _tell(self, target: Target, error: str, took_ms: float) -> None:
        """Emit the first failure of a kind in a row: an outage is thousands of requests, all of them in the file."""
        if error and self._failing.get(target) != error:
            self._events.emit("load.request_failed", zone=target.endpoint, reason=error, took_ms=took_ms)
        self._failing[target] = error


class LoadService:
    """The load as a process. `/state` shows its tally."""

    def __init__(self, settings: LoadSettings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._lines: LinesFile | None = None
        self._generator: LoadGenerator | None = None

    async def start(self) -> None:
        """Open the file."""
        self._lines = LinesFile(self._settings.load_file)
        clock = SystemClock(self._settings.clock_skew_s)
        self._generator = LoadGenerator(self._settings, clock, self._context.events, self._lines.add)

    async def run(self) -> None:
        """Send requests and write them down."""
        assert self._generator is not None
        assert self._lines is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._generator.run())
            group.create_task(flush_often(self._lines))

    async def stop(self) -> None:
        """Write what is left."""
        if self._lines is not None:
            self._lines.close()

    def not_ready(self) -> str | None:
        """Return None as soon as requests can be sent."""
        return None if self._generator is not None else "it has not started"

    def state(self) -> Mapping[str, Any]:
        """Return the tally."""
        tally = self._generator.tally if self._generator else Tally()
        return {"load": msgspec.to_builtins(tally), "rate": self._settings.load_rate}


async def flush_often(lines: LinesFile) -> None:
    """Write a file's waiting lines a few times a second, until cancelled."""
    while True:
        await asyncio.sleep(FLUSH_S)
        lines.flush()


def build(context: Context) -> LoadService:
    """Return the load of the settings."""
    assert isinstance(context.settings, LoadSettings)
    return LoadService(context.settings, context)


if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(LoadSettings), build))
