"""Repair: an operator installs the newest plan's tree by hand. Source: aws.amazon.com/message/101925 (09:25)."""

from dataclasses import dataclass

from deploy.by_hand import ByHand
from deploy.seen import SeenZone
from fencepost.capacity import CapacityHistory
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.errors import FencepostError
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.plan import Plan
from fencepost.safety import Baseline, check_removal, known_addresses


class RepairRefused(FencepostError):
    """There is nothing to repair."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did: from which generation (None: there was no root) to which, and how many records it wrote.

    `by_automation`: an enactor came first, while the repair was at it.
    """

    endpoint: str
    existing: int | None
    desired: int
    was_dangling: bool
    written: int
    by_automation: bool = False


class Repair:
    """One endpoint's repair. Determinism: the changes depend on the zone's listing and the plan alone."""

    def __init__(self, stores: Stores, clock: Clock, events: Events) -> None:
        self._stores, self._clock, self._events = stores, clock, events
        self._hand = ByHand(stores, clock, events)

    async def run(self, endpoint: str) -> Repaired:
        """Install the newest plan on an endpoint, frozen or not.

        Raises: RepairRefused, PlanUnsafe (a healthy endpoint would lose too much), ChangeRefused, StoreError.
        """
        seen = await self._hand.look(endpoint)
        plan = await self._stores.plans.latest()
        if plan is not None and endpoint in plan.digests and _is_well(seen, plan):
            raise RepairRefused(f"{endpoint} has plan {plan.generation} and all of it; there is nothing to repair")
        done = await self._hand.install(endpoint, "repair", self._check)
        existing, desired = done.seen.generation, done.plan.generation
        reason = f"plan {existing} -> {desired}" + (", which pointed to nothing" if done.seen.dangling else "")
        self._events.emit("operator.repair_installed", zone=endpoint, generation=desired, reason=reason)
        return Repaired(endpoint, existing, desired, done.seen.dangling, done.written, done.by_automation)

    async def _check(self, seen: SeenZone, plan: Plan) -> None:
        """Look after an endpoint that answers: protective checks hold for a person, too, until the plan is forced."""
        if Guard.PROTECTIVE_CHECKS not in self._stores.settings.guards:
            return
        existing, history = seen.live, seen.capacity
        forced = plan.forced.get(seen.zone)
        if forced is not None and (seen.fence.generation if seen.fence else 0) < forced.generation:
            meant = (await self._stores.plans.contents([forced.digest])).readable(forced.digest)
            # What the plan store has lost or damaged lets nothing pass, as with enactors: what is live counts.
            existing, history = (existing, history) if meant is None else (meant, CapacityHistory())
        members = len(known_addresses(self._stores.region)[seen.zone])
        limits = self._stores.settings.limits.for_fleet(members)
        baseline = Baseline.of(existing, history, self._clock.epoch_s(), limits)
        check_removal(seen.zone, plan.content(seen.zone), baseline, limits)


def told(done: Repaired) -> str:
    """Return in words what a repair did."""
    who = ", by an enactor that was first" if done.by_automation else ""
    if done.existing is None:
        return f"root set to plan {done.desired} (there was none){who}"
    was = "nothing" if done.was_dangling else "its tree"
    if done.existing == done.desired:
        return f"plan {done.desired} is whole again (the root pointed to {was}){who}"
    return f"root moved from plan {done.existing} (it pointed to {was}) to plan {done.desired}{who}"


def _is_well(seen: SeenZone, plan: Plan) -> bool:
    """Say whether an endpoint answers the plan; a fence that only lags is the automation's to move."""
    readable = seen.fence_record is None or seen.fence is not None
    return readable and seen.serves(plan.content(seen.zone)) and not seen.litter
