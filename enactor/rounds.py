"""Rounds of one enactor: what an error of the store does to a round, and the word that is left after it."""

from collections.abc import Mapping
from typing import Final

from enactor.buggy import BuggyEnactor
from enactor.fixed import FixedEnactor
from enactor.protocol import Enactor, Outcome
from enactor.settings import EnactorSettings
from fencepost.clock import Clock
from fencepost.errors import StoreError
from fencepost.events import Events
from fencepost.stores import PlanStore, Report

PROTOCOLS: Final[Mapping[str, type[BuggyEnactor | FixedEnactor]]] = {"buggy": BuggyEnactor, "fixed": FixedEnactor}

REPORT_S: Final = 3.0
"""An enactor leaves word of itself at least this often."""


class Rounds:
    """One enactor's rounds; `last` is what the last one came to. Without `plans` no word is left."""

    def __init__(
        self, enactor: Enactor, settings: EnactorSettings, plans: PlanStore | None, *, clock: Clock, events: Events
    ) -> None:
        self.last = Outcome("not one round yet", 0.0)
        self._enactor, self._settings, self._plans = enactor, settings, plans
        self._clock, self._events = clock, events
        self._said: tuple[int, Mapping[str, str]] | None = None
        self._said_s = 0.0

    async def one(self) -> Outcome:
        """Do one round, and leave word of it in the plan store when that has changed, and now and then."""
        try:
            self.last = await self._enactor.tick()
        except StoreError as error:
            before, text = self.last, f"the round ended: {error}"
            self.last = Outcome(text, self._settings.pauses.backoff_cap_s, before.installed, before.held)
            self._events.emit("service.round_failed", reason=str(error))
        await self._report()
        return self.last

    async def _report(self) -> None:
        said, now_s = (self.last.installed, self.last.held), self._clock.monotonic()
        if self._plans is None or (said == self._said and now_s < self._said_s + REPORT_S):
            return
        words = Report(role="enactor", generation=self.last.installed, text=self.last.text, held=self.last.held)
        try:
            await self._plans.report(self._settings.name, words)
        except StoreError as error:
            self._events.emit("enactor.report_failed", reason=str(error))
        self._said, self._said_s = said, now_s
