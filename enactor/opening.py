"""Who goes first at a plan: enactors that all build the same trees at once are in each other's way.

All begin a plan with the same endpoint, its opening. Who gets the lock there goes on with the others; who does not
leaves them alone as long as glances at a few of them show that somebody comes on with the plan. So one does the work of
a plan, and the others find it done. Nobody's word is taken but the zones', and that for no longer than `patience_s`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from enactor.held import Held
from enactor.left import Left
from enactor.protocol import Tools
from enactor.starts import Starts
from enactor.tree import Manifest
from enactor.view import ZoneView
from fencepost.errors import ChangeRefused, StoreError
from fencepost.fence import Fence, fence_key
from fencepost.guards import Guard
from fencepost.names import manifest_name
from fencepost.plan import Plan, short
from fencepost.records import RecordKey

FEWEST: Final = 2
"""One endpoint alone is begun at once, and nothing of it is left to others."""


def common_order(generation: int, zones: Iterable[str]) -> tuple[str, ...]:
    """Return some zones in the order in which every enactor begins a plan; another plan has another order."""
    return tuple(sorted(zones, key=lambda zone: blake2b(f"{generation} {zone}".encode(), digest_size=8).digest()))


class Openings:
    """Lets endpoints begin, and leaves those of a plan alone that others are at.

    Invariant: between two glances that show that somebody comes on there are `patience_s` at most, whatever plans come
    meanwhile; without such a glance nothing is left to others.
    """

    def __init__(self, tools: Tools, held: Held) -> None:
        self._name, self._clock, self._events = tools.settings.name, tools.clock, tools.events
        self._patience_s = tools.settings.pauses.patience_s if Guard.FAIRNESS in tools.settings.guards else 0.0
        self._api, self._held = tools.api, held
        self._starts = Starts(self._name)
        self._met = (0, 0)
        self._ordered: tuple[str, ...] = ()
        self._opening: str | None = None
        self._behind: frozenset[str] = frozenset()
        self._decided = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._left: Left | None = None
        self._until_s: float | None = None
        self._locked = self._flipped = ""
        self._came_second: bool | None = None

    async def left_alone(self, plan: Plan | None) -> frozenset[str]:
        """Return the endpoints that others are at; when the patience with them ends, a glance says whether they are."""
        if self._left is not None and (plan is None or _number(plan) != self._met):
            # Whoever began may have turned to the newer plan. It has an opening, but no other patience.
            self._left = None
        if self._left is None or plan is None:
            return frozenset()
        if self._until_s is not None and self._clock.monotonic() >= self._until_s:
            self._left = await self._glance(self._left, plan)
            self._until_s = self._clock.monotonic() + self._patience_s if self._left else None
        return frozenset(self._left.order if self._left else ())

    async def _glance(self, left: Left, plan: Plan) -> Left | None:
        """Find how far those are who are at the plan; what is left to them then. Takes one patience at most."""
        until_s = asyncio.get_running_loop().time() + self._patience_s

        async def look(places: Sequence[int]) -> dict[int, bool | None]:
            found = await asyncio.gather(*(self._is_begun(left.order[at], plan, until_s) for at in places))
            return dict(zip(places, found, strict=True))

        before, now = left, left.seen(await look(left.unbegun))
        while now.furthest > left.furthest and now != before and (middle := now.middle) is not None:
            before, now = now, now.seen(await look([middle]))
        return left.after(now)

    async def _is_begun(self, zone: str, plan: Plan, until_s: float) -> bool | None:
        """Glance at an endpoint: whether it has the plan, or a tree of it; None if that cannot be read until then."""
        fence, manifest = fence_key(zone), RecordKey(manifest_name(zone, plan.generation), "TXT")
        try:
            async with asyncio.timeout_at(until_s):
                read = await self._api.glance(zone, (fence, manifest))
            if read is None:
                return None
            tree, record = read.records.get(manifest), read.records.get(fence)
            if tree is not None and Manifest.parse(zone, tree).digest == short(plan.digests[zone]):
                return True
            return record is not None and Fence.parse(zone, record).has(plan, zone)
        except (ChangeRefused, StoreError, TimeoutError):
            return None

    @property
    def leaves(self) -> str:
        """What is left to others, in one sentence; "" if nothing is."""
        return f"plan {self._met[0]} is left to those who are at it already" if self._left else ""

    def take_came_second(self) -> bool | None:
        """Say whether somebody else was first at the opening that was decided since the last call; None if none was."""
        came_second, self._came_second = self._came_second, None
        return came_second

    def wait_s(self, longest_s: float) -> float:
        """Return how long to wait before the next round: until the patience with others ends, if that is sooner."""
        if self._left is None or self._until_s is None:
            return longest_s
        return min(longest_s, max(0.0, self._until_s - self._clock.monotonic()))

    def order(self, plan: Plan, due: Sequence[str]) -> list[str]:
        """Return the endpoints in the order in which they are begun: a plan's, the same everywhere, or one's own."""
        self._opening, self._behind, self._locked, self._flipped = None, frozenset(), "", ""
        if not self._patience_s or _number(plan) == self._met:
            return self._starts.order(due)
        self._met = _number(plan)
        wanted = [zone for zone in due if self._held.is_due(zone)]
        if len(wanted) < FEWEST:
            self._until_s, self._opening = None, wanted[0] if wanted else None
            return self._starts.order(due)
        self._ordered = common_order(plan.generation, wanted)
        self._opening, self._behind = self._ordered[0], frozenset(self._ordered[1:])
        self._decided.clear()
        # What is looked at for another reason comes in between: whatever stalls, neither kind is behind the other.
        return [self._opening, *common_order(plan.generation, set(due).difference([self._opening]))]

    async def enter(self, zone: str) -> bool:
        """Wait for an endpoint's turn to begin; say whether it has come, or others are at it."""
        is_behind = zone in self._behind
        if zone == self._opening and self._behind:
            # An opening that stalls holds up the others for no longer than one that is lost.
            self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._open)
        elif self._behind:
            await self._decided.wait()
        if is_behind and self._left is not None:
            return False
        await self._starts.enter(zone)
        return True

    def look(self, zone: str, plan: Plan, view: ZoneView) -> None:
        """Take note of who else has the opening's lock, or has flipped it to this very plan."""
        if zone == self._opening:
            fence, lock = view.fence, view.lock.text if view.lock else ""
            # An older fence may have what the plan wants: then it tells of nobody who is at the plan.
            flips = fence if fence and fence.generation == plan.generation and fence.has(plan, zone) else None
            by = flips.flip_id.rsplit("-", 2)[0] if flips else self._name
            self._flipped = f"flipped by {by}" if by != self._name else ""
            # A lock of one's own is from before a start: nobody waits for oneself.
            ours = lock.partition(" ")[0] == self._name
            self._locked = "" if ours else f"held by {lock}" if lock else "somebody else was first"

    def leave(self, zone: str, *, missed: bool = False) -> None:
        """Let the next one begin, if an endpoint has not done so already; `missed`: it did not get its lock."""
        self._starts.leave(zone)
        if zone == self._opening:
            self._open(self._locked if missed else self._flipped)

    def _open(self, others: str = "") -> None:
        """Let the endpoints behind the opening begin, or leave them to others; those are said, if it is they."""
        self._came_second = bool(others)
        if others and self._behind:
            self._left = Left.of(self._ordered)
            now_s = self._clock.monotonic()
            self._until_s = now_s + self._patience_s if self._until_s is None else self._until_s
            self._events.emit("enactor.plan_left", zone=self._opening, generation=self._met[0], reason=others)
        else:
            self._until_s = None
        if self._timer is not None:
            self._timer.cancel()
        self._opening, self._behind, self._timer = None, frozenset(), None
        self._locked = self._flipped = ""
        self._decided.set()


def _number(plan: Plan) -> tuple[int, int]:
    return plan.generation, plan.published_ms
