"""A story: what happened in a simulated world, step by step, as people are told it."""

import msgspec

from fencepost.names import generation_of
from fencepost.records import RecordSet
from lab.invariants import Violation
from lab.simulation.choice import Choice, Fault
from lab.simulation.scenario import Scenario


class Holding(msgspec.Struct, frozen=True):
    """What a zone held after a step.

    Attributes:
        root, rollback: what they point to, without the zone's name; "" if they point nowhere.
        missing: which of these targets are not there.
        addresses: how many addresses the root answers.
        trees: generation -> how many record sets.
        lock: who holds it, "" if nobody does.
        fence: the generation that it says, None if there is no fence.
        records: all of them, in the order in which ListResourceRecordSets has them.
    """

    zone: str
    serial: int
    root: str
    rollback: str
    missing: tuple[str, ...]
    addresses: int
    trees: dict[int, int]
    lock: str
    fence: int | None
    frozen: bool
    records: tuple[RecordSet, ...]

    @property
    def generation(self) -> int | None:
        """The generation that the root points to, None if it points to no tree."""
        return generation_of(f"{self.root}.{self.zone}", self.zone)

    @property
    def text(self) -> str:
        """What the zone held, in one line."""
        parts = [f"root -> {self._target(self.root)}", f"rollback -> {self._target(self.rollback)}"]
        parts += [f"trees {', '.join(map(str, self.trees)) or 'none'}", f"lock {self.lock or 'free'}"]
        parts += [f"fence {self.fence}"] if self.fence is not None else []
        return "; ".join([*parts, *(["frozen"] if self.frozen else [])])

    def _target(self, target: str) -> str:
        return (f"{target} (not there)" if target in self.missing else target) or "nothing"


class Moment(msgspec.Struct, frozen=True):
    """One step of a time line: what one process did in a row, until it changed something or another one went on.

    Attributes:
        number: from 1 on.
        first, last: which choices it tells of, from 1 on.
        kind: see `words`; of what it ended with.
        zone: the endpoint that it was about, "" if about none.
        generation: the plan that the process carries, None if none that is known.
        deleted: the generations whose trees it deleted from.
        refused: whether it was refused.
        holding: what the zone held then, where the step changed it.
    """

    number: int
    first: int
    last: int
    at_s: float
    who: str
    kind: str
    text: str
    zone: str = ""
    generation: int | None = None
    deleted: tuple[int, ...] = ()
    fault: Fault = Fault.NONE
    refused: bool = False
    holding: Holding | None = None
    violations: tuple[Violation, ...] = ()


class Note(msgspec.Struct, frozen=True):
    """Something that happened while the world healed: at first when, by whom, and how often."""

    at_s: float
    who: tuple[str, ...]
    text: str
    times: int


class Healing(msgspec.Struct, frozen=True):
    """What became of a world that was left in peace.

    Attributes:
        lasted_s: for how long, seconds of the world.
        notes: what happened, each thing once, in order; `more` further ones are left out.
        silent: endpoints that answer nothing in the end, though they had answered.
        pending: why an endpoint does not have the latest plan; empty if all have.
    """

    lasted_s: float
    notes: tuple[Note, ...]
    more: int
    silent: tuple[str, ...]
    pending: tuple[str, ...]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, told.

    Attributes:
        trace: the choices that were made; `left_out` of those given could not be.
        wanted: which invariants it is to break; see `Story.holds`.
        processes, zones: whose lanes there are.
        healing: None if it was not healed.
        violations: all of them, in order, in the checker's words.
        digest: of choices, commits and violations: equal for two runs in which the same happened.
    """

    scenario: Scenario
    trace: tuple[Choice, ...]
    left_out: int
    wanted: tuple[str, ...]
    processes: tuple[str, ...]
    zones: tuple[str, ...]
    moments: tuple[Moment, ...]
    beginning: tuple[Holding, ...]
    ending: tuple[Holding, ...]
    healing: Healing | None
    violations: tuple[Violation, ...]
    digest: str

    @property
    def holds(self) -> bool:
        """Whether what it is to break is broken no more."""
        return not set(self.wanted) <= {violation.invariant for violation in self.violations}

    @property
    def in_brief(self) -> str:
        """How long it is, in words."""
        choices, steps = len(self.trace), len(self.moments)
        return f"{choices} choices" + (f", told in {steps} steps" if steps != choices else "")
