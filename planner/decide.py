"""One decision of the planner: from everything that it has read to what it would publish, and why not more. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from fencepost.capacity import Capacity
from fencepost.plan import Content, Draft, Plan, draft_problems
from fencepost.safety import Limits
from fencepost.stores import Controls
from planner.build import Built, build
from planner.draft import draft_changes, draft_everything
from planner.floor import ZoneSeen, fences_of, find_lost
from planner.force import draft_forced
from planner.layout import Layout
from planner.mend import mended
from planner.observe import Observed
from planner.requests import NONE, Requests
from planner.safety import Cut, Limited, cut_short

MAX_PROBLEMS: Final = 3
"""How many of a content's problems are said; it can have one for each load balancer."""


class Snapshot(NamedTuple):
    """What the plan store had at one look: the latest plan (None: none), the requests in force, freeze and pins."""

    latest: Plan | None = None
    requests: Requests = NONE
    controls: Controls = Controls()

    @property
    def generation(self) -> int:
        """The latest generation, 0 if there is none."""
        return self.latest.generation if self.latest else 0

    @property
    def contents(self) -> Mapping[str, Content]:
        """Endpoint -> what the latest plan has; empty if there is none."""
        return {name: self.latest.content(name) for name in self.latest.digests} if self.latest else {}


class Lately(NamedTuple):
    """What a plan is compared with.

    Attributes:
        zones: endpoint -> what its zone says of itself; read before the snapshot.
        highest: endpoint -> the most capacity that it had within the window.
        live: endpoint -> the same by its zone's own record alone; missing where there is none.
    """

    zones: Mapping[str, ZoneSeen]
    highest: Mapping[str, Capacity]
    live: Mapping[str, Capacity] = {}


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
    last = snapshot.contents
    pinned = {name: notice.text for name, notice in snapshot.controls.pins.items() if name in layout.endpoints}
    well = {name: mended(value) for name, value in last.items()}
    built = _without(build(layout, fleet, snapshot.requests, well), pinned)
    cut = Cut(built.contents, {}, {})
    if limits:
        cut = cut_short(layout, built, well, lately.highest, limits, live=lately.live)
    wrong = _wrong(cut.contents, last)
    contents = {name: value for name, value in cut.contents.items() if name not in wrong}
    lost = find_lost(fences_of(lately.zones), snapshot.latest)
    if lost:
        kept = [name for name in layout.endpoints if name not in contents]
        draft = draft_everything(contents, last, kept, f"whole region again: {lost}")
    else:
        forced = draft_forced(built, snapshot.requests, last)
        draft = forced or draft_changes(contents, built.views, last)
    return Decision(draft, lost, {**built.held, **cut.stuck, **wrong}, cut.limited, pinned)


def _without(built: Built, pinned: Mapping[str, str]) -> Built:
    contents = {name: value for name, value in built.contents.items() if name not in pinned}
    held = {name: why for name, why in built.held.items() if name not in pinned}
    return Built(contents, held, built.views)


def _wrong(contents: Mapping[str, Content], last: Mapping[str, Content]) -> dict[str, str]:
    """Return which contents no region could want, and why: one of them holds up no other endpoint."""
    found = {}
    for name, value in contents.items():
        if last.get(name) == value:
            continue
        if problems := list(draft_problems(Draft({name: value}, ""), frozenset([name]))):
            more = f" and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
            what = "; ".join(problems[:MAX_PROBLEMS])
            found[name] = f"{name} stays as the last plan has it: {what}{more}; correct the region file"
    return found
