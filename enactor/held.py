"""How far each endpoint is, when it is its turn again, and which cannot be moved, and why."""

from collections.abc import Mapping
from typing import NamedTuple

from enactor.view import ZoneView
from fencepost.clock import Clock
from fencepost.errors import ZoneFrozen
from fencepost.events import Events
from fencepost.plan import Plan


class Wait(NamedTuple):
    """A zone is left alone until `until_s` (monotonic), or until a plan of another `generation` (None: by no plan)."""

    until_s: float
    generation: int | None


class Held:
    """What is known of each zone. A freeze is told once when it is met, and once when it has ended."""

    def __init__(self, clock: Clock, events: Events) -> None:
        self._clock, self._events = clock, events
        self._at: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._waits: dict[str, Wait] = {}
        self._reasons: dict[str, str] = {}
        self._frozen: set[str] = set()
        self._trouble: dict[str, str] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Zone -> why it cannot be moved, in order of their names."""
        return dict(sorted(self._reasons.items()))

    def is_frozen(self, zone: str) -> bool:
        """Say whether a zone was frozen when it was last looked at."""
        return zone in self._frozen

    def is_due(self, zone: str, generation: int) -> bool:
        """Say whether it is a zone's turn: it is not at this generation, and is not to be waited for."""
        return self._at.get(zone) != generation and not self._waits_for(zone, generation)

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

    def installed(self, plan: Plan) -> int:
        """Return the generation that every zone of a plan has which can be moved; the plan's own if none can."""
        free = [self._seen.get(zone, 0) for zone in plan.digests if zone not in self._reasons]
        # A fence above the latest plan comes from a future that the plan store has lost.
        return min([plan.generation, *free])

    def trouble(self, zone: str, reason: str) -> None:
        """Note what went wrong in one try; it becomes the reason if no further one goes well."""
        self._trouble[zone] = reason

    def hold(self, zone: str, reason: str = "") -> None:
        """Note that a zone cannot be moved, by default for what went wrong last."""
        self._at.pop(zone, None)
        self._reasons[zone] = reason or self._trouble.get(zone, "the zone moved on in every try")

    def arrived(self, zone: str, generation: int) -> None:
        """Note that a zone has a plan, or an equal one: nothing holds it."""
        self._at[zone] = self._seen[zone] = generation
        for noted in (self._reasons, self._trouble, self._waits):
            noted.pop(zone, None)

    def look(self, zone: str, view: ZoneView) -> None:
        """Take note of a zone's generation, and of its freeze or the end of that.

        Raises: ZoneFrozen before anything is written in vain.
        """
        self._seen[zone] = view.fence.generation if view.fence else 0
        if view.frozen is not None:
            raise ZoneFrozen(zone, " ".join(value.strip('"') for value in view.frozen.values))
        if zone in self._frozen:
            self._frozen.discard(zone)
            self._events.emit("enactor.zone_thawed", zone=zone)

    def freeze(self, error: ZoneFrozen) -> None:
        """Note that a zone is frozen, as the view or the zone itself said."""
        self.hold(error.zone, error.message)
        if error.zone not in self._frozen:
            self._frozen.add(error.zone)
            self._events.emit("enactor.zone_frozen", zone=error.zone, reason=error.by)
