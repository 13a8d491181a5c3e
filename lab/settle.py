"""Has the system converged? Read from the stores themselves, without any process's word for it."""

from fencepost.batch import create
from fencepost.plan import Plan
from fencepost.stores import PlanStore, ZoneStore
from lab.invariants.convergence import difference
from lab.invariants.replay import ZoneState


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
