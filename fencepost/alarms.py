"""One alarm out of many symptoms: the cause, where, the command to run, and everything that follows from it below.

In October 2025 the right alarm was found 50 minutes after the fault, among hundreds that were consequences of it.
Source: docs/invariants.md; aws.amazon.com/message/101925 (06:48 to 07:38).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from fencepost.facts import Facts
from fencepost.remedies import command
from fencepost.symptoms import DEFAULT_THRESHOLDS, PATIENCE_S, Cause, Symptom, Thresholds, bare, find

SHOWN: Final = 3
"""How many endpoints a sentence names before it counts the others."""


class Severity(StrEnum):
    """Who has to know: somebody now, somebody tomorrow, or whoever looks."""

    PAGE = "page"
    TICKET = "ticket"
    NOTE = "note"


class Kind(NamedTuple):
    """How serious a cause is, and how it is said of several endpoints at once."""

    severity: Severity
    summary: str


KINDS: Final[Mapping[Cause, Kind]] = {
    Cause.STORE_DOWN: Kind(Severity.PAGE, "the store does not answer"),
    Cause.ROOT_DANGLING: Kind(Severity.PAGE, "the root points to a tree that is not there"),
    Cause.ROOT_MISSING: Kind(Severity.PAGE, "the root record is gone"),
    Cause.ZONE_UNREADABLE: Kind(Severity.PAGE, "the zone cannot be read"),
    Cause.RESOLVER_SILENT: Kind(Severity.PAGE, "the authoritative server does not answer"),
    Cause.ANSWERS_EMPTY: Kind(Severity.PAGE, "DNS answers without addresses"),
    Cause.CACHE_SILENT: Kind(Severity.PAGE, "the caching resolver does not answer"),
    Cause.TREE_DAMAGED: Kind(Severity.PAGE, "the live tree lost records"),
    Cause.NO_ENACTOR: Kind(Severity.PAGE, "no enactor lives"),
    Cause.NO_PLANNER: Kind(Severity.PAGE, "the planner does not live"),
    Cause.RECORD_INVALID: Kind(Severity.TICKET, "a control record says what nobody of ours writes"),
    Cause.FENCE_AHEAD: Kind(Severity.TICKET, "the fence is ahead of the plan store"),
    Cause.TREE_TAKEN: Kind(Severity.TICKET, "the plan's tree name is taken by another content"),
    Cause.PLAN_REFUSED: Kind(Severity.TICKET, "protective checks refuse the plan"),
    Cause.PLANNER_FAILING: Kind(Severity.TICKET, "the planner's rounds fail"),
    Cause.REMOVAL_LIMITED: Kind(Severity.TICKET, "the planner keeps load balancers that should leave"),
    Cause.LOCK_TOO_LONG: Kind(Severity.TICKET, "the zone is locked for longer than a lock lives"),
    Cause.RESOLVER_BEHIND: Kind(Severity.TICKET, "DNS shows an old state of the zone"),
    Cause.ENDPOINT_HELD: Kind(Severity.TICKET, "the enactors cannot move it"),
    Cause.PLAN_LATE: Kind(Severity.TICKET, "the latest plan is not installed"),
    Cause.CACHE_EMPTY: Kind(Severity.TICKET, "caches still answer without addresses"),
    Cause.ROLLBACK_DANGLING: Kind(Severity.TICKET, "there is no way back until the next plan"),
    Cause.PROCESS_SILENT: Kind(Severity.TICKET, "a process is silent"),
    Cause.QUEUE_LONG: Kind(Severity.NOTE, "many plans wait to be installed"),
    Cause.FROZEN: Kind(Severity.NOTE, "frozen by an operator"),
    Cause.PINNED: Kind(Severity.NOTE, "held as it is by an operator"),
    Cause.BUGGY_PROTOCOL: Kind(Severity.NOTE, "the enactors follow the protocol that broke"),
}
"""Severity and summary of each cause. A page: customers are hurt, or nothing would help them if they were."""

_STUCK: Final = frozenset({Cause.PLAN_LATE, Cause.ENDPOINT_HELD})
_EMPTY: Final = frozenset({Cause.ANSWERS_EMPTY, Cause.CACHE_EMPTY})

HERE: Final[Mapping[Cause, frozenset[Cause]]] = {
    Cause.ROOT_DANGLING: _EMPTY | _STUCK | {Cause.ROLLBACK_DANGLING, Cause.TREE_DAMAGED},
    Cause.ROOT_MISSING: _EMPTY | _STUCK | {Cause.ROLLBACK_DANGLING},
    Cause.ZONE_UNREADABLE: _EMPTY | _STUCK | {Cause.RESOLVER_BEHIND},
    Cause.RECORD_INVALID: _STUCK,
    Cause.FENCE_AHEAD: _STUCK,
    Cause.TREE_TAKEN: _STUCK,
    Cause.PLAN_REFUSED: _STUCK,
    Cause.LOCK_TOO_LONG: _STUCK,
    Cause.RESOLVER_BEHIND: _EMPTY,
    Cause.ENDPOINT_HELD: frozenset({Cause.PLAN_LATE}),
    Cause.PLAN_LATE: frozenset({Cause.ANSWERS_EMPTY}),
    Cause.FROZEN: _STUCK,
}
"""Cause -> what follows from it at the same endpoint."""

EVERYWHERE: Final[Mapping[Cause, frozenset[Cause]]] = {
    # Nothing but DNS can be asked then, and whatever else is said is as old as the last look.
    Cause.STORE_DOWN: frozenset(Cause) - {Cause.STORE_DOWN, Cause.RESOLVER_SILENT, Cause.CACHE_SILENT, *_EMPTY},
    # A refused flip ends the pass of an enactor that does not tolerate it: the endpoints behind are not reached.
    Cause.ROOT_DANGLING: frozenset({Cause.PLAN_LATE, Cause.QUEUE_LONG}),
    Cause.RESOLVER_SILENT: frozenset({Cause.CACHE_SILENT, Cause.RESOLVER_BEHIND, *_EMPTY}),
    Cause.NO_ENACTOR: frozenset({*_STUCK, Cause.FENCE_AHEAD, Cause.QUEUE_LONG}),
    Cause.NO_PLANNER: frozenset({Cause.FENCE_AHEAD, Cause.PLANNER_FAILING, Cause.REMOVAL_LIMITED}),
    Cause.PLAN_LATE: frozenset({Cause.QUEUE_LONG}),
    Cause.FROZEN: frozenset({Cause.QUEUE_LONG}),
}
"""Cause -> what follows from it at any endpoint, and in the system."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One cause with everything that follows from it.

    Attributes:
        cause, severity: what, and how serious.
        endpoints: with which it is, in their order; empty: with the system.
        sentence: what is wrong, where, and who did it, in one line.
        details: one sentence for each endpoint, if there are several.
        consequences: what follows from it, one sentence each.
        command: what to type.
    """

    cause: Cause
    severity: Severity
    endpoints: tuple[str, ...]
    sentence: str
    details: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
    command: str = ""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """The one alarm: its cause, and other causes that have nothing to do with it."""

    primary: Finding
    also: tuple[Finding, ...] = ()

    @property
    def line(self) -> str:
        """All of it in one line."""
        also = f" (and {len(self.also)} more that this does not explain)" if self.also else ""
        return f"{self.primary.sentence}{also}"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say: one alarm or none, and notes: what an operator wanted, which is no fault."""

    alarm: Alarm | None = None
    notes: tuple[Finding, ...] = ()


def judge(facts: Facts, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> Judgement:
    """Return the alarm that facts give reason for. Pure: the same facts, the same alarm."""
    return conclude(find(facts, thresholds), facts)


def conclude(
    symptoms: Sequence[Symptom], facts: Facts, believed: Callable[[Symptom], bool] = lambda _: True
) -> Judgement:
    """Return the alarm that symptoms give reason for.

    Args:
        symptoms: the worst first.
        facts: in which they were found.
        believed: which of them may be a cause; one that is not is told only as what follows from one that is.
    """
    causes = [symptom for symptom in symptoms if believed(symptom)]
    follows = {symptom: reason for symptom in symptoms if (reason := _reason(symptom, causes)) is not None}
    left = [symptom for symptom in causes if symptom not in follows]
    findings = [
        _finding(cause, [symptom for symptom in left if symptom.cause is cause], follows, facts)
        for cause in dict.fromkeys(symptom.cause for symptom in left)
    ]
    severities = list(Severity)
    alarms = sorted(
        (found for found in findings if found.severity is not Severity.NOTE),
        key=lambda found: severities.index(found.severity),
    )
    notes = tuple(found for found in findings if found.severity is Severity.NOTE)
    return Judgement(alarm=Alarm(primary=alarms[0], also=tuple(alarms[1:])) if alarms else None, notes=notes)


def _reason(symptom: Symptom, symptoms: Sequence[Symptom]) -> Symptom | None:
    """Return the worst symptom that another one follows from, None if none does."""
    return next((other for other in symptoms if _explains(other, symptom)), None)


def _explains(cause: Symptom, symptom: Symptom) -> bool:
    if symptom.cause in EVERYWHERE.get(cause.cause, ()):
        return True
    # What holds for the whole system holds at each endpoint.
    here = cause.endpoint is None or cause.endpoint == symptom.endpoint
    return here and symptom.cause in HERE.get(cause.cause, ())


def _finding(cause: Cause, members: Sequence[Symptom], follows: Mapping[Symptom, Symptom], facts: Facts) -> Finding:
    endpoints = tuple(dict.fromkeys(symptom.endpoint for symptom in members if symptom.endpoint is not None))
    of_system = any(symptom.endpoint is None for symptom in members)
    below = [
        symptom for symptom in follows if _root(symptom, follows).cause is cause and _root(symptom, follows) in members
    ]
    return Finding(
        cause=cause,
        severity=KINDS[cause].severity,
        endpoints=endpoints,
        sentence=_sentence(cause, members),
        details=() if of_system or len(members) == 1 else tuple(map(_full, members)),
        consequences=tuple(_sentence(c, group) for c, group in _by_cause(below)),
        command=command(cause, () if of_system else endpoints, members[0].subject, facts),
    )


def _root(symptom: Symptom, follows: Mapping[Symptom, Symptom]) -> Symptom:
    while symptom in follows:
        symptom = follows[symptom]
    return symptom


def _by_cause(symptoms: Iterable[Symptom]) -> Iterator[tuple[Cause, list[Symptom]]]:
    groups: dict[Cause, list[Symptom]] = {}
    for symptom in symptoms:
        groups.setdefault(symptom.cause, []).append(symptom)
    yield from groups.items()


def _sentence(cause: Cause, members: Sequence[Symptom]) -> str:
    """Return one line: the symptom's own words if it is one, else those for several, and where."""
    if len(members) == 1:
        return _full(members[0])
    if of_system := [symptom.text for symptom in members if symptom.endpoint is None]:
        return "; ".join(of_system)
    endpoints = [symptom.endpoint for symptom in members if symptom.endpoint is not None]
    return f"{shown(dict.fromkeys(endpoints))}: {KINDS[cause].summary}"


def _full(symptom: Symptom) -> str:
    return symptom.text if symptom.endpoint is None else f"{bare(symptom.endpoint)}: {symptom.text}"


def shown(endpoints: Iterable[str]) -> str:
    """Return endpoints for a sentence: the first few, and how many more."""
    names = [bare(name) for name in endpoints]
    if len(names) <= SHOWN:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"


class Patience:
    """Believes a symptom only when it has lasted: for a watch, which looks again and again.

    Invariant: what is believed was there at every look for `PATIENCE_S` of its cause.
    """

    def __init__(self) -> None:
        self._since_s: dict[tuple[Cause, str | None, str], float] = {}
        self._now_s = 0.0

    def look(self, symptoms: Sequence[Symptom], now_s: float) -> None:
        """Take the symptoms of a look at `now_s`, seconds on a monotonic clock."""
        self._now_s = now_s
        self._since_s = {key: self._since_s.get(key, now_s) for key in map(_what_and_where, symptoms)}

    def believes(self, symptom: Symptom) -> bool:
        """Say whether a symptom of the last look has lasted."""
        return self._now_s - self._since_s[_what_and_where(symptom)] >= PATIENCE_S.get(symptom.cause, 0.0)


def _what_and_where(symptom: Symptom) -> tuple[Cause, str | None, str]:
    return symptom.cause, symptom.endpoint, symptom.subject
