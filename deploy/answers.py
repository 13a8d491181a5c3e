"""What DNS answers, before and after an operator has changed a zone by hand."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import typer

from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.settings import LOOPBACK

ASK_TIMEOUT_S: Final = 1.0
POLL_S: Final = 0.1


class Answer(NamedTuple):
    """The response code's name, "no answer" if there was none, and the addresses in it."""

    rcode: str
    addresses: tuple[str, ...] = ()


async def ask(endpoint: str, record_type: str, port: int) -> Answer:
    """Ask a resolver on loopback for addresses."""
    query = dns.message.make_query(endpoint, record_type)
    try:
        answer = await dns.asyncquery.udp(query, LOOPBACK, ASK_TIMEOUT_S, port)
    except (OSError, dns.exception.DNSException):
        return Answer("no answer")
    found = (record.to_text() for rrset in answer.answer for record in rrset)
    return Answer(dns.rcode.to_text(answer.rcode()), tuple(found))


class Watch:
    """Watches both resolvers until they answer an endpoint with an address; says so line by line.

    Args:
        wait_s: for how long, seconds; 0: not at all.
    """

    def __init__(self, stores: Stores, endpoint: str, clock: Clock, wait_s: float) -> None:
        settings = stores.settings
        self._endpoint, self._clock, self._wait_s = endpoint, clock, wait_s
        self._kind = next(e.types[0] for e in stores.region.endpoint if e.name == endpoint)
        self._ttl_s, self._cache_port = stores.region.ttl_s, settings.cache_port
        self._ports = {settings.dns_port: "authoritative server", settings.cache_port: "caching resolver"}

    async def before(self) -> tuple[str, ...]:
        """Return what they say now, one line each; "after" needs something to compare with."""
        if not self._wait_s:
            return ()
        lines = []
        for port, name in self._ports.items():
            answer = await ask(self._endpoint, self._kind, port)
            lines.append(f"before, the {name} said {answer.rcode} with {len(answer.addresses)} addresses")
        return tuple(lines)

    async def after(self, wanted: frozenset[str] | None = None) -> None:
        """Say when each of them answers with an address (`wanted`: with one of these).

        An answer that the cache kept from before may have such an address too: before one TTL is over it says nothing.
        """
        if not self._wait_s:
            return
        what = "an address" if wanted is None else "an address of that plan"
        not_before_s = dict.fromkeys(self._ports, 0.0)
        if wanted is not None:
            not_before_s[self._cache_port] = self._ttl_s
        for port, took_s in (await self._times(not_before_s, wanted)).items():
            when = f"after {took_s:.1f} s" if took_s is not None else f"not within {self._wait_s:g} s"
            if self._wait_s < not_before_s[port]:
                when = f"not known, it may keep earlier answers for {self._ttl_s:g} s (the TTL); --wait for longer"
            typer.echo(f"the {self._ports[port]} answers with {what}: {when}")

    async def _times(self, not_before_s: Mapping[int, float], wanted: frozenset[str] | None) -> dict[int, float | None]:
        """Return after how many seconds each port answered so, None for one that did not in time.

        What a port says earlier than `not_before_s`, seconds from now, does not count.
        """
        began_s = self._clock.monotonic()
        took: dict[int, float | None] = dict.fromkeys(not_before_s)
        while None in took.values() and self._clock.monotonic() < began_s + self._wait_s:
            passed_s = self._clock.monotonic() - began_s
            for port in [port for port, s in took.items() if s is None and passed_s >= not_before_s[port]]:
                found = (await ask(self._endpoint, self._kind, port)).addresses
                if found and (wanted is None or wanted.issuperset(found)):
                    took[port] = self._clock.monotonic() - began_s
            await self._clock.sleep(POLL_S)
        return took
