"""The watch, `python -m deploy.watch`: looks at the system every second, and raises one alarm that names the cause.

It reads; it changes nothing. A store that is away is an alarm like any other, and it goes on looking.
"""

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field

from deploy.status import Collector, StatusSettings
from deploy.watch_metrics import WatchMetrics
from fencepost.alarms import Judgement, Patience, conclude
from fencepost.bell import Bell, Ring, Said
from fencepost.client import OPERATOR
from fencepost.clock import Clock, SystemClock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.service import Context, serve
from fencepost.settings import load_settings
from fencepost.symptoms import Thresholds, find

EVENTS: Final = {
    Said.RAISED: "watch.alarm_raised",
    Said.CHANGED: "watch.alarm_changed",
    Said.CLEARED: "watch.alarm_cleared",
}


class WatchSettings(StatusSettings):
    """`look_interval_s`: seconds between two looks; the processes' pages are asked less often, for they cost most."""

    name: str = "watch"
    look_interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    pages_interval_s: Annotated[float, Field(ge=0, le=60)] = 3.0


class WatchService:
    """A `fencepost.service.Service`."""

    def __init__(self, context: Context, settings: WatchSettings, clock: Clock) -> None:
        self._settings, self._events, self._clock = settings, context.events, clock
        self._thresholds = Thresholds.of(settings.network)
        self._zones, self._plans = open_zone_store(settings, OPERATOR), open_plan_store(settings)
        self._collector = Collector(settings, self._zones, self._plans, self._clock)
        self._patience, self._bell, self._metrics = Patience(), Bell(), WatchMetrics(context)
        self._judgement: Judgement | None = None

    async def start(self) -> None:
        """See `Service.start`. A store that does not answer is no reason not to: it is the first alarm."""
        await self._collector.open()

    async def run(self) -> None:
        """Look, for ever, once an interval."""
        while True:
            due_s = self._clock.monotonic() + self._settings.look_interval_s
            await self.tick()
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))

    async def tick(self) -> Judgement:
        """Do one look, and say what is to be said."""
        facts = await self._collector.look()
        now_s = self._clock.monotonic()
        symptoms = find(facts, self._thresholds)
        self._patience.look(symptoms, now_s)
        self._judgement = conclude(symptoms, facts, self._patience.believes)
        ring = self._bell.hear(self._judgement.alarm, now_s)
        if ring is not None:
            self._say(ring)
        self._metrics.show(facts, self._bell.alarm)
        return self._judgement

    def _say(self, ring: Ring) -> None:
        primary = ring.alarm.primary
        self._events.emit(
            EVENTS[ring.said],
            zone=primary.endpoints[0] if primary.endpoints else None,
            reason=ring.alarm.line,
            took_ms=ring.lasted_s * 1000 if ring.said is Said.CLEARED else None,
            cause=primary.cause.value,
            severity=primary.severity.value,
            endpoints=list(primary.endpoints),
            details=list(primary.details),
            consequences=list(primary.consequences),
            also=[finding.sentence for finding in ring.alarm.also],
            command=primary.command,
        )

    async def stop(self) -> None:
        """See `Service.stop`."""
        await self._collector.close()
        await self._zones.close()
        await self._plans.close()

    def not_ready(self) -> str | None:
        """See `Service.not_ready`: an alarm is no reason, it is what the watch is for."""
        return None if self._judgement else "not one look yet"

    def state(self) -> Mapping[str, Any]:
        """See `Service.state`: the alarm that is raised, what the last look alone gave reason for, and notes."""
        seen = self._judgement or Judgement()
        return {
            "alarm": msgspec.to_builtins(self._bell.alarm),
            "last_look": msgspec.to_builtins(seen.alarm),
            "notes": msgspec.to_builtins(seen.notes),
        }


def build(context: Context) -> WatchService:
    """Return the watch of the settings."""
    assert isinstance(context.settings, WatchSettings), context.settings
    return WatchService(context, context.settings, SystemClock(context.settings.clock_skew_s))


if __name__ == "__main__":
    sys.exit(serve(lambda: load_settings(WatchSettings), build))
