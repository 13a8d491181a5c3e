"""Where a process's events go: its log, and its metrics."""

from collections.abc import Iterable
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.registry import Collector

from fencepost.event_names import EVENT_NAMES
from fencepost.events import Event


class LogSink:
    """Writes events to a structlog logger; names that end in one of `WARN` as warnings."""

    WARN: Final = ("_failed", "_refused", "_lost", "_exhausted", "_limited", ".alarm_raised", ".alarm_changed")

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        # A logger that is bound is found once, not again for each line.
        bound = logger.bind()
        self._write = {name: bound.warning if name.endswith(self.WARN) else bound.info for name in EVENT_NAMES}

    def __call__(self, event: Event) -> None:
        """Write one line; absent fields are left out."""
        line: dict[str, Any] = {}
        if event.zone is not None:
            line["zone"] = event.zone
        if event.generation is not None:
            line["generation"] = event.generation
        if event.reason:
            line["reason"] = event.reason
        if event.took_ms is not None:
            line["took_ms"] = round(event.took_ms, 3)
        line.update(event.fields)
        self._write[event.name](event.name, **line)


class MetricsSink(Collector):
    """Counts events by name and zone, and keeps how long they took, for Prometheus.

    What is counted is a plain number, and is added when somebody looks: an event is told by the hundred while zones
    move, and metrics are read once in some seconds. For that it is a collector itself, asked before its counter is.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._new: dict[tuple[str, str | None], int] = {}
        registry.register(self)
        self._count = Counter("fencepost_events", "Events by name and zone", ("event", "zone"), registry=registry)
        self._took = Histogram("fencepost_event_seconds", "How long events took", ("event",), registry=registry)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        key = event.name, event.zone
        self._new[key] = self._new.get(key, 0) + 1
        if event.took_ms is not None:
            self._took.labels(event.name).observe(event.took_ms / 1000)

    def collect(self) -> Iterable[Metric]:
        """Add what was counted since the last time; the counter speaks for itself."""
        counted, self._new = self._new, {}
        for (name, zone), times in counted.items():
            self._count.labels(name, zone or "").inc(times)
        return ()
