"""The states of a small world, and what may happen in each: what an exhaustive search walks.

A state is what the store holds (a slot is a zone, or the plans), what each process was told, and the time. Everything
is learnt once: what a call does to a slot, what a process does when it is told something. The rest is looking up.
"""

from collections.abc import Sequence
from functools import partial
from struct import pack
from typing import Any, Final, NamedTuple

from fencepost.plan import Content, decode_content
from fencepost.redis_plans import CONTENTS, CURRENT, digest_in
from fencepost.stores import Commit
from lab.invariants.violation import Violation
from lab.simulation.actors import ANSWERED, FAILED, FIRED, KILLED, STARTED, Actor, Node, Told, label
from lab.simulation.choice import START, TIMER, Choice, Fault
from lab.simulation.client import Call, access_of
from lab.simulation.coverage import Coverage
from lab.simulation.drive import PROCESS_FAILED
from lab.simulation.judge import commit_of
from lab.simulation.process import EPOCH_S
from lab.simulation.server import Server, Snapshot
from lab.simulation.stage import Stage
from lab.simulation.strategies import faults_of

PLANS: Final = "plans"


Commits = tuple[Commit, ...]


class Slot:
    """What one hash slot of the store holds, and for a zone what the judge has seen of it.

    Attributes:
        held: the server's part.
        commits: what made a zone what it is; one way of several.
        done: (call, now) -> what that does.
    """

    __slots__ = ("commits", "done", "held", "name", "number")

    def __init__(self, number: int, name: str, held: Snapshot, commits: Commits) -> None:
        self.number, self.name, self.held, self.commits = number, name, held, commits
        self.done: dict[tuple[int, float], Done] = {}


class Done(NamedTuple):
    """What a call does: the reply as it is told, the slot after it, and what that breaks."""

    reply: Any
    slot: Slot
    broken: tuple[Violation, ...]


class State(NamedTuple):
    """A state of the world; `left` is how many faults may still happen."""

    now_s: float
    slots: tuple[Slot, ...]
    nodes: tuple[Node, ...]
    left: int

    @property
    def key(self) -> bytes:
        """What tells it from others: the numbers of its parts, four bytes each, behind the time."""
        parts = (self.left, *[slot.number for slot in self.slots], *[node.number for node in self.nodes])
        return pack(f"<d{len(parts)}I", self.now_s, *parts)


class Move(NamedTuple):
    """Something that may happen: to whom, what, and which slot it reads or writes (-1: none).

    Two moves commute if they are of different processes, no time passes, at most one has a fault, and neither writes
    to a slot that the other one looks at: each finds the same, and leaves the same, whichever comes first.
    """

    actor: int
    place: int
    fault: Fault
    slot: int
    writes: bool
    is_timer: bool = False

    def commutes(self, other: "Move") -> bool:
        """Say whether the order of two moves makes no difference."""
        if self.actor == other.actor or self.is_timer or other.is_timer or (self.fault and other.fault):
            return False
        return self.slot != other.slot or not (self.writes or other.writes)


class Moves:
    """Numbers for moves, and for each which others it commutes with, as bits: a set of moves is one integer."""

    def __init__(self) -> None:
        self._numbers: dict[Move, int] = {}
        self._moves: list[Move] = []
        self._commuting: list[int] = []

    def bit(self, move: Move) -> int:
        """Return the integer that has only this move's bit."""
        number = self._numbers.get(move)
        if number is None:
            number = self._numbers[move] = len(self._moves)
            self._moves.append(move)
            self._commuting.append(0)
            for other, before in enumerate(self._moves):
                if move.commutes(before):
                    self._commuting[number] |= 1 << other
                    self._commuting[other] |= 1 << number
        return 1 << number

    def commuting(self, move: Move) -> int:
        """Return the set of moves that commute with one."""
        return self._commuting[self._numbers[move]]

    def listed(self, bits: int) -> list[Move]:
        """Return the moves of a set, in order of their numbers."""
        found = []
        while bits:
            low = bits & -bits
            found.append(self._moves[low.bit_length() - 1])
            bits ^= low
        return found


UNSEEN: Final = ("meta", "stream")
"""Parts of a zone that a state need not tell: its serial, which nobody looks at, and its history, which the judge has
seen."""


class Space:
    """All that is learnt of one scenario's worlds.

    Attributes:
        names: the processes.
        actors: what is learnt of them.
        beginning: the state in which every schedule begins.
        coverage: the rare paths, by the different ways in which processes and slots got there.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage, self._server = stage, stage.server
        self._rounds = stage.scene.scenario.rounds
        self._slot_at = {name: index for index, name in enumerate((PLANS, *stage.scene.zones))}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._slots: dict[tuple[Any, ...], Slot] = {}
        self._differs: dict[tuple[int, int], str | None] = {}
        self.names = tuple(stage.cast)
        self.coverage = Coverage()
        self.actors = tuple(
            Actor(partial(stage.process, name), partial(self.coverage.hear, name)) for name in self.names
        )
        slots = []
        for name in self._slot_at:
            held, commits = stage.beginning([name])
            slots.append(self._slot(name, held, commits)[0])
        self.beginning = State(0.0, tuple(slots), tuple(a.root for a in self.actors), stage.scene.scenario.faults)

    def close(self) -> None:
        """End all processes that are kept to go on from."""
        for actor in self.actors:
            actor.close()

    @property
    def slots(self) -> int:
        """How many different contents slots have had."""
        return len(self._slots)

    def _slot(self, name: str, held: Snapshot, commits: Commits) -> tuple[Slot, tuple[Violation, ...]]:
        """Return the slot of a content, and what its last commit broke."""
        broken: tuple[Violation, ...] = ()
        memory: object = None
        if name != PLANS:
            judge = self.stage.judge_of(name)
            for commit in commits:
                broken = tuple(judge.take(commit, ()))
            memory = judge.memory
        self._server.restore(held)
        key = (name, self._server.fingerprint([f"{{{name}}}:{part}" for part in UNSEEN]), memory, bool(broken))
        found = self._slots.get(key)
        if found is None:
            found = self._slots[key] = Slot(len(self._slots), name, held, commits)
        return found, broken

    def moves(self, state: State) -> list[Move]:
        """Return what may happen in a state."""
        found, faults = [], state.left > 0
        # Who publishes comes last: stale plans are met first then, which is where faults of the protocol are.
        for index, node in reversed(list(enumerate(state.nodes))):
            if node.dead:
                found.append(Move(index, 0, Fault.NONE, -1, writes=False))
            if self._rounds and node.rounds >= self._rounds:
                continue  # it is slow from here on: its timer lets time pass, and its next call waits for the healing
            for place, call in enumerate(node.calls):
                slot = self._slot_at[call.zone]
                found.append(Move(index, place, Fault.NONE, slot, writes=call.writes))
                if faults:
                    for fault in faults_of(call):
                        if fault is Fault.LATE:
                            continue  # what is under way is in no state
                        where = slot if fault is Fault.LOST else -1
                        found.append(Move(index, place, fault, where, writes=call.writes))
        if (timer := self._timer(state)) is not None:
            found.append(timer)
        return found

    def _timer(self, state: State) -> Move | None:
        """Return the earliest timer."""
        found, when = None, float("inf")
        for index, node in enumerate(state.nodes):
            if node.timer_s is not None and node.timer_s < when:
                found, when = index, node.timer_s
        return None if found is None else Move(found, 0, Fault.NONE, -1, writes=False, is_timer=True)

    def after(self, state: State, move: Move) -> tuple[State, tuple[Violation, ...]]:
        """Return the state after a move, and what that broke."""
        node, actor = state.nodes[move.actor], self.actors[move.actor]
        now_s, slots = state.now_s, state.slots
        broken: tuple[Violation, ...] = ()
        if move.is_timer:
            assert node.timer_s is not None, "it is its turn"
            now_s = max(now_s, node.timer_s)
            told = Told(FIRED, 0, None, now_s)
        elif node.dead:
            told = Told(STARTED, 0, None, now_s)
        elif move.fault is Fault.CRASH:
            self.coverage.note(node.calls[move.place], move.fault, committed=False)
            told = Told(KILLED, 0, None, now_s)
        else:
            told = Told(FAILED, move.place, None, now_s)
            self.coverage.meet(node.calls[move.place])
            if move.fault:
                self.coverage.note(node.calls[move.place], move.fault, committed=False)
            if move.fault is not Fault.ERROR:
                done = self._done(slots[move.slot], node.calls[move.place], now_s)
                slots, broken = (*slots[: move.slot], done.slot, *slots[move.slot + 1 :]), done.broken
                if move.fault is Fault.NONE:
                    told = Told(ANSWERED, move.place, done.reply, now_s)
        child = actor.tell(node, told)
        if child.failed:
            broken += (Violation(PROCESS_FAILED, "", child.failed, 0),)
        nodes = (*state.nodes[: move.actor], child, *state.nodes[move.actor + 1 :])
        return State(now_s, slots, nodes, state.left - bool(move.fault)), broken

    def _done(self, slot: Slot, call: Call, now_s: float) -> Done:
        number = self._numbers.setdefault((call.name, call.keys, call.args), len(self._numbers))
        done = slot.done.get((number, now_s))
        if done is None:
            done = slot.done[number, now_s] = self._do(slot, call, now_s)
            if call.name == "change_batch":
                self.coverage.note(call, Fault.NONE, committed=done.slot is not slot)
        return done

    def _do(self, slot: Slot, call: Call, now_s: float) -> Done:
        self._server.restore(slot.held)
        self._server.now_us = round((EPOCH_S + now_s) * 1e6)
        reply = call.execute(self._server)
        if not call.writes:
            return Done(label(call, reply), slot, ())
        if call.name == "change_batch":
            assert not isinstance(reply, list) or reply[0] != b"busy", "no batch takes any time here"
        held, commits = self._server.snapshot(), slot.commits
        if call.name == "change_batch" and isinstance(reply, list) and reply[0] == b"committed":
            commits += (commit_of(call.args, reply),)
        elif slot.name != PLANS:
            return Done(label(call, reply), slot, ())
        following, broken = self._slot(slot.name, held, commits)
        return Done(label(call, reply), following, broken if commits is not slot.commits else ())

    def choice(self, state: State, move: Move) -> Choice:
        """Return a move as a schedule has it."""
        name, node = self.names[move.actor], state.nodes[move.actor]
        if move.is_timer:
            return Choice(name, TIMER)
        return Choice(name, START) if node.dead else Choice(name, node.calls[move.place].what, move.fault)

    # Healing: what happens when all goes on in its turn.

    def next_in_turn(self, state: State) -> Move | None:
        """Return what happens next when nothing is chosen and nothing fails; None if nothing can."""
        for index, node in enumerate(state.nodes):
            if node.dead:
                return Move(index, 0, Fault.NONE, -1, writes=False)
        waiting = [(len(node.calls), index) for index, node in enumerate(state.nodes) if node.calls]
        if waiting:
            index = min(waiting)[1]
            call = state.nodes[index].calls[0]
            return Move(index, 0, Fault.NONE, self._slot_at[call.zone], writes=call.writes)
        return self._timer(state)

    def pending(self, state: State) -> Sequence[str]:
        """Return why some endpoint does not have the latest plan; empty if all have it and nobody is busy."""
        plans, *zones = state.slots
        found = [f"{name} is not done" for name, node in zip(self.names, state.nodes, strict=True) if node.busy]
        for zone in zones:
            key = (plans.number, zone.number)
            if key not in self._differs:
                self._differs[key] = self._difference(plans, zone)
            if (problem := self._differs[key]) is not None:
                found.append(f"{zone.name}: {problem}")
        return found

    def _difference(self, plans: Slot, zone: Slot) -> str | None:
        self._server.restore(plans.held)
        wanted = current_content(self._server, zone.name)
        if wanted is None:
            return None
        judge = self.stage.judge_of(zone.name)
        for commit in zone.commits:
            tuple(judge.take(commit, ()))
        return judge.difference(wanted)


def current_content(server: Server, endpoint: str) -> Content | None:
    """Return what the latest plan in a server has for an endpoint, None if nothing."""
    access = access_of((CURRENT, CONTENTS), ())
    standing = server.command("HGET", CURRENT, endpoint, access=access)
    if not isinstance(standing, bytes):
        return None
    text = server.command("HGET", CONTENTS, digest_in(standing), access=access)
    assert isinstance(text, bytes), standing
    return decode_content(text)
