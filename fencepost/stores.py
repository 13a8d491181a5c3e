"""The two ports: zones and plans. Every adapter passes the same contract tests.

A write has three outcomes. It returns: committed. It raises `ChangeRefused` or `PlanError`: nothing has changed.
It raises `StoreError`: `StoreUnavailable` means certainly not executed, `OutcomeUnknown` means maybe; read again.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from fencepost.batch import Change, ChangeBatch
from fencepost.notice import Notice
from fencepost.plan import Contents, Draft, Plan, PlanSummary
from fencepost.records import RecordKey, RecordSet


class Actor(NamedTuple):
    """Who writes: a readable name such as `use1-az1-enactor`; an operator may write to a frozen zone."""

    name: str
    operator: bool = False


class Commit(msgspec.Struct, frozen=True):
    """A committed batch, as the zone's history keeps it.

    Attributes:
        zone, serial: which state of which zone; serials count from 1 without gaps.
        at_us: when it was committed, epoch microseconds by the store's clock.
        actor: who wrote it.
        generation, comment: as the batch said.
        changes: in order; every UPSERT and CREATE carries the whole record set.
    """

    zone: str
    serial: int
    at_us: int
    actor: Actor
    generation: int | None
    comment: str
    changes: tuple[Change, ...]


class ZoneRead(NamedTuple):
    """Some record sets of a zone and the serial at which they were read; absent ones are left out."""

    serial: int
    records: Mapping[RecordKey, RecordSet]


class ZonePage(NamedTuple):
    """A page of a zone in ListResourceRecordSets order, and where the next one starts (None: this was the last)."""

    serial: int
    record_sets: tuple[RecordSet, ...]
    next_key: RecordKey | None


class Position(NamedTuple):
    """How far somebody has followed a zone: the serial and commit time of the last batch seen."""

    serial: int
    at_us: int


MAX_PAGE = 300
"""Record sets on one page. Source: Route 53 API Reference, ListResourceRecordSets, MaxItems."""


class Controls(msgspec.Struct, frozen=True):
    """What operators hold the planner to: `frozen` if nothing may be published, `pins` by endpoint."""

    frozen: Notice | None = None
    pins: Mapping[str, Notice] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a planner or an enactor last said of itself, for people and for the planner's throttle.

    Attributes:
        role: planner or enactor.
        generation: the last one published (planner); the last one that every endpoint that can be moved has (enactor).
        text: what it does, one sentence.
        held: endpoint -> why it cannot be moved: refused, frozen, locked by somebody else ...
        age_s: how long ago it said so, seconds by the store's clock; 0 when it is written.
    """

    role: str
    generation: int
    text: str
    held: Mapping[str, str] = {}
    age_s: float = 0.0


class ZoneStore(Protocol):
    """Hosted zones behind a control API. One object stands for one actor's connection."""

    async def prepare(self) -> None:
        """Do now what the first calls would have to wait for: who serves does so before it is ready.

        Without it they do it themselves. Raises: StoreError; then later calls may be made all the same.
        """

    async def create_zone(self, zone: str, record_sets: Sequence[RecordSet]) -> bool:
        """Create a zone with its SOA and NS; return False, and change nothing, if it exists."""

    async def read(self, zone: str, keys: Sequence[RecordKey]) -> ZoneRead:
        """Read some record sets at one serial. Raises: NoSuchHostedZone, Throttling, StoreError."""

    async def page(
        self, zone: str, start: RecordKey | None = None, limit: int = MAX_PAGE, *, within: str | None = None
    ) -> ZonePage:
        """Read a page from `start` (inclusive; None: the first). Pages of one listing may differ in serial.

        `within`: nobody wants what is neither at this name nor below it; a page may end where that begins.
        Raises: NoSuchHostedZone, Throttling, StoreError.
        """

    async def change(self, batch: ChangeBatch) -> Commit:
        """Commit a batch whole, or refuse it whole. Raises: ChangeRefused, StoreError."""

    async def commits(self, zone: str, after_serial: int = 0, limit: int = 1000) -> tuple[Commit, ...]:
        """Return kept commits with a serial above `after_serial`, oldest first. The oldest may have been trimmed away.

        Raises: NoSuchHostedZone, StoreError.
        """

    async def follow(self, positions: Mapping[str, int], wait_s: float) -> tuple[Commit, ...]:
        """Return commits of several zones past the given serials, waiting up to `wait_s` seconds for the first.

        An empty answer means that nothing was committed. Not part of the control API: it is the data plane's feed.
        Raises: StoreError.
        """

    async def close(self) -> None:
        """Give up the connection."""


class PlanStore(Protocol):
    """Numbered, immutable plans, and what operators have asked of the planner."""

    async def prepare(self) -> None:
        """See `ZoneStore.prepare`."""

    async def publish(self, draft: Draft, *, expected: int, floor: int = 0) -> int:
        """Publish a plan and return its generation, the next one above both the latest and `floor`.

        Args:
            draft: what changes against plan `expected`.
            expected: the generation that the draft was built on; 0 for the first.
            floor: a generation that is known to be used, e.g. from a zone's fence after the store lost writes.
        Raises: PlanConflict if `expected` is not the latest; PlansFrozen, EndpointPinned for a draft that is no
            operator's; StoreError.
        """

    async def latest_generation(self) -> int:
        """Return the latest generation, 0 if there is none. Costs one small read."""

    async def wait(self, generation: int, wait_s: float) -> int:
        """Return the generation of a plan above a given one as soon as there is one, else the given one in the end.

        A hint, for who would look soon in any case: it may come late, and a store that has lost plans gives none for
        the next ones of their numbers. Waits up to `wait_s` seconds, and a tenth of a second more. Raises: StoreError.
        """

    async def latest(self, known: Plan | None = None) -> Plan | None:
        """Return the latest plan, None if there is none; given a known one, reads only what changed since."""

    async def get(self, generation: int) -> Plan:
        """Return an earlier plan. Raises: PlanNotFound, StoreError."""

    async def history(self, limit: int = 20, before: int | None = None) -> tuple[PlanSummary, ...]:
        """Return summaries, newest first, of generations below `before` (None: from the latest)."""

    async def contents(self, digests: Sequence[str]) -> Contents:
        """Return the contents of these digests; ones that are not kept are left out.

        Raises: ContentDamaged, later, from a look at one that the store has damaged; so do a plan's contents.
        """

    async def requests(self) -> Mapping[str, str]:
        """Return all operator requests in force: key -> JSON text, in order of their keys."""

    async def set_requests(self, changes: Mapping[str, str | None]) -> None:
        """Put operator requests in force, or end them with None, all at once. They are durable when this returns."""

    async def controls(self) -> Controls:
        """Return what operators hold the planner to."""

    async def freeze(self, notice: Notice) -> None:
        """Let nobody but an operator publish from now on; a notice that is there already is replaced."""

    async def thaw(self) -> Notice | None:
        """Let everybody publish again; return the notice that was there."""

    async def unpin(self, endpoints: Sequence[str]) -> Mapping[str, Notice]:
        """End the pins of these endpoints; return those that were there."""

    async def report(self, name: str, report: Report) -> None:
        """Leave word of a process, in place of its earlier one."""

    async def reports(self) -> Mapping[str, Report]:
        """Return the last word of every process, in order of their names; what cannot be read is left out."""

    async def close(self) -> None:
        """Give up the connection."""
