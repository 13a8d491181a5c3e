"""What is wrong with a system, one symptom each, by facts alone. `fencepost.alarms` says which of them is the cause."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from fencepost.facts import EndpointFacts, Facts, Pointer, ProcessFacts
from fencepost.names import generation_of, tree_name
from fencepost.network import Profile
from fencepost.notice import Notice


class Cause(StrEnum):
    """Everything that can be wrong, the worst first: of two that do not explain each other, the earlier one leads."""

    STORE_DOWN = "store-down"
    ROOT_DANGLING = "root-dangling"
    ROOT_MISSING = "root-missing"
    ZONE_UNREADABLE = "zone-unreadable"
    RESOLVER_SILENT = "resolver-silent"
    ANSWERS_EMPTY = "answers-empty"
    CACHE_SILENT = "cache-silent"
    TREE_DAMAGED = "tree-damaged"
    NO_ENACTOR = "no-enactor"
    NO_PLANNER = "no-planner"
    RECORD_INVALID = "record-invalid"
    FENCE_AHEAD = "fence-ahead"
    TREE_TAKEN = "tree-taken"
    PLAN_REFUSED = "plan-refused"
    PLANNER_FAILING = "planner-failing"
    REMOVAL_LIMITED = "removal-limited"
    LOCK_TOO_LONG = "lock-too-long"
    RESOLVER_BEHIND = "resolver-behind"
    ENDPOINT_HELD = "endpoint-held"
    PLAN_LATE = "plan-late"
    CACHE_EMPTY = "cache-empty"
    ROLLBACK_DANGLING = "rollback-dangling"
    PROCESS_SILENT = "process-silent"
    QUEUE_LONG = "queue-long"
    FROZEN = "frozen"
    PINNED = "pinned"
    BUGGY_PROTOCOL = "buggy-protocol"


class Symptom(NamedTuple):
    """Something that is wrong: with one endpoint, or (None) with the system; `text` does not repeat its name.

    `subject` is the process that it is about, "" if none.
    """

    cause: Cause
    endpoint: str | None
    text: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on something that passes by itself in a healthy system counts as wrong. Seconds.

    Attributes:
        late_s: how long a plan may wait. A busy system is always a little late: a pass over all endpoints is under way,
            and a call of it may stall.
        report_s: how long planner and enactors may say nothing: they report every few seconds, and a supervisor takes
            up to 10 s to start one again.
        mute_s: how long one may say nothing though its pages answer: it is alive, and does not do its work.
        lock_s: how far ahead a lock may expire: twice its time to live, and 5 s for clocks that disagree.
        behind_s: how long a commit may take to be visible in DNS.
        queue: how many generations may wait; used to describe an alarm only.
    """

    late_s: float = 10.0
    report_s: float = 20.0
    mute_s: float = 120.0
    lock_s: float = 9.0
    behind_s: float = 5.0
    queue: int = 20

    @classmethod
    def of(cls, network: Profile) -> "Thresholds":
        """Return those of a network: two stalled calls may meet in one pass, whose 100 calls are slow ones."""
        control, propagation = network.control_api, network.propagation
        stalls_s = 2 * control.stall_max_s if control.stall else 0.0
        return cls(
            late_s=10.0 + stalls_s + 100 * control.p99_s,
            report_s=20.0 + stalls_s + 20 * control.p99_s,
            mute_s=120.0 + 10 * stalls_s,
            lock_s=5.0 + 2 * max(2.0, 20 * control.p99_s),
            behind_s=5.0 + 3 * propagation.p99_s,
        )


DEFAULT_THRESHOLDS: Final = Thresholds()

PATIENCE_S: Final = {
    Cause.STORE_DOWN: 2.0,
    Cause.RESOLVER_SILENT: 3.0,
    Cause.CACHE_SILENT: 3.0,
    Cause.ANSWERS_EMPTY: 2.0,
    Cause.CACHE_EMPTY: 1.5,
    Cause.NO_ENACTOR: 8.0,
    Cause.NO_PLANNER: 8.0,
    Cause.FENCE_AHEAD: 10.0,
    Cause.TREE_TAKEN: 5.0,
    Cause.PLAN_REFUSED: 3.0,
    Cause.PLANNER_FAILING: 10.0,
    Cause.REMOVAL_LIMITED: 5.0,
    Cause.LOCK_TOO_LONG: 5.0,
    Cause.ENDPOINT_HELD: 15.0,
    Cause.ROLLBACK_DANGLING: 5.0,
    Cause.PROCESS_SILENT: 20.0,
}
"""How long a symptom has to last before a watch believes it, seconds, where one look may be wrong or the system heals
that by itself: a process is started again within 10 s, reports are old for some seconds when the store comes back, the
planner numbers its next plan above a lost future within 3 s, a plan renews a rollback. What is not here is believed at
once."""


def find(facts: Facts, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> tuple[Symptom, ...]:
    """Return everything that is wrong, the worst first, endpoints in their order."""
    found = [*_of_system(facts, thresholds)]
    for endpoint in facts.endpoints:
        found += _of_dns(endpoint, thresholds)
        if not facts.store_problem:
            found += _of_zone(endpoint, facts, thresholds)
    rank = {cause: number for number, cause in enumerate(Cause)}
    return tuple(sorted(found, key=lambda symptom: rank[symptom.cause]))


def _of_system(facts: Facts, thresholds: Thresholds) -> Iterator[Symptom]:
    if facts.store_problem:
        answering = sum(any(answer.records for answer in e.answers.values()) for e in facts.endpoints)
        works = f"DNS still answers for {answering} of {len(facts.endpoints)} endpoints, with what it had last"
        text = f"the store at {facts.place.store} does not answer ({facts.store_problem}); {works}"
        yield Symptom(Cause.STORE_DOWN, None, text)
    yield from _of_listeners(facts)
    if not facts.store_problem:
        yield from _of_automation(facts, thresholds)
    if facts.planner_problem:
        yield Symptom(Cause.PLANNER_FAILING, None, f"the planner publishes nothing: {facts.planner_problem}")
    if facts.queue_size is not None and facts.queue_size >= thresholds.queue:
        yield Symptom(Cause.QUEUE_LONG, None, f"{facts.queue_size} plans wait to be installed")
    if facts.plans_frozen:
        yield Symptom(Cause.FROZEN, None, f"no plan is published: frozen by {words(facts.plans_frozen)}")
    if facts.buggy:
        yield Symptom(Cause.BUGGY_PROTOCOL, None, "the enactors follow the protocol that broke: no zone has a fence")


def _of_listeners(facts: Facts) -> Iterator[Symptom]:
    """Yield which of the two name servers is silent: to everything that it was asked."""
    listeners = (
        (Cause.RESOLVER_SILENT, "authoritative server", facts.place.dns_port, [e.answers for e in facts.endpoints]),
        (Cause.CACHE_SILENT, "caching resolver", facts.place.cache_port, [e.cached for e in facts.endpoints]),
    )
    for cause, what, port, said in listeners:
        answers = [answer for by_type in said for answer in by_type.values()]
        if answers and not any(answer.rcode for answer in answers):
            yield Symptom(cause, None, f"the {what} on port {port} does not answer", "resolver")


def _of_automation(facts: Facts, thresholds: Thresholds) -> Iterator[Symptom]:
    enactors, planners = facts.of_kind("enactor"), facts.of_kind("planner")
    silent = [process for process in (*enactors, *planners) if _is_silent(process, thresholds)]
    for kind, members, cause, doing in (
        ("enactor", enactors, Cause.NO_ENACTOR, "nothing installs plans; DNS stays as it is"),
        ("planner", planners, Cause.NO_PLANNER, "nothing follows the load balancers' health; DNS stays as it is"),
    ):
        if facts.latest and members and set(members) <= set(silent):
            lives = "no enactor lives" if kind == "enactor" else "the planner does not live"
            yield Symptom(cause, None, f"{lives}: {doing} ({_last_word(members)})", members[0].name)
            silent = [process for process in silent if process.kind != kind]
    silent += [p for p in facts.processes if p.kind in ("fleet", "watch") and p.expected and p.answers is False]
    resolvers = facts.of_kind("resolver")
    if any(process.answers for process in resolvers):  # else the port is silent, which is said by itself
        silent += [process for process in resolvers if process.expected and process.answers is False]
    for process in silent:
        yield Symptom(Cause.PROCESS_SILENT, None, f"{process.name} is silent ({_last_word([process])})", process.name)


def _is_silent(process: ProcessFacts, thresholds: Thresholds) -> bool:
    """Say whether a process does nothing: neither report nor page, or no report for long, whatever its page says."""
    age_s = process.report_age_s
    if age_s is None:
        return process.answers is False and process.expected
    return age_s > thresholds.mute_s or (age_s > thresholds.report_s and not process.answers)


def _last_word(processes: "tuple[ProcessFacts, ...] | list[ProcessFacts]") -> str:
    ages = [process.report_age_s for process in processes if process.report_age_s is not None]
    return f"its last word was {min(ages):.0f} s ago" if ages else "it never said a word"


def _of_dns(endpoint: EndpointFacts, thresholds: Thresholds) -> Iterator[Symptom]:
    late = endpoint.behind_s is not None and endpoint.behind_s > thresholds.behind_s
    if late:
        age = f"{'at least ' if endpoint.behind_more else ''}{endpoint.behind_s:.0f} s"
        yield Symptom(Cause.RESOLVER_BEHIND, endpoint.name, f"DNS shows a state of the zone that is {age} old")
    empty = [kind for kind, answer in endpoint.answers.items() if answer.empty]
    # A commit that is on its way to DNS explains what DNS says, for as long as it may take.
    if empty and endpoint.planned and (late or not endpoint.behind_s or endpoint.dangling):
        says = ", ".join(f"{kind} {endpoint.answers[kind].rcode}" for kind in empty)
        yield Symptom(Cause.ANSWERS_EMPTY, endpoint.name, f"DNS answers without addresses ({says})")
    stale = [kind for kind, answer in endpoint.cached.items() if answer.empty and kind not in empty]
    if stale and all(endpoint.answers.get(kind) and endpoint.answers[kind].records for kind in stale):
        text = f"the cache still answers without addresses ({', '.join(stale)}); the authoritative server has some"
        yield Symptom(Cause.CACHE_EMPTY, endpoint.name, text)


def _of_zone(endpoint: EndpointFacts, facts: Facts, thresholds: Thresholds) -> Iterator[Symptom]:
    if endpoint.problem:
        yield Symptom(Cause.ZONE_UNREADABLE, endpoint.name, endpoint.problem)
        return
    yield from _of_aliases(endpoint)
    for text in endpoint.invalid:
        yield Symptom(Cause.RECORD_INVALID, endpoint.name, text)
    if endpoint.fence and endpoint.fence.generation > facts.latest:
        text = f"its fence is at plan {endpoint.fence.generation}, the plan store knows plans up to {facts.latest} only"
        yield Symptom(Cause.FENCE_AHEAD, endpoint.name, text)
    if endpoint.lock and endpoint.lock.expires_in_s > thresholds.lock_s:
        ahead = f"{endpoint.lock.expires_in_s:.0f} s from now"
        text = f"{endpoint.lock.holder} has locked it until {ahead}, longer than a lock lives: its clock runs ahead"
        yield Symptom(Cause.LOCK_TOO_LONG, endpoint.name, text)
    if endpoint.limited:
        yield Symptom(Cause.REMOVAL_LIMITED, endpoint.name, without_name(endpoint.limited, endpoint.name))
    yield from _of_holds(endpoint)
    if endpoint.lag_s is not None and endpoint.lag_s > thresholds.late_s:
        has = f"it has plan {endpoint.live}" if endpoint.live is not None else "it has none"
        text = f"plan {facts.latest} is not installed: {has}, and has waited for {endpoint.lag_s:.0f} s"
        yield Symptom(Cause.PLAN_LATE, endpoint.name, text)
    for cause, notice, what in ((Cause.FROZEN, endpoint.frozen, "frozen"), (Cause.PINNED, endpoint.pinned, "pinned")):
        if notice:
            yield Symptom(cause, endpoint.name, f"{what} by {words(notice)}")


def _of_aliases(endpoint: EndpointFacts) -> Iterator[Symptom]:
    """Yield what is wrong with root, live tree and rollback."""
    dangling = endpoint.dangling
    if dangling:
        yield Symptom(Cause.ROOT_DANGLING, endpoint.name, _why_dangling(endpoint, dangling))
    elif not endpoint.root and (endpoint.fence or endpoint.rollback):
        yield Symptom(Cause.ROOT_MISSING, endpoint.name, "its root record is gone")
    elif endpoint.damaged:
        name = tree_name("", endpoint.live or 0).rstrip(".")
        count = "1 record set" if endpoint.damaged == 1 else f"{endpoint.damaged} record sets"
        text = f"its live tree {name} differs from its plan in {count}"
        who = f"; records of it were {who}" if (who := _deleted_by(endpoint)) else ""
        yield Symptom(Cause.TREE_DAMAGED, endpoint.name, text + who)
    lost = sorted({_short(pointer, endpoint) for pointer in endpoint.rollback if not pointer.exists})
    if lost:
        text = f"its rollback points to {', '.join(lost)}, which is not there: there is no way back until the next plan"
        yield Symptom(Cause.ROLLBACK_DANGLING, endpoint.name, text)


def _why_dangling(endpoint: EndpointFacts, dangling: tuple[Pointer, ...]) -> str:
    target = _short(dangling[0], endpoint)
    kinds = {pointer.type for pointer in dangling}
    which = (
        "the root points" if len(dangling) == len(endpoint.root) else f"the root's {', '.join(sorted(kinds))} points"
    )
    who = _deleted_by(endpoint)
    return f"{which} to {target}, whose tree {f'was {who}' if who else 'is not there'}"


def _deleted_by(endpoint: EndpointFacts) -> str:
    """Return "deleted by" whom, and who had made it live; "" if that is not known."""
    loss = endpoint.loss
    if loss is None or not loss.by:
        return ""
    text = f"deleted by {loss.by} at {clock_time(loss.at_s)}" + (f" ({loss.comment})" if loss.comment else "")
    if loss.flipped_by:
        text += f"; {loss.flipped_by} had pointed the root to it at {clock_time(loss.flipped_at_s)}"
    return text


def _of_holds(endpoint: EndpointFacts) -> Iterator[Symptom]:
    """Yield why enactors do not move an endpoint, one symptom for each kind of reason."""
    by_cause: dict[Cause, list[str]] = {}
    for enactor, reason in endpoint.held.items():
        cause = hold_cause(reason)
        if cause is not Cause.FROZEN:  # the zone itself says so
            by_cause.setdefault(cause, []).append(f"{without_name(reason, endpoint.name)} (says {enactor})")
    for cause, reasons in by_cause.items():
        yield Symptom(cause, endpoint.name, reasons[0])


HOLDS: Final = (
    ("ZoneFrozen", Cause.FROZEN),
    ("is frozen", Cause.FROZEN),
    ("FenceAhead", Cause.FENCE_AHEAD),
    ("TreeTaken", Cause.TREE_TAKEN),
    ("ControlRecordInvalid", Cause.RECORD_INVALID),
    ("the limit is", Cause.PLAN_REFUSED),
)
"""By which words an enactor's reason is told: those of `fencepost.errors`; a test holds the two together."""


def hold_cause(reason: str) -> Cause:
    """Return what kind of reason an enactor gives for not moving an endpoint."""
    return next((cause for mark, cause in HOLDS if mark in reason), Cause.ENDPOINT_HELD)


def words(notice: Notice) -> str:
    """Return a notice for people: who, since when, why."""
    return f"{notice.by} since {clock_time(notice.at_s)}" + (f": {notice.why}" if notice.why else "")


def without_name(text: str, endpoint: str) -> str:
    """Return a sentence without the endpoint's name in front of it: whoever shows it says that already."""
    return text.removeprefix(f"{endpoint}: ").removeprefix(f"{endpoint} ")


def bare(name: str) -> str:
    """Return an endpoint's name as people type it."""
    return name.rstrip(".")


def clock_time(at_s: float) -> str:
    """Return the time of day, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S UTC")


def _short(pointer: Pointer, endpoint: EndpointFacts) -> str:
    generation = generation_of(pointer.target, endpoint.name)
    return pointer.target if generation is None else tree_name("", generation).rstrip(".")
