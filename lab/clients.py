"""Customers: aiohttp clients that resolve through aiodns, connect and ask; and the open loop that sends them.

Open loop means that requests arrive at a stated rate whether or not earlier ones were answered, as customers do: a slow
answer holds nobody back, and each latency counts from the *intended* arrival, so that a late generator cannot hide
anything. What the generator could not send itself is counted apart, as its own failure and not as the service's.

Every request resolves and connects anew: no connection is kept, and aiohttp's own DNS cache is off. c-ares, below
aiodns, keeps answers for the TTL that the caching resolver gives them (empty ones as RFC 2308 says), and pycares has no
switch for that: as on many a customer's host, a small cache sits before the caching resolver. It holds nothing longer
than the resolver would have, since what it is given is the remaining TTL, so it changes the number of DNS queries but
neither the beginning nor, by more than the second that TTLs are counted in, the end of an outage as a customer sees it.
"""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import aiohttp
import msgspec
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult

from fencepost.clock import Clock
from fencepost.region import Region
from fencepost.settings import LOOPBACK

FAMILIES: Final = {"A": socket.AF_INET, "AAAA": socket.AF_INET6}
CARES_FLAGS: Final = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS
"""Ask for exactly the name (no search domains of the host); EDNS is c-ares's own default, which flags replace."""
CARES_TRY_S: Final = 0.5
CARES_TRIES: Final = 2
RESOLUTION_SHARE: Final = 0.5
"""How much of a request's time the resolution may take, so that a silent resolver can be told from a silent server."""


class Target(NamedTuple):
    """What a customer asks for: an endpoint's name (with its trailing dot) and an address type, A or AAAA."""

    endpoint: str
    type: str


class Arrival(NamedTuple):
    """When a request is due, seconds after the start of the load, and what it is for."""

    due_s: float
    target: Target


class Answer(NamedTuple):
    """How a request ended: `error` is "" if it was served, else a short text whose first word is its kind.

    Kinds: `dns`, `connect`, `http`, `timeout`, `broken`. `load_balancer` is who answered, "" if nobody did.
    """

    error: str
    load_balancer: str = ""


class Tally(msgspec.Struct):
    """What a load generator did so far.

    Attributes:
        sent, served, failed, in_flight: requests; sent = served + failed + in_flight.
        overloaded: arrivals that were due but not sent, since too many were in flight: the generator's own failures.
        worst_late_ms: how late the latest start of a request was.
        errors: failures by error.
    """

    sent: int = 0
    served: int = 0
    failed: int = 0
    in_flight: int = 0
    overloaded: int = 0
    worst_late_ms: float = 0.0
    errors: dict[str, int] = msgspec.field(default_factory=dict)


def targets_of(region: Region) -> tuple[Target, ...]:
    """Return every endpoint of a region with each of its types, in order of their names."""
    found = [Target(endpoint.name, kind) for endpoint in region.endpoint for kind in endpoint.types]
    return tuple(sorted(found))


def arrivals(rate: float, targets: Sequence[Target], rng: random.Random) -> Iterator[Arrival]:
    """Yield arrivals for ever: a Poisson process of `rate` requests a second over all targets, each as likely."""
    due_s = 0.0
    while True:
        due_s += rng.expovariate(rate)
        yield Arrival(due_s, rng.choice(targets))


Serve = Callable[[Target], Awaitable[Answer]]
Done = Callable[[Target, Answer, float], None]
"""Called with each answer and its latency in milliseconds from the intended arrival."""


class OpenLoop:
    """Sends requests when they are due. At most `limit` are in flight; what is due beyond that is not sent."""

    def __init__(self, serve: Serve, done: Done, clock: Clock, *, limit: int) -> None:
        self._serve, self._done, self._clock, self._limit = serve, done, clock, limit
        self.tally = Tally()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, plan: Iterator[Arrival]) -> None:
        """Follow a plan of arrivals to its end or until cancelled, then wait for what is in flight, or cancel it."""
        start_s = self._clock.monotonic()
        try:
            for arrival in plan:
                due_s = start_s + arrival.due_s
                await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))
                self._start(arrival.target, due_s)
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, target: Target, due_s: float) -> None:
        late_ms = (self._clock.monotonic() - due_s) * 1000
        self.tally.worst_late_ms = max(self.tally.worst_late_ms, late_ms)
        if len(self._tasks) >= self._limit:
            self.tally.overloaded += 1
            return
        self.tally.sent += 1
        self.tally.in_flight += 1
        task = asyncio.create_task(self._one(target, due_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, target: Target, due_s: float) -> None:
        answer = await self._serve(target)
        self.tally.in_flight -= 1
        if not answer.error:
            self.tally.served += 1
        else:
            self.tally.failed += 1
            self.tally.errors[answer.error] = self.tally.errors.get(answer.error, 0) + 1
        self._done(target, answer, (self._clock.monotonic() - due_s) * 1000)


class BoundedResolver(AbstractResolver):
    """aiohttp's aiodns resolver with a bound: c-ares adapts its own timeouts to what it has seen, and may wait longer.

    Args:
        nameserver: `ADDRESS:PORT`, the form that c-ares takes for a server on another port than 53.
        timeout_s: after how long a resolution counts as failed.
    """

    def __init__(self, nameserver: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._inner = aiohttp.AsyncResolver(
            nameservers=[nameserver], flags=CARES_FLAGS, lookups="b", timeout=CARES_TRY_S, tries=CARES_TRIES
        )

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a host. Raises: OSError with what the resolver said."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._inner.resolve(host, port, family)
        except TimeoutError as error:
            raise OSError(None, f"no answer within {self._timeout_s:g} s") from error

    async def close(self) -> None:
        """Give up the sockets."""
        await self._inner.close()


class Customers:
    """HTTP clients of the region's endpoints. Use as `async with`; call `ask` for one request.

    Args:
        dns_port: of the resolver to ask, on loopback.
        http_port: where load balancers listen.
        timeout_s: for a whole request: resolution, connection, answer.
    """

    def __init__(self, *, dns_port: int, http_port: int, timeout_s: float) -> None:
        self._nameserver, self._http_port, self._timeout_s = f"{LOOPBACK}:{dns_port}", http_port, timeout_s
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._resolver: BoundedResolver | None = None

    async def __aenter__(self) -> Self:
        self._resolver = BoundedResolver(self._nameserver, timeout_s=self._timeout_s * RESOLUTION_SHARE)
        # One session for each address type: with both in one, a client would fall back to the other type and a lost
        # A or AAAA record set of an endpoint would be seen by nobody.
        for kind, family in FAMILIES.items():
            connector = aiohttp.TCPConnector(
                resolver=self._resolver, family=family, use_dns_cache=False, force_close=True, limit=0
            )
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._sessions[kind] = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions.values():
            await session.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def ask(self, target: Target) -> Answer:
        """Send one request to an endpoint and say how it ended; never raises for what the service did."""
        url = f"http://{target.endpoint.rstrip('.')}:{self._http_port}/"
        try:
            async with self._sessions[target.type].get(url) as response:
                body = await response.json()
                if response.status != 200:  # noqa: PLR2004  -- HTTP OK
                    return Answer(f"http {response.status}", _served_by(body))
                return Answer("", _served_by(body))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(describe(error))


def _served_by(body: Any) -> str:
    return str(body.get("load_balancer", "")) if isinstance(body, dict) else ""


def describe(error: Exception) -> str:
    """Return a request's error in short: its kind and what the layer below said."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"dns {error.os_error.args[-1] if error.os_error.args else error.os_error}"
        case aiohttp.ClientConnectorError():
            return f"connect {error.os_error.strerror or error.os_error}"
        case TimeoutError():
            return "timeout no answer in time"
        case _:
            return f"broken {type(error).__name__}"
