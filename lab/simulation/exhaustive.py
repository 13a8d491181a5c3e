"""Every schedule of a small world: depth first over its states, each visited once, with sleep sets.

A move that commutes with one that was tried before it need not be tried after it again: it sleeps. A state that is
reached again with other moves asleep is searched for those that slept then and are awake now, and only for those.
Source: Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996, chapters 5 and 6.
"""

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

import msgspec

from lab.invariants.violation import Violation
from lab.simulation.choice import Choice
from lab.simulation.scenario import Scenario
from lab.simulation.space import Move, Moves, Space, State

HEAL_MOVES: Final = 5_000
"""A world that is not healed after so many moves will not be."""

ASK_EVERY: Final = 1024


STEP_S: Final = 20.0


def coarse(scenario: Scenario) -> Scenario:
    """Return a scenario with few different instants, so that its space is small; nothing is left out of the order.

    All pauses are one step and have no jitter. A lock lives for less than a step, so that it may expire while its
    holder is slow; every second round looks at zones that have the latest plan, and what another enactor has flipped is
    cleaned by whoever finds it so.
    """
    return msgspec.structs.replace(
        scenario,
        even=True,
        poll_s=STEP_S,
        backoff_base_s=STEP_S,
        backoff_cap_s=STEP_S,
        lock_ttl_s=0.75 * STEP_S,
        sweep_s=1.5 * STEP_S,
        patience_s=STEP_S,
        head_start_s=0.0,
    )


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
        at_end: hears every state in which nothing is left to choose, before it heals.
        most_found: after so many schedules that break something the search ends.

    Attributes:
        complete: whether the whole space was searched.
        longest_heal_s: the longest that a world took to heal.
        found: schedules that break something; the search does not go on past them.
    """

    def __init__(
        self,
        space: Space,
        *,
        healing_s: float,
        reduce: bool = True,
        most_found: int = 1,
        at_end: Callable[[State], None] | None = None,
    ) -> None:
        self._at_end = at_end
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

    @property
    def visited(self) -> Collection[bytes]:
        """The keys of all states that were visited."""
        return self._slept.keys()

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
        if self._at_end is not None:
            self._at_end(state)
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
        if healed_s - began_s > self._healing_s:
            late = f"healed only {healed_s - began_s:g} s after the last choice, of {self._healing_s:g} s allowed"
            self.found.append(Found(self._trace(), (Violation("I5", "", late, 0),)))
            return
        for passed in path:
            self._heals[passed.key] = healed_s
        self.longest_heal_s = max(self.longest_heal_s, healed_s - began_s)
