"""Processes as an exhaustive search needs them: each is run once for every different thing that it is told, and learnt.

What a simulated process does next follows from what it was told so far, and when: replies, errors, timers. So it is
learnt as a tree of nodes, each with the calls that wait there, and shipped code runs only where something is told for
the first time. After a round all that counts is what it remembers: nodes with equal memory are one.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError

from fencepost.events import Event
from lab.simulation.client import Call
from lab.simulation.loop import NotInSimulation, WorldTime
from lab.simulation.memory import mind_of
from lab.simulation.process import Listener, Process
from lab.simulation.server import Reply

KEPT: Final = 3000
"""So many running processes are kept, to go on from; others are brought back by telling them all again."""

ANSWERED, FAILED, KILLED, STARTED, FIRED = "answered", "failed", "killed", "started", "fired"


class Untold:
    """A zone's serial in a reply: nobody may look at it, so that states that differ by it alone are one."""

    __slots__ = ()

    def _refuse(self, *_: object) -> Any:
        raise NotInSimulation("a zone's serial (in an exhaustive search)")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __bool__ = __int__ = __index__ = __str__ = __repr__ = __format__ = _refuse


UNTOLD: Final = Untold()
WITH_SERIAL: Final = {"read_records": 0, "page_records": 0, "change_batch": 1}
"""Script -> where its reply has the zone's serial."""


class Told(NamedTuple):
    """What a process is told: a reply to the call in that place, its error, a kill, a start, a timer; and when."""

    how: str
    place: int
    reply: Any
    now_s: float


class Node:
    """A process that was told certain things.

    Attributes:
        calls: what waits to be executed.
        timer_s: when its next timer is due; None: never.
        rounds: how many rounds it has made, in all of its lives.
        dead: whether it was killed and not started since.
        busy: whether it has something to do that ends.
        failed: the error that has ended it, "" if none.
        said: the events on the way here from the parent.
    """

    __slots__ = ("busy", "calls", "children", "dead", "failed", "number", "parent", "rounds", "said", "timer_s", "told")

    def __init__(self, number: int, parent: "Node | None", told: Told | None) -> None:
        self.number, self.parent, self.told = number, parent, told
        self.children: dict[Told, Node] = {}
        self.calls: tuple[Call, ...] = ()
        self.timer_s: float | None = None
        self.rounds = 0
        self.dead = self.busy = False
        self.failed = ""
        self.said: tuple[Event, ...] = ()

    @property
    def history(self) -> Sequence[Told]:
        """All that it was told, in order."""
        found, node = [], self
        while node.parent is not None:
            assert node.told is not None, "only the root was told nothing"
            found.append(node.told)
            node = node.parent
        return found[::-1]


Running = tuple[Process, WorldTime, list[Event]]
"""A process, its own time, and the events since that was last cleared."""


class Actor:
    """One process, as far as it is learnt.

    Args:
        make: makes the process anew, given its time and who hears its events.
        hear: takes every event that is new: one for each different thing that is told.

    Attributes:
        root: before it was told anything.
        learnt, told_again: how often shipped code was run for something new, and for something known to get there.
    """

    def __init__(self, make: Callable[[WorldTime, Listener], Process], hear: Callable[[Event], None]) -> None:
        self._make, self._hear = make, hear
        self._running: OrderedDict[Node, Running] = OrderedDict()
        self._remembered: dict[object, Node] = {}
        self._numbers = iter(range(10**12))
        self.learnt = self.told_again = 0
        self.root = Node(next(self._numbers), None, None)
        running = self._fresh()
        self._look(self.root, running)
        self._keep(self.root, running)

    def _fresh(self) -> Running:
        time = WorldTime()
        said: list[Event] = []
        process = self._make(time, lambda _, event: said.append(event))
        process.start()
        return process, time, said

    def tell(self, node: Node, told: Told) -> Node:
        """Return where a process is after it is told one more thing."""
        child = node.children.get(told)
        if child is None:
            child = node.children[told] = self._learn(node, told)
        return child

    def _learn(self, node: Node, told: Told) -> Node:
        self.learnt += 1
        running = self._running.pop(node, None) or self.bring_back(node)
        process, _, said = running
        said.clear()
        child = Node(next(self._numbers), node, told)
        before = process.rounds
        try:
            tell_again(running, told)
        except Exception as error:  # noqa: BLE001  -- whatever ends a process is a finding
            child.failed = f"{type(error).__name__}: {error}"
        self._look(child, running)
        for event in child.said:
            self._hear(event)
        child.rounds = node.rounds + (process.rounds - before if told.how is not STARTED else 0)
        if not child.failed:
            known = self._remembered.setdefault(self._mind(process, child), child)
            if known is not child:
                process.kill()
                return known
        self._keep(child, running)
        return child

    def _mind(self, process: Process, node: Node) -> object:
        """Return what is equal for two nodes that are one."""
        calls = tuple((call.name, call.keys, call.args) for call in node.calls)
        mind = () if process.killed else mind_of(process)
        return mind, calls, node.timer_s, node.rounds, node.dead, node.busy, process.life

    def _look(self, node: Node, running: Running) -> None:
        process, _, said = running
        node.calls, node.timer_s = tuple(process.parked), process.timer_s
        node.dead, node.busy, node.said = process.killed, process.busy, tuple(said)

    def bring_back(self, node: Node) -> Running:
        """Return a process that was told all that leads to a node."""
        self.told_again += 1
        running = self._fresh()
        for told in node.history:
            tell_again(running, told)
        process = running[0]
        assert len(process.parked) == len(node.calls), "a process does the same when it is told the same"
        assert process.timer_s == node.timer_s, "a process does the same when it is told the same"
        return running

    def _keep(self, node: Node, running: Running) -> None:
        self._running[node] = running
        if len(self._running) > KEPT:
            _, (process, _, _) = self._running.popitem(last=False)
            process.kill()

    def close(self) -> None:
        """End all processes that were kept; what was learnt stays."""
        while self._running:
            _, (process, _, _) = self._running.popitem()
            process.kill()

    @property
    def nodes(self) -> int:
        """How many different things it has in mind, as far as is known."""
        return len(self._remembered)


def tell_again(running: Running, told: Told) -> None:
    """Tell a process something that its node is, or will be, known to have been told. Raises: what goes wrong in it."""
    process, time, _ = running
    time.now_s = told.now_s
    if told.how is ANSWERED:
        process.answer(process.parked[told.place], _thawed(told.reply))
    elif told.how is FAILED:
        process.fail(process.parked[told.place], RedisConnectionError("the connection broke"))
    elif told.how is KILLED:
        process.kill()
    elif told.how is STARTED:
        process.start()
    else:
        process.fire()


class Masked(tuple[Any, ...]):
    """A reply as a label: its serial is left out; lists are tuples, so that it can be a key."""

    __slots__ = ()


def label(call: Call, reply: Reply) -> Any:
    """Return a reply as what a process is told."""
    frozen = _frozen(reply)
    at = WITH_SERIAL.get(call.name)
    if at is None or not frozen or (call.writes and frozen[0] != b"committed"):
        return frozen
    return Masked((at, *frozen[:at], *frozen[at + 1 :]))


def _frozen(reply: Any) -> Any:
    return tuple(map(_frozen, reply)) if isinstance(reply, list) else reply


def _thawed(told: Any) -> Any:
    if isinstance(told, Masked):
        at, *rest = told
        return [*map(_thawed, rest[:at]), UNTOLD, *map(_thawed, rest[at:])]
    return list(map(_thawed, told)) if isinstance(told, tuple) else told
