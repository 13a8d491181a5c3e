"""Whose turn an endpoint is: of several enactors one goes first there, the others give it a head start.

Enactors that all begin at once do a plan's work as often as there are enactors, and all but one in vain. So each
endpoint has an order of those that are alive, by rendezvous hashing: who goes or comes changes the order of its own
endpoints only. Who is alive, and what each has done lately, enactors say in the reports that they leave in the plan
store; so a plan is done once, and known to be done by one read.

Nothing is safer by this, and nothing leans on it: it is only about who begins. Source: docs/invariants.md, I5.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from itertools import takewhile
from typing import Final, NamedTuple

from fencepost.clock import Clock
from fencepost.events import Events
from fencepost.fence import Fence
from fencepost.plan import Plan
from fencepost.stores import Report

REPORT_S: Final = 3.0
"""An enactor leaves word of itself at least this often, and as often listens to the others."""
FRESH_S: Final = 2 * REPORT_S
"""A report that is older than this stands for nobody."""

Word = tuple[int, str]
"""A fence as far as it counts for others: generation and digest, as in `Report.fences`."""
NEVER: Final[Word] = (0, "")
"""Stands for an endpoint of which nobody has said anything."""


class Division(NamedTuple):
    """Of the endpoints that are behind a plan: which are left to others, and which have it by another's word."""

    left: frozenset[str]
    told: Mapping[str, Fence]


class HeadStart(NamedTuple):
    """An endpoint is left to others until `until_s` (monotonic; None: not counted yet), who last said `word` of it."""

    until_s: float | None
    word: Word


class Turns:
    """Says which endpoints are left to others for now, by what the other enactors have said of themselves.

    Invariant: an endpoint that nobody moves is begun `head_start_s` after the round that found it behind, once for each
    enactor before this one in the endpoint's order; at once by who goes first there, or knows of no others.

    Args:
        name: this enactor's.
        head_start_s: 0: nobody waits for anybody.
    """

    def __init__(self, name: str, clock: Clock, events: Events, head_start_s: float) -> None:
        self._name, self._clock, self._events, self._head_start_s = name, clock, events, head_start_s
        self._heard_s: float | None = None
        self._reports: Mapping[str, Report] = {}
        self._others: tuple[str, ...] = ()
        self._late: dict[str, float] = {}
        self._left: dict[str, HeadStart] = {}
        self._own: dict[str, tuple[float, Word]] = {}
        self._news = self._told = 0
        self._tells = False

    @property
    def listens(self) -> bool:
        """Whether the others' reports are to be read before the next round."""
        if not self._head_start_s:
            return False
        due = self._heard_s is None or self._clock.monotonic() >= self._heard_s + REPORT_S
        return due or any(self._is_early(start) for start in self._left.values())

    def hear(self, reports: Mapping[str, Report]) -> None:
        """Take note of what all enactors last said of themselves."""
        now_s = self._heard_s = self._clock.monotonic()
        others = {name: said for name, said in reports.items() if said.role == "enactor" and name != self._name}
        self._reports = {name: said for name, said in others.items() if said.age_s < FRESH_S}
        # Who has said something since it was found late is waited for again.
        found = {name: at_s for name, at_s in self._late.items() if name in self._reports}
        self._late = {name: at_s for name, at_s in found.items() if self._reports[name].age_s >= now_s - at_s}
        self._reckon()

    def _reckon(self) -> None:
        self._others = tuple(sorted(self._reports.keys() - self._late.keys()))
        if not self._others:
            self._left.clear()

    def place(self, zone: str) -> int:
        """Return how many enactors go before this one at an endpoint, of those that are alive and not late."""
        mine = _weight(self._name, zone)
        return sum(_weight(name, zone) < mine for name in self._others)

    def order(self, zones: Iterable[str]) -> list[str]:
        """Return in which order to begin: first where nobody goes before this one, then what others began with last.

        Two that begin with the same endpoints meet at each, two that begin at the two ends meet once.
        """
        mine, theirs = list[str](), list[str]()
        for zone in zones:
            (theirs if self.place(zone) else mine).append(zone)
        mine.sort(key=lambda zone: _weight(self._name, zone))
        theirs.sort(key=lambda zone: min(_weight(name, zone) for name in self._others), reverse=True)
        return mine + theirs

    def divide(self, plan: Plan, behind: Iterable[str], held: Mapping[str, str]) -> Division:
        """Say which of those endpoints that are behind a plan, as far as known here, are not to be begun now.

        What is `held`, here or by another's word, everybody tries in his own time: who goes first may be the trouble.
        """
        left, told = list[str](), dict[str, Fence]()
        for zone in behind if self._others else ():
            if zone in held or not self.place(zone):
                continue
            if (fence := self._fence_told(plan, zone)) is not None:
                told[zone] = fence
                self._left.pop(zone, None)
            elif self._is_left(zone):
                left.append(zone)
        if len(self._left) > len(plan.digests):
            self._left = {zone: start for zone, start in self._left.items() if zone in plan.digests}
        return Division(frozenset(left), told)

    def _fence_told(self, plan: Plan, zone: str) -> Fence | None:
        for word in self._words(zone):
            if (fence := Fence(*word, "")).has(plan, zone):
                return fence
        return None

    def _words(self, zone: str) -> list[Word]:
        return [said.fences[zone] for said in self._reports.values() if zone in said.fences]

    def _is_left(self, zone: str) -> bool:
        """Say whether an endpoint is left to others; one that they move, if not far enough yet, is so anew."""
        if any(zone in said.held for said in self._reports.values()):
            return False
        start = self._left.get(zone)
        word = max([*self._words(zone), start.word if start else NEVER])
        if start is None or start.word != word:
            # It counts from the next round on: what is to be done before takes the others' time as it does ours.
            start = HeadStart(None, word)
        elif start.until_s is None:
            start = HeadStart(self._clock.monotonic() + self.place(zone) * self._head_start_s, word)
        self._left[zone] = start
        return self._is_early(start)

    def _is_early(self, start: HeadStart) -> bool:
        return start.until_s is None or self._clock.monotonic() < start.until_s

    def moves(self, zone: str) -> None:
        """Note that an endpoint has to be moved here: who had a head start there is late."""
        start = self._left.get(zone)
        if start is None or self._is_early(start):
            return
        mine = _weight(self._name, zone)
        late = [name for name in self._others if _weight(name, zone) < mine]
        self._late |= dict.fromkeys(late, self._clock.monotonic())
        self._reckon()
        if late:
            reason = f"{', '.join(late)} had a head start there, and is not waited for until it says something"
            self._events.emit("enactor.others_late", zone=zone, reason=reason)

    def arrived(self, zone: str, fence: Fence) -> None:
        """Note which fence this enactor has seen at an endpoint, or moved it to: the others are told."""
        self._left.pop(zone, None)
        word = (fence.generation, fence.digest)
        if self._reports and self._own.get(zone, (0.0, None))[1] != word:
            self._own.pop(zone, None)  # so that the latest are the last
            self._own[zone] = (self._clock.monotonic(), word)
            self._news += 1

    @property
    def news(self) -> int:
        """A number that changes when the others are to be told of something."""
        return self._news

    @property
    def fences(self) -> Mapping[str, Word]:
        """What the others are told: the fences that were seen or moved lately."""
        since_s = self._clock.monotonic() - REPORT_S
        lately = takewhile(lambda said: said[1][0] >= since_s, reversed(self._own.items()))
        return {zone: word for zone, (_, word) in lately}

    def tells_first(self) -> bool:
        """Say whether a round is to end before it cleans, since others wait to be told; never so twice in a row."""
        self._tells = self._news != self._told and not self._tells
        self._told = self._news
        return self._tells


@lru_cache(maxsize=16_384)
def _weight(name: str, zone: str) -> bytes:
    return blake2b(f"{name} {zone}".encode(), digest_size=8).digest()
