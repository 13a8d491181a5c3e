"""Errors with single queries: told, not too often, and answered; answers that were not sent are counted."""

import random

import dns.flags
import dns.message
import dns.rcode
import pytest
from prometheus_client import CollectorRegistry

from fencepost.events import EventBus, Recorder
from resolver.hot import HotTable
from resolver.message import Reply, Transport
from resolver.metrics import AUTHORITATIVE, QueryMetrics
from resolver.trouble import TELL_EVERY_S, Failures, guarded

QUERY = dns.message.make_query("example.com.", "A", flags=dns.flags.RD | dns.flags.AD, use_edns=0).to_wire()


def raising(_message: bytes, _transport: Transport) -> Reply:
    raise ArithmeticError("on purpose")


async def raising_later() -> Reply:
    raise ArithmeticError("on purpose")


@pytest.mark.parametrize("replier", [raising, lambda *_: raising_later()], ids=["at once", "later"])
async def test_error_of_a_replier_is_told_and_answered_by_servfail(replier) -> None:
    """The asker need not wait for a time-out."""
    told: list[tuple[bytes, Exception]] = []

    answer = guarded(replier, lambda *failure: told.append(failure))(QUERY, Transport.UDP)
    reply = answer if isinstance(answer, Reply) else await answer

    parsed = dns.message.from_wire(reply.wire)
    assert parsed.rcode() == reply.rcode == dns.rcode.SERVFAIL
    assert parsed.id == int.from_bytes(QUERY[:2])
    assert parsed.flags & ~0xF == dns.flags.QR | dns.flags.RD
    assert [(message, str(error)) for message, error in told] == [(QUERY, "on purpose")]


def test_failures_are_told_once_in_a_while_with_their_count(clock) -> None:
    """A query that sets off an error can be sent without end; the log must not fill up."""
    recorder = Recorder()
    failures = Failures(EventBus(recorder), clock)

    for _ in range(100):
        failures(QUERY, ArithmeticError("on purpose"))
    clock.now_s += TELL_EVERY_S
    failures(QUERY, ArithmeticError("on purpose"))

    assert recorder.names() == ["resolver.query_failed"] * 2
    assert [event.fields["times"] for event in recorder.events] == [1, 100]
    assert recorder.events[0].reason == "ArithmeticError: on purpose"
    assert recorder.events[0].fields["query"] == QUERY.hex()


def test_unsent_answers_are_counted_by_listener_and_reason() -> None:
    """What did not leave is seen beside what was answered."""
    registry = CollectorRegistry()
    metrics = QueryMetrics(registry, HotTable({}, random.Random(1)))

    metrics.unsent(AUTHORITATIVE)("not-taken", 3)

    labels = {"listener": "authoritative", "reason": "not-taken"}
    assert registry.get_sample_value("fencepost_dns_unsent_total", labels) == 3
