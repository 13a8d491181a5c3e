"""The invariants, after every commit of a simulated zone: the checker's own rules, fed one step at a time.

The shipped resolver's image of the zone is moved on by the same commits, and asked what it would answer: I1 is judged
by both. Source: docs/invariants.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, Final

from fencepost.batch import Change, decode_changes
from fencepost.change_script import texts_in
from fencepost.plan import Content
from fencepost.records import ADDRESS_TYPES, RecordSet
from fencepost.redis_client import Argument
from fencepost.stores import Actor, Commit
from lab.history import History, RunInfo
from lab.invariants.convergence import difference
from lab.invariants.replay import Replayer, Step
from lab.invariants.rules import frozen, never_empty, no_dangling, no_regression, only_holder, referenced_kept
from lab.invariants.velocity import Watch
from lab.invariants.violation import Violation
from lab.simulation.promises import Promises
from resolver.answer import addresses
from resolver.zone import ZoneImage

EACH: Final = (no_regression, referenced_kept, only_holder, frozen)
"""Rules whose violations are single commits."""

LASTING: Final = (never_empty, no_dangling)
"""Rules whose violations go on until a later commit: told when they begin."""


@lru_cache(maxsize=65_536)
def _change(text: bytes) -> Change:
    (change,) = decode_changes(text)
    return change


def changes_of(args: Sequence[Argument]) -> tuple[Change, ...]:
    """Return the changes in the arguments of change_batch.lua."""
    return tuple(map(_change, texts_in(args)))


def commit_of(args: Sequence[Argument], reply: Sequence[Any]) -> Commit:
    """Return the commit that a call of change_batch.lua with these ARGV, answered so, made."""
    serial, at_us = reply[1], int(reply[2])
    zone, actor, operator, generation, comment = args[:5]
    changes = changes_of(args)
    number = int(generation) if generation != "" else None
    return Commit(str(zone), serial, at_us, Actor(str(actor), operator == 1), number, str(comment), changes)


class ZoneJudge:
    """One zone: its state, and what its commits have broken."""

    def __init__(self, zone: str, history: History, members: int) -> None:
        self.zone, self._history, self._members = zone, history, members
        self._replayer, self._velocity = Replayer(zone), Watch(history.run, members)
        self._image = ZoneImage(zone, 0, ())
        self._answered: set[str] = set()
        self._open: set[str] = set()
        self.commits: list[Commit] = []
        self.last: Step | None = None

    def take(self, commit: Commit, forced: Sequence[int]) -> Iterator[Violation]:
        """Take the next commit; yield what it broke."""
        self.commits.append(commit)
        step = self.last = self._replayer.step(commit)
        one = (step,)
        for rule in EACH:
            yield from rule(self._history, one)
        if (taken := self._velocity.look(step, forced)) is not None:
            yield taken
        self._image = self._image.apply(commit)
        # What is served is the very same as before: nothing that goes by it alone can have begun or ended.
        if step.after.pointers is step.before.pointers:
            return
        for rule in LASTING:
            found = list(rule(self._history, one))
            if found and rule.__name__ not in self._open:
                yield from found
            (self._open.add if found else self._open.discard)(rule.__name__)
        yield from self._answers(commit, step)

    def _answers(self, commit: Commit, step: Step) -> Iterator[Violation]:
        for kind in ADDRESS_TYPES:
            if addresses(self._image, self.zone, kind):
                self._answered.add(kind)
            elif kind in self._answered and kind not in step.lost:
                detail = f"the resolver has no {kind} address to give, though the zone has"
                yield Violation("I1", self.zone, detail, commit.at_us, commit.serial)

    def without(self, last: int, forced: Sequence[int]) -> "ZoneJudge":
        """Return a judge who has never seen the last so many commits: a zone that forgets them is judged from there."""
        found = ZoneJudge(self.zone, self._history, self._members)
        for commit in self.commits[:-last]:
            tuple(found.take(commit, forced))
        return found

    def difference(self, wanted: Content) -> str | None:
        """Return how the zone differs from a content, in words, None if it does not."""
        return difference(self._replayer.state, wanted)

    @property
    def memory(self) -> object:
        """What decides about later commits besides the zone's records: what was answered, reached, and live lately."""
        return (self._replayer.memory, self._velocity.memory, frozenset(self._answered), frozenset(self._open))

    @property
    def records(self) -> tuple[RecordSet, ...]:
        """What the zone has, in order of the records' keys."""
        return tuple(found for _, found in sorted(self._replayer.state.records.items()))


class Judge:
    """All zones of a world."""

    def __init__(self, members: Mapping[str, int], run: RunInfo) -> None:
        self.run = run
        history = History(run=run, commits={})
        self.zones = {zone: ZoneJudge(zone, history, count) for zone, count in members.items()}
        self.violations: list[Violation] = []
        self.commits = 0
        self.forced: dict[str, list[int]] = {zone: [] for zone in members}
        self.promises: Sequence[Promises] = ()

    def has_broken(self, invariants: AbstractSet[str]) -> bool:
        """Say whether all of these are broken."""
        return invariants <= {violation.invariant for violation in self.violations}

    def take(self, commit: Commit) -> None:
        """Take the next commit."""
        self.commits += 1
        zone = self.zones[commit.zone]
        self.violations += zone.take(commit, self.forced[commit.zone])
        if not commit.actor.operator:
            for promises in self.promises:
                self.violations += promises.broken_by_commit(commit, zone.difference)

    def forget(self, zone: str, commits: int) -> None:
        """Take back a zone's last so many commits."""
        self.zones[zone] = self.zones[zone].without(commits, self.forced[zone])

    def take_plan(self, by: str, changes: Mapping[str, str], at_us: int) -> None:
        """Take a plan that an automation has published; see `Promises.broken_by_plan`."""
        for promises in self.promises:
            self.violations += promises.broken_by_plan(by, changes, at_us)
