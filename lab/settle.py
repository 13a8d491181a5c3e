"""Has the system converged? Read from the stores themselves, without any process's word for it."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from fencepost.batch import create
from fencepost.clock import Clock
from fencepost.plan import Plan
from fencepost.stores import PlanStore, ZoneStore
from lab.invariants.convergence import difference
from lab.invariants.replay import ZoneState

POLL_S: Final = 0.5


class Settled(NamedTuple):
    """How a system came to rest.

    Attributes:
        generation: the last plan, as far as was looked.
        after_s: how long it took until every root was at it, seconds; None: they were not, when time was over.
        left: the endpoints that were not, in words.
    """

    generation: int
    after_s: float | None
    left: dict[str, str]


async def settle(
    zone_store: ZoneStore,
    plan_store: PlanStore,
    clock: Clock,
    *,
    deadline_s: float,
    quiet_s: float,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> Settled:
    """Wait until every root is at the last plan and has stayed so, without a newer plan, for a while.

    Plans may come after the world has stopped: they were held back, or what was kept for a time goes at last.

    `deadline_s` is when to give up, by the clock's `monotonic`; `quiet_s` for how long nothing may have come, seconds;
    `meanwhile` is called between two looks.
    """
    began_s = clock.monotonic()
    since: tuple[int, float] | None = None
    while True:
        generation = await plan_store.latest_generation()
        left = await unconverged(zone_store, plan_store)
        now_s = clock.monotonic()
        if left or generation != await plan_store.latest_generation():
            since = None
        elif since is None or since[0] != generation:
            since = generation, now_s
        if now_s >= deadline_s or (since is not None and now_s >= since[1] + quiet_s):
            return Settled(generation, None if since is None else round(since[1] - began_s, 3), left)
        if meanwhile is not None:
            await meanwhile()
        await clock.sleep(min(POLL_S, max(0.0, deadline_s - clock.monotonic())))


async def unconverged(zone_store: ZoneStore, plan_store: PlanStore, known: Plan | None = None) -> dict[str, str]:
    """Return the endpoints whose root does not answer what the last plan says, each with the difference in words."""
    plan = await plan_store.latest(known)
    if plan is None:
        return {}
    found = {}
    for endpoint in plan.digests:
        state = await zone_state(zone_store, endpoint)
        if problem := difference(state, plan.content(endpoint)):
            found[endpoint] = problem
    return found


async def zone_state(zone_store: ZoneStore, zone: str) -> ZoneState:
    """Return a zone as it is now, read page by page."""
    state = ZoneState(zone)
    page = await zone_store.page(zone)
    state.apply([create(record_set) for record_set in page.record_sets])
    while page.next_key is not None:
        page = await zone_store.page(zone, page.next_key)
        state.apply([create(record_set) for record_set in page.record_sets])
    return state
