"""Protective checks before an endpoint is moved: what is live now, what it had lately, and whether a plan may pass.

The rules are `fencepost.safety`'s; here is what they are given. Source: docs/invariants.md, I1 and I7.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from enactor.settings import EnactorSettings
from enactor.tree import root_generation, tree_key
from enactor.view import ZoneView
from fencepost.batch import Change, swap, upsert
from fencepost.capacity import CapacityHistory, capacity_of
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.errors import PlanUnsafe
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.names import tree_name
from fencepost.plan import Content, Forced, Plan, Target, content, short
from fencepost.records import ADDRESS_TYPES, RecordSet
from fencepost.safety import Baseline, check_known, check_removal, check_wellformed
from fencepost.stores import PlanStore

MEMORY: Final = 512
"""Contents that are remembered: a zone's live one is found without a look at its tree, as a rule."""

Known = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Endpoint -> load balancer -> type -> address: see `fencepost.safety.known_addresses`."""


class Protection:
    """Says of each plan whether an endpoint may be moved to it, and keeps the zone's record of its capacity.

    Args:
        known: what the region has; an endpoint that is not in it is the region file's fault, and not judged by it.
    """

    def __init__(
        self,
        settings: EnactorSettings,
        known: Known,
        *,
        plans: PlanStore,
        api: ControlApi,
        clock: Clock,
        events: Events,
    ) -> None:
        self._settings, self._known = settings, known
        self._plans, self._api, self._clock, self._events = plans, api, clock, events
        self._contents: OrderedDict[tuple[str, str], Content] = OrderedDict()
        self._told: dict[str, tuple[str, str]] = {}

    @property
    def on(self) -> bool:
        """Whether plans are checked at all."""
        return Guard.PROTECTIVE_CHECKS in self._settings.guards

    def remember(self, plan: Plan) -> None:
        """Keep a plan's contents, so that a zone's fence tells what is live there."""
        for zone, digest in plan.digests.items():
            self._contents[zone, short(digest)] = plan.contents[digest]
            self._contents.move_to_end((zone, short(digest)))
        while len(self._contents) > max(MEMORY, 4 * len(plan.digests)):
            self._contents.popitem(last=False)

    def remembered(self, zone: str, digest: str) -> Content | None:
        """Return the content that the digest of a zone's fence or manifest names, None if it did not come by."""
        return self._contents.get((zone, digest))

    async def approve(self, zone: str, plan: Plan, view: ZoneView) -> CapacityHistory:
        """Return what the zone's capacity has been, if the plan may be installed after that.

        Raises: PlanUnsafe, told once for each content of a zone.
        """
        forced = self._forcing(zone, plan, view)
        if forced is not None:
            return await self._approve_forced(zone, plan, forced)
        existing = await self._existing(zone, view)
        history = CapacityHistory.parse(zone, view.capacity) if view.capacity else CapacityHistory()
        if not history.samples and existing is not None:
            history = history.noted(self._clock.epoch_s(), capacity_of(existing), self._settings.velocity_window_s)
        try:
            self._check(zone, plan, existing, history)
        except PlanUnsafe:
            # What the fence names may be gone: an endpoint that answers nothing has nothing to lose.
            existing = await self._live(zone, view)
            try:
                self._check(zone, plan, existing, history)
            except PlanUnsafe as error:
                self._tell(zone, plan, error)
                raise
        self._told.pop(zone, None)
        return history

    def noting(self, zone: str, desired: Content, view: ZoneView, history: CapacityHistory) -> tuple[Change, ...]:
        """Return the changes of a flip that note the capacity which it makes live; none if no guard looks at it."""
        if not {Guard.PROTECTIVE_CHECKS, Guard.VELOCITY} & self._settings.guards:
            return ()
        noted = history.noted(self._clock.epoch_s(), capacity_of(desired), self._settings.velocity_window_s)
        if noted.record(zone) == view.capacity:
            return ()
        # This comparison would be a second fence, and hide what the first one is worth.
        fenced = Guard.FENCE in self._settings.guards
        return swap(view.capacity, noted.record(zone)) if fenced else (upsert(noted.record(zone)),)

    @staticmethod
    def _forcing(zone: str, plan: Plan, view: ZoneView) -> Forced | None:
        """Return the operator's force that is not live yet, None if there is none."""
        forced = plan.forced.get(zone)
        return forced if forced and (view.fence is None or view.fence.generation < forced.generation) else None

    async def _approve_forced(self, zone: str, plan: Plan, forced: Forced) -> CapacityHistory:
        """Compare with what the operator wanted, whatever is live; what the zone had before counts no more."""
        meant = (await self._plans.contents([forced.digest])).get(forced.digest)
        if meant is not None:
            self._contents[zone, short(forced.digest)] = meant
        history = CapacityHistory()
        try:
            self._check(zone, plan, meant, history)
        except PlanUnsafe as error:
            self._tell(zone, plan, error)
            raise
        self._told.pop(zone, None)
        return history

    def _check(self, zone: str, plan: Plan, existing: Content | None, history: CapacityHistory) -> None:
        if not self.on:
            return
        desired, limits = plan.content(zone), self._settings.limits
        check_wellformed(zone, desired)
        if zone in self._known:
            limits = limits.for_fleet(len(self._known[zone]))
            check_known(zone, desired, {**self._known[zone], **self._meant(zone, plan)})
        baseline = Baseline.of(existing, history, self._clock.epoch_s(), limits)
        check_removal(zone, desired, baseline, limits)

    def _meant(self, zone: str, plan: Plan) -> dict[str, Mapping[str, str]]:
        """Return the addresses that an operator's force has brought: they are meant, whatever the region file has."""
        forced = plan.forced.get(zone)
        meant = self.remembered(zone, short(forced.digest)) if forced else None
        found: dict[str, dict[str, str]] = {}
        for target in meant.targets if meant else ():
            found.setdefault(target.identifier, {})[target.type] = target.address
        return dict(found)

    async def _existing(self, zone: str, view: ZoneView) -> Content | None:
        """Return what is live: what the fence names, where that is known, else what the root's tree has."""
        known = self.remembered(zone, view.fence.digest) if view.fence else None
        return known if known is not None or not self.on else await self._live(zone, view)

    async def _live(self, zone: str, view: ZoneView) -> Content | None:
        generation = root_generation(zone, view.root)
        if generation is None:
            return None
        return content_of(zone, generation, await self._api.listing(zone, tree_key(zone, generation)))

    def _tell(self, zone: str, plan: Plan, error: PlanUnsafe) -> None:
        key = (plan.digests[zone], error.rule)
        if self._told.get(zone) != key:
            self._told[zone] = key
            fields = dict(error.counts)
            self._events.emit(
                "enactor.plan_refused",
                zone=zone,
                generation=plan.generation,
                reason=str(error),
                rule=error.rule,
                **fields,
            )


def content_of(zone: str, generation: int, listing: Iterable[RecordSet]) -> Content | None:
    """Return the content that a tree in a listing has, None if it has no address."""
    leaves = [r for r in listing if r.name == tree_name(zone, generation) and r.type in ADDRESS_TYPES and r.values]
    targets = [Target(r.set_identifier or "", r.type, value, r.weight or 0) for r in leaves for value in r.values]
    return content(min((r.ttl or 0) for r in leaves), targets) if leaves else None
