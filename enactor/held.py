"""Which endpoints cannot be moved, and why: what reports, `/state` and alarms say of them."""

from collections.abc import Mapping

from fencepost.errors import ZoneFrozen
from fencepost.events import Events
from fencepost.records import RecordSet


class Held:
    """The reasons, by zone. A freeze is told once when it is met, and once when it has ended."""

    def __init__(self, events: Events) -> None:
        self._events = events
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

    def trouble(self, zone: str, reason: str) -> None:
        """Note what went wrong in one try; it becomes the reason if no further one goes well."""
        self._trouble[zone] = reason

    def hold(self, zone: str, reason: str = "") -> None:
        """Note that a zone cannot be moved, by default for what went wrong last."""
        self._reasons[zone] = reason or self._trouble.get(zone, "the zone moved on in every try")

    def free(self, zone: str) -> None:
        """Note that a zone is where it should be."""
        self._reasons.pop(zone, None)
        self._trouble.pop(zone, None)

    def look(self, zone: str, frozen: RecordSet | None) -> None:
        """Take note of a zone's freeze, or of its end. Raises: ZoneFrozen before anything is written in vain."""
        if frozen is not None:
            raise ZoneFrozen(zone, " ".join(value.strip('"') for value in frozen.values))
        if zone in self._frozen:
            self._frozen.discard(zone)
            self._events.emit("enactor.zone_thawed", zone=zone)

    def freeze(self, error: ZoneFrozen) -> None:
        """Note that a zone is frozen, as the view or the zone itself said."""
        self.hold(error.zone, error.message)
        if error.zone not in self._frozen:
            self._frozen.add(error.zone)
            self._events.emit("enactor.zone_frozen", zone=error.zone, reason=error.by)
