"""How far each endpoint is, when it is its turn again, and which cannot be moved, and why."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from enactor.view import ZoneView
from fencepost.clock import Clock
from fencepost.errors import (
    ContentDamaged,
    ControlRecordInvalid,
    FenceAhead,
    NoSuchHostedZone,
    TreeTaken,
    ZoneFrozen,
)
from fencepost.events import Events
from fencepost.fence import Fence
from fencepost.notice import Notice
from fencepost.plan import Plan, short

STANDING: Final = (FenceAhead, ControlRecordInvalid, NoSuchHostedZone, TreeTaken, ContentDamaged)
"""What only a person or another plan ends."""


def _mark(generation: int, digest: str) -> Fence:
    """Return a fence as far as it counts here: whose flip it was does not."""
    return Fence(generation, digest, "")


class Wait(NamedTuple):
    """A zone is left alone until `until_s` (monotonic), or until a plan of another `generation` (None: by no plan)."""

    until_s: float
    generation: int | None


class Standstill(NamedTuple):
    """A zone that has been held since `since_s` (monotonic); its fence stood at `generation` all along."""

    generation: int
    since_s: float


class Held:
    """What is known of each zone. A freeze is told once when it is met, and once when it has ended.

    A round with nothing to do asks often: what can be asked of all zones is kept as sets, and costs what is in those.

    Args:
        stuck_s: for how long a zone may be held, moved by nobody, before the others no longer wait for it.
    """

    def __init__(self, clock: Clock, events: Events, stuck_s: float) -> None:
        self._clock, self._events, self._stuck_s = clock, events, stuck_s
        self._at: dict[str, Fence] = {}
        self._fences: dict[str, Fence | None] = {}
        self._plan: Plan | None = None
        self._lacking: set[str] = set()  # not known to have what the latest plan wants
        self._behind: set[str] = set()  # not seen at the latest plan's number
        self._seen: dict[str, int] = {}
        self._waits: dict[str, Wait] = {}
        self._reasons: dict[str, str] = {}
        self._stands: set[str] = set()
        self._standstills: dict[str, Standstill] = {}
        self._frozen: set[str] = set()
        self._trouble: dict[str, str] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Zone -> why it cannot be moved, in order of their names."""
        return dict(sorted(self._reasons.items()))

    def is_frozen(self, zone: str) -> bool:
        """Say whether a zone was frozen when it was last looked at."""
        return zone in self._frozen

    def turn_to(self, plan: Plan) -> None:
        """Take note of the latest plan: zones that have what it wants there need not be looked at for that.

        A zone that was seen at its number, or above, and is not known to have it, may have one that was lost.
        """
        before, self._plan = self._plan, plan
        if before is not None and (plan.generation, plan.published_ms) == (before.generation, before.published_ms):
            return
        for zone, seen in self._seen.items():
            fence = self._at.get(zone)
            known = fence is not None and zone in plan.digests and fence.has(plan, zone)
            self._seen[zone] = plan.generation if known else min(seen, plan.generation - 1)
        self._lacking, self._behind = set(), set()
        for zone in plan.digests:
            self._compare(zone)

    def _compare(self, zone: str) -> None:
        """Compare what is known of a zone, which has changed, with the latest plan."""
        if self._plan is None or zone not in self._plan.digests:
            return
        at = self._at.get(zone)
        has = at is not None and at.has(self._plan, zone)
        (self._lacking.discard if has else self._lacking.add)(zone)
        is_behind = self._seen.get(zone, 0) < self._plan.generation
        (self._behind.add if is_behind else self._behind.discard)(zone)

    def due(self) -> set[str]:
        """Return the zones whose turn it is, by the latest plan."""
        return set(filter(self.is_due, self._lacking))

    def is_due(self, zone: str) -> bool:
        """Say whether it is a zone's turn: it is not known to have the latest plan, and is not to be waited for."""
        return zone in self._lacking and not self._waits_for(zone, self._plan.generation if self._plan else None)

    def is_waiting(self, zone: str) -> bool:
        """Say whether a zone's turn comes later."""
        return self._waits_for(zone, None)

    def _waits_for(self, zone: str, generation: int | None) -> bool:
        wait = self._waits.get(zone)
        if wait is None or self._clock.monotonic() >= wait.until_s:
            return False
        return generation is None or wait.generation in (None, generation)

    def begin(self, zone: str) -> None:
        """Note that a zone's turn has come."""
        self._waits.pop(zone, None)

    def wait(self, zone: str, seconds: float, generation: int | None = None) -> None:
        """Leave a zone alone for so long, or until a plan other than `generation` (None: whatever plan there is)."""
        self._waits[zone] = Wait(self._clock.monotonic() + seconds, generation)

    def installed(self) -> int:
        """Return the generation that every zone of the latest plan has, at least; its own if all wait for a person.

        A zone that waits for a person or for the planner is left out. One that is merely contended, throttled or
        refused for now has not been reached by what is published, which must hold the planner back; but not for ever:
        one that nobody moves, an abandoned lock's say, is left out as well as long as others are moved.
        """
        assert self._plan is not None, "there is a plan that zones can have"
        digests = self._plan.digests
        out = {zone for zone in (*self._stands, *filter(self._is_stuck, self._standstills)) if zone in digests}
        behind = self._behind - (out if len(out) < len(digests) else self._stands)
        # A fence above the latest plan comes from a future that the plan store has lost.
        return min([self._plan.generation, *(self._seen.get(zone, 0) for zone in behind)])

    def _is_stuck(self, zone: str) -> bool:
        still = self._standstills.get(zone)
        return still is not None and self._clock.monotonic() > still.since_s + self._stuck_s

    def trouble(self, zone: str, reason: str) -> None:
        """Note what went wrong in one try; it becomes the reason if no further one goes well."""
        self._trouble[zone] = reason

    def hold(self, zone: str, reason: str = "", *, stands: bool = False) -> bool:
        """Note that a zone cannot be moved, by default for what went wrong last; say whether that is news.

        `stands`: it waits for a person, or for another plan; no enactor can move it by trying again.
        """
        self._at.pop(zone, None)
        self._compare(zone)
        before = self._reasons.get(zone)
        self._reasons[zone] = reason or self._trouble.get(zone, "the zone moved on in every try")
        (self._stands.add if stands else self._stands.discard)(zone)
        still, generation = self._standstills.get(zone), self._seen.get(zone, 0)
        if still is None or still.generation != generation:
            self._standstills[zone] = Standstill(generation, self._clock.monotonic())
        return self._reasons[zone] != before

    def moved(self, zone: str, plan: Plan) -> None:
        """Note that a zone's fence was moved to a plan."""
        self._fences[zone] = _mark(plan.generation, short(plan.digests[zone]))

    def arrived(self, zone: str, plan: Plan) -> None:
        """Note that a zone has a plan, or an equal one: nothing holds it."""
        fence = self._fences.get(zone)
        known = fence is not None and fence.has(plan, zone)
        self._at[zone] = fence if fence and known else _mark(plan.generation, short(plan.digests[zone]))
        self._seen[zone] = plan.generation
        self._compare(zone)
        self._stands.discard(zone)
        for noted in (self._reasons, self._trouble, self._waits, self._standstills):
            noted.pop(zone, None)

    def glance(self, zone: str, fence: Fence | None) -> None:
        """Take note of a zone's fence: if it is not what is known, the zone is due to be looked at."""
        at = self._at.get(zone)
        if at is not None and at != (_mark(fence.generation, fence.digest) if fence else None):
            del self._at[zone]
            self._compare(zone)

    def look(self, zone: str, view: ZoneView) -> None:
        """Take note of a zone's generation, and of its freeze or the end of that.

        Raises: ZoneFrozen before anything is written in vain.
        """
        fence = _mark(view.fence.generation, view.fence.digest) if view.fence else None
        if fence is None or fence != self._at.get(zone):
            self._seen[zone] = fence.generation if fence else 0
            self._compare(zone)
        self._fences[zone] = fence
        if view.frozen is not None:
            raise ZoneFrozen(zone, Notice.parse(" ".join(view.frozen.values).strip('"')).told)
        if zone in self._frozen:
            self._frozen.discard(zone)
            self._stands.discard(zone)
            self._events.emit("enactor.zone_thawed", zone=zone)

    def freeze(self, error: ZoneFrozen) -> None:
        """Note that a zone is frozen, as the view or the zone itself said."""
        self.hold(error.zone, error.message, stands=True)
        if error.zone not in self._frozen:
            self._frozen.add(error.zone)
            self._events.emit("enactor.zone_frozen", zone=error.zone, reason=error.by)
