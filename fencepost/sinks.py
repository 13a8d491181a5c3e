"""Where a process's events go: its log, and its metrics."""

from collections.abc import Iterable
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.metrics_core import CounterMetricFamily
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

    What is counted is a plain number, of which a metric is made when somebody looks: an event is told by the hundred
    while zones move, and metrics are read once in some seconds.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts: dict[tuple[str, str | None], int] = {}
        registry.register(self)
        self._took = Histogram("fencepost_event_seconds", "How long events took", ("event",), registry=registry)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        key = event.name, event.zone
        self._counts[key] = self._counts.get(key, 0) + 1
        if event.took_ms is not None:
            self._took.labels(event.name).observe(event.took_ms / 1000)

    def describe(self) -> Iterable[Metric]:
        """Tell the registry the metric's name, under which it may be asked for alone."""
        yield self._counter()

    def collect(self) -> Iterable[Metric]:
        """Return what was counted."""
        counter = self._counter()
        for (name, zone), times in self._counts.items():
            counter.add_metric((name, zone or ""), times)
        yield counter

    @staticmethod
    def _counter() -> CounterMetricFamily:
        return CounterMetricFamily("fencepost_events", "Events by name and zone", labels=("event", "zone"))
