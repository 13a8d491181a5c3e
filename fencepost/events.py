"""Events: what a process did, as one frozen record each. Log, metrics and history are adapters to it.

Names are `<service>.<noun>_<past verb>`, so that `grep` finds the story of one zone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from fencepost.event_names import EVENT_NAMES


class Event(msgspec.Struct, frozen=True):
    """Something that happened.

    Attributes:
        name: one of `EVENT_NAMES`.
        zone: the zone that it concerns, None if none.
        generation: the plan that it concerns, None if none.
        reason: one sentence, for people; "" if the name says it all.
        took_ms: how long it took, milliseconds; None if that makes no sense.
        fields: whatever else a reader may want, JSON-able.
    """

    name: str
    zone: str | None = None
    generation: int | None = None
    reason: str = ""
    took_ms: float | None = None
    fields: Mapping[str, Any] = {}


class Events(Protocol):
    """Where events go."""

    def emit(
        self,
        name: str,
        *,
        zone: str | None = None,
        generation: int | None = None,
        reason: str = "",
        took_ms: float | None = None,
        **fields: Any,
    ) -> None:
        """Take one event; never waits, never raises."""


Sink = Callable[[Event], None]


class EventBus:
    """Hands every event to every sink, in order."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = list(sinks)

    def add(self, sink: Sink) -> None:
        """Add a sink."""
        self._sinks.append(sink)

    def emit(
        self,
        name: str,
        *,
        zone: str | None = None,
        generation: int | None = None,
        reason: str = "",
        took_ms: float | None = None,
        **fields: Any,
    ) -> None:
        """Hand an event on. Asserts that its name is documented."""
        assert name in EVENT_NAMES, f"{name} is not in fencepost/event_names.py"
        event = Event(name, zone, generation, reason, took_ms, fields)
        for sink in self._sinks:
            sink(event)


class LogSink:
    """Writes events to a structlog logger; names that end in one of `WARN` as warnings."""

    WARN: Final = ("_failed", "_refused", "_lost", "_exhausted", "_limited", ".alarm_raised", ".alarm_changed")

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        self._logger = logger

    def __call__(self, event: Event) -> None:
        """Write one line; absent fields are left out."""
        known: dict[str, Any] = {"zone": event.zone, "generation": event.generation, "reason": event.reason or None}
        if event.took_ms is not None:
            known["took_ms"] = round(event.took_ms, 3)
        line = {key: value for key, value in known.items() if value is not None} | dict(event.fields)
        (self._logger.warning if event.name.endswith(self.WARN) else self._logger.info)(event.name, **line)


class MetricsSink:
    """Counts events by name and zone, and keeps how long they took, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter("fencepost_events", "Events by name and zone", ("event", "zone"), registry=registry)
        self._took = Histogram("fencepost_event_seconds", "How long events took", ("event",), registry=registry)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        self._count.labels(event.name, event.zone or "").inc()
        if event.took_ms is not None:
            self._took.labels(event.name).observe(event.took_ms / 1000)


class Recorder:
    """Keeps events in memory, for tests and for `/state`; the newest `limit` of them."""

    def __init__(self, limit: int = 10_000) -> None:
        self.events: list[Event] = []
        self._limit = limit

    def __call__(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)
        if len(self.events) > self._limit:
            del self.events[: self._limit // 10]

    def names(self) -> list[str]:
        """Return the names in order."""
        return [event.name for event in self.events]
