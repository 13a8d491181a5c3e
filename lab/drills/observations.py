"""`fencepost drill observations`: does a wrong observation, or a wrong plan, stay harmless, and does anybody say why?

Pure: what the streams and the processes said, and the verdict. `observations_run` makes the observations.
Source: docs/invariants.md, I1 and I7; aws.amazon.com/message/101925 ("protective checks", "velocity control").
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from fencepost.capacity import Capacity
from fencepost.records import ADDRESS_TYPES
from fencepost.safety import Limits
from fencepost.symptoms import Cause
from lab.drills.result import Promise, Result
from lab.drills.streams import Point
from lab.invariants import Violation

SHOWN: Final = 5
ROUNDING: Final = 1e-9


class Told(msgspec.Struct, frozen=True, order=True):
    """One sentence on an endpoint; `by` is `planner` or `enactors`."""

    by: str
    endpoint: str
    sentence: str


class Blamed(msgspec.Struct, frozen=True):
    """One finding of `fencepost status`: a cause, and the endpoints that it is with, none if it is with the system."""

    cause: Cause
    endpoints: tuple[str, ...]


class Status(msgspec.Struct, frozen=True):
    """What `fencepost status` said.

    Attributes:
        line: its first line for people.
        problem: why it said nothing, "" if it did.
        blamed: the alarm's findings, its own first, then what that does not explain.
    """

    line: str = ""
    problem: str = ""
    blamed: tuple[Blamed, ...] = ()

    def fits(self, cause: Cause, endpoints: Sequence[str]) -> bool:
        """Say whether it gives a cause, at one of some endpoints at least.

        Where the planner has cut a plan short nothing else may be said to be refused: its remedy would be `--force`.
        """
        there = self._where(cause) & set(endpoints)
        is_refused = cause is Cause.REMOVAL_LIMITED and bool(there & self._where(Cause.PLAN_REFUSED))
        return bool(there) and not is_refused

    def _where(self, cause: Cause) -> set[str]:
        return {endpoint for found in self.blamed if found.cause is cause for endpoint in found.endpoints}

    @property
    def text(self) -> str:
        """What it blames, in short."""
        return self.problem or ", ".join(found.cause for found in self.blamed) or "all is well"


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One wrong observation and what came of it.

    Attributes:
        name: the case's.
        begun_us, until_us: from when until when it counts, the recovery included; epoch microseconds.
        words: an explanation of it has one of these.
        cause: what `fencepost status` has to say that is wrong, with one of `concerned`: the endpoints that it harms.
        told: what planner and enactors said, while it lasted, of the endpoints that it would harm.
        status: what `fencepost status` said meanwhile.
        live: the endpoints on which a wrong plan went live.
        moved: whether a routine change of another endpoint went live meanwhile; None where there was none to make.
        recovered_s: how long it took until everything was as before; None: not within the bound.
    """

    name: str
    begun_us: int
    until_us: int
    words: tuple[str, ...]
    cause: Cause
    concerned: tuple[str, ...]
    told: tuple[Told, ...] = ()
    status: Status = Status(problem="it was not asked")
    live: tuple[str, ...] = ()
    moved: bool | None = None
    recovered_s: float | None = None

    @property
    def is_explained(self) -> bool:
        """Whether somebody said what it is that is wrong, and not only that something is."""
        return any(word in told.sentence for told in self.told for word in self.words)

    @property
    def is_diagnosed(self) -> bool:
        """Whether `fencepost status` gave the cause, where it is."""
        return self.status.fits(self.cause, self.concerned)


class Loss(NamedTuple):
    """The worst that happened to an endpoint's capacity in a span.

    `share` is what was left of the most that it had within the velocity window before; `of_start` of what it had when
    the span began.
    """

    share: float
    of_start: float
    where: str


NO_LOSS: Final = Loss(1.0, 1.0, "")


def worst_loss(zone: str, points: Sequence[Point], from_us: int, until_us: int, window_s: float) -> Loss:
    """Return the worst that happened to a zone's capacity in a span, over both address types."""
    start = capacity_at(points, from_us)
    worst = NO_LOSS
    for point in points:
        if not from_us <= point.at_us < until_us:
            continue
        before = highest(points, point.at_us, window_s)
        for index, kind in enumerate(ADDRESS_TYPES):
            if before[index]:
                share = point.capacity[index] / before[index]
                of_start = point.capacity[index] / start[index] if start[index] else 1.0
                least = min(worst.of_start, of_start)
                worst = Loss(share, least, f"{zone} {kind}") if share < worst.share else worst._replace(of_start=least)
    return worst


def capacity_at(points: Sequence[Point], at_us: int) -> Capacity:
    """Return the capacity that was live at an instant, nothing before the first point."""
    found = [point.capacity for point in points if point.at_us <= at_us]
    return found[-1] if found else (0, 0)


def highest(points: Sequence[Point], at_us: int, window_s: float) -> Capacity:
    """Return the most of each type that was live at some time within the window before an instant."""
    from_us = at_us - round(window_s * 1e6)
    live = [capacity_at(points, from_us), *(p.capacity for p in points if from_us < p.at_us <= at_us)]
    return max(a for a, _ in live), max(aaaa for _, aaaa in live)


class Seen(NamedTuple):
    """All that a drill has seen: the cases in order, each zone's capacity over time, the limits in force.

    `exempt` are the endpoints of few load balancers, of which the limits protect only the last one.
    """

    tried: Sequence[Tried]
    points: Mapping[str, Sequence[Point]]
    limits: Limits
    exempt: frozenset[str]
    violations: Sequence[Violation]


def loss_of(seen: Seen, tried: Tried) -> Loss:
    """Return the worst that happened to any endpoint in a case; exempt ones count only when nothing is left."""
    found = [
        (zone, worst_loss(zone, points, tried.begun_us, tried.until_us, seen.limits.window_s))
        for zone, points in sorted(seen.points.items())
    ]
    counted = [loss for zone, loss in found if zone not in seen.exempt or loss.share == 0]
    return min(counted, key=lambda loss: loss.share, default=NO_LOSS)


def refused_by(tried: Tried) -> str:
    """Return who said that it would not follow: planner, enactors, both or nobody."""
    who = sorted({told.by for told in tried.told})
    return "both" if len(who) > 1 else next(iter(who), "nobody")


def result(title: str, seen: Seen) -> Result:
    """Return the verdict."""
    allowed = 1 - seen.limits.max_removal_fraction
    losses = {tried.name: loss_of(seen, tried) for tried in seen.tried}
    words = {True: "yes", False: "NO", None: "-"}
    rows = tuple(
        (
            tried.name,
            f"{losses[tried.name].share:.0%}",
            words[losses[tried.name].share == 0],
            f"{len(tried.live)}",
            words[tried.moved],
            refused_by(tried),
        )
        for tried in seen.tried
    )
    return Result(
        drill="observations",
        title=title,
        columns=("wrong observation", "left", "empty", "live", "rest moved", "refused by"),
        rows=rows,
        notes=tuple(note for tried in seen.tried for note in _notes(tried)),
        promises=tuple(_promises(seen, losses, allowed)),
        figures={
            "allowed": allowed,
            "window_s": seen.limits.window_s,
            "cases": [{**msgspec.to_builtins(t), "loss": losses[t.name]._asdict()} for t in seen.tried],
            "violations": list(seen.violations),
        },
    )


def _notes(tried: Tried) -> Iterator[str]:
    """Yield what was said in a case: the first sentence of everybody, and what status makes of it."""
    for by in sorted({told.by for told in tried.told}):
        yield f"{tried.name}: {by}: {next(told.sentence for told in tried.told if told.by == by)}"
    yield f"{tried.name}: status: {tried.status.problem or tried.status.line}"


def _promises(seen: Seen, losses: Mapping[str, Loss], allowed: float) -> Iterator[Promise]:
    emptied = [f"{name}: {loss.where}" for name, loss in losses.items() if loss.share == 0]
    cases = f"in none of {len(losses)} cases"
    yield Promise("no endpoint becomes empty (I1)", not emptied, "; ".join(emptied) or cases)
    far = [
        f"{name}: {loss.share:.0%} left of {loss.where}"
        for name, loss in losses.items()
        if loss.share < allowed - ROUNDING
    ]
    least = f"{min((loss.share for loss in losses.values()), default=1.0):.0%} was the least that was left of any"
    span = f"within {seen.limits.window_s:g} s"
    yield Promise(f"no endpoint loses more than {1 - allowed:.0%} {span} (I7)", not far, "; ".join(far) or least)
    live = [f"{tried.name}: on {', '.join(tried.live)}" for tried in seen.tried if tried.live]
    yield Promise("no wrong plan goes live", not live, "; ".join(live) or cases)
    stopped = [tried.name for tried in seen.tried if tried.moved is False]
    asked = sum(tried.moved is not None for tried in seen.tried)
    yield Promise(
        "other endpoints still move", not stopped, f"not in {', '.join(stopped)}" if stopped else f"in {asked}"
    )
    mute = [tried.name for tried in seen.tried if not tried.is_explained]
    yield Promise("whoever refuses says why", not mute, f"not in {', '.join(mute)}" if mute else "in every case")
    wrong = [f"{t.name}: {t.status.text}, where it is {t.cause}" for t in seen.tried if not t.is_diagnosed]
    yield Promise("`fencepost status` explains it", not wrong, "; ".join(wrong) or "cause and endpoint in every case")
    lost = [tried.name for tried in seen.tried if tried.recovered_s is None]
    slowest = max((tried.recovered_s for tried in seen.tried if tried.recovered_s is not None), default=0.0)
    after = f"not after {', '.join(lost)}" if lost else f"within {slowest:.1f} s"
    yield Promise("all is as before when the observation is right again", not lost, after)
    broken = "; ".join(f"{v.invariant} {v.endpoint} {v.detail}" for v in seen.violations[:SHOWN])
    yield Promise("no invariant is broken", not seen.violations, broken or "0 violations")
