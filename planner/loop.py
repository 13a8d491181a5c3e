"""The planner's main loop: rounds of `Publisher.settle`, called for by the fleet, by operators, and now and then."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from fencepost.clock import Clock, stream
from fencepost.errors import FencepostError, PlanInvalid
from fencepost.events import Events
from fencepost.region import Region
from fencepost.stores import PlanStore, ZoneStore
from planner.admission import Admitted, Refused, Wanted, World, admit
from planner.build import View, view_fleet
from planner.observe import Observer
from planner.publish import Publisher
from planner.requests import Requests, decode_requests, encode_request
from planner.settings import PlannerSettings


class Outcome(NamedTuple):
    """What one round came to.

    Attributes:
        generation: the plan that holds the world as the round saw it; the latest known one after an error.
        why: one sentence: what was done, and why.
        wait_s: when to begin the next round if nothing calls for it earlier, seconds.
        held: endpoint -> why it stays as the last plan has it.
        error: what ended the round, None if it went well.
    """

    generation: int
    why: str
    wait_s: float
    held: Mapping[str, str]
    error: FencepostError | None = None


class Submitted(NamedTuple):
    """A request that is in force (or ended), and the outcome of a round that took it into account."""

    admitted: Admitted
    outcome: Outcome


class Planner:
    """Observes the fleet, takes requests, and publishes plans.

    Args:
        plans: the plan store, at the planner's distance from it.
        zones: the zones, of which only the fences are read.
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
        self._settings, self._region, self._plans, self._events, self._clock = settings, region, plans, events, clock
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[Outcome]] = []
        self._admission = asyncio.Lock()
        self._retry_chance = stream(settings.seed, settings.name, "retries")
        self._failures = 0
        self._outcome = Outcome(0, "the first round has not ended yet", 0.0, {})
        self.observer = Observer(settings, region, events, clock, self._wake.set)
        self.publisher = Publisher(
            region, plans, zones, events=events, clock=clock, fences_interval_s=settings.look_interval_s
        )

    async def run(self) -> None:
        """Observe and publish until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.observer.run())
            group.create_task(self._run_rounds())

    def not_ready(self) -> str | None:
        """Return why no plan can be in force yet, None if one is."""
        if not self.observer.complete:
            return "not all load balancers have been observed yet"
        return None if self.publisher.snapshot.latest else f"no plan is in the store yet: {self._outcome.why}"

    def state(self) -> Mapping[str, Any]:
        """Return the latest generation and why, what is in trouble, and what operators have asked for."""
        outcome, fleet, age_s = self._outcome, self.observer.fleet, self.observer.age_s()
        return {
            "generation": self.publisher.snapshot.generation,
            "why": outcome.why,
            "problem": str(outcome.error) if outcome.error else None,
            "held": dict(outcome.held),
            "trouble": {name: seen.reason for name, seen in fleet.items() if seen.healthy is not True or seen.reason},
            "requests": list(self.publisher.snapshot.requests.by_key.values()),
            "last_observation_age_s": None if age_s is None else round(age_s, 3),
        }

    async def tick(self) -> Outcome:
        """Do one round. What the stores do to it is part of the outcome, not an error."""
        waiting, self._waiting = self._waiting, []
        self._wake.clear()
        try:
            outcome = await self._round()
        except FencepostError as error:
            outcome = self._failed(error)
        else:
            self._failures = 0
        for endpoint in sorted(outcome.held.keys() - self._outcome.held.keys()):
            self._events.emit("planner.plan_refused", zone=endpoint, reason=outcome.held[endpoint])
        self._outcome = outcome
        for waiter in waiting:
            if not waiter.done():  # whoever waited may be gone
                waiter.set_result(outcome)
        return outcome

    async def _round(self) -> Outcome:
        if not self.observer.complete:
            why = "nothing is published before every load balancer has been observed"
            return Outcome(self.publisher.snapshot.generation, why, self._settings.look_interval_s, {})
        settled = await self.publisher.settle(self.observer.fleet)
        return Outcome(settled.generation, settled.why, self._settings.look_interval_s, settled.held)

    def _failed(self, error: FencepostError) -> Outcome:
        """Return the outcome of a round that failed; the waits grow up to a bound, and spread."""
        generation, settings = self.publisher.snapshot.generation, self._settings
        name = "planner.plan_refused" if isinstance(error, PlanInvalid) else "service.round_failed"
        self._events.emit(name, generation=generation, reason=str(error), failures=self._failures)
        longest_s = min(settings.retry_min_s * 2.0 ** min(self._failures, 30), settings.retry_max_s)
        self._failures += 1
        wait_s = longest_s * self._retry_chance.uniform(0.5, 1.0)
        return Outcome(generation, f"the round failed: {error}", wait_s, self._outcome.held, error)

    async def _run_rounds(self) -> None:
        while True:
            outcome = await self.tick()
            if outcome.error:  # a wake does not cut this wait short: a store in trouble is left in peace
                await self._clock.sleep(outcome.wait_s)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(outcome.wait_s):
                    await self._wake.wait()

    async def submit(self, wanted: Wanted) -> Submitted | Refused:
        """Put an operator's request in force, and wait for a round that takes it into account.

        Once stored, a request survives every crash; only the plan that follows from it may be late, which the outcome
        then says. Raises: StoreError; PlanInvalid if the requests in the store cannot be read.
        """
        async with self._admission:  # two drains at once must not each count on the other's load balancer
            answer = await self._admit(wanted)
        return answer if isinstance(answer, Refused) else Submitted(answer, await self._next_round())

    async def _admit(self, wanted: Wanted) -> Admitted | Refused:
        requests = await self.requests()
        world = World(self._region, self.observer.fleet, requests, self.publisher.snapshot.contents)
        answer = admit(world, wanted, int(self._clock.epoch_s() * 1000))
        if isinstance(answer, Refused):
            self._events.emit("planner.request_refused", reason=answer.error, kind=wanted.kind, subject=wanted.subject)
        elif answer.changes:
            text = encode_request(answer.stored) if answer.stored else None
            await self._plans.set_requests({answer.request.key: text})
            self._events.emit("planner.request_accepted", request=answer.request.key, in_force=text is not None)
        return answer

    def _next_round(self) -> asyncio.Future[Outcome]:
        """Call for a round; the future is done when a round that begins from now on has ended."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._wake.set()
        return waiter

    async def requests(self) -> Requests:
        """Return the operator requests in force. Raises: StoreError, PlanInvalid."""
        return decode_requests(await self._plans.requests())

    async def load_balancers(self) -> list[View]:
        """Return every load balancer as the planner sees it, in order of their names. Raises: as `requests`."""
        return list(view_fleet(self._region, self.observer.fleet, await self.requests()).values())
