"""Events: what a process did, as one frozen record each. Log, metrics and history are adapters to it.

Names are `<service>.<noun>_<past verb>`, so that `grep` finds the story of one zone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

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
