"""`fencepost drill storm` on a real system: quiet, the storm, and quiet again, with the fast lane used all along.

The last change of all waits for its plan: its answer is the generation that has everything before it, too.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import cycle
from typing import Any, Final

import aiohttp
import msgspec

from deploy.supervisor import Supervisor
from deploy.topology import process_specs
from fencepost.clock import stream
from lab.clients import Tally
from lab.drills.result import Result
from lab.drills.stage import DrillFailed, Stage, beside, judged, required
from lab.drills.storm import Ledger, Queue, Quick, Seen, mismatches, queue_of, result
from lab.drills.streams import Streams, followed

LIVE_WITHIN_S: Final = 10.0
"""After how long a change by the fast lane counts as lost."""
QUEUE_POLL_S: Final = 0.1
STATE_POLL_S: Final = 0.25
RETRY_S: Final = 0.1
DRAIN_BOUND_S: Final = 60.0
"""How long requests that are in flight at the storm's end may take to be answered."""


@dataclass(slots=True)
class Observed:
    """What is collected while the drill goes on; `phase` is quiet, between, storm or after."""

    ledger: Ledger
    phase: str = "quiet"
    quick: list[Quick] = field(default_factory=list)
    queue: list[Queue] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StormDrill:
    """A storm of capacity changes at the operator API.

    Attributes:
        rate, duration_s: of the storm.
        quiet_s: how long the fast lane is measured before it.
        quiet_rate: routine changes a second meanwhile.
        quick_rate: changes by the fast lane a second, all along.
        queue_bound: how many generations may wait to be installed.
        settle_bound_s: within how many seconds after the storm its last change has to be live everywhere.
    """

    rate: float = 500.0
    duration_s: float = 20.0
    quiet_s: float = 20.0
    quiet_rate: float = 2.0
    quick_rate: float = 4.0
    queue_bound: int = 16
    settle_bound_s: float = 10.0

    def check(self) -> None:
        """Refuse what makes no sense. Raises: StartupError."""
        for option, value in (
            ("--rate", self.rate),
            ("--duration", self.duration_s),
            ("--quiet", self.quiet_s),
            ("--fast-rate", self.quick_rate),
            ("--queue-bound", self.queue_bound),
            ("--settle", self.settle_bound_s),
        ):
            required(value, option)

    async def __call__(self, stage: Stage) -> Result:
        """Run the drill. Raises: DrillFailed if the generator or the planner is not there any more."""
        observed = Observed(Ledger.of(stage.region))
        async with followed(stage) as streams:
            async with beside(self._quick(stage, streams, observed)), beside(self._queue(stage, streams, observed)):
                stage.enter("quiet", self.quiet_s)
                await self._routine(stage, observed.ledger)
                observed.phase = "between"  # the start of the generator's process is no storm
                async with self._generator(stage) as url:
                    observed.phase, first = "storm", await stage.stores.plans.latest_generation()
                    stage.enter("storm", self.duration_s)
                    state = await self._storm(stage, url)
                    observed.phase = "after"
                published = await stage.stores.plans.latest_generation() - first
            stage.enter("settling", self.settle_bound_s)
            observed.ledger.take(state["accepted"], state["unclear"])
            settled_s, wrong = await self._settle(stage, observed.ledger, int(state["last_accepted_us"]))
        return await self._judged(stage, observed, state, published, settled_s=settled_s, wrong=wrong)

    async def _judged(
        self,
        stage: Stage,
        observed: Observed,
        state: Mapping[str, Any],
        plans: int,
        *,
        settled_s: float | None,
        wrong: tuple[str, ...],
    ) -> Result:
        stage.enter("collecting and checking")
        parameters = {"drill": "storm", "rate": self.rate, "convergence_bound_s": self.settle_bound_s}
        history = await stage.history(parameters, world_stopped_us=stage.now_us())
        seen = Seen(
            self.rate,
            self.duration_s,
            self.queue_bound,
            self.settle_bound_s,
            msgspec.convert(state["storm"], Tally),
            [one for one in observed.quick if one.phase in {"quiet", "storm"}],
            observed.queue,
            plans,
            settled_s,
            wrong,
            sorted(observed.ledger.unclear),
            await judged(history, self.settle_bound_s),
        )
        title = f"{self.rate:g} changes a second for {self.duration_s:g} s, network {stage.options.profile}"
        return result(title, seen)

    async def _storm(self, stage: Stage, url: str) -> Mapping[str, Any]:
        """Let the generator's process send all that it should; return its last state, nothing in flight any more."""
        deadline_s = stage.clock.monotonic() + self.duration_s + DRAIN_BOUND_S
        while True:
            await stage.clock.sleep(STATE_POLL_S)
            try:
                async with stage.session.get(url) as response:
                    state: Mapping[str, Any] = await response.json()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise DrillFailed(f"the storm's generator does not answer ({error}); see its log") from error
            sent = state["storm"]
            stage.progress.words = f"{sent['sent']} sent, {sent['served']} accepted, {sent['in_flight']} in flight"
            if state["done"]:
                return state
            if stage.clock.monotonic() > deadline_s:
                raise DrillFailed(f"{sent['in_flight']} changes have no answer {DRAIN_BOUND_S:g} s after the storm")

    @asynccontextmanager
    async def _generator(self, stage: Stage) -> AsyncIterator[str]:
        options = replace(stage.options.system, load_rate=self.rate)
        *_, load = process_specs(options, stage.region, stage.system.redis_url)
        assert load.name == "load", load.name
        spec = replace(
            load,
            name="storm",
            argv=(*load.argv[:-1], "lab.drills.storm_load"),
            env={
                **load.env,
                "FENCEPOST_NAME": "storm",
                "FENCEPOST_STORM_RATE": str(self.rate),
                "FENCEPOST_STORM_DURATION_S": str(self.duration_s),
            },
        )
        generator = Supervisor(
            (spec,),
            run_dir=stage.system.run_dir,
            events=stage.events,
            echo=None,
            clock=stage.clock,
            rng=stream(stage.options.seed, "drill", "storm"),
        )
        try:
            await generator.start()
            yield f"{generator.admin_url('storm')}/state"
        finally:
            await generator.stop()

    async def _routine(self, stage: Stage, ledger: Ledger) -> None:
        """Make routine changes, as a quiet day has them, for as long as the quiet is measured; await every answer."""
        until_s = stage.clock.monotonic() + self.quiet_s
        for lb, amount in cycle((lb, amount) for lb in stage.region.load_balancer for amount in (5, -5)):
            if stage.clock.monotonic() >= until_s:
                return
            status, _ = await stage.request("POST", f"load-balancers/{lb.name}/capacity?wait=false", {"add": amount})
            ledger.note(lb.name, amount, status)
            await stage.clock.sleep(min(1 / self.quiet_rate, max(0.0, until_s - stage.clock.monotonic())))

    async def _quick(self, stage: Stage, streams: Streams, observed: Observed) -> None:
        """Take one load balancer after the other out of service, and bring it back, at a steady rate."""
        zones = {
            lb.name: [e.name for e in stage.region.endpoint if lb in stage.region.members(e)]
            for lb in stage.region.load_balancer
        }
        due_s = stage.clock.monotonic()
        for name in cycle(name for name, members in zones.items() if members):
            observed.quick.append(await self._one(stage, streams, name, zones[name], observed.phase))
            await stage.request("DELETE", f"load-balancers/{name}/drain?wait=false")
            due_s = max(due_s + 1 / self.quick_rate, stage.clock.monotonic())
            await stage.clock.sleep(due_s - stage.clock.monotonic())

    async def _one(self, stage: Stage, streams: Streams, name: str, zones: list[str], phase: str) -> Quick:
        asked_us = stage.now_us()
        status, answer = await stage.request("POST", f"load-balancers/{name}/drain")
        published_ms = (stage.now_us() - asked_us) / 1000
        generation = answer.get("generation")
        if status != HTTPStatus.OK or not isinstance(generation, int):
            return Quick(phase, name, asked_us, error=f"{status}: {answer.get('error', 'no plan is published')}")
        latest = await stage.stores.plans.latest()
        live_us = await streams.reached(zones, latest, generation, within_s=LIVE_WITHIN_S)
        return Quick(phase, name, asked_us, published_ms, None if live_us is None else (live_us - asked_us) / 1000)

    async def _queue(self, stage: Stage, streams: Streams, observed: Observed) -> None:
        """Look at the queue all the time, in each way that there is."""
        plans, known, had = stage.stores.plans, None, dict.fromkeys(streams.fences, 0)
        while True:
            # What is installed is read before what is published: the other way round would hide generations.
            known = await plans.latest(known)
            had |= {zone: known.generation for zone in had if known is not None and streams.has(zone, known)}
            reports = await plans.reports()
            told = (await stage.state("planner")).get("queue_size")
            latest = await plans.latest_generation()
            seen = max(0, latest - min(had.values()))
            observed.queue.append(Queue(observed.phase, told, queue_of(latest, reports), seen))
            await stage.clock.sleep(QUEUE_POLL_S)

    async def _settle(self, stage: Stage, ledger: Ledger, last_us: int) -> tuple[float | None, tuple[str, ...]]:
        """Wait until everything is live; return how long after the last change that was, and what is missing."""
        bound_s, began_s = 3 * self.settle_bound_s, stage.clock.monotonic()
        name, add = stage.region.load_balancer[0].name, 1
        while True:
            status, answer = await stage.request("POST", f"load-balancers/{name}/capacity", {"add": add})
            ledger.note(name, add, status)
            if status == HTTPStatus.OK:
                break
            if stage.clock.monotonic() > began_s + bound_s:
                return None, (f"the planner publishes no more change: {status} {answer.get('error', answer)}",)
            if status == HTTPStatus.ACCEPTED:
                add = 0  # it is stored, and its plan comes later: ask for nothing more than to wait for it
            await stage.clock.sleep(RETRY_S)
        began_us = stage.now_us()
        settled = await stage.settled_s(bound_s)
        settled_s = None if settled is None else (began_us - last_us) / 1e6 + settled
        plan = await stage.stores.plans.latest()
        status, page = await stage.request("GET", "load-balancers")
        if plan is None or status != HTTPStatus.OK:
            return settled_s, ("the planner does not say what it has in force",)
        return settled_s, mismatches(plan, page["load_balancers"], ledger)
