"""What every process has in common: one loop, its admin pages, an orderly end, and exit code 3 if it cannot start."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
import structlog
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from fencepost.errors import StartupError
from fencepost.events import EventBus
from fencepost.exit_codes import EXIT_FINE, EXIT_NOT_STARTED
from fencepost.log import configure_log
from fencepost.settings import LOOPBACK, Settings
from fencepost.sinks import LogSink, MetricsSink

STOP_TIMEOUT_S: Final = 3.0
CANCEL_AGAIN_S: Final = 0.1


class Service(Protocol):
    """One process's work. All of it happens on one loop."""

    async def start(self) -> None:
        """Open sockets and stores. Raises: StartupError; then, or if cancelled, `stop` is called all the same."""

    async def run(self) -> None:
        """Work until cancelled; return early only if there is nothing left to do."""

    async def stop(self) -> None:
        """Close what `start` opened; called once, whatever happened before."""

    def not_ready(self) -> str | None:
        """Return why it is not ready to serve, None if it is."""

    def state(self) -> Mapping[str, Any]:
        """Return what a person on call wants to know, JSON-able."""


class Context:
    """What the harness gives to a service: its events and its metrics."""

    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self.log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
        self.events = EventBus(LogSink(self.log), MetricsSink(self.registry))
        self.settings = settings

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Return a gauge `fencepost_<name>` among this process's metrics."""
        return Gauge(f"fencepost_{name}", text, labels, registry=self.registry)


Build = Callable[[Context], Service]


def serve(settings_loader: Callable[[], Settings], build: Build) -> int:
    """Run a process until SIGTERM or SIGINT; return its exit code.

    `build` makes the service from the context, without I/O. A StartupError is one line on stderr and exit code 3.
    """
    try:
        settings = settings_loader()
        configure_log(settings.name)
        context = Context(settings)
        service = build(context)
        return uvloop.run(_serve(context, service))
    except StartupError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_NOT_STARTED


async def _serve(context: Context, service: Service) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    admin = web.AppRunner(admin_app(context, service), access_log=None)
    try:
        await start_site(admin, LOOPBACK, context.settings.admin_port)
        await _unless(stop, service.start(), again_s=CANCEL_AGAIN_S)
        if not stop.is_set():
            _set_aside()
            context.events.emit("service.process_started", settings=context.settings.model_dump(mode="json"))
            await _unless(stop, service.run())
    finally:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await service.stop()
            await admin.cleanup()
    context.events.emit("service.process_stopped")
    return EXIT_FINE


def _set_aside() -> None:
    """Let no later garbage collection look at what there is by now: code and settings, which stay for as long as we do.

    A full one would take four times as long, 30 ms of an enactor's time, in the middle of its work.
    """
    gc.collect()
    gc.freeze()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None], *, again_s: float | None = None) -> None:
    """Work until that is done or the process is told to stop; an error of the work is raised here.

    Work that goes on is cancelled once more after each `again_s` seconds, see `was_cancelled`; None: never, so that it
    can take its time to end in order.
    """
    running = asyncio.create_task(work)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    while not running.done():
        running.cancel()
        await asyncio.wait({running}, timeout=again_s)
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def start_site(runner: web.AppRunner, host: str, port: int) -> None:
    """Let an aiohttp application listen. Raises: StartupError naming the port if it is in use."""
    if runner.server is None:
        await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise StartupError(cannot_listen(host, port, error)) from error


def cannot_listen(host: str, port: int, error: OSError) -> str:
    """Return the one sentence for a port that cannot be had."""
    # asyncio's own text would say the address once more.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot listen on {host} port {port} ({reason}); stop what uses it, or choose another --port-base"


def admin_app(context: Context, service: Service) -> web.Application:
    """Return the admin pages of a service: /healthz, /readyz, /state, /metrics."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        problem = service.not_ready()
        status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
        return web.Response(text=f"{problem or 'ready'}\n", status=status)

    async def state(_: web.Request) -> web.Response:
        body = {"name": context.settings.name, "not_ready": service.not_ready(), **service.state()}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(context.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/state", state)
    app.router.add_get("/metrics", metrics)
    return app
