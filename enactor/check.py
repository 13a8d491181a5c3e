"""Protective checks before an endpoint is moved: what is live now, what it had lately, and whether a plan may pass.

The rules are `fencepost.safety`'s; here is what they are given. Source: docs/invariants.md, I1 and I7.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from enactor.settings import EnactorSettings
from enactor.tree import root_generation, tree_key
from enactor.view import ZoneView
from fencepost.batch import Change, swap, upsert
from fencepost.capacity import CapacityHistory, capacity_of
from fencepost.control import ControlApi
from fencepost.errors import ContentDamaged, PlanUnsafe
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.names import tree_name
from fencepost.plan import Content, Forced, KeptContent, Plan, Target, content, short
from fencepost.records import ADDRESS_TYPES, RecordSet
from fencepost.safety import NO_FORCE, Baseline, check_known, check_removal, check_wellformed
from fencepost.stores import PlanStore

MEMORY: Final = 512
"""Contents that are remembered: a zone's live one is found without a look at its tree, as a rule."""

Known = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Endpoint -> load balancer -> type -> address: see `fencepost.safety.known_addresses`."""


class Judged(NamedTuple):
    """What a plan wants of an endpoint, and what that is compared with.

    Attributes:
        existing: what is live, None if nothing.
        meant: what an operator has forced, whose addresses are right whatever the region file has; None: nothing.
        base: the forced content that stands for what is live until it is; None: what is live stands for itself.
        history: the capacity that counts.
    """

    zone: str
    desired: Content
    existing: Content | None
    meant: Content | None
    base: Content | None
    history: CapacityHistory

    @property
    def unmeant(self) -> Content:
        """What is desired without the addresses that were forced."""
        if self.meant is None:
            return self.desired
        meant = {_place(target) for target in self.meant.targets}
        left = tuple(target for target in self.desired.targets if _place(target) not in meant)
        return msgspec.structs.replace(self.desired, targets=left)


def _place(target: Target) -> tuple[str, str, str]:
    return target.identifier, target.type, target.address


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
        events: Events,
    ) -> None:
        self._settings, self._known = settings, known
        self._plans, self._api, self._events = plans, api, events
        self._contents: OrderedDict[tuple[str, str], KeptContent] = OrderedDict()
        self._told: dict[str, tuple[str, str]] = {}
        self._on = Guard.PROTECTIVE_CHECKS in settings.guards
        self._plan: Plan | None = None

    def remember(self, plan: Plan) -> None:
        """Keep a plan, and what it supersedes, so that a zone's fence tells what is live there."""
        before, self._plan = self._plan, plan
        if before is None or before is plan:
            return
        for zone, digest in before.digests.items():
            if plan.digests.get(zone) != digest:
                self._keep(zone, before.contents.kept[digest])

    def _keep(self, zone: str, found: KeptContent) -> None:
        self._contents[zone, short(found.digest)] = found
        self._contents.move_to_end((zone, short(found.digest)))
        while len(self._contents) > max(MEMORY, 4 * len(self._known)):
            self._contents.popitem(last=False)

    def remembered(self, zone: str, digest: str) -> Content | None:
        """Return the content that the digest of a zone's fence or manifest names, None if it did not come by.

        One that the plan store has damaged counts as such: it must not keep a zone from the plan that replaces it.
        """
        try:
            return self.named(zone, digest)
        except ContentDamaged:
            return None

    def named(self, zone: str, digest: str) -> Content | None:
        """Return the same as `remembered`. Raises: ContentDamaged if it is what the latest plan has here, damaged."""
        if self._plan is not None and short(self._plan.digests.get(zone, "")) == digest:
            return self._plan.content(zone)
        found = self._contents.get((zone, digest))
        return found.readable if found else None

    async def approve(self, zone: str, plan: Plan, view: ZoneView) -> CapacityHistory:
        """Return what the zone's capacity has been, if the plan may be installed after that.

        Raises: PlanUnsafe, told once for each content of a zone.
        """
        judged = await self._judged(zone, plan, view)
        try:
            self._check(judged)
        except PlanUnsafe:
            # What the fence names may be gone: an endpoint that answers nothing has nothing to lose.
            judged = judged._replace(existing=await self._live(zone, view))
            try:
                self._check(judged)
            except PlanUnsafe as error:
                self._tell(zone, plan, error)
                raise
        self._told.pop(zone, None)
        return judged.history

    def noting(self, zone: str, desired: Content, view: ZoneView, history: CapacityHistory) -> tuple[Change, ...]:
        """Return the changes of a flip that note the capacity which it makes live; none if no guard looks at it."""
        if not self._on:
            return ()
        noted = history.noted(self._api.epoch_s(), capacity_of(desired), self._settings.velocity_window_s)
        if noted.record(zone) == view.capacity:
            return ()
        # This comparison would be a second fence, and hide what the first one is worth.
        fenced = Guard.FENCE in self._settings.guards
        return swap(view.capacity, noted.record(zone)) if fenced else (upsert(noted.record(zone)),)

    async def _judged(self, zone: str, plan: Plan, view: ZoneView) -> Judged:
        """Return what there is to compare: what is live, and what an operator has meant by force, if that counts.

        It counts until it is live, whatever the plan has, and for the plan that is just that. Then the zone's earlier
        capacity does not. A forced content that the plan store has lost lets nothing pass.
        """
        existing, forced, desired = await self._existing(zone, view), plan.forced.get(zone), plan.content(zone)
        awaited = forced is not None and (view.fence is None or view.fence.generation < forced.generation)
        meant = None
        if forced is not None and forced.digest == plan.digests[zone]:
            meant = desired
        elif forced is not None and awaited:
            meant = self.remembered(zone, short(forced.digest)) or await self._fetch(zone, forced)
        base = meant if awaited and meant is not None else None
        begun = self._begun(CapacityHistory(), base) if base is not None else self._samples(zone, view)
        if not begun.samples and existing is not None:
            begun = self._begun(begun, existing)
        return Judged(zone, desired, existing, meant, base, begun)

    async def _fetch(self, zone: str, forced: Forced) -> Content | None:
        found = (await self._plans.contents([forced.digest])).kept.get(forced.digest)
        if found is not None:
            self._keep(zone, found)
        return self.remembered(zone, short(forced.digest))

    def _samples(self, zone: str, view: ZoneView) -> CapacityHistory:
        history = CapacityHistory.parse(zone, view.capacity) if view.capacity else CapacityHistory()
        return history.believed(self._api.epoch_s())

    def _begun(self, history: CapacityHistory, found: Content) -> CapacityHistory:
        return history.noted(self._api.epoch_s(), capacity_of(found), self._settings.velocity_window_s)

    def _check(self, judged: Judged) -> None:
        if not self._on:
            return
        zone, desired, limits = judged.zone, judged.desired, self._settings.limits
        if zone in self._known:
            limits = limits.for_fleet(len(self._known[zone]))
        check_wellformed(zone, desired)
        if zone in self._known:
            check_known(zone, judged.unmeant, self._known[zone])
        check_removal(zone, desired, Baseline(judged.existing, capacity_of(judged.existing)), NO_FORCE)
        existing = judged.existing if judged.base is None else judged.base
        baseline = Baseline.of(existing, judged.history, self._api.epoch_s(), limits)
        check_removal(zone, desired, baseline, limits)

    async def _existing(self, zone: str, view: ZoneView) -> Content | None:
        """Return what is live: what the fence names, where that is known, else what the root's tree has."""
        known = self.remembered(zone, view.fence.digest) if view.fence else None
        return known if known is not None or not self._on else await self._live(zone, view)

    async def _live(self, zone: str, view: ZoneView) -> Content | None:
        generation = root_generation(zone, view.root)
        if generation is None:
            return None
        listing = await self._api.listing(zone, tree_key(zone, generation), within=tree_name(zone, generation))
        return content_of(zone, generation, listing)

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
