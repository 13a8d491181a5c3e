"""Publishing by hand: an operator's plan is checked as automation's are, and goes on top of whatever is the latest."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, ParamSpec

from fencepost.capacity import CapacityHistory
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.errors import OutcomeUnknown, PlanConflict, PlanUnsafe
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.live import LiveZone, live_zone
from fencepost.notice import Notice
from fencepost.plan import Draft, Plan, check_draft, digest
from fencepost.safety import NO_FORCE, Baseline, check_known, check_removal, known_addresses

P = ParamSpec("P")

MAX_TRIES: Final = 50
"""How often a draft is sent again because somebody else has published in between."""

HISTORY: Final = 200
"""How far back is looked for a plan whose publication was not answered."""


class Published(NamedTuple):
    """A plan that an operator has published.

    Attributes:
        generation: its number.
        forced: what protective checks had against it, one sentence each; only force let that pass.
        unpinned: endpoint -> the pin that it ended.
        frozen: endpoint -> who has frozen its zone: no automation installs the plan there.
    """

    generation: int
    forced: tuple[str, ...]
    unpinned: Mapping[str, Notice]
    frozen: Mapping[str, Notice]


class _Checked(NamedTuple):
    """What a draft was checked against: the endpoints' last digests; and what came of it, as in `Published`."""

    digests: Mapping[str, str | None]
    floor: int
    forced: tuple[str, ...]
    unpinned: Mapping[str, Notice]
    frozen: Mapping[str, Notice]


class HandPublisher:
    """Publishes drafts of one operator."""

    def __init__(self, stores: Stores, clock: Clock, events: Events) -> None:
        self._stores, self._clock = stores, clock
        self._api: ControlApi = stores.control(clock, events)

    async def publish(self, draft: Draft) -> Published:
        """Check and publish a draft whose every endpoint gets a content.

        Raises: PlanInvalid, PlanUnsafe: nothing was changed. PlanConflict, StoreError: run it again.
        """
        check_draft(draft, frozenset(self._stores.region.endpoint_names))
        plans, latest, checked = self._stores.plans, None, None
        for tries in range(1, MAX_TRIES + 1):
            latest = await plans.latest(latest)
            digests = {endpoint: latest.digests.get(endpoint) for endpoint in draft.changes} if latest else {}
            # A planner that publishes all the time would win for ever: what did not change is not checked again.
            if checked is None or checked.digests != digests:
                checked = await self._checked(draft, latest, digests)
            expected = latest.generation if latest else 0
            try:
                generation: int | None = await plans.publish(draft, expected=expected, floor=checked.floor)
            except (PlanConflict, OutcomeUnknown) as error:
                generation = None if isinstance(error, PlanConflict) else await self._find(draft, expected)
                if generation is None and tries == MAX_TRIES:
                    raise
            if generation is not None:
                return Published(generation, checked.forced, checked.unpinned, checked.frozen)
        raise AssertionError("the last try returns or raises")

    async def _checked(self, draft: Draft, latest: Plan | None, digests: Mapping[str, str | None]) -> _Checked:
        """Look at zones and pins, and check the draft against the latest plan. Raises: PlanUnsafe, StoreError."""
        zones = {endpoint: await live_zone(self._api, endpoint) for endpoint in sorted(draft.changes)}
        pins = (await self._stores.plans.controls()).pins
        return _Checked(
            digests,
            max((zone.fence.generation for zone in zones.values() if zone.fence), default=0),
            self._check(draft, latest, zones),
            {endpoint: pin for endpoint, pin in pins.items() if endpoint in draft.changes and not draft.pin},
            {endpoint: zone.frozen for endpoint, zone in zones.items() if zone.frozen},
        )

    def _check(self, draft: Draft, latest: Plan | None, zones: Mapping[str, LiveZone]) -> tuple[str, ...]:
        """Return what force lets pass. Raises: PlanUnsafe without force, and with it if an endpoint would be empty."""
        found: list[PlanUnsafe] = []
        known, limits = known_addresses(self._stores.region), self._stores.settings.limits
        for endpoint, desired in sorted(draft.changes.items()):
            assert desired is not None, "an operator's draft takes no endpoint out of the region"
            baselines = self._baselines(endpoint, latest, zones[endpoint])
            for baseline in baselines:
                check_removal(endpoint, desired, baseline, NO_FORCE)
                allowed = limits.for_fleet(len(known[endpoint]))
                found += _objections(check_removal, endpoint, desired, baseline, allowed)
            found += _objections(check_known, endpoint, desired, known[endpoint])
        if Guard.PROTECTIVE_CHECKS not in self._stores.settings.guards:
            return ()
        if found and not draft.force:
            raise found[0]
        return tuple(dict.fromkeys(error.objection for error in found))

    def _baselines(self, endpoint: str, latest: Plan | None, zone: LiveZone) -> tuple[Baseline, ...]:
        """Return what to compare with: the last plan, and what is live; a forced last plan alone until it is live.

        A last content that the plan store has damaged counts as forgotten: it must not keep out what replaces it.
        """
        now_s, limits = self._clock.epoch_s(), self._stores.settings.limits
        last = latest.readable(endpoint) if latest else None
        forced = latest.forced.get(endpoint) if latest else None
        if last is not None and forced is not None and (zone.fence.generation if zone.fence else 0) < forced.generation:
            return (Baseline.of(last, CapacityHistory(), now_s, limits),)
        contents = [last, zone.content] if zone.content is not None else [last]
        return tuple(Baseline.of(existing, zone.capacity, now_s, limits) for existing in contents)

    async def _find(self, draft: Draft, expected: int) -> int | None:
        """Return the generation of a draft whose publication was not answered, None if it was not published."""
        changed = {endpoint: digest(value) for endpoint, value in draft.changes.items() if value is not None}
        for summary in await self._stores.plans.history(HISTORY):
            became = {endpoint: after for endpoint, (_, after) in summary.changed.items()}
            if summary.generation > expected and (summary.by, summary.reason, became) == (
                draft.by,
                draft.reason,
                changed,
            ):
                return summary.generation
        return None


def _objections(check: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> list[PlanUnsafe]:
    """Return what a protective check has against a plan."""
    try:
        check(*args, **kwargs)
    except PlanUnsafe as error:
        return [error]
    return []
