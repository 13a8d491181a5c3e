"""What an enactor shows of each endpoint, in `/state` and as metrics: what a person on call asks for first."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from prometheus_client import Metric
from prometheus_client.registry import Collector

from fencepost.events import Event
from fencepost.service import Context


class Endpoint(msgspec.Struct):
    """One endpoint, as far as this enactor's events told.

    Attributes:
        installed: the generation last installed by this enactor, None if it has installed none.
        held: why the endpoint cannot be moved, None if it can.
        lock_streak: lost locks in a row.
        last_trouble: the last event that had a reason, and that reason; None if there was none.
    """

    installed: int | None = None
    held: str | None = None
    lock_streak: int = 0
    last_trouble: str | None = None


class Shown(Collector):
    """Takes note of events and of what is held; its gauges are set when somebody looks."""

    def __init__(self, context: Context) -> None:
        self._endpoints: dict[str, Endpoint] = {}
        self._held: Mapping[str, str] = {}
        # What the gauges have: a zone has one only from its first event of that kind on.
        self._installed: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        # It has to be asked before its gauges are.
        context.registry.register(self)
        self._streaks = context.gauge("lock_streak", "Lost locks in a row", "zone")
        self._generations = context.gauge("installed_generation", "Generation last installed by this enactor", "zone")
        self._holds = context.gauge("endpoint_held", "1 where the endpoint cannot be moved; /state says why", "zone")

    @property
    def state(self) -> Mapping[str, Any]:
        """Zone -> what is known of it, JSON-able; zones that no event told of are not there."""
        return {zone: msgspec.to_builtins(endpoint) for zone, endpoint in self._endpoints.items()}

    def note(self, event: Event) -> None:
        """Take note of one event."""
        if event.zone is None:
            return
        seen = self._endpoints.get(event.zone)
        if seen is None:
            seen = self._endpoints[event.zone] = Endpoint(held=self._held.get(event.zone))
        if event.name in {"enactor.flip_committed", "enactor.fence_advanced"}:
            seen.installed = event.generation
            self._installed[event.zone] = event.generation or 0
        elif event.name in {"enactor.lock_missed", "enactor.lock_acquired"}:
            seen.lock_streak = event.fields["streak"] if event.name == "enactor.lock_missed" else 0
            self._lost[event.zone] = seen.lock_streak
        elif event.reason and event.name != "enactor.plan_left":
            seen.last_trouble = f"{event.name}: {event.reason}"

    def note_held(self, held: Mapping[str, str]) -> None:
        """Take note of which endpoints cannot be moved, and that the others can."""
        if held == self._held:
            return
        for zone in {*held, *self._held} & self._endpoints.keys():
            self._endpoints[zone].held = held.get(zone)
        self._held = held

    def collect(self) -> Iterable[Metric]:
        """Set the gauges; they speak for themselves."""
        for zone, endpoint in self._endpoints.items():
            self._holds.labels(zone).set(endpoint.held is not None)
        for zone, generation in self._installed.items():
            self._generations.labels(zone).set(generation)
        for zone, streak in self._lost.items():
            self._streaks.labels(zone).set(streak)
        return ()
