"""Waiting until the cleaner has taken every tree that is beyond what is kept, as the zones themselves show it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from fencepost.clock import Clock
from fencepost.names import manifest_name, tree_name
from fencepost.plan import Content
from fencepost.records import RecordKey
from lab.bench.system import OurSystem

LOOK_EVERY_S: Final = 0.5
AT_ONCE: Final = 16
"""Zones that are read side by side: the look must not be a load."""
REFERENCED: Final = 2
"""Root and rollback point to a zone's last two trees, which are never cleaned."""


class Cleaned(NamedTuple):
    """How the cleaner did: it had to take `trees`, and after `took_s` (None: not in time) `left` of them were there."""

    trees: int
    took_s: float | None
    left: int


class Trees:
    """Which trees every zone has been given, in order, each with the first and the last of its load balancers."""

    def __init__(self) -> None:
        self._trees: dict[str, list[tuple[int, Content]]] = {}

    def note(self, generation: int, changes: Mapping[str, Content]) -> None:
        """Note a plan that was installed."""
        for zone, content in changes.items():
            self._trees.setdefault(zone, []).append((generation, content))

    def spent(self) -> dict[str, list[tuple[RecordKey, ...]]]:
        """Return, by zone, a few keys of each tree that nothing points to any more; none of them may be left."""
        return {
            zone: [_keys(zone, *tree) for tree in trees[:-REFERENCED]]
            for zone, trees in self._trees.items()
            if len(trees) > REFERENCED
        }


def _keys(zone: str, generation: int, content: Content) -> tuple[RecordKey, ...]:
    """Return the manifest, which goes first, and both ends: deletions go from one to the other."""
    ends = (content.targets[0], content.targets[-1])
    name = tree_name(zone, generation)
    return (
        RecordKey(manifest_name(zone, generation), "TXT"),
        *(RecordKey(name, target.type, target.identifier) for target in ends),
    )


async def until_clean(system: OurSystem, trees: Trees, clock: Clock, *, within_s: float) -> Cleaned:
    """Wait until every spent tree is gone, or time is over. Raises: StoreError."""
    began_s, spent = clock.monotonic(), trees.spent()
    left, total = spent, sum(map(len, spent.values()))
    while left := await _left(system, left):
        if clock.monotonic() - began_s > within_s:
            return Cleaned(total, None, sum(map(len, left.values())))
        await clock.sleep(LOOK_EVERY_S)
    return Cleaned(total, clock.monotonic() - began_s, 0)


async def _left(
    system: OurSystem, spent: Mapping[str, Sequence[tuple[RecordKey, ...]]]
) -> dict[str, list[tuple[RecordKey, ...]]]:
    """Return the trees of which anything is left, by zone."""
    zones, left = iter(spent.items()), dict[str, list[tuple[RecordKey, ...]]]()

    async def some() -> None:
        for zone, keys in zones:
            found = (await system.zones.read(zone, [key for tree in keys for key in tree])).records
            if still := [tree for tree in keys if any(key in found for key in tree)]:
                left[zone] = still

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return left
