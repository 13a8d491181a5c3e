"""`fencepost drill storm`: does a storm of routine changes leave the queue short, and the fast lane fast?

Pure: what was measured, and the verdict. `storm_run` makes the storm.
Source: aws.amazon.com/message/101925 ("throttling by queue size"); docs/invariants.md, I5.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from fencepost.batch import MAX_WEIGHT
from fencepost.plan import Plan, Target
from fencepost.region import Region
from fencepost.stores import Report
from lab.clients import Tally
from lab.drills.result import Promise, Result, milliseconds, percentile
from lab.invariants import Violation

MAX_RATIO: Final = 3.0
"""How much longer the fast lane may take in a storm than when it is quiet, at its 99th percentile."""
RATE_SHARE: Final = 0.9
"""The generator has to reach this share of the rate, or there was no such storm."""
SHOWN: Final = 5
ACCEPTED: Final = (HTTPStatus.OK, HTTPStatus.ACCEPTED)
TOO_MANY: Final = "http 429"
SHARES: Final = (0.5, 0.99)


class Quick(msgspec.Struct, frozen=True):
    """One change by the fast lane: an operator takes a load balancer out of service.

    Attributes:
        phase: quiet or storm.
        at_us: when it was asked for, epoch microseconds.
        published_ms: until the API answered, which it does when the plan is published; None if it did not.
        live_ms: until that plan, or a newer one, was live in every zone concerned; None: not in time.
        error: what the API said instead, "" if it did what was asked.
    """

    phase: str
    load_balancer: str
    at_us: int
    published_ms: float | None = None
    live_ms: float | None = None
    error: str = ""


class Queue(msgspec.Struct, frozen=True):
    """The queue at one time: generations published and not yet installed.

    Attributes:
        phase: when.
        told: as the planner says on /state; None if it does not.
        reported: by the enactors' reports in the plan store; None without any.
        seen: by the zones' fences themselves, the endpoint that is furthest behind.
    """

    phase: str
    told: int | None
    reported: int | None
    seen: int


class Seen(NamedTuple):
    """All that a drill has seen.

    Attributes:
        rate, duration_s: of the storm, as asked for; `queue_bound`, `settle_bound_s`: what is judged by.
        tally: of the generator.
        quick, queue: in order of time.
        plans: published in the storm.
        settled_s: from the last change until it was live everywhere; None: not within the bound.
        mismatches: what planner and last plan do not have of what was accepted, in words.
        unclear: load balancers that were not compared, as an answer was not clear.
        violations: of the checker.
    """

    rate: float
    duration_s: float
    queue_bound: int
    settle_bound_s: float
    tally: Tally
    quick: Sequence[Quick]
    queue: Sequence[Queue]
    plans: int
    settled_s: float | None
    mismatches: Sequence[str]
    unclear: Sequence[str]
    violations: Sequence[Violation]


class Spans(NamedTuple):
    """The fast lane's percentiles in one phase, milliseconds; None of nothing."""

    published: Mapping[str, float | None]
    live: Mapping[str, float | None]
    samples: int


def spans(quick: Sequence[Quick], phase: str) -> Spans:
    """Return the percentiles of one phase."""
    ours = [one for one in quick if one.phase == phase]
    published = [one.published_ms for one in ours if one.published_ms is not None]
    live = [one.live_ms for one in ours if one.live_ms is not None]
    return Spans(_shares(published), _shares(live), len(ours))


def _shares(values: Sequence[float]) -> dict[str, float | None]:
    found = {f"p{100 * share:g}": percentile(values, share) for share in SHARES}
    return {name: None if value is None else round(value, 2) for name, value in found.items()}


def queue_of(latest: int, reports: Mapping[str, Report]) -> int | None:
    """Return how many generations are published and not yet installed, by the enactors' own reports."""
    installed = [report.generation for report in reports.values() if report.role == "enactor"]
    return max(0, latest - max(installed)) if installed else None


def worst_queue(queue: Sequence[Queue]) -> dict[str, int | None]:
    """Return the longest that the queue was, by each way of looking at it."""
    return {
        name: max((value for one in queue if (value := getattr(one, name)) is not None), default=None)
        for name in ("told", "reported", "seen")
    }


class Ledger(msgspec.Struct):
    """What was asked for and accepted, kept by those who asked: a change that the planner loses is not lost here.

    Attributes:
        capacity: what each load balancer reports by itself.
        added: what was accepted beside that, by load balancer.
        unclear: load balancers with a change of which nobody knows whether it was stored: nothing is said of those.
    """

    capacity: Mapping[str, int]
    added: dict[str, int]
    unclear: set[str] = msgspec.field(default_factory=set)

    @classmethod
    def of(cls, region: Region) -> "Ledger":
        """Return that of a system in which nobody has asked for anything."""
        return cls({lb.name: lb.capacity for lb in region.load_balancer}, {lb.name: 0 for lb in region.load_balancer})

    def note(self, name: str, amount: int, status: int) -> None:
        """Take the API's answer to a change; status 0: no answer came."""
        if status in ACCEPTED:
            self.added[name] += amount
        elif not is_refusal(status):
            self.unclear.add(name)

    def take(self, added: Mapping[str, int], unclear: Iterable[str]) -> None:
        """Take what somebody else has noted."""
        for name, amount in added.items():
            self.added[name] += amount
        self.unclear |= set(unclear)


def is_refusal(status: int) -> bool:
    """Say whether an answer means that nothing has changed; a 5xx may come after the change was stored."""
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def mismatches(plan: Plan, balancers: Sequence[Mapping[str, Any]], ledger: Ledger) -> tuple[str, ...]:
    """Return what planner and plan do not have of what was accepted, in words.

    Args:
        plan: the last one.
        balancers: the planner's page of them.
        ledger: what was accepted, by those who asked.
    """
    clear = ledger.added.keys() - ledger.unclear
    if not clear:
        return ("of no load balancer every answer was clear: there is nothing to compare",)
    page = {str(lb["name"]): lb for lb in balancers}
    found = [
        f"{name}: {ledger.added[name]:+} was accepted, the planner has {page[name]['added_capacity']:+}"
        for name in sorted(clear & page.keys())
        if page[name]["added_capacity"] != ledger.added[name]
    ]
    found += [f"{name}: the planner's page does not have it" for name in sorted(clear - page.keys())]
    drained = {name for name, lb in page.items() if lb["drained"]}
    wanted = {name: ledger.capacity[name] + ledger.added[name] for name in ledger.added}
    for endpoint in plan.digests:
        found += _wrong_weights(endpoint, plan.content(endpoint).targets, wanted, clear - drained)
    return tuple(dict.fromkeys(found))


def _wrong_weights(
    endpoint: str, targets: Sequence[Target], wanted: Mapping[str, int], compared: AbstractSet[str]
) -> Iterator[str]:
    """Yield the weights that are not what they should be; none where weights are shares, for want of numbers."""
    if max((wanted.get(target.identifier, 0) for target in targets), default=0) > MAX_WEIGHT:
        return
    for target in targets:
        if target.identifier in compared and target.weight != wanted[target.identifier]:
            yield f"{endpoint} {target.identifier}: weight {target.weight}, {wanted[target.identifier]} was accepted"


def ratio(quiet: float | None, storm: float | None) -> float | None:
    """Return how many times as long something took; None where one of them is not known."""
    return None if quiet is None or storm is None or quiet <= 0 else round(storm / quiet, 2)


def result(title: str, seen: Seen) -> Result:
    """Return the verdict."""
    quiet, storm = spans(seen.quick, "quiet"), spans(seen.quick, "storm")
    live, published = ratio(quiet.live["p99"], storm.live["p99"]), ratio(quiet.published["p99"], storm.published["p99"])
    worst, tally = worst_queue(seen.queue), seen.tally
    refused = tally.errors.get(TOO_MANY, 0)
    failed = tally.failed - refused
    rows = (
        ("changes sent", f"{tally.sent:,}, {tally.sent / seen.duration_s:,.0f} a second"),
        ("accepted, 429, failed", f"{tally.served:,}, {refused:,}, {failed:,}"),
        ("plans published in the storm", f"{seen.plans:,}"),
        ("longest queue: planner, reports, zones", ", ".join("-" if n is None else f"{n}" for n in worst.values())),
        ("last change live everywhere after", "never" if seen.settled_s is None else f"{seen.settled_s:.2f} s"),
        *_fast_rows("fast lane, published", quiet.published, storm.published, published),
        *_fast_rows("fast lane, live", quiet.live, storm.live, live),
    )
    figures = {
        "rate": seen.rate,
        "duration_s": seen.duration_s,
        "sent": tally.sent,
        "accepted": tally.served,
        "refused_429": refused,
        "failed": failed,
        "errors": dict(tally.errors),
        "overloaded": tally.overloaded,
        "worst_late_ms": round(tally.worst_late_ms, 1),
        "plans": seen.plans,
        "queue_max": worst,
        "settled_s": seen.settled_s,
        "fast_lane": {"quiet": quiet._asdict(), "storm": storm._asdict()},
        "fast_lane_samples": list(seen.quick),
        "fast_lane_p99_ratio": {"live": live, "published": published},
        "mismatches": list(seen.mismatches),
        "unclear": list(seen.unclear),
        "violations": list(seen.violations),
    }
    promises = tuple(_promises(seen, figures, (quiet, storm)))
    return Result(drill="storm", title=title, columns=("", "measured"), rows=rows, promises=promises, figures=figures)


def _fast_rows(
    label: str, quiet: Mapping[str, float | None], storm: Mapping[str, float | None], times: float | None
) -> Iterator[tuple[str, str]]:
    for name in quiet:
        ending = f" ({times:g} x)" if name == "p99" and times is not None else ""
        yield f"{label} {name}, quiet and storm", f"{milliseconds(quiet[name])}, {milliseconds(storm[name])}{ending}"


def _promises(seen: Seen, figures: Mapping[str, Any], phases: tuple[Spans, Spans]) -> Iterator[Promise]:
    yield _there_was_a_storm(seen)
    failed = ", ".join(f"{count} x {error}" for error, count in seen.tally.errors.items() if error != TOO_MANY)
    yield Promise("every change is answered: accepted, or 429 with Retry-After", not failed, failed or "0 failed")
    worst, bound = figures["queue_max"], seen.queue_bound
    longest = max((length for length in worst.values() if length is not None), default=0)
    yield Promise("the queue stays bounded", longest <= bound, f"{longest} at most; the bound is {bound} generations")
    settled = "never" if seen.settled_s is None else f"after {seen.settled_s:.2f} s"
    in_time = seen.settled_s is not None and seen.settled_s <= seen.settle_bound_s
    bound_words = f"{settled}; the bound is {seen.settle_bound_s:g} s"
    yield Promise("the last state is live everywhere soon after the storm", in_time, bound_words)
    wrong = "; ".join(seen.mismatches[:SHOWN])
    same = f"0 differences, {len(seen.unclear)} load balancers not compared, as an answer was not clear"
    yield Promise("the last plan has every change that was accepted", not seen.mismatches, wrong or same)
    yield _fast_enough(seen.quick, figures["fast_lane_p99_ratio"]["live"], phases)
    broken = "; ".join(f"{v.invariant} {v.endpoint} {v.detail}" for v in seen.violations[:SHOWN])
    yield Promise("no endpoint is ever empty, and no invariant broken", not seen.violations, broken or "0 violations")


def _there_was_a_storm(seen: Seen) -> Promise:
    tally, wanted = seen.tally, seen.rate * seen.duration_s
    said = f"{tally.sent:,} of {wanted:,.0f} changes sent, {tally.overloaded:,} could not be"
    return Promise("the generator made the storm that was asked for", tally.sent >= RATE_SHARE * wanted, said)


def _fast_enough(quick: Sequence[Quick], times: float | None, phases: tuple[Spans, Spans]) -> Promise:
    lost = [one for one in quick if one.live_ms is None]
    counts = f"{phases[0].samples} and {phases[1].samples} samples"
    said = f"{times:g} times, of {counts}" if times is not None else f"nothing to compare, {counts}"
    if lost:
        said += f"; {len(lost)} were not live in time ({lost[0].error or 'published, but not installed'})"
    claim = f"the fast lane's p99 until live is at most {MAX_RATIO:g} times its quiet value"
    return Promise(claim, not lost and times is not None and times <= MAX_RATIO, said)
