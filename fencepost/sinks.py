"""Where a process's events go: its log, and its metrics."""

from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from fencepost.events import Event


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
