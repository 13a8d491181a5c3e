"""The data plane's feed: how zones are followed, without the control API's delays and limits.

Each zone's history is the truth. Hints say where to look, and may be lost; so who follows compares every zone's head
with its own once in a while.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from fencepost.errors import ZoneDamaged
from fencepost.records import RecordKey, RecordSet
from fencepost.stores import Commit, Position


class FeedPage(NamedTuple):
    """A page of a zone, and where the next one starts (None: this was the last).

    `head` is the commit that the page shows the zone at; its `at_us` is 0 if only the history knows that.
    """

    head: Position
    record_sets: tuple[RecordSet, ...]
    next_key: RecordKey | None = None


class Since(NamedTuple):
    """What a zone's history has from a serial on, read at one instant.

    Attributes:
        oldest: the oldest commit that is kept from that serial on, that one included; None if there is none.
        commits: those after the serial, in order; empty if `oldest` is not the commit of that serial.
    """

    oldest: Position | None
    commits: tuple[Commit, ...]


class ZoneFeed(Protocol):
    """Zones as the data plane sees them. One object is for one follower.

    A zone that the store has damaged fails no call about several: there a `ZoneDamaged` is what is returned of it.
    """

    async def page(self, zone: str, start: RecordKey | None = None) -> FeedPage:
        """Read a page from `start` (inclusive; None: the first). Pages of one listing may differ in their heads.

        Raises: NoSuchHostedZone, ZoneDamaged, StoreError.
        """

    async def heads(self, zones: Sequence[str]) -> Mapping[str, Position | ZoneDamaged]:
        """Return the last commit of each zone, in one round trip; a zone that does not exist is left out.

        Raises: StoreError.
        """

    async def since(self, serials: Mapping[str, int], limit: int = 100) -> Mapping[str, Since | ZoneDamaged]:
        """Return what each zone has after a serial, at most `limit` commits of each, in one round trip.

        Raises: StoreError.
        """

    async def hints(self, wait_s: float) -> Mapping[str, int] | None:
        """Return zones that have committed since the last call, each with its serial; wait up to `wait_s` for one.

        None: listening has only now begun, or begun again; any zone may have committed unheard. Raises: StoreError.
        """

    async def close(self) -> None:
        """Give up the connections."""
