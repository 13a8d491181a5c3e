"""How fast the cleaner may go, and in whose turn: never so that an install waits for more than one delete batch."""

from collections.abc import Iterable

from fencepost.throttle import TokenBucket


class CleanPace:
    """Gives each endpoint its turn to be cleaned, one batch a round, within the bucket's rate.

    Invariant: a plan that waits puts an endpoint's turn off once, never twice in a row, so that neither a steady
    stream of plans nor a short rate lets old trees pile up in any one zone.
    """

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket
        self._turns: dict[str, int] = {}
        self._put_off: set[str] = set()
        self._count = 0

    def turns(self, zones: Iterable[str], *, hurry: bool) -> list[str]:
        """Return the zones that may be cleaned now, whose turn was longest ago first; `hurry`: a plan waits."""
        in_order = sorted(zones, key=lambda zone: (self._turns.get(zone, 0), zone))
        return [zone for zone in in_order if self._has_turn(zone, hurry=hurry)]

    def _has_turn(self, zone: str, *, hurry: bool) -> bool:
        if hurry and zone not in self._put_off:
            self._put_off.add(zone)
            return False
        if not self._bucket.try_take():
            return False
        self._put_off.discard(zone)
        self._count += 1
        self._turns[zone] = self._count
        return True
