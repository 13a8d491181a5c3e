"""Every schedule of a small world: depth first over its states, each visited once, with sleep sets.

A move that commutes with one that was tried before it need not be tried after it again: it sleeps. A state that is
reached again with other moves asleep is searched for those that slept then and are awake now, and only for those.
Source: Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996, chapters 5 and 6.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from lab.invariants.violation import Violation
from lab.simulation.choice import Choice
from lab.simulation.space import Move, Moves, Space, State

HEAL_MOVES: Final = 5_000
"""A world that is not healed after so many moves will not be."""

ASK_EVERY: Final = 1024


class Found(NamedTuple):
    """A schedule that breaks something."""

    trace: tuple[Choice, ...]
    violations: tuple[Violation, ...]


class Extent(NamedTuple):
    """How much was searched: states, moves between them, moves that slept, ends that were healed, the deepest path."""

    states: int
    moves: int
    slept: int
    ends: int
    depth: int


class _Frame:
    """A state on the way to where the search is: what is asleep there, was tried, and is still to be tried."""

    __slots__ = ("done", "sleep", "state", "taken", "todo")

    def __init__(self, state: State, todo: list[Move], sleep: int) -> None:
        self.state, self.todo, self.sleep, self.done = state, todo, sleep, 0
        self.taken: Move | None = None


class Search:
    """A search of a space.

    Args:
        healing_s: within how long a world heals that has come to its end (I5).
        reduce: whether moves may sleep; without, every move is tried in every state.
        most_found: after so many schedules that break something the search ends.

    Attributes:
        complete: whether the whole space was searched.
        longest_heal_s: the longest that a world took to heal.
        found: schedules that break something; the search does not go on past them.
    """

    def __init__(self, space: Space, *, healing_s: float, reduce: bool = True, most_found: int = 1) -> None:
        self._space, self._healing_s, self._reduce, self._most_found = space, healing_s, reduce, most_found
        self._moves = Moves()
        self._slept: dict[bytes, int] = {}
        self._heals: dict[bytes, float] = {}
        self._stack: list[_Frame] = []
        self._made = self._sleeping = self._ends = self._depth = 0
        self.complete = False
        self.longest_heal_s = 0.0
        self.found: list[Found] = []

    @property
    def extent(self) -> Extent:
        """How much was searched so far."""
        return Extent(len(self._slept), self._made, self._sleeping, self._ends, self._depth)

    def run(self, go_on: Callable[[], bool]) -> None:
        """Search until all is searched, enough is found, or `go_on` (asked now and then) says no."""
        self._enter(self._space.beginning, 0)
        asked = 0
        while self._stack:
            asked += 1
            if asked % ASK_EVERY == 0 and not go_on():
                return
            frame = self._stack[-1]
            if not frame.todo:
                self._stack.pop()
                continue
            self._move(frame, frame.todo.pop())
            if len(self.found) >= self._most_found:
                return
        self.complete = not self.found

    def _move(self, frame: _Frame, move: Move) -> None:
        frame.taken = move
        self._made += 1
        state, broken = self._space.after(frame.state, move)
        if broken:
            self.found.append(Found(self._trace(), broken))
        elif self._reduce:
            self._enter(state, (frame.sleep | frame.done) & self._moves.commuting(move))
        else:
            self._enter(state, 0)
        frame.done |= self._moves.bit(move)

    def _enter(self, state: State, sleep: int) -> None:
        """Go on from a state with what is awake and was not tried there before."""
        key, moves = state.key, self._moves
        slept = self._slept.get(key)
        if slept is None:
            able = self._space.moves(state)
            todo = [move for move in able if not moves.bit(move) & sleep]
            self._slept[key] = sleep
            self._sleeping += len(able) - len(todo)
            if not able:
                self._end(state)
        else:
            todo = moves.listed(slept & ~sleep)
            self._slept[key] = slept & sleep
        if todo:
            todo.reverse()
            self._stack.append(_Frame(state, todo, sleep))
            self._depth = max(self._depth, len(self._stack))

    def _trace(self) -> tuple[Choice, ...]:
        return tuple(self._space.choice(frame.state, frame.taken) for frame in self._stack if frame.taken is not None)

    def _end(self, state: State) -> None:
        """Heal a world in which nothing is left to choose: everything goes on in its turn."""
        self._ends += 1
        path: list[State] = []
        began_s = state.now_s
        broken: tuple[Violation, ...] = ()
        while (pending := self._space.pending(state)) and state.key not in self._heals:
            path.append(state)
            move = self._space.next_in_turn(state)
            if move is None or state.now_s > began_s + self._healing_s or len(path) > HEAL_MOVES:
                broken = tuple(Violation("I5", why.partition(":")[0], why, 0) for why in pending)
                break
            state, broken = self._space.after(state, move)
            if broken:
                break
        if broken:
            self.found.append(Found(self._trace(), broken))
            return
        healed_s = self._heals.get(state.key, state.now_s)
        for passed in path:
            self._heals[passed.key] = healed_s
        self.longest_heal_s = max(self.longest_heal_s, healed_s - began_s)


def summary(extent: Extent) -> Iterator[str]:
    """Yield how much was searched, in words."""
    yield f"{extent.states:,} states, {extent.moves:,} moves between them, {extent.ends:,} ends that healed"


def by_length(found: Sequence[Found]) -> Sequence[Found]:
    """Return schedules, the shortest first."""
    return sorted(found, key=lambda one: len(one.trace))
