"""The planner's main loop: rounds of `Publisher.settle`, called for by the fleet, by operators, and now and then."""

import asyncio
import contextlib
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fencepost.cancelling import was_cancelled
from fencepost.clock import Clock, stream
from fencepost.errors import FencepostError, PlanInvalid, StoreError
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.plan import Lane
from fencepost.region import Region
from fencepost.stores import PlanStore, Report, ZoneStore
from planner.admission import Admitted, Refused, Wanted, World
from planner.build import View, view_fleet
from planner.intake import Intake
from planner.layout import Layout
from planner.observe import Observer
from planner.publish import Publisher, Settled
from planner.requests import Requests, decode_requests
from planner.safety import Limited
from planner.settings import PlannerSettings
from planner.tell import tell

RETRY_AFTER_S: Final = 1
"""After how many seconds whoever was turned away may try again."""


class Outcome(NamedTuple):
    """What one round came to.

    Attributes:
        settled: what it did, and what is held back; as the round before left it after an error.
        wait_s: when to begin the next round if nothing calls for it earlier, seconds.
        error: what ended the round, None if it went well.
    """

    settled: Settled
    wait_s: float
    error: FencepostError | None = None

    @property
    def generation(self) -> int:
        """The plan that holds the world as the round saw it, if nothing waits; the latest known one after an error."""
        return self.settled.generation

    @property
    def why(self) -> str:
        """One sentence: what was done, and why."""
        return f"the round failed: {self.error}" if self.error else self.settled.why

    @property
    def held(self) -> Mapping[str, str]:
        """Endpoint -> why it stays as the last plan has it."""
        return self.settled.held

    @property
    def limited(self) -> Mapping[str, Limited]:
        """Endpoint -> what was cut short."""
        return self.settled.limited

    @property
    def answers(self) -> bool:
        """Whether those who wait for their request's plan wait no longer: it is there, or will not come by itself."""
        return self.error is not None or self.settled.frozen is not None or not self.settled.waits


class Submitted(NamedTuple):
    """A request that is in force (or ended).

    Attributes:
        admitted: how it is in force.
        outcome: of the last round.
        late: why that round has not taken the request into account yet, "" if it has.
    """

    admitted: Admitted
    outcome: Outcome
    late: str = ""


class Planner:
    """Observes the fleet, takes requests, and publishes plans.

    Args:
        plans: the plan store, at the planner's distance from it.
        zones: the zones, of which only fences and capacities are read.
    """

    def __init__(
        self,
        settings: PlannerSettings,
        region: Region,
        plans: PlanStore,
        zones: ZoneStore,
        *,
        events: Events,
        clock: Clock,
    ) -> None:
        self._settings, self._plans, self._events, self._clock = settings, plans, events, clock
        self._layout = Layout.of(region)
        self._limits = settings.limits if Guard.PROTECTIVE_CHECKS in settings.guards else None
        self._wake, self._urgent = asyncio.Event(), asyncio.Event()
        self._waiting: list[asyncio.Future[Outcome]] = []
        self._retry_chance = stream(settings.seed, settings.name, "retries")
        self._failures = 0
        self._report_due_s = -math.inf
        self.submitting = 0
        self.outcome = Outcome(Settled(0, "the first round has not ended yet"), 0.0)
        self.observer = Observer(settings, region, events, clock, self.call)
        self.publisher = Publisher(settings, self._layout, plans, zones, events=events, clock=clock)
        self.intake = Intake(plans, self._world, events=events, clock=clock)

    async def run(self) -> None:
        """Observe and publish until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.observer.run())
            group.create_task(self.run_rounds())

    async def run_rounds(self) -> None:
        """Publish until cancelled, by what the observer is told."""
        while True:
            outcome = await self.tick()
            if was_cancelled():
                raise asyncio.CancelledError
            await self._pause(outcome)

    def call(self, *, urgent: bool) -> None:
        """Call for a round; one that is not urgent may wait for the slow lane's turn."""
        self._wake.set()
        if urgent:
            self._urgent.set()

    def not_ready(self) -> str | None:
        """Return why no plan can be in force yet, None if one is."""
        if not self.observer.complete:
            return "not all load balancers have been observed yet"
        return None if self.publisher.snapshot.latest else f"no plan is in the store yet: {self.outcome.why}"

    def state(self) -> Mapping[str, Any]:
        """Return the latest generation and why, what is held back, in trouble, and asked for by operators."""
        outcome, fleet, age_s = self.outcome, self.observer.fleet, self.observer.age_s()
        return {
            "generation": self.publisher.snapshot.generation,
            "why": outcome.why,
            "problem": str(outcome.error) if outcome.error else None,
            "held": dict(outcome.held),
            "limited": {name: limited.text for name, limited in outcome.limited.items()},
            "pinned": dict(outcome.settled.pinned),
            "frozen": outcome.settled.frozen,
            **self.publisher.standing(),
            "requests_waiting": self.submitting,
            "trouble": {name: seen.reason for name, seen in fleet.items() if seen.healthy is not True or seen.reason},
            "requests": list(self.publisher.snapshot.requests.by_key.values()),
            "last_observation_age_s": None if age_s is None else round(age_s, 3),
        }

    async def tick(self) -> Outcome:
        """Do one round. What the stores do to it is part of the outcome, not an error."""
        waiting, self._waiting = self._waiting, []
        self._wake.clear()
        self._urgent.clear()
        try:
            outcome = await self._round()
        except FencepostError as error:
            outcome = self._failed(error)
        else:
            self._failures = 0
        before, self.outcome = self.outcome, outcome
        tell(self._events, before.settled, outcome.settled)
        if outcome.answers:
            for waiter in waiting:
                if not waiter.done():  # whoever waited may be gone
                    waiter.set_result(outcome)
        else:
            # Those who gave up are dropped: plans can be held for long, and people ask again.
            self._waiting = [waiter for waiter in (*waiting, *self._waiting) if not waiter.done()]
        await self._report(before.settled)
        return outcome

    async def _round(self) -> Outcome:
        look_s = self._settings.look_interval_s
        if not self.observer.complete:
            why = "nothing is published before every load balancer has been observed"
            return Outcome(Settled(self.publisher.snapshot.generation, why), look_s)
        settled = await self.publisher.settle(self.observer.fleet)
        return Outcome(settled, 0.0 if settled.waits and not settled.frozen else look_s)

    def _failed(self, error: FencepostError) -> Outcome:
        """Return the outcome of a round that failed; the waits grow up to a bound, and spread."""
        generation, settings = self.publisher.snapshot.generation, self._settings
        name = "planner.plan_refused" if isinstance(error, PlanInvalid) else "service.round_failed"
        self._events.emit(name, generation=generation, reason=str(error), failures=self._failures)
        longest_s = min(settings.retry_min_s * 2.0 ** min(self._failures, 30), settings.retry_max_s)
        self._failures += 1
        wait_s = longest_s * self._retry_chance.uniform(0.5, 1.0)
        return Outcome(self.outcome.settled._replace(generation=generation), wait_s, error)

    async def _report(self, before: Settled) -> None:
        """Leave word in the plan store: after a round that changed something, and now and then."""
        now_s, settled, due_s = self._clock.monotonic(), self.outcome.settled, self._report_due_s
        same = settled._replace(why=before.why, waits=before.waits) == before
        if isinstance(self.outcome.error, StoreError) or (same and now_s < due_s):
            return
        limited = {name: limited.text for name, limited in settled.limited.items()}
        held = {**settled.pinned, **limited, **settled.held}
        report = Report(role="planner", generation=settled.generation, text=self.outcome.why, held=held)
        try:
            await self._plans.report(self._settings.name, report)
            self._report_due_s = now_s + self._settings.look_interval_s
        except FencepostError as error:
            self._events.emit("service.round_failed", reason=f"no report could be left in the plan store: {error}")

    async def _pause(self, outcome: Outcome) -> None:
        """Wait until there is something to do.

        A store in trouble, and enactors that are far behind, are left in peace: no wake cuts those waits short. What
        cannot go before the slow lane's turn is not looked at before it, either.
        """
        lanes = self.publisher.lanes
        rest_s = lanes.rest_s(self._clock.monotonic()) if lanes else 0.0
        if outcome.error or (lanes and lanes.closed):
            await self._clock.sleep(outcome.wait_s if outcome.error else rest_s)
        elif not await _set_within(self._urgent, rest_s):
            await _set_within(self._wake, outcome.wait_s)

    async def submit(self, wanted: Wanted, *, wait: bool = True) -> Submitted | Refused:
        """Put an operator's request in force, and wait for the plan that holds it.

        Once stored, a request survives every crash; only the plan that follows from it may be late, which the answer
        then says. Raises: StoreError; PlanInvalid if the requests in the store cannot be read.

        Args:
            wanted: what is asked.
            wait: whether to wait for the plan, for `answer_within_s` at most.
        """
        if self.submitting >= self._settings.max_waiting:
            text = f"{self.submitting} requests are waiting, which is the limit; try again in {RETRY_AFTER_S} s"
            return Refused(HTTPStatus.TOO_MANY_REQUESTS, text)
        self.submitting += 1
        try:
            answer = await self.intake.submit(wanted)
            if isinstance(answer, Refused):
                return answer
            self.call(urgent=wanted.urgent)
            return await self._planned(answer) if wait else Submitted(answer, self.outcome, "nobody waits for its plan")
        finally:
            self.submitting -= 1

    async def _planned(self, admitted: Admitted) -> Submitted:
        """Wait until a round that begins from now on has an answer."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._settings.answer_within_s):
                return Submitted(admitted, await waiter)
        except TimeoutError:
            lanes = self.publisher.lanes
            why_not = lanes.why_not(Lane.SLOW, self._clock.monotonic()) if lanes else None
            return Submitted(admitted, self.outcome, f"its plan is not published yet: {why_not or self.outcome.why}")

    def _world(self, requests: Requests) -> World:
        return World(self._layout, self.observer.fleet, requests, self.publisher.snapshot.contents, self._limits)

    async def requests(self) -> Requests:
        """Return the operator requests in force. Raises: StoreError, PlanInvalid."""
        return decode_requests(await self._plans.requests())

    async def load_balancers(self) -> list[View]:
        """Return every load balancer as the planner sees it, in order of their names. Raises: as `requests`."""
        return list(view_fleet(self._layout, self.observer.fleet, await self.requests()).values())


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; return whether it was set in time."""
    if event.is_set() or seconds <= 0:
        return event.is_set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
