"""The canary, `python -m lab.canary`: asks every endpoint for each of its types, all the time, and notes each answer.

It asks the authoritative server itself, so that no cache stands between a change and its being seen, with dnspython, so
that it has the whole message: NOERROR without an address (NODATA) is the answer that the incident consisted of, and a
stub resolver would report it as an error among others.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
from pydantic import Field

from fencepost.clock import Clock, SystemClock
from fencepost.events import Events
from fencepost.service import Context, serve
from fencepost.settings import LOOPBACK, Settings, load_settings
from lab.clients import Target, targets_of
from lab.history import CANARY_FILE, EMPTY_RCODES, Probe
from lab.lines import LinesFile
from lab.load import flush_often

TIMEOUT_S: Final = 1.0


class CanarySettings(Settings):
    """The canary's settings.

    Attributes:
        canary_rate: probes a second for each endpoint and type.
        canary_file: where each probe is written, a JSON line each.
        canary_timeout_s: after how long a probe counts as failed.
    """

    name: str = "canary"
    canary_rate: Annotated[float, Field(gt=0, le=1000)] = 10.0
    canary_file: Path = Path(CANARY_FILE)
    canary_timeout_s: Annotated[float, Field(gt=0)] = TIMEOUT_S


class Answered(NamedTuple):
    """What a name server said: the response code's name and the addresses in order, or why there is no answer."""

    rcode: str
    addresses: tuple[str, ...] = ()
    error: str = ""


class Health(StrEnum):
    """What an endpoint's last answer was, to the canary."""

    UNSEEN = "unseen"
    ANSWERING = "answering"
    EMPTY = "empty"
    FAILING = "failing"


async def probe(target: Target, port: int, *, timeout_s: float = TIMEOUT_S) -> Answered:
    """Ask the name server on a loopback port one question, over UDP, and over TCP if the answer is truncated."""
    query = dns.message.make_query(target.endpoint, target.type, use_edns=0)
    query.flags &= ~dns.flags.RD
    try:
        message, _ = await dns.asyncquery.udp_with_fallback(query, LOOPBACK, timeout_s, port, ignore_unexpected=True)
    except dns.exception.Timeout:
        return Answered("", error=f"no answer within {timeout_s:g} s")
    except (dns.exception.DNSException, OSError, EOFError) as error:
        return Answered("", error=f"{type(error).__name__}: {error}")
    wanted = dns.rdatatype.from_text(target.type)
    addresses = (record.to_text() for rrset in message.answer if rrset.rdtype == wanted for record in rrset)
    return Answered(dns.rcode.to_text(message.rcode()), tuple(addresses))


def health_of(answered: Answered) -> Health:
    """Say what an answer means. SERVFAIL, REFUSED and the like deny nothing: they are failures, as a time-out is."""
    if not answered.error and answered.rcode in EMPTY_RCODES:
        return Health.ANSWERING if answered.addresses else Health.EMPTY
    return Health.FAILING


class Canary:
    """Probes targets at a rate, hands each probe to `note`, and emits an event whenever a target's health changes.

    An endpoint that has never answered is not empty yet: a fresh system installs its first plan in peace.
    """

    def __init__(self, settings: CanarySettings, clock: Clock, events: Events, note: Callable[[Probe], None]) -> None:
        self._settings, self._clock, self._events, self._note = settings, clock, events, note
        self.health = dict.fromkeys(targets_of(settings.region()), Health.UNSEEN)
        self._answered_once: set[Target] = set()
        self.probes = 0
        self.empty = 0

    async def run(self) -> None:
        """Probe every target for ever; their turns are spread evenly over the period."""
        period_s = 1 / self._settings.canary_rate
        start_s = self._clock.monotonic()
        async with asyncio.TaskGroup() as group:
            for index, target in enumerate(self.health):
                group.create_task(self._watch(target, start_s + period_s * index / len(self.health), period_s))

    async def _watch(self, target: Target, due_s: float, period_s: float) -> None:
        while True:
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))
            await self.once(target)
            # A probe that takes longer than the period delays the next: turns that passed meanwhile are left out.
            behind = max(0.0, self._clock.monotonic() - due_s)
            due_s += period_s * (1 + int(behind / period_s))

    async def once(self, target: Target) -> Probe:
        """Probe one target and note it."""
        at_us, start_s = int(self._clock.epoch_s() * 1e6), self._clock.monotonic()
        answered = await probe(target, self._settings.dns_port, timeout_s=self._settings.canary_timeout_s)
        took_ms = round((self._clock.monotonic() - start_s) * 1000, 3)
        result = Probe(at_us, target.endpoint, target.type, answered.rcode, answered.addresses, took_ms, answered.error)
        self._note(result)
        self._judge(target, answered, took_ms)
        return result

    def _judge(self, target: Target, answered: Answered, took_ms: float) -> None:
        before, now = self.health[target], health_of(answered)
        self.probes += 1
        if now is Health.ANSWERING:
            self._answered_once.add(target)
        if target not in self._answered_once:
            return
        self.empty += now is Health.EMPTY
        self.health[target] = now
        if now is before or before is Health.UNSEEN:
            return
        name = {
            Health.ANSWERING: "canary.answer_regained",
            Health.EMPTY: "canary.answer_empty",
            Health.FAILING: "canary.probe_failed",
        }[now]
        reason = answered.error or f"{answered.rcode} with {len(answered.addresses)} addresses"
        self._events.emit(name, zone=target.endpoint, reason=reason, took_ms=took_ms, type=target.type)

    @property
    def all_answering(self) -> bool:
        """Whether every target's last answer had an address."""
        return all(health is Health.ANSWERING for health in self.health.values())


class CanaryService:
    """The canary as a process. `/state` shows each target's health."""

    def __init__(self, settings: CanarySettings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._lines: LinesFile | None = None
        self._canary: Canary | None = None

    async def start(self) -> None:
        """Open the file."""
        self._lines = LinesFile(self._settings.canary_file)
        clock = SystemClock(self._settings.clock_skew_s)
        self._canary = Canary(self._settings, clock, self._context.events, self._lines.add)

    async def run(self) -> None:
        """Probe and write down."""
        assert self._canary is not None
        assert self._lines is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._canary.run())
            group.create_task(flush_often(self._lines))

    async def stop(self) -> None:
        """Write what is left."""
        if self._lines is not None:
            self._lines.close()

    def not_ready(self) -> str | None:
        """Return None as soon as it probes; what the probes say is not its own readiness."""
        return None if self._canary is not None else "it has not started"

    def state(self) -> Mapping[str, Any]:
        """Return how many probes there were, how many came back empty, and each target's health."""
        if self._canary is None:
            return {}
        health = {f"{target.endpoint} {target.type}": str(value) for target, value in self._canary.health.items()}
        return {"probes": self._canary.probes, "empty": self._canary.empty, "health": health}


def build(context: Context) -> CanaryService:
    """Return the canary of the settings."""
    assert isinstance(context.settings, CanarySettings)
    return CanaryService(context.settings, context)


if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(CanarySettings), build))
