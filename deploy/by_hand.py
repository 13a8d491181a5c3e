"""Installing by hand: an operator moves a zone to the newest plan, with no enactor and no planner needed.

The zone's own rules are in force: the tree is built first, then one batch moves the root from exactly what was seen,
and the fence with it; rollback then points to what the root had, if that still exists. Enactors may be at it at the
same time: who is refused looks again. Source: aws.amazon.com/message/101925 (09:25).
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.seen import SeenZone
from enactor.tree import Manifest, flip_rollback, in_batches, tree_records
from fencepost.batch import Change, ChangeBatch, create, delete, swap, upsert
from fencepost.capacity import CapacityHistory, capacity_of
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.errors import (
    ChangeRefused,
    ControlRecordInvalid,
    FencepostError,
    InvalidChangeBatch,
    OutcomeUnknown,
    StoreError,
)
from fencepost.events import Events
from fencepost.fence import Fence
from fencepost.names import manifest_name, tree_name
from fencepost.plan import Content, Plan, digest, short
from fencepost.records import RecordKey, RecordSet, alias

MAX_TRIES: Final = 20
"""How often a zone that moved in between is looked at again."""

PAUSE_S: Final = 0.01
"""The first pause before that; each is as much longer."""


class NothingToInstall(FencepostError):
    """No plan has the endpoint."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"no plan has {endpoint}; publish one with `fencepost plan publish FILE`")


@dataclass(frozen=True, slots=True)
class Installed:
    """What was done by hand.

    Attributes:
        seen: the zone as it was found first.
        plan: the plan that the zone has now.
        written: how many records of its tree were written.
        by_automation: an enactor was first; nothing had to be done.
    """

    seen: SeenZone
    plan: Plan
    written: int
    by_automation: bool


Approve = Callable[[SeenZone, Plan], Awaitable[None]]
"""Looks at what was seen, and at the plan that would be installed; raises what there is against it."""


class ByHand:
    """One operator's hands: each install is one loop of look, approve, build, flip, until the zone has it."""

    def __init__(self, stores: Stores, clock: Clock, events: Events) -> None:
        self._stores, self._api, self._clock = stores, stores.control(clock, events), clock
        self._flips = 0

    async def look(self, endpoint: str) -> SeenZone:
        """Read a zone whole."""
        return SeenZone(endpoint, await self._api.listing(endpoint))

    async def install(self, endpoint: str, purpose: str, approve: Approve) -> Installed:
        """Move a zone to the newest plan.

        Args:
            endpoint: the zone's name.
            purpose: how each commit's comment begins, e.g. `repair`.
            approve: asked before each attempt.
        Raises: NothingToInstall, ChangeRefused, StoreError, whatever `approve` raises.
        """
        first, written = None, 0
        refusal: FencepostError | None = None
        for tries in range(1, MAX_TRIES + 1):
            # The zone comes first: a fence above a plan that was read later is from a future that the store has lost.
            seen = await self.look(endpoint)
            plan = await self._stores.plans.latest()
            if plan is None or endpoint not in plan.digests:
                raise NothingToInstall(endpoint)
            await approve(seen, plan)
            first = first or seen
            if has(seen, plan):
                return Installed(first, plan, written, by_automation=refusal is None or not self._ours(seen))
            try:
                written += await self._build(seen, plan, purpose)
                await self._commit(seen, plan, f"{purpose}: flip to {plan.generation}", self._flip(seen, plan))
            except (ChangeRefused, StoreError) as error:
                if not (error.retryable or isinstance(error, InvalidChangeBatch | OutcomeUnknown)):
                    raise
                refusal = error
                await self._clock.sleep(PAUSE_S * tries)
            else:
                return Installed(first, plan, written, by_automation=False)
        assert refusal is not None, "every try but a refused one returns"
        raise refusal

    async def _build(self, seen: SeenZone, plan: Plan, purpose: str) -> int:
        """Make the plan's tree whole; return how many records that took."""
        if seen.serves(plan.content(seen.zone)):
            return 0
        written = 0
        batches = list(tree_batches(seen, plan.generation, plan.content(seen.zone)))
        for number, (changes, records) in enumerate(batches, 1):
            comment = f"{purpose}: tree {plan.generation}, batch {number} of {len(batches)}"
            await self._commit(seen, plan, comment, changes)
            written += records
        return written

    def _flip(self, seen: SeenZone, plan: Plan) -> tuple[Change, ...]:
        self._flips += 1
        now_s = self._clock.epoch_s()
        fence = Fence(
            max(plan.generation, seen.fence.generation if seen.fence else 0),
            short(plan.digests[seen.zone]),
            f"{self._stores.actor.name}-{int(now_s)}-{self._flips}",
        )
        capacity = capacity_of(plan.content(seen.zone))
        history = CapacityHistory().noted(now_s, capacity, self._stores.settings.limits.window_s)
        return flip_changes(seen, plan.generation, plan.content(seen.zone), fence, history)

    def _ours(self, seen: SeenZone) -> bool:
        """Say whether the zone's last flip is one of ours, whose answer we did not get."""
        return seen.fence is not None and seen.fence.flip_id.startswith(f"{self._stores.actor.name}-")

    async def _commit(self, seen: SeenZone, plan: Plan, comment: str, changes: Sequence[Change]) -> None:
        await self._api.change(ChangeBatch(seen.zone, tuple(changes), plan.generation, comment))


def has(seen: SeenZone, plan: Plan) -> bool:
    """Say whether a zone has a plan: its content is live and whole, nothing is in the way, and the fence says so."""
    fence = seen.fence
    has_it = fence is not None and (fence.generation >= plan.generation or fence.has(plan, seen.zone))
    fenced = seen.fence_record is None or has_it
    return fenced and seen.serves(plan.content(seen.zone)) and not seen.litter


def tree_batches(seen: SeenZone, generation: int, desired: Content) -> Iterator[tuple[tuple[Change, ...], int]]:
    """Yield the batches that make a plan's tree exactly its content, each with how many records it writes.

    What is missing or wrong is written, what is too much goes: first of all from a tree that nobody sees, last of all
    from a live one, which never has less than it needs. In a zone with a fence each batch proves that nothing was
    flipped since, and moves the manifest as an enactor's would; so two may build one tree.
    """
    zone, name = seen.zone, tree_name(seen.zone, generation)
    leaves = {r.key: r for r in seen.named(name)}
    wanted = tree_records(zone, generation, desired)
    parts = in_batches(wanted)
    proof = swap(seen.fence_record, seen.fence_record) if seen.fence_record else ()
    manifest = seen.find(RecordKey(manifest_name(zone, generation), "TXT"))
    done = _done(zone, manifest, len(parts), desired)

    def step(number: int) -> tuple[Change, ...]:
        nonlocal manifest, done
        if not proof:
            return ()
        following = Manifest(number, len(parts), short(digest(desired))).record(zone, generation)
        moved = (*proof, *swap(manifest, following))
        manifest, done = following, number
        return moved

    surplus = in_batches([r for key, r in leaves.items() if key not in {r.key for r in wanted}])
    live = any(r.alias == name for r in seen.root)
    if not live:
        yield from (((*step(0), *map(delete, part)), 0) for part in surplus)
    for number, part in enumerate(parts, 1):
        wrong = [upsert(r) for r in part if leaves.get(r.key) != r]
        if wrong or (proof and done < number):
            yield (*step(number), *wrong), len(wrong)
    if live:
        yield from (((*step(len(parts)), *map(delete, part)), 0) for part in surplus)


def _done(zone: str, manifest: RecordSet | None, total: int, desired: Content) -> int:
    """Return how many batches a manifest says are in the tree: none if it is another content's, or no manifest."""
    try:
        found = Manifest.parse(zone, manifest) if manifest else None
    except ControlRecordInvalid:
        return 0
    return found.done if found and (found.total, found.digest) == (total, short(digest(desired))) else 0


def flip_changes(
    seen: SeenZone, generation: int, desired: Content, fence: Fence, history: CapacityHistory
) -> tuple[Change, ...]:
    """Return the batch that makes a plan's tree live: root from exactly what was seen, rollback, fence and history.

    Where the content is live already, only the fence moves; where there is no fence, none is made: whoever runs there
    would not move it.
    """
    spent = [delete(r) for r in seen.litter]
    fenced = swap(seen.fence_record, fence.record(seen.zone)) if seen.fence_record else ()
    if seen.serves(desired):
        return (*spent, *fenced)
    name = tree_name(seen.zone, generation)
    root = [*map(delete, seen.root), *(create(alias(seen.zone, kind, name)) for kind in desired.types)]
    kept = [r for r in seen.root if seen.exists(r) and r.alias != name]
    proof: tuple[Change, ...] = ()
    if fenced:
        total = len(in_batches(tree_records(seen.zone, generation, desired)))
        whole = Manifest(total, total, fence.digest).record(seen.zone, generation)
        proof = swap(whole, whole)
    noted = swap(seen.capacity_record, history.record(seen.zone)) if fenced or seen.capacity_record else ()
    back = flip_rollback(seen.zone, kept)
    written = {change.record_set.key for change in (*back, *noted)}
    rest = [change for change in spent if change.record_set.key not in written]
    return (*proof, *root, *back, *rest, *fenced, *noted)
