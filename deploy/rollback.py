"""Rollback: an operator takes an endpoint back to an earlier plan's content, as a new generation, and holds it there.

The new plan is forced (protective checks let it pass) and pinned (no automation changes the endpoint), and installed by
hand at once; enactors that are alive may be first. Source: docs/invariants.md, I2: it never turns a fence back.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from deploy.by_hand import ByHand, Installed
from deploy.seen import SeenZone
from enactor.tree import Manifest
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.errors import (
    ChangeRefused,
    ContentDamaged,
    ControlRecordInvalid,
    FencepostError,
    PlanNotFound,
    StoreError,
)
from fencepost.events import Events
from fencepost.live import content_of
from fencepost.names import generation_of, manifest_name, tree_name
from fencepost.notice import Notice
from fencepost.plan import Content, Draft, Lane, Plan, digest, short
from fencepost.publish import HandPublisher
from fencepost.records import RecordKey
from fencepost.stores import PlanStore

PAGE: Final = 500
"""Plans of the history that are read at once."""


class RollbackRefused(FencepostError):
    """There is nothing to roll back to, or it would do harm; nothing was changed."""


class RollbackUnfinished(FencepostError):
    """The new plan is published, but not live yet."""

    def __init__(self, endpoint: str, published: int, error: FencepostError) -> None:
        super().__init__(
            f"{endpoint}: plan {published}, which rolls it back, is published, and no automation changes that; but it "
            f"is not known to be live ({error}); an enactor may install it, and `fencepost repair {endpoint}` does"
        )
        self.endpoint, self.generation = endpoint, published


class Goal(NamedTuple):
    """What an endpoint goes back to: an earlier plan's generation, and its content."""

    generation: int
    content: Content


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did.

    Attributes:
        existing: the generation that was live, None if the root pointed to none.
        goal: the generation whose content is live now.
        desired: the new generation that has this content; no automation changes the endpoint until it is unpinned.
        by_automation: an enactor installed it first.
        warnings: what else to know, one sentence each.
    """

    endpoint: str
    existing: int | None
    goal: int
    desired: int
    pin: Notice
    content: Content
    by_automation: bool
    warnings: tuple[str, ...]


class Rollback:
    """One endpoint's rollback."""

    def __init__(self, stores: Stores, clock: Clock, events: Events) -> None:
        self._stores, self._plans, self._clock, self._events = stores, stores.plans, clock, events
        self._hand, self._publisher = ByHand(stores, clock, events), HandPublisher(stores, clock, events)

    async def run(self, endpoint: str, to: int | None = None, why: str = "") -> RolledBack:
        """Take an endpoint back, frozen or not.

        Args:
            endpoint: the zone's name.
            to: the generation whose content it shall have; None: what the rollback record points to, else the last
                content before the live one.
            why: the operator's reason.
        Raises: RollbackRefused, PlanNotFound, PlanInvalid, PlanUnsafe: nothing was changed. PlanConflict,
            ChangeRefused, StoreError: run it again.
        """
        seen = await self._hand.look(endpoint)
        goal = await self._goal(seen, to)
        await self._refuse_the_same(seen, goal)
        by, reason = self._stores.actor.name, f"rollback to plan {goal.generation}" + (f": {why}" if why else "")
        pin = Notice(by, int(self._clock.epoch_s()), why or reason)
        draft = Draft({endpoint: goal.content}, reason, Lane.FAST, by=by, operator=True, force=True, pin=pin)
        published = await self._publisher.publish(draft)
        self._events.emit("operator.rollback_published", zone=endpoint, generation=published.generation, reason=reason)
        done = await self._install(endpoint, goal, published.generation)
        self._events.emit("operator.rollback_installed", zone=endpoint, generation=published.generation, reason=reason)
        return RolledBack(
            endpoint=endpoint,
            existing=seen.generation,
            goal=goal.generation,
            desired=published.generation,
            pin=pin,
            content=goal.content,
            by_automation=done.by_automation,
            warnings=published.forced,
        )

    async def _install(self, endpoint: str, goal: Goal, published: int) -> Installed:
        async def still_ours(_: SeenZone, plan: Plan) -> None:
            if plan.digests[endpoint] != digest(goal.content):
                raise RollbackRefused(
                    f"{endpoint}: plan {plan.generation} ({plan.reason}) came after plan {published}, which rolls back "
                    f"to {goal.generation}, and wants something else; look at `fencepost history {endpoint}`"
                )

        try:
            return await self._hand.install(endpoint, f"rollback to plan {goal.generation}", still_ours)
        except (ChangeRefused, StoreError) as error:
            raise RollbackUnfinished(endpoint, published, error) from error

    async def _goal(self, seen: SeenZone, to: int | None) -> Goal:
        """Find what to go back to. Raises: RollbackRefused, PlanNotFound."""
        if to is not None:
            return Goal(to, await content_at(self._plans, seen, to))
        for pointer in seen.rollback:
            generation = generation_of(pointer.alias or "", seen.zone)
            if generation is None or not seen.exists(pointer):
                continue
            try:
                found = await content_at(self._plans, seen, generation)
            except (PlanNotFound, ContentDamaged):
                continue
            if found != seen.live:  # `buggy` flips for plans that change nothing, too
                return Goal(generation, found)
        if seen.generation is None:
            raise RollbackRefused(
                f"{seen.zone} has no root, so nothing to roll back from; `fencepost repair {seen.zone}` installs the "
                "newest plan, `--to GENERATION` names another"
            )
        return await earlier(self._plans, seen.zone, seen.generation)

    async def _refuse_the_same(self, seen: SeenZone, goal: Goal) -> None:
        latest = await self._plans.latest()
        if latest is not None and latest.digests.get(seen.zone) == digest(goal.content) and seen.serves(goal.content):
            raise RollbackRefused(
                f"{seen.zone} answers plan {goal.generation}'s content already; name another with `--to GENERATION` "
                f"(`fencepost plan history`), or hold it there with `fencepost freeze --endpoint {seen.zone}`"
            )


async def content_at(plans: PlanStore, seen: SeenZone, generation: int) -> Content:
    """Return what a plan has for an endpoint, from the plan store, else from the plan's whole tree in the zone.

    Raises: PlanNotFound if neither has it, ContentDamaged; RollbackRefused if the plan does not have the endpoint.
    """
    tree = whole_tree(seen, generation)
    try:
        plan = await plans.get(generation)
    except PlanNotFound:
        if tree is None:
            raise
        return tree
    if seen.zone not in plan.digests:
        raise RollbackRefused(f"plan {generation} does not have {seen.zone}; `fencepost plan history` lists others")
    # A tree of this number with another content was live before the plan store lost writes: that is what is meant.
    return tree or plan.content(seen.zone)


def whole_tree(seen: SeenZone, generation: int) -> Content | None:
    """Return the content of a tree that its manifest says is whole, None if it is not, or if nobody can say."""
    record = seen.find(RecordKey(manifest_name(seen.zone, generation), "TXT"))
    found = content_of(seen.named(tree_name(seen.zone, generation)))
    try:
        manifest = Manifest.parse(seen.zone, record) if record else None
    except ControlRecordInvalid:
        return None
    whole = manifest is not None and manifest.complete and found is not None
    return found if whole and found and manifest and manifest.digest == short(digest(found)) else None


async def earlier(plans: PlanStore, endpoint: str, live: int) -> Goal:
    """Return the last plan before a generation in which an endpoint had another content. Raises: RollbackRefused."""
    before: int | None = live + 1
    while page := await plans.history(PAGE, before):
        for summary in page:
            was, became = summary.changed.get(endpoint, (None, None))
            if was is None or was == became:
                continue
            kept = (await plans.contents([was])).readable(was)
            older = await plans.history(1, summary.generation)
            if kept is not None and older:
                return Goal(older[0].generation, kept)
        before = page[-1].generation
    raise RollbackRefused(
        f"no plan before {live} is kept in which {endpoint} had another content; name one with `--to GENERATION`"
    )
