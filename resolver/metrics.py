"""What the listeners count."""

from collections.abc import Awaitable, Iterable
from functools import partial
from typing import Final

import dns.rcode
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.registry import Collector

from resolver.hot import HotTable
from resolver.message import Reply, Transport
from resolver.outcome import Outcome
from resolver.server import Answerer
from resolver.trouble import Replier, Unsent

AUTHORITATIVE: Final = "authoritative"
CACHING: Final = "caching"


class QueryMetrics(Collector):
    """Answers by `listener`, `authoritative` or `caching`.

    Prepared answers are counted as plain numbers, and added when somebody looks. For that this is a collector itself,
    asked before its counters are.
    """

    def __init__(self, registry: CollectorRegistry, hot: HotTable) -> None:
        self._hot = hot
        registry.register(self)
        self._queries = Counter(
            "fencepost_dns_queries",
            "Queries that an answer was made for; see fencepost_dns_unsent_total",
            ("listener", "transport", "rcode"),
            registry=registry,
        )
        self._unsent = Counter(
            "fencepost_dns_unsent",
            "Datagrams that have no answer: the system did not take it (not-taken), or too many waited (overloaded)",
            ("listener", "reason"),
            registry=registry,
        )
        self._empty = Counter(
            "fencepost_dns_empty_answers",
            "Answers that are NOERROR without records",
            ("listener", "zone", "type"),
            registry=registry,
        )

    def collect(self) -> Iterable[Metric]:
        """Add the prepared answers since the last time; the counters speak for themselves."""
        for outcome, times in self._hot.take_counts().items():
            self._count(AUTHORITATIVE, Transport.UDP, outcome, times)
        return ()

    def unsent(self, listener: str) -> Unsent:
        """Return what counts a listener's answers that were not sent."""
        return partial(self._count_unsent, listener)

    def counted(self, listener: str, answerer: Replier) -> Answerer:
        """Return what a `DnsServer` wants: the answerer's bytes, each answer counted."""

        def wire_of(sent: Reply, transport: Transport) -> bytes:
            self._count(listener, transport, Outcome(sent.rcode, sent.empty), 1)
            return sent.wire

        async def wait_for(answer: Awaitable[Reply], transport: Transport) -> bytes:
            return wire_of(await answer, transport)

        def counting(message: bytes, transport: Transport) -> bytes | Awaitable[bytes] | None:
            result = answerer(message, transport)
            if result is None:
                return None
            return wire_of(result, transport) if isinstance(result, Reply) else wait_for(result, transport)

        return counting

    def _count_unsent(self, listener: str, reason: str, times: int) -> None:
        self._unsent.labels(listener, reason).inc(times)

    def _count(self, listener: str, transport: Transport, outcome: Outcome, times: int) -> None:
        if not times:
            return
        self._queries.labels(listener, transport.value, dns.rcode.to_text(outcome.rcode)).inc(times)
        if outcome.empty is not None:
            self._empty.labels(listener, *outcome.empty).inc(times)
