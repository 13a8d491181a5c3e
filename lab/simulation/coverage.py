"""Which rare paths a run has been on: a run that never reached one says nothing about it, and has to say so."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fencepost.change_script import COMMENT, texts_in
from fencepost.events import Event
from lab.simulation.choice import Fault
from lab.simulation.client import Call

Wants = Callable[[Event], bool]

FLIP: Final = ("flip", "fence_advanced")

BY_EVENT: Final[Mapping[str, tuple[str, Wants]]] = {
    "stale attempt refused by the fence": ("enactor.flip_refused", lambda e: bool(e.fields.get("stale"))),
    "lock lost to another enactor": ("enactor.lock_missed", lambda _: True),
    "superseded plan dropped": ("enactor.plan_superseded", lambda _: True),
    "plan left to another enactor": ("enactor.plan_left", lambda _: True),
    "tree batch refused": ("enactor.tree_refused", lambda _: True),
    "tree rejected when read back": ("enactor.tree_rejected", lambda _: True),
    "rollback left out": ("enactor.rollback_left_out", lambda _: True),
    "fence advanced without a new tree": ("enactor.fence_advanced", lambda _: True),
    "outcome unknown met": ("enactor.outcome_unknown", lambda _: True),
    "clean refused": ("enactor.clean_refused", lambda _: True),
    "trees cleaned": ("enactor.trees_cleaned", lambda _: True),
    "plan refused by protective checks": ("enactor.plan_refused", lambda _: True),
    "damage found": ("enactor.damage_found", lambda _: True),
    "endpoint repaired": ("enactor.endpoint_repaired", lambda _: True),
    "frozen zone met": ("enactor.zone_frozen", lambda _: True),
    "all tries used up on a lock": ("enactor.lock_exhausted", lambda _: True),
}
"""Path -> the event that shows it, and which of those do."""

LOST_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "lock lost in mid-build": ("tree",),
    "lock lost at a flip": FLIP,
    "lock lost before a delete batch": ("clean",),
    "lock lost before its release": ("lock released",),
}
"""Path -> how the batch's comment begins that was refused for its lock."""

BY_FAULT: Final[Mapping[str, tuple[Fault, tuple[str, ...]]]] = {
    "reply lost on taking a lock": (Fault.LOST, ("lock taken",)),
    "reply lost on a tree batch": (Fault.LOST, ("tree",)),
    "reply lost on a flip": (Fault.LOST, FLIP),
    "reply lost on a release": (Fault.LOST, ("lock released",)),
    "reply lost on a delete batch": (Fault.LOST, ("clean",)),
    "error before a flip": (Fault.ERROR, FLIP),
    "lock taking given up while under way": (Fault.LATE, ("lock taken",)),
    "tree batch given up while under way": (Fault.LATE, ("tree",)),
    "flip given up while under way": (Fault.LATE, FLIP),
    "delete batch given up while under way": (Fault.LATE, ("clean",)),
    "crash before taking a lock": (Fault.CRASH, ("lock taken",)),
    "crash in mid-build": (Fault.CRASH, ("tree",)),
    "crash before a flip": (Fault.CRASH, FLIP),
    "crash before a release": (Fault.CRASH, ("lock released",)),
    "crash before a delete batch": (Fault.CRASH, ("clean",)),
}
"""Path -> the fault, and how the batch's comment begins that met it."""

AFTER_FLIP: Final = "crash between flip and clean"
LOST_PLAN: Final = "reply lost on a publication"
BUILT_BY_TWO: Final = "one tree built by two enactors"
CLEANED_BY_ANOTHER: Final = "cleaned by another than who flipped"
TAKEN_OVER: Final = "expired lock taken over"
LATE_COMMIT: Final = "given-up batch committed late"
LATE_REFUSAL: Final = "given-up batch refused late"


class Path(NamedTuple):
    """How often a path was taken."""

    name: str
    times: int


class Coverage:
    """Counts rare paths, over as many worlds as it is shown."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._events: dict[str, list[tuple[str, Wants]]] = {event: [] for event, _ in BY_EVENT.values()}
        for name, (event, wants) in BY_EVENT.items():
            self._events[event].append((name, wants))
        self.begin()

    def begin(self) -> None:
        """Forget the world before."""
        self._call: Call | None = None
        self._flipped: set[str] = set()
        self._flippers: dict[str, str] = {}
        self._builders: dict[tuple[str, str], str] = {}

    def meet(self, call: Call) -> None:
        """Take note of the call that is executed next: what is said of it is heard before `note`."""
        self._call = call

    def hear(self, process: str, event: Event) -> None:
        """Take note of an event."""
        for name, wants in self._events.get(event.name, ()):
            if wants(event):
                self.counts[name] += 1
        if event.name == "enactor.lock_lost" and self._call is not None:
            comment = comment_of(self._call)
            for name, begins in LOST_BY.items():
                if comment.startswith(begins):
                    self.counts[name] += 1
        elif event.name == "enactor.pass_completed":
            self._flipped.discard(process)

    def note(self, call: Call, fault: Fault, *, committed: bool) -> None:
        """Take note of a call that was executed, or met a fault."""
        self._call = None
        comment = comment_of(call)
        if fault is Fault.CRASH and call.process in self._flipped:
            self.counts[AFTER_FLIP] += 1
            self._flipped.discard(call.process)
        if fault is not Fault.NONE:
            if call.name == "publish_plan" and fault is Fault.LOST:
                self.counts[LOST_PLAN] += 1
            for name, (kind, begins) in BY_FAULT.items():
                if kind is fault and comment.startswith(begins):
                    self.counts[name] += 1
        if call.given_up and fault is Fault.NONE:
            if comment:
                self.counts[LATE_COMMIT if committed else LATE_REFUSAL] += 1
        elif committed:
            self._committed(call, comment)

    def _committed(self, call: Call, comment: str) -> None:
        if _took_over(call):
            self.counts[TAKEN_OVER] += 1
        if comment.startswith(FLIP):
            self._flipped.add(call.process)
            self._flippers[call.zone] = call.process
        elif comment.startswith("clean"):
            self._flipped.discard(call.process)
            if self._flippers.get(call.zone, call.process) != call.process:
                self.counts[CLEANED_BY_ANOTHER] += 1
        elif comment.startswith("tree "):
            tree = (call.zone, comment.split(",", maxsplit=1)[0])
            if self._builders.setdefault(tree, call.process) != call.process:
                self.counts[BUILT_BY_TWO] += 1


def _took_over(call: Call) -> bool:
    """Say whether a batch deletes another one's lock; one's own is taken again where its fate was not learnt."""
    first = next(iter(texts_in(call.args)), b"")
    if not first.startswith(b'["DELETE",["_lock.'):
        return False
    return f'"{call.process} '.encode() not in first.replace(b"\\", b"")


ALL: Final = (
    *BY_EVENT,
    *LOST_BY,
    *BY_FAULT,
    AFTER_FLIP,
    LOST_PLAN,
    BUILT_BY_TWO,
    CLEANED_BY_ANOTHER,
    TAKEN_OVER,
    LATE_COMMIT,
    LATE_REFUSAL,
)
"""Every path that is counted, in the order in which they are told."""


IN_A_SEARCH: Final = (
    *BY_EVENT,
    *LOST_BY,
    *(name for name, (fault, _) in BY_FAULT.items() if fault is not Fault.LATE),
    LOST_PLAN,
    TAKEN_OVER,
)
"""Those that can be told without a world's own history, which a search of states does not have, nor what is under way.
"""


def comment_of(call: Call) -> str:
    """Return what a change batch says it is for, "" for other calls."""
    return str(call.args[COMMENT]) if call.name == "change_batch" else ""


def paths(counts: Mapping[str, int]) -> tuple[Path, ...]:
    """Return how often each path was taken, the ones that never were included."""
    return tuple(Path(name, counts.get(name, 0)) for name in ALL)


def never(counts: Mapping[str, Any], among: Sequence[str] = ALL) -> tuple[str, ...]:
    """Return the paths that were never taken."""
    return tuple(name for name in among if not counts.get(name))
