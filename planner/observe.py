"""What the planner knows of the fleet: health checks over HTTP, and the rules by which they become health and capacity.

"Unhealthy" and "could not observe" are kept apart: only the load balancer's own refusal, silence or error counts
against it. An answer that makes no sense, or a check that this machine could not make, changes nothing.
"""

import asyncio
import errno
import random
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Final, Literal, NamedTuple, Protocol

import aiohttp
import msgspec

from fencepost.clock import Clock, stream
from fencepost.events import Events
from fencepost.region import MAX_CAPACITY, LoadBalancer, Region
from planner.settings import PlannerSettings

MAX_ANSWER: Final = 4096
JITTER: Final = 0.1

OUR_FAULTS: Final = frozenset(
    {
        errno.EACCES,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EPERM,
    }
)
"""Errors of a connection attempt that say something about this machine, not about the load balancer."""


class Verdict(StrEnum):
    """What one check says: it is well, it failed, or nothing could be learnt."""

    WELL = "well"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Reading(NamedTuple):
    """One check's result. `capacity` is what it reported, None unless well; `reason` is for people, "" if well."""

    verdict: Verdict
    capacity: int | None = None
    reason: str = ""


class Thresholds(NamedTuple):
    """How many checks in a row it takes to become unhealthy, and healthy again."""

    unhealthy_after: int = 3
    healthy_after: int = 2


class Observed(msgspec.Struct, frozen=True):
    """What is known of one load balancer.

    Invariant: `healthy` goes from True to False, or from None to False, only with the `unhealthy_after`-th failed check
    in a row, and from False to True only with the `healthy_after`-th good one in a row. A check that learnt nothing
    neither breaks nor extends a row, and never changes `healthy` or `capacity`.

    Attributes:
        healthy: None until the checks have said something.
        capacity: what it reported last, requests per second; None if it never did.
        streak: checks in a row that contradict `healthy`.
        checks: how many checks have ended, whatever they said; counts up to `unhealthy_after` only.
        reason: what the last check that was not well said, "" after a good one.
    """

    healthy: bool | None = None
    capacity: int | None = None
    streak: int = 0
    checks: int = 0
    reason: str = ""


def advance(existing: Observed, reading: Reading, thresholds: Thresholds) -> Observed:
    """Return what is known after one more check."""
    checks = min(existing.checks + 1, thresholds.unhealthy_after)
    if reading.verdict is Verdict.UNKNOWN:
        return msgspec.structs.replace(existing, checks=checks, reason=reading.reason)
    well = reading.verdict is Verdict.WELL
    capacity = existing.capacity if reading.capacity is None else reading.capacity
    healthy, streak = existing.healthy, existing.streak + 1
    if well and healthy is None:
        healthy = True  # nothing is taken away by believing the first good answer
    if well == healthy:
        streak = 0
    elif streak >= (thresholds.healthy_after if well else thresholds.unhealthy_after):
        healthy, streak = well, 0
    return Observed(healthy, capacity, streak, checks, reading.reason)


def is_judged(seen: Observed, thresholds: Thresholds) -> bool:
    """Say whether the checks have said something of a load balancer, or there were as many as that may take."""
    return seen.healthy is not None or seen.checks >= thresholds.unhealthy_after


class Health(msgspec.Struct, frozen=True):
    """A load balancer's own answer at `/health`."""

    name: str
    status: Literal["ok"]
    capacity: Annotated[int, msgspec.Meta(ge=0, le=MAX_CAPACITY)]


_health_decoder: Final = msgspec.json.Decoder(Health)


def read_answer(name: str, status: int, body: bytes) -> Reading:
    """Return what an answer of `/health` says.

    Any status but 200 is a failure; a 200 that does not make sense (no JSON, a capacity that is none, another load
    balancer's name) says nothing.
    """
    if status != HTTPStatus.OK:
        return Reading(Verdict.FAILED, reason=f"answered {status}")
    try:
        health = _health_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Reading(Verdict.UNKNOWN, reason=f"its health page makes no sense: {error}")
    if health.name != name:
        return Reading(Verdict.UNKNOWN, reason=f"its address answers as {health.name!r}")
    return Reading(Verdict.WELL, health.capacity)


def read_error(error: Exception, timeout_s: float) -> Reading:
    """Return what a check that got no answer says."""
    if isinstance(error, TimeoutError):
        return Reading(Verdict.FAILED, reason=f"no answer within {timeout_s:g} s")
    if isinstance(error, OSError) and error.errno in OUR_FAULTS:
        return Reading(Verdict.UNKNOWN, reason=f"this machine could not check it: {error}")
    if isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) == errno.ECONNREFUSED:
        return Reading(Verdict.FAILED, reason="refused the connection")
    return Reading(Verdict.FAILED, reason=f"broke off: {type(error).__name__}")


class Changed(Protocol):
    """Whom the observer tells of a change."""

    def __call__(self, *, urgent: bool) -> None:
        """Take note; never waits."""


class Observer:
    """Checks every load balancer again and again, each at its own pace, so that a silent one holds up no other.

    Args:
        changed: called when the health or capacity of a load balancer changes, and when the first round is complete;
            `urgent` where one has become unhealthy.
    """

    def __init__(
        self, settings: PlannerSettings, region: Region, events: Events, clock: Clock, changed: Changed
    ) -> None:
        self.thresholds = Thresholds(settings.unhealthy_after, settings.healthy_after)
        self.fleet = MappingProxyType({lb.name: Observed() for lb in region.load_balancer})
        self._settings, self._events, self._clock, self._changed = settings, events, clock, changed
        self._balancers = region.load_balancer
        self._chances = {lb.name: stream(settings.seed, settings.name, "checks", lb.name) for lb in self._balancers}
        self._judged = 0
        self._learnt_s: dict[str, float] = {}
        self._gate = asyncio.Semaphore(settings.checks_at_once)

    @property
    def complete(self) -> bool:
        """Whether the first round is complete: each load balancer is judged."""
        # Who is judged stays so, and is not looked at again.
        while self._judged < len(self._balancers):
            if not is_judged(self.fleet[self._balancers[self._judged].name], self.thresholds):
                return False
            self._judged += 1
        return True

    def age_s(self) -> float | None:
        """Return how long ago the load balancer that we know least of was last observed; None if one never was."""
        if len(self._learnt_s) < len(self._balancers):
            return None
        return self._clock.monotonic() - min(self._learnt_s.values())

    async def run(self) -> None:
        """Check until cancelled."""
        async with self._session() as session, asyncio.TaskGroup() as group:
            for lb in self._balancers:
                group.create_task(self._watch(session, lb, self._chances[lb.name]))

    async def round(self) -> None:
        """Check every load balancer once."""
        async with self._session() as session, asyncio.TaskGroup() as group:
            for lb in self._balancers:
                group.create_task(self._check(session, lb))

    def take(self, name: str, reading: Reading) -> None:
        """Advance what is known of one load balancer, and tell who listens if it matters."""
        existing, was_complete = self.fleet[name], self.complete
        seen = advance(existing, reading, self.thresholds)
        if seen == existing:
            return
        self.fleet = MappingProxyType(self.fleet | {name: seen})
        moved = (seen.healthy, seen.capacity) != (existing.healthy, existing.capacity)
        if moved:
            self._events.emit(
                "planner.fleet_observed",
                load_balancer=name,
                reason=seen.reason,
                healthy=seen.healthy,
                capacity=seen.capacity,
            )
        if moved or self.complete != was_complete:
            self._changed(urgent=seen.healthy is False and existing.healthy is not False)

    def _session(self) -> aiohttp.ClientSession:
        # A connection is used once: one kept open would not notice that nobody listens any more.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=self._settings.check_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _watch(self, session: aiohttp.ClientSession, lb: LoadBalancer, chance: random.Random) -> None:
        interval_s = self._settings.observe_interval_s
        while True:
            await self._check(session, lb)
            await self._clock.sleep(interval_s * chance.uniform(1 - JITTER, 1 + JITTER))

    async def _check(self, session: aiohttp.ClientSession, lb: LoadBalancer) -> None:
        async with self._gate:
            reading = await self._read(session, lb)
        if reading.verdict is not Verdict.UNKNOWN:
            self._learnt_s[lb.name] = self._clock.monotonic()
        self.take(lb.name, reading)

    async def _read(self, session: aiohttp.ClientSession, lb: LoadBalancer) -> Reading:
        url = f"http://{lb.address}:{self._settings.fleet_port}/health"
        try:
            async with session.get(url, allow_redirects=False) as response:
                return read_answer(lb.name, response.status, await _body(response.content))
        except (aiohttp.ClientError, OSError) as error:
            return read_error(error, self._settings.check_timeout_s)


async def _body(content: aiohttp.StreamReader) -> bytes:
    """Return an answer's body, cut off at `MAX_ANSWER` bytes."""
    body = b""
    while chunk := await content.read(MAX_ANSWER - len(body)):
        body += chunk
    return body
