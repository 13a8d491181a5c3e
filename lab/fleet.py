"""The fleet: every load balancer of the region, played by one process that can make each of them ill.

Each load balancer has a listening socket of its own, on its own loopback address and `settings.fleet_port`, instead of
one socket on all addresses: a hard failure then really refuses connections, as a dead machine does, and nothing is ever
reachable from outside, whatever this machine's network looks like. One application serves all of them and tells them
apart by the address that the connection was made to. IPv4-mapped IPv6 addresses (::ffff:127.1.x.y) reach the same
sockets without any set-up of the host.
"""

import asyncio
import ipaddress
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import Counter

from fencepost.clock import Clock, SystemClock
from fencepost.errors import StartupError
from fencepost.region import LoadBalancer, Region
from fencepost.service import Context, cannot_listen, serve, start_site
from fencepost.settings import LOOPBACK, Settings, load_settings
from lab.fleet_control import Condition, Failure, Wish, control_app

SHUTDOWN_TIMEOUT_S = 0.2
"""How long a stopping fleet waits for requests under way; a hanging one would take for ever."""


class Balancer:
    """One load balancer: what the region file says of it, how it is now, and its socket (None: closed)."""

    def __init__(self, spec: LoadBalancer) -> None:
        self.spec = spec
        self.condition = Condition(capacity=spec.capacity)
        self.site: web.TCPSite | None = None
        self.served = 0
        self.page = msgspec.json.encode({"load_balancer": spec.name})

    def state(self) -> dict[str, Any]:
        """Return what the control API and `/state` show of it."""
        shown: dict[str, Any] = msgspec.to_builtins(self.condition)
        return {"name": self.spec.name, "address": self.spec.address, **shown, "served": self.served}


class Fleet:
    """All load balancers of a region; a `fencepost.service.Service`."""

    def __init__(self, context: Context, region: Region, clock: Clock) -> None:
        self._settings, self._events, self._clock = context.settings, context.events, clock
        self._served = Counter(
            "fencepost_fleet_requests", "Customers' requests served", ("load_balancer",), registry=context.registry
        )
        self.balancers = {lb.name: Balancer(lb) for lb in region.load_balancer}
        self._changing = asyncio.Lock()
        self._by_address = {balancer.spec.address: balancer for balancer in self.balancers.values()}
        # A client that gives up ends its handler, so that a hanging balancer does not collect them.
        self._runner = web.AppRunner(
            self._app(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT_S
        )
        self._control = web.AppRunner(control_app(self), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def start(self) -> None:
        """Open every socket. Raises: StartupError for an address that is not loopback or a port in use."""
        await self._runner.setup()
        for balancer in self.balancers.values():
            if not ipaddress.ip_address(balancer.spec.address).is_loopback:
                raise StartupError(
                    f"load balancer {balancer.spec.name} has the address {balancer.spec.address}, which is not "
                    "loopback: this fleet is a play and listens on 127.0.0.0/8 only; change the region file"
                )
            await self._open(balancer)
        await start_site(self._control, LOOPBACK, self._settings.fleet_control_port)

    async def run(self) -> None:
        """Serve until cancelled."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Close every socket and connection."""
        await self._control.cleanup()
        for balancer in self.balancers.values():
            self._cut(balancer)
        await self._runner.cleanup()

    def not_ready(self) -> str | None:
        """Return None: a fleet that has started is ready."""
        return None

    def state(self) -> Mapping[str, Any]:
        """Return every load balancer's condition and how many requests it has served."""
        return {"load_balancers": [balancer.state() for balancer in self.balancers.values()]}

    async def change(self, name: str, wish: Wish) -> None:
        """Make a load balancer ill or well.

        Connections that it has are cut when its failure changes: nobody's keep-alive outlives a dead machine.
        Raises: StartupError, and nothing is changed, if its port was taken by another process meanwhile.
        """
        async with self._changing:
            balancer = self.balancers[name]
            desired = wish.applied_to(balancer.condition)
            if desired != balancer.condition:
                await self._bring_to(balancer, desired)
                self._events.emit("fleet.balancer_changed", load_balancer=name, **msgspec.to_builtins(desired))

    async def _bring_to(self, balancer: Balancer, desired: Condition) -> None:
        existing = balancer.condition
        if desired.failure is Failure.REFUSE and balancer.site is not None:
            site, balancer.site = balancer.site, None
            await site.stop()
        elif desired.failure is not Failure.REFUSE and balancer.site is None:
            await self._open(balancer)
        balancer.condition = desired
        if desired.failure is not existing.failure:
            self._cut(balancer)

    async def _open(self, balancer: Balancer) -> None:
        address, port = balancer.spec.address, self._settings.fleet_port
        site = web.TCPSite(self._runner, address, port)
        try:
            await site.start()
        except OSError as error:
            await site.stop()
            raise StartupError(cannot_listen(address, port, error)) from error
        balancer.site = site

    def _cut(self, balancer: Balancer) -> None:
        """Close every connection that a load balancer has, whatever is under way on it."""
        server = self._runner.server
        for connection in server.connections if server else ():
            transport = connection.transport
            if transport is not None and transport.get_extra_info("sockname")[0] == balancer.spec.address:
                transport.abort()

    def _reached(self, request: web.Request) -> Balancer:
        assert request.transport is not None, "a request that is being answered has a connection"
        return self._by_address[request.transport.get_extra_info("sockname")[0]]

    async def _health(self, request: web.Request) -> web.Response:
        """Answer a health check: 200 or 503, with the capacity."""
        balancer = self._reached(request)
        if failing := await _fail(balancer):
            return failing
        condition = balancer.condition
        status = HTTPStatus.OK if condition.healthy else HTTPStatus.SERVICE_UNAVAILABLE
        body = {
            "name": balancer.spec.name,
            "status": "ok" if condition.healthy else "unhealthy",
            "capacity": condition.capacity,
        }
        return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")

    async def _serve(self, request: web.Request) -> web.Response:
        """Answer a customer's request. An unhealthy or drained load balancer serves what still comes."""
        balancer = self._reached(request)
        if failing := await _fail(balancer):
            return failing
        if balancer.condition.latency_ms > 0:
            await self._clock.sleep(balancer.condition.latency_ms / 1000)
        balancer.served += 1
        self._served.labels(balancer.spec.name).inc()
        return web.Response(body=balancer.page, content_type="application/json")


async def _fail(balancer: Balancer) -> web.Response | None:
    """Play the failure that is set: never return (hang), return the answer 500 (error), or return None."""
    if balancer.condition.failure is Failure.HANG:
        await asyncio.Event().wait()  # ends when the connection does: `handler_cancellation`
    if balancer.condition.failure is Failure.ERROR:
        return web.json_response({"error": "internal error"}, status=HTTPStatus.INTERNAL_SERVER_ERROR)
    return None


def build(context: Context) -> Fleet:
    """Return the fleet of the region that the settings name."""
    return Fleet(context, context.settings.region(), SystemClock())


if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(Settings), build))
