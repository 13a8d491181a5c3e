"""One decision of the planner: from everything that it has read to what it would publish, and why not more. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from fencepost.plan import Content, Draft, Plan
from fencepost.safety import Limits
from fencepost.stores import Controls
from planner.build import Built
from planner.draft import draft_changes, draft_everything
from planner.each import Lately, Made, Maker
from planner.floor import fences_of, find_lost
from planner.force import draft_forced
from planner.layout import Layout
from planner.observe import Observed
from planner.requests import NONE, Requests
from planner.safety import Limited


class Snapshot(NamedTuple):
    """What the plan store had at one look: the latest plan (None: none), the requests in force, freeze and pins.

    `lost` says that it had a plan which it has no more, None if nothing is known of that.
    """

    latest: Plan | None = None
    requests: Requests = NONE
    controls: Controls = Controls()
    lost: str | None = None

    @property
    def generation(self) -> int:
        """The latest generation, 0 if there is none."""
        return self.latest.generation if self.latest else 0

    @property
    def contents(self) -> Mapping[str, Content]:
        """Endpoint -> what the latest plan has; empty if there is none.

        One that the plan store has damaged is left out, as if it were in no plan: so it is published again.
        """
        if self.latest is None:
            return {}
        readable = self.latest.contents.readable
        return {name: value for name, digest in self.latest.digests.items() if (value := readable(digest))}


class Decision(NamedTuple):
    """What is to be published, and what is held back.

    Attributes:
        draft: None if the latest plan is all that may be.
        lost: why the whole region is published again, None if it is not.
        held: endpoint -> why it stays as the last plan has it.
        limited: endpoint -> what was cut short.
        pinned: endpoint -> which operator's word it stays by.
    """

    draft: Draft | None
    lost: str | None
    held: Mapping[str, str]
    limited: Mapping[str, Limited]
    pinned: Mapping[str, str]


def decide(
    layout: Layout, fleet: Mapping[str, Observed], snapshot: Snapshot, lately: Lately, limits: Limits | None
) -> Decision:
    """Decide what to publish next.

    Args:
        layout: the region.
        fleet: load balancer -> what was observed.
        snapshot: the plan store.
        lately: the zones.
        limits: what may be taken away; None: everything.
    Returns: at most one draft; what operators force comes first, by itself.
    """
    return Decider(layout, limits).decide(fleet, snapshot, lately)


class Decider:
    """Decides again and again, as `decide` does, at the cost of what has changed in between."""

    def __init__(self, layout: Layout, limits: Limits | None) -> None:
        self._layout, self._maker = layout, Maker(layout, limits)

    def decide(self, fleet: Mapping[str, Observed], snapshot: Snapshot, lately: Lately) -> Decision:
        """Decide what to publish next; see `decide`."""
        last = snapshot.contents
        self._maker.update(fleet, snapshot.requests, last, lately)
        return _decision(self._layout, self._maker, snapshot, last, lately)


def _decision(
    layout: Layout, maker: Maker, snapshot: Snapshot, last: Mapping[str, Content], lately: Lately
) -> Decision:
    pinned = {name: notice.text for name, notice in snapshot.controls.pins.items() if name in layout.endpoints}
    made = {name: made for name, made in maker.made.items() if name not in pinned} if pinned else maker.made
    if lost := snapshot.lost or find_lost(fences_of(lately.zones), snapshot.latest):
        contents = {name: one.content for name, one in made.items() if one.content is not None}
        kept = [name for name in layout.endpoints if name not in contents]
        draft = draft_everything(contents, last, kept, f"whole region again: {lost}")
    else:
        draft = _forced(maker, made, snapshot.requests, last)
        if draft is None:
            contents = {name: one.content for name, one in made.items() if one.differs and one.content is not None}
            draft = draft_changes(contents, maker.views, last)
    held = {name: one.held for name, one in made.items() if one.held is not None}
    limited = {name: one.limited for name, one in made.items() if one.limited is not None}
    return Decision(draft, lost, held, limited, pinned)


def _forced(maker: Maker, made: Mapping[str, Made], requests: Requests, last: Mapping[str, Content]) -> Draft | None:
    if not any(request.force for request in requests.by_key.values()):
        return None
    contents = {name: one.built for name, one in made.items() if one.built is not None}
    return draft_forced(Built(contents, {}, maker.views), requests, last)
