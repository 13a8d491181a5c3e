"""Operators' requests on their way into the plan store: all that wait are read for, decided on and written together."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fencepost.clock import Clock
from fencepost.events import Events
from fencepost.stores import PlanStore
from planner.admission import Admitted, Refused, Wanted, World, admit_all
from planner.requests import Requests, decode_requests, encode_request


class _Entry(NamedTuple):
    wanted: Wanted
    answer: asyncio.Future[Admitted | Refused]


class Intake:
    """Admits requests in groups: a storm of them costs two round trips a group, not two each.

    Invariant: a request is answered with `Admitted` only when it is durable, each is decided on the state after the one
    before, and no two groups are under way at once; so two drains never count on each other's load balancer.

    Args:
        plans: the plan store.
        world: returns what admission looks at, given the requests in force.
    """

    def __init__(self, plans: PlanStore, world: Callable[[Requests], World], *, events: Events, clock: Clock) -> None:
        self._plans, self._world, self._events, self._clock = plans, world, events, clock
        self._entries: list[_Entry] = []
        self._lock = asyncio.Lock()
        self._groups: set[asyncio.Task[None]] = set()

    async def submit(self, wanted: Wanted) -> Admitted | Refused:
        """Decide on a request and make it durable.

        Raises: StoreError; PlanInvalid if the requests in the store cannot be read.
        """
        entry = _Entry(wanted, asyncio.get_running_loop().create_future())
        self._entries.append(entry)
        if len(self._entries) == 1:  # a group of its own, which others join until its turn comes
            group = asyncio.create_task(self._admit_group())
            self._groups.add(group)
            group.add_done_callback(self._groups.discard)
        return await entry.answer

    async def _admit_group(self) -> None:
        async with self._lock:
            # Whoever has given up meanwhile is not put in force behind their back.
            group, self._entries = [entry for entry in self._entries if not entry.answer.done()], []
            try:
                answers = await self._admit([entry.wanted for entry in group])
            except Exception as error:  # noqa: BLE001  -- whatever it is, those who wait must learn of it
                for entry in group:
                    if not entry.answer.done():
                        entry.answer.set_exception(error)
                return
            for entry, answer in zip(group, answers, strict=True):
                if not entry.answer.done():
                    entry.answer.set_result(answer)

    async def _admit(self, group: Sequence[Wanted]) -> list[Admitted | Refused]:
        requests = decode_requests(await self._plans.requests())
        answers = admit_all(self._world(requests), group, int(self._clock.epoch_s() * 1000))
        admitted = [answer for answer in answers if isinstance(answer, Admitted) and answer.changes]
        if admitted:
            stored = {a.request.key: encode_request(a.stored) if a.stored else None for a in admitted}
            await self._plans.set_requests(stored)
        for wanted, answer in zip(group, answers, strict=True):
            self._say(wanted, answer)
        return answers

    def _say(self, wanted: Wanted, answer: Admitted | Refused) -> None:
        if isinstance(answer, Refused):
            self._events.emit("planner.request_refused", reason=answer.error, kind=wanted.kind, subject=wanted.subject)
        elif answer.changes:
            request = answer.request
            self._events.emit(
                "planner.request_accepted",
                reason=request.reason,
                request=request.key,
                in_force=answer.stored is not None,
                by=wanted.by,
                force=request.force,
            )
