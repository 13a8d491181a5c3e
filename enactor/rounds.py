"""Rounds of one enactor: what an error of the store does to a round, and the word that is left after it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from enactor.buggy import BuggyEnactor
from enactor.fixed import FixedEnactor
from enactor.protocol import Enactor, Outcome
from enactor.settings import EnactorSettings
from enactor.turns import REPORT_S, Turns
from fencepost.clock import Clock
from fencepost.errors import StoreError
from fencepost.events import Events
from fencepost.stores import PlanStore, Report

PROTOCOLS: Final[Mapping[str, type[BuggyEnactor | FixedEnactor]]] = {"buggy": BuggyEnactor, "fixed": FixedEnactor}


class Rounds:
    """One enactor's rounds; `last` is what the last one came to.

    Without `plans` no word is left, without `turns` no other enactor's word is heard.
    """

    def __init__(
        self,
        enactor: Enactor,
        settings: EnactorSettings,
        plans: PlanStore | None,
        *,
        clock: Clock,
        events: Events,
        turns: Turns | None = None,
    ) -> None:
        self.last = Outcome("not one round yet", 0.0)
        self._enactor, self._settings, self._plans = enactor, settings, plans
        self._clock, self._events, self._turns = clock, events, turns
        self._said: tuple[int, Mapping[str, str], int] | None = None
        self._said_s = 0.0

    async def one(self) -> Outcome:
        """Do one round, and leave word of it in the plan store when that has changed, and now and then."""
        await self._hear()
        try:
            self.last = await self._enactor.tick()
        except StoreError as error:
            before, text = self.last, f"the round ended: {error}"
            self.last = Outcome(text, self._settings.pauses.backoff_cap_s, before.installed, before.held)
            self._events.emit("service.round_failed", reason=str(error))
        await self._report()
        return self.last

    async def _hear(self) -> None:
        """Hear what the other enactors say, if it is time for that."""
        if self._plans is None or self._turns is None or not self._turns.listens:
            return
        # Who cannot be heard is waited for no longer than others; and the round itself meets the same error.
        with suppress(StoreError):
            self._turns.hear(await self._plans.reports())

    async def _report(self) -> None:
        news = self._turns.news if self._turns else 0
        said, now_s = (self.last.installed, self.last.held, news), self._clock.monotonic()
        if self._plans is None or (said == self._said and now_s < self._said_s + REPORT_S):
            return
        last, fences = self.last, self._turns.fences if self._turns else {}
        words = Report(role="enactor", generation=last.installed, text=last.text, held=last.held, fences=fences)
        try:
            await self._plans.report(self._settings.name, words)
        except StoreError as error:
            self._events.emit("enactor.report_failed", reason=str(error))
        self._said, self._said_s = said, now_s
