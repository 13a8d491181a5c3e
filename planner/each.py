"""What is made of each endpoint by itself, and remembered for as long as nothing that it depends on changes.

A region of 1,000 endpoints with 300 load balancers each is not gone through for one load balancer. Pure, but for what
`Maker` remembers, which only ever is what it would make again.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from fencepost.capacity import NOTHING, Capacity
from fencepost.plan import Content, Draft, draft_problems
from fencepost.safety import Limits
from planner.build import View, build_each, view_some
from planner.floor import ZoneSeen
from planner.layout import Layout
from planner.mend import mended
from planner.observe import Observed
from planner.requests import NONE, Requests
from planner.safety import Cut, Limited, cut_short

MAX_PROBLEMS: Final = 3
"""How many of a content's problems are said; it can have one for each load balancer."""


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


class Made(NamedTuple):
    """What is made of one endpoint.

    Attributes:
        built: what the world asks for, None if nothing could be built.
        content: what of it may be published, None for nothing.
        held: why it stays as the last plan has it, None if it does not.
        limited: what was cut short, None if nothing.
        differs: whether `content` is something else than the last plan has.
    """

    built: Content | None
    content: Content | None
    held: str | None
    limited: Limited | None
    differs: bool

    @property
    def is_whole(self) -> bool:
        """Whether all that the world asks for may be published."""
        return self.content is not None and self.content is self.built and self.held is None and self.limited is None


def make(
    layout: Layout,
    names: Iterable[str],
    views: Mapping[str, View],
    last: Mapping[str, Content],
    *,
    lately: Lately,
    limits: Limits | None,
) -> dict[str, Made]:
    """Make what some endpoints should have.

    Args:
        layout: the region.
        names: the endpoints.
        views: every load balancer of theirs.
        last: endpoint -> what the last plan has.
        lately: the zones.
        limits: what may be taken away; None: everything.
    """
    names = list(names)
    well = {name: mended(last[name]) for name in names if name in last}
    built = build_each(layout, names, views, well)
    cut = Cut(built.contents, {}, {})
    if limits:
        cut = cut_short(layout, built, well, lately.highest, limits, live=lately.live)
    wrong = wrong_of(cut.contents, last)
    held = {**built.held, **cut.stuck, **wrong}
    made = {}
    for name in names:
        content = None if name in wrong else cut.contents.get(name)
        differs = content is not None and content != last.get(name)
        made[name] = Made(built.contents.get(name), content, held.get(name), cut.limited.get(name), differs)
    return made


def wrong_of(contents: Mapping[str, Content], last: Mapping[str, Content]) -> dict[str, str]:
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


class _Basis(NamedTuple):
    """All that an endpoint's part depends on, besides its load balancers."""

    last: Content | None
    highest: Capacity
    live: Capacity


class Maker:
    """Makes every endpoint's part, and again only where something has changed.

    Invariant: `views` and `made` are what `view_some` and `make` return for the arguments of the last `update`.
    """

    def __init__(self, layout: Layout, limits: Limits | None) -> None:
        self.views: Mapping[str, View] = {}
        self.made: dict[str, Made] = {}
        self._layout, self._limits = layout, limits
        self._fleet: Mapping[str, Observed] | None = None
        self._requests = NONE
        self._bases: dict[str, _Basis] = {}

    def update(
        self, fleet: Mapping[str, Observed], requests: Requests, last: Mapping[str, Content], lately: Lately
    ) -> None:
        """Bring what is made up to date."""
        touched, stale = self._look(fleet, requests), []
        for name in self._layout.endpoints:
            basis = _Basis(last.get(name), lately.highest.get(name, NOTHING), lately.live.get(name, NOTHING))
            known, made = self._bases.get(name), self.made.get(name)
            self._bases[name] = basis
            if known is None or made is None or name in touched:
                stale.append(name)
            elif made.is_whole and _are_equal(made.content, basis.last):
                # What was made went into the plan as it was: nothing else can come of it, whatever the endpoint had.
                # It is kept as the plan has it, which is quicker to recognize, and is there once.
                if made.content is not basis.last:
                    self.made[name] = Made(basis.last, basis.last, None, None, differs=False)
            elif not _is_same(known, basis):
                stale.append(name)
        self.made.update(make(self._layout, stale, self.views, last, lately=lately, limits=self._limits))

    def _look(self, fleet: Mapping[str, Observed], requests: Requests) -> set[str]:
        """Look at the fleet; return the endpoints of which a load balancer is not as it was."""
        names: Iterable[str] = self._layout.balancers
        if self._fleet is not None and requests == self._requests:
            existing = self._fleet
            names = [name for name in names if fleet.get(name) is not existing.get(name)]
            if not names:
                return set()
        views = view_some(self._layout, names, fleet, requests)
        moved = [name for name, view in views.items() if self.views.get(name) != view]
        self._fleet, self._requests, self.views = dict(fleet), requests, {**self.views, **views}
        return {endpoint for name in moved for endpoint in self._layout.endpoints_of[name]}


def _is_same(known: _Basis, basis: _Basis) -> bool:
    rest = known.highest == basis.highest and known.live == basis.live
    return rest and _are_equal(known.last, basis.last)


def _are_equal(one: Content | None, other: Content | None) -> bool:
    # Contents are long: most are the very same object, since a plan shares with the one before what has not changed.
    return one is other or one == other
