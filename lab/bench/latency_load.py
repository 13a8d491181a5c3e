"""Plans at fixed instants, and when each of them is visible at the resolver: the load of `bench latency`."""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fencepost.clock import Clock
from lab.bench.asker import addresses, fence_of, fence_question, question
from lab.bench.programs import BenchFailed
from lab.bench.system import OurSystem

PAUSE_S: Final = 0.001
"""Between an answer that does not show a plan yet and the next question: visibility is known to about a millisecond."""
SETTLE_S: Final = 15.0
"""What is not visible so long after the last plan counts as never seen."""


@dataclass(slots=True)
class Sent:
    """One plan.

    Attributes:
        zone, turn: which endpoint it moves, and to which of its turns.
        due_s: when it was to be published, by the benchmark's clock.
        generation: its number, 0 until it has one.
        late_s: how much later than that the call was made.
        visible_s: when the resolver showed it or a newer one of that endpoint; None: not yet.
        superseded: whether it was a newer one that was seen first.
    """

    zone: str
    turn: int
    due_s: float
    generation: int = 0
    late_s: float = 0.0
    visible_s: float | None = None
    superseded: bool = False

    @property
    def took_s(self) -> float:
        """From the instant at which it was due until it was visible; infinite if it never was."""
        return math.inf if self.visible_s is None else self.visible_s - self.due_s


@dataclass(slots=True)
class Watched:
    """What is awaited of one endpoint.

    Attributes:
        waiting: its plans that are not visible yet, in the order of publication.
        turns: the turn of each generation that may be live.
        coming: the turn of a plan that is being published: it may be live before we are told its generation.
        comes: set when there is something to wait for.
    """

    zone: str
    waiting: deque[Sent] = field(default_factory=deque)
    turns: dict[int, int] = field(default_factory=dict)
    coming: int | None = None
    comes: asyncio.Event = field(default_factory=asyncio.Event)


class LatencyLoad:
    """Publishes plans, one endpoint each in turn, and watches every endpoint over DNS.

    Args:
        system: what is measured.
        turns: at which turn each endpoint is; kept.
        clock: measures.

    Attributes:
        watched: what is awaited of each endpoint.
    """

    def __init__(self, system: OurSystem, turns: dict[str, int], clock: Clock) -> None:
        self._system, self._clock, self._many = system, clock, system.options.many
        self.watched = {zone: Watched(zone) for zone in self._many.names}
        self._turns = turns

    async def run(self, rate: float, duration_s: float) -> Sequence[Sent]:
        """Publish for a while, wait until all is visible or can be given up, and return every plan.

        Raises: BenchFailed if an answer contradicts the plan that is said to be live; StoreError.
        """
        sent: list[Sent] = []
        watching = [asyncio.create_task(self._watch(watched)) for watched in self.watched.values()]
        publishing = asyncio.create_task(self._publish(rate, duration_s, sent))
        try:
            await self._unless_broken(publishing, watching)
            give_up_s = self._clock.monotonic() + SETTLE_S
            while any(one.waiting for one in self.watched.values()) and self._clock.monotonic() < give_up_s:
                await self._unless_broken(asyncio.create_task(self._clock.sleep(0.05)), watching)
        finally:
            for task in (publishing, *watching):
                task.cancel()
            await asyncio.gather(publishing, *watching, return_exceptions=True)
        return sent

    async def _unless_broken(self, work: "asyncio.Task[None]", watching: Sequence["asyncio.Task[None]"]) -> None:
        await asyncio.wait({work, *watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in watching:
            if task.done():
                task.result()
        await work

    async def _publish(self, rate: float, duration_s: float, sent: list[Sent]) -> None:
        """Publish at fixed instants. Who is late catches up, and what it cost counts: no plan waits for another."""
        began_s = self._clock.monotonic()
        for number in range(round(rate * duration_s)):
            due_s = began_s + number / rate
            if (wait_s := due_s - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait_s)
            sent.append(await self.publish_one(self._many.names[number % self._many.endpoints], due_s))

    async def publish_one(self, zone: str, due_s: float) -> Sent:
        """Move an endpoint on to its next load balancers."""
        self._turns[zone] += 1
        plan, watched = Sent(zone, self._turns[zone] % self._many.turns, due_s), self.watched[zone]
        plan.late_s = max(0.0, self._clock.monotonic() - due_s)
        watched.coming = plan.turn
        plan.generation = await self._system.publish({zone: self._many.content(plan.turn)})
        watched.turns[plan.generation], watched.coming = plan.turn, None
        watched.waiting.append(plan)
        watched.comes.set()
        return plan

    async def _watch(self, watched: Watched) -> None:
        """Ask for an endpoint's fence while something is awaited; an address then has to say the same."""
        fence, root = fence_question(watched.zone), question(watched.zone, "A")
        while True:
            while not watched.waiting:
                watched.comes.clear()
                await watched.comes.wait()
            answer = await self._system.dns.ask(fence)
            shown = fence_of(answer) if answer is not None else None
            if shown is None or shown[0] < watched.waiting[0].generation:
                await self._clock.sleep(PAUSE_S)
                continue
            given = addresses(await self._system.dns.ask(root))
            if given:
                self.see(watched, shown[0], {self._many.turn_of(address) for address in given})

    def see(self, watched: Watched, generation: int, turns: set[int]) -> None:
        """Note what a fence and an address have shown. Raises: BenchFailed if they do not go together."""
        # A fence moves on with plans of other endpoints, too: what is live is the last plan of this one up to there.
        live = max((number for number in watched.turns if number <= generation), default=0)
        possible = {turn for number, turn in watched.turns.items() if number >= live} | {watched.coming}
        if not turns <= possible:
            raise BenchFailed(f"{watched.zone} is said to be at plan {generation}, but answers turn {sorted(turns)}")
        now_s = self._clock.monotonic()
        while watched.waiting and watched.waiting[0].generation <= generation:
            plan = watched.waiting.popleft()
            plan.visible_s, plan.superseded = now_s, plan.generation < live
        watched.turns = {number: turn for number, turn in watched.turns.items() if number >= live}
