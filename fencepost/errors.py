"""The errors of fencepost, in one small tree.

FencepostError
├── StartupError              a process cannot start (exit code 3): port in use, no Redis, bad region file
│   ├── RegionInvalid         the region file, with the place and the remedy
│   └── UsageError            what was typed names what is not there, or cannot be meant (exit code 2)
├── PlanError
│   ├── PlanInvalid           a plan that no region could want; refused, nothing is published
│   ├── PlanNotFound          no plan of that generation is kept
│   ├── PlanConflict          somebody else published in between (retryable)
│   ├── PlansFrozen           an operator has frozen the automation: nothing is published
│   ├── EndpointPinned        an operator holds an endpoint; automation leaves it alone (retryable)
│   └── PlanUnsafe            a plan would take too much from an endpoint, or bring it strangers
├── ChangeRefused             a change batch that did not happen, for certain
│   ├── InvalidChangeBatch    one or more changes broke a rule of the zone
│   ├── NoSuchHostedZone      there is no such zone
│   ├── ZoneFrozen            an operator has frozen the zone
│   ├── FenceAhead            the zone has a generation that the plan store does not know
│   ├── ControlRecordInvalid  a lock, fence or manifest says something that nobody of ours wrote
│   ├── TreeTaken             the plan's tree name is in use, live, with another content
│   ├── TreeRejected          a tree does not answer as its plan says, and was not put live
│   ├── Throttling            the account's rate is used up (retryable)
│   └── PriorRequestNotComplete  the zone still processes another batch (retryable)
└── StoreError
    ├── StoreUnavailable      the call was certainly not executed (retryable)
    ├── OutcomeUnknown        the call may have been executed: re-read before acting again
    ├── ContentDamaged        the plan store answers, but with what is no content
    └── ZoneDamaged           what the store has under one zone's keys is no zone

`retryable` says whether the same call may simply be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class FencepostError(Exception):
    """Base of every error that fencepost raises on purpose."""

    retryable: ClassVar[bool] = False


class StartupError(FencepostError):
    """A process or the whole system cannot start; the message names the remedy. Exit code 3."""


class RegionInvalid(StartupError):
    """A region file does not describe a region."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"region file {path}: {problem}")
        self.path, self.problem = path, problem


class UsageError(StartupError):
    """What was typed names something that is not there, or cannot be meant. Exit code 2 of a command."""


class PlanError(FencepostError):
    """Something about a plan."""


class PlanInvalid(PlanError):
    """A plan that cannot be published; nothing was changed."""


class PlanNotFound(PlanError):
    """The plan store keeps no plan of this generation."""

    def __init__(self, generation: int, *, oldest: int, latest: int) -> None:
        super().__init__(f"plan {generation} is not kept; the store has plans {oldest} to {latest}")
        self.generation, self.oldest, self.latest = generation, oldest, latest


class PlanConflict(PlanError):
    """Another publisher was first; read the latest plan and decide again."""

    retryable = True

    def __init__(self, *, expected: int, latest: int) -> None:
        super().__init__(f"the latest plan is {latest}, not {expected} as this one was based on; build it again")
        self.expected, self.latest = expected, latest


class PlansFrozen(PlanError):
    """The plan store is frozen: only an operator may publish until `fencepost thaw`; `by` is `Notice.told`."""

    def __init__(self, by: str) -> None:
        super().__init__(f"no plan is published while the automation is frozen ({by}); `fencepost thaw` ends that")
        self.by = by


class EndpointPinned(PlanError):
    """An operator (`by`: `Notice.told`) holds an endpoint; a plan of an automation that changes it is refused."""

    retryable = True

    def __init__(self, endpoint: str, by: str) -> None:
        super().__init__(
            f"{endpoint} stays as an operator holds it ({by}); `fencepost thaw --endpoint {endpoint}` or "
            "`fencepost plan publish` ends that"
        )
        self.endpoint, self.by = endpoint, by


class PlanUnsafe(PlanError):
    """A plan would do an endpoint harm; it was not applied.

    Attributes:
        endpoint: which one; the others are not held up.
        rule: `empty`, `removal`, `too-few`, `malformed` or `strangers`.
        counts: the numbers that the message has, by name.
    """

    def __init__(self, endpoint: str, rule: str, message: str, **counts: float) -> None:
        super().__init__(f"{endpoint}: {message}")
        self.endpoint, self.rule, self.counts = endpoint, rule, counts

    @property
    def objection(self) -> str:
        """The message without its remedy: for who has forced the plan already."""
        return str(self).partition("; ")[0]

    @classmethod
    def empty(cls, endpoint: str, kind: str, *, existing: int) -> "PlanUnsafe":
        """No address of a type would be left; no force makes that right."""
        message = (
            f"the plan leaves no {kind} address of {existing} load balancers, the limit is 1; bring one back, or give "
            "`fencepost plan publish` one that works"
        )
        return cls(endpoint, "empty", message, existing=existing, left=0)

    @classmethod
    def removal(
        cls, endpoint: str, kind: str, *, removed: int, highest: int, limit: float, window_s: float
    ) -> "PlanUnsafe":
        """Too much capacity would go. `highest` is what there was within `window_s` seconds."""
        span = f" within {window_s:g} s" if window_s else ""
        message = (
            f"the plan takes away {removed} of {highest} {kind} capacity{span} ({removed / highest:.0%}), the limit is "
            f"{limit:.0%}; if it is meant, publish it with `fencepost plan publish --force`"
        )
        return cls(endpoint, "removal", message, removed=removed, highest=highest, limit=limit)

    @classmethod
    def too_few(cls, endpoint: str, kind: str, *, left: int, needed: int) -> "PlanUnsafe":
        """Too few load balancers would be left."""
        message = (
            f"the plan leaves {left} load balancers with {kind} addresses, the limit is {needed}; if it is meant, "
            "publish it with `fencepost plan publish --force`"
        )
        return cls(endpoint, "too-few", message, left=left, limit=needed)

    @classmethod
    def malformed(cls, endpoint: str, problems: Sequence[str]) -> "PlanUnsafe":
        """The plan says what no zone would take."""
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""  # noqa: PLR2004
        shown = "; ".join(problems[:3]) + more
        message = f"the plan is malformed in {len(problems)} places, the limit is 0 ({shown}); publish a right one"
        return cls(endpoint, "malformed", message, problems=len(problems))

    @classmethod
    def strangers(cls, endpoint: str, names: Sequence[str]) -> "PlanUnsafe":
        """The region does not have these load balancers for this endpoint, or not at these addresses."""
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004
        message = (
            f"the plan has {len(names)} load balancers that the region file does not have here ({shown}), the limit is "
            "0; correct the region file, or publish it with `fencepost plan publish --force`"
        )
        return cls(endpoint, "strangers", message, strangers=len(names), limit=0)


class ChangeRefused(FencepostError):
    """A change batch was refused whole: nothing in the zone has changed."""

    code: ClassVar[str] = "ChangeRefused"

    def __init__(self, zone: str, message: str) -> None:
        super().__init__(f"{self.code}: {message}")
        self.zone, self.message = zone, message


@dataclass(frozen=True, slots=True)
class FailedChange:
    """One change of a batch that broke a rule.

    `index` counts from 0 in the batch; `reason` is one of the codes in `fencepost.batch.REASONS`;
    `name` and `type` are the record set's; `text` is what Route 53 would say.
    """

    index: int
    reason: str
    name: str
    type: str
    text: str


class InvalidChangeBatch(ChangeRefused):
    """One or more changes broke a rule; `failed` lists every one of them in order.

    Source: Route 53 API Reference, ChangeResourceRecordSets, error InvalidChangeBatch.
    """

    code = "InvalidChangeBatch"

    def __init__(self, zone: str, failed: tuple[FailedChange, ...]) -> None:
        super().__init__(zone, "[" + ", ".join(f.text for f in failed) + "]")
        self.failed = failed

    def concerns(self, name: str) -> bool:
        """Say whether one of the failed changes was on this record name."""
        return any(f.name == name for f in self.failed)


class NoSuchHostedZone(ChangeRefused):
    """There is no zone of this name. Source: Route 53 API Reference, NoSuchHostedZone."""

    code = "NoSuchHostedZone"

    def __init__(self, zone: str) -> None:
        super().__init__(zone, f"No hosted zone found with ID: {zone}")


class ZoneFrozen(ChangeRefused):
    """The zone is frozen: only an operator may change it until `fencepost thaw`; `by` is `Notice.told`."""

    code = "ZoneFrozen"

    def __init__(self, zone: str, by: str) -> None:
        super().__init__(zone, f"{zone} is frozen ({by}); automation may change it again after a thaw")
        self.by = by


class FenceAhead(ChangeRefused):
    """A zone's fence comes from a future that the plan store has lost; the planner numbers its next plan above it."""

    code = "FenceAhead"

    def __init__(self, zone: str, *, fence: str, latest: int) -> None:
        super().__init__(
            zone, f"{zone} is at {fence}, which the plan store (at {latest}) does not know; the next plan goes above it"
        )
        self.fence, self.latest = fence, latest


class ControlRecordInvalid(ChangeRefused):
    """A lock, fence or manifest record is not of the form that enactors write; an operator has to look at it."""

    code = "ControlRecordInvalid"

    def __init__(self, zone: str, name: str, value: str) -> None:
        super().__init__(zone, f"{name} says {value!r}, which no enactor writes; correct or delete that record")
        self.name, self.value = name, value


class TreeTaken(ChangeRefused):
    """Root or rollback points to a tree of this number that has another content; only a newer plan gets past it."""

    code = "TreeTaken"

    def __init__(self, zone: str, *, generation: int) -> None:
        super().__init__(
            zone, f"{zone} serves a tree {generation} that is not plan {generation}'s; a newer plan will replace it"
        )
        self.generation = generation


class TreeRejected(ChangeRefused):
    """A plan's tree does not answer as the plan says; it was not put live, and is looked at again in the next round."""

    code = "TreeRejected"

    def __init__(self, zone: str, *, generation: int, problem: str) -> None:
        super().__init__(zone, f"the tree of plan {generation} was not put live: {problem}")
        self.generation, self.problem = generation, problem


class Throttling(ChangeRefused):
    """The account has used up its requests per second. Source: Route 53 quotas, API requests."""

    code = "Throttling"
    retryable = True

    def __init__(self, zone: str, *, wait_s: float) -> None:
        super().__init__(zone, "Rate exceeded")
        self.wait_s = wait_s


class PriorRequestNotComplete(ChangeRefused):
    """The zone is still processing another batch. Source: Route 53 API Reference, PriorRequestNotComplete."""

    code = "PriorRequestNotComplete"
    retryable = True

    def __init__(self, zone: str) -> None:
        super().__init__(
            zone, "The request was rejected because Route 53 was still processing a prior request for the same zone."
        )


class StoreError(FencepostError):
    """The store could not be asked, or did not answer."""


class StoreUnavailable(StoreError):
    """The store was not reached: the call was certainly not executed."""

    retryable = True


class OutcomeUnknown(StoreError):
    """The connection broke, or time ran out, after the call was sent: it may have been executed."""


class ContentDamaged(StoreError):
    """What the plan store has under a digest is no content; `endpoint` is None where it was not asked for one's sake.

    It stands in the way of that endpoint alone, until another plan or a repair of the store replaces it.
    """

    def __init__(self, digest: str, problem: str, endpoint: str | None = None) -> None:
        super().__init__(
            (f"{endpoint}: " if endpoint else "")
            + f"content {digest} is damaged in the plan store ({problem}); give the endpoint another with "
            f"`fencepost plan publish`, or an earlier one with `fencepost rollback {endpoint or 'ENDPOINT'}`"
        )
        self.digest, self.problem, self.endpoint = digest, problem, endpoint


class ZoneDamaged(StoreError):
    """What the store has under a key of a zone is not what belongs there; it stands in the way of that zone alone."""

    def __init__(self, zone: str, key: str, problem: Exception) -> None:
        said = f"{type(problem).__name__}: {problem}"
        super().__init__(f"{key} is damaged in the store ({said}); {zone} can be read when that is put right")
        self.zone, self.key, self.problem = zone, key, problem
