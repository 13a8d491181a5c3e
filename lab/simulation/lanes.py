"""The lanes of a page: one row's drawing, with places across in percent, so that it fits a phone as well as a desk."""

from collections.abc import Iterator
from typing import ClassVar, Final

from lab.report.svg import escaped, tag
from lab.simulation.choice import Fault
from lab.simulation.story import Holding, Moment, Story
from lab.simulation.words import BEGIN, PUBLISH, READ, WAIT

PLANS: Final = "plans"
MIDDLE: Final = 16
"""Where in a row its marks are, pixels from the top."""

CROSS: Final = "\N{MULTIPLICATION SIGN}"


class Lanes:
    """Draws the rows of a story, one after the other: each goes on from where the one before it ended."""

    DEFINITIONS: ClassVar[str] = (
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" class="tip"></path></marker></defs></svg>'
    )

    def __init__(self, story: Story) -> None:
        first, *rest = story.processes
        self.names = (first, PLANS, *rest, *story.zones)
        self._processes = set(story.processes)
        self._held: dict[str, Holding] = {held.zone: held for held in story.beginning}
        self._answered: set[str] = set()
        self._dead: set[str] = set()

    def _x(self, name: str, shift: float = 0.0) -> str:
        return f"{100 * (self.names.index(name) + 0.5 + shift) / len(self.names):.2f}%"

    def row(self, moment: Moment) -> str:
        """Return a step's drawing."""
        before = {name: self._class(name) for name in self.names}
        self._move(moment)
        parts = [*self._lines(before), *self._arrow(moment), self._who(moment), *self._marks(moment)]
        held = moment.holding
        title = tag("title", escaped(f"{moment.who}: {moment.text}" + (f"\n{held.zone} {held.text}" if held else "")))
        return tag("svg", title, *parts)

    def _move(self, moment: Moment) -> None:
        self._dead.discard(moment.who)
        if moment.fault is Fault.CRASH:
            self._dead.add(moment.who)
        if moment.holding is not None:
            self._held[moment.zone] = moment.holding
            if moment.holding.addresses:
                self._answered.add(moment.zone)

    def _class(self, name: str) -> str:
        """Return how a lane looks: a process by what it holds, a zone by what its root answers."""
        if name in self._processes:
            if name in self._dead:
                return "lane dead"
            return "lane holder" if any(held.lock == name for held in self._held.values()) else "lane"
        if name == PLANS:
            return "lane"
        if self._held[name].addresses:
            return "zone live"
        return "zone silent" if name in self._answered else "zone"

    def _lines(self, before: dict[str, str]) -> Iterator[str]:
        for name in self.names:
            x, after = self._x(name), self._class(name)
            if before[name] == after:
                yield tag("line", x1=x, x2=x, y1=0, y2="100%", class_=after)
            else:
                yield tag("line", x1=x, x2=x, y1=0, y2=MIDDLE, class_=before[name])
                yield tag("line", x1=x, x2=x, y1=MIDDLE, y2="100%", class_=after)

    def _arrow(self, moment: Moment) -> Iterator[str]:
        """Yield what goes from the process to the store, or from there to it; a call that failed does not arrive."""
        if moment.kind in (WAIT, BEGIN):
            return
        store = moment.zone or PLANS
        sign = 1 if self.names.index(store) > self.names.index(moment.who) else -1
        at_process, at_store = self._x(moment.who, 0.24 * sign), self._x(store, -0.24 * sign)
        failed = moment.refused or moment.fault in (Fault.ERROR, Fault.LATE, Fault.CRASH)
        ends = (at_store, at_process) if moment.kind == READ else (at_process, at_store)
        kind = f"call{' look' if moment.kind == READ else ''}{' failed' if failed or moment.fault else ''}"
        yield tag("line", x1=ends[0], x2=ends[1], y1=MIDDLE, y2=MIDDLE, class_=kind, marker_end="url(#tip)")
        if failed:
            x = self._x(store, -0.45 * sign)
            yield tag("text", CROSS, x=x, y=MIDDLE + 6, class_="cross")

    def _who(self, moment: Moment) -> str:
        x, number = self._x(moment.who), moment.generation
        if moment.fault is Fault.CRASH:
            return tag("circle", cx=x, cy=MIDDLE, r=9, class_="who gone") + tag("text", CROSS, x=x, y=MIDDLE + 5)
        mark = tag("circle", cx=x, cy=MIDDLE, r=9 if number is not None else 5, class_="who")
        return mark + (tag("text", str(number), x=x, y=MIDDLE + 4, class_="on") if number is not None else "")

    def _marks(self, moment: Moment) -> Iterator[str]:
        """Yield the generation that a zone or the plan store has now, where that has changed, and deleted trees."""
        if moment.kind == PUBLISH and not moment.refused and moment.fault in (Fault.NONE, Fault.LOST):
            yield self._pill(PLANS, str(moment.generation), "plan")
        held = moment.holding
        if held is None:
            return
        if moment.deleted:
            text = CROSS + ",".join(map(str, moment.deleted))
            yield tag("text", text, x=self._x(moment.zone), y=MIDDLE + 24, class_="cut")
        if moment.kind == "flip" or moment.violations:
            number = str(held.generation) if held.generation is not None else "-"
            yield self._pill(moment.zone, number, "root bad" if moment.violations else "root")

    def _pill(self, name: str, text: str, kind: str) -> str:
        x = self._x(name)
        return tag("circle", cx=x, cy=MIDDLE, r=10, class_=kind) + tag("text", text, x=x, y=MIDDLE + 4, class_="on")


def _sample(*parts: str) -> str:
    return tag("svg", *parts, width=30, height=20, viewBox="0 0 30 20", class_="sample")


def _dot(kind: str) -> str:
    return tag("circle", cx=15, cy=10, r=9, class_=kind) + tag("text", "3", x=15, y=14, class_="on")


LEGEND: Final = (
    (_sample(_dot("who")), "a process acts, with the plan that it has"),
    (_sample(tag("line", x1=15, x2=15, y1=0, y2=20, class_="lane holder")), "it has a zone's lock"),
    (_sample(tag("line", x1=0, x2=28, y1=10, y2=10, class_="call look", marker_end="url(#tip)")), "it reads"),
    (_sample(tag("line", x1=0, x2=28, y1=10, y2=10, class_="call", marker_end="url(#tip)")), "it writes"),
    (_sample(_dot("root")), "the generation of a zone's root"),
    (_sample(tag("line", x1=15, x2=15, y1=0, y2=20, class_="zone live")), "the root answers"),
    (_sample(tag("line", x1=15, x2=15, y1=0, y2=20, class_="zone silent")), "it answers nothing any more"),
    (_sample(tag("text", CROSS + "1", x=15, y=15, class_="cut")), "a tree is deleted"),
)
"""The marks, each with what it means."""
