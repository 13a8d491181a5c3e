"""What the figures say, in words: only what their intervals bear. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from lab.odds.estimate import Rate, Tally, rate_of
from lab.odds.fit import Law, Observed, law
from lab.odds.model import Setting
from lab.odds.sweep import Sweep, points, words

AGES_H: Final = 8766e6

Tallies = Mapping[Setting, Tally]


class Row(NamedTuple):
    """One value of a sweep, and what came of it."""

    value: float
    tally: Tally
    rate: Rate


def rows(sweep: Sweep, base: Setting, tallies: Tallies) -> tuple[Row, ...]:
    """Return a sweep's rows, as far as anything was run."""
    found = ((value, tallies.get(setting, Tally())) for value, setting in points(sweep, base))
    return tuple(Row(value, tally, rate_of(tally)) for value, tally in found if tally.hours > 0)


def findings(sweeps: Sequence[Sweep], base: Setting, tallies: Tallies) -> Iterator[str]:
    """Yield what the base shows, then a sentence or two on each sweep."""
    tally = tallies.get(base, Tally())
    if tally.hours <= 0:
        yield "Nothing was run for long enough to say anything."
        return
    yield f"Base: {_of_base(tally)}"
    for sweep in sweeps:
        found = rows(sweep, base, tallies)
        if len(found) > 1:
            yield f"{sweep.name} ({sweep.about}): {finding(sweep, found)}"
    yield from _by_law(sweeps, base, tallies)


def _by_law(sweeps: Sequence[Sweep], base: Setting, tallies: Tallies) -> Iterator[str]:
    """Yield what a law through the plan rates says of lower ones, and of `keep`, by which it is checked."""
    by_field = {sweep.field: rows(sweep, base, tallies) for sweep in sweeps}
    if (by_rate := by_field.get("plans_per_s")) is None:
        return
    fitted = law([Observed(base.keep / row.value, row.tally.outages, row.tally.hours) for row in by_rate])
    unseen = [row.value for row in by_rate if not row.tally.outages]
    yield beyond(fitted, base.keep, [*unseen, min(row.value for row in by_rate) / 2] if by_rate else [])
    others = [row for row in by_field.get("keep", ()) if row.value != base.keep]
    if others and fitted is not None and fitted.holds:
        expected = [number(fitted.rate(row.value / base.plans_per_s).per_hour) for row in others]
        pairs = ", ".join(
            f"{rate} at {row.value:g} ({told(row.rate, row.tally)})" for rate, row in zip(expected, others, strict=True)
        )
        yield f"checked by keep: the law, which knows plan rates alone, expects an hour (and there were): {pairs}."


def _of_base(tally: Tally) -> str:
    text = f"{told(rate_of(tally), tally)}; {tally.stale_flips / tally.hours:.0f} stale flips an hour"
    if tally.outages:
        text += f", so that one stale flip in {tally.stale_flips / tally.outages:.0f} empties an endpoint"
    return text + "."


def finding(sweep: Sweep, found: Sequence[Row]) -> str:
    """Return what a sweep shows: its extremes, whether they can be told apart, and what that means."""
    if not any(row.tally.outages for row in found):
        together = Tally(hours=sum(row.tally.hours for row in found))
        return f"no outage at any of them; all together {told(rate_of(together), together)}."
    most = max(found, key=lambda row: row.rate.per_hour)
    far = {row.value: abs(found.index(row) - found.index(most)) for row in found}
    fewest = min(found, key=lambda row: (row.rate.per_hour, row.rate.high, -far[row.value]))
    ends = (
        f"fewest outages at {words(sweep, fewest.value)} ({told(fewest.rate, fewest.tally)}), "
        f"most at {words(sweep, most.value)} ({told(most.rate, most.tally)})"
    )
    if most.rate.low <= fewest.rate.high:
        return f"{ends}: the intervals overlap, so that nothing can be said; run more --hours."
    factor, about = most.rate.low / fewest.rate.high, ""
    if fewest.tally.outages:
        about = f"about {number(most.rate.per_hour / fewest.rate.per_hour)} times as many, "
    meaning = sweep.rises if most.value > fewest.value else sweep.falls
    return f"{ends}: {about}{number(factor)} times at least. That is to say: {meaning}."


def beyond(fitted: Law | None, keep: int, rates: Sequence[float]) -> str:
    """Return what is to be expected at plan rates at which no outage was seen, if a law through the rest holds."""
    if fitted is None:
        return "beyond: too few plan rates with outages for a law."
    if not fitted.holds:
        return (
            "beyond: outages do not fall off exponentially in keep / plan rate "
            f"(p = {fitted.plausible:.2g}), so that nothing is said of rates without an outage."
        )
    times = ", ".join(f"at {rate:g} a second one in {_span(fitted, keep / rate)}" for rate in rates)
    return (
        f"beyond (extrapolated, not seen): outages are e times as rare for each {fitted.tau_s:.2g} s more that a plan "
        f"takes to get old (keep / plan rate; the law fits, p = {fitted.plausible:.2g}); if that went on, {times}."
    )


def _span(fitted: Law, old_after_s: float) -> str:
    per_hour, low, high = (1 / rate if rate > 0 else math.inf for rate in fitted.rate(old_after_s))
    return f"{_time(per_hour)} ({_time(high)} to {_time(low)})"


def _time(hours: float) -> str:
    if hours > AGES_H:
        return "a million years and more"
    for name, unit in (("years", 8766.0), ("days", 24.0), ("hours", 1.0)):
        if hours >= unit:
            return f"{number(hours / unit)} {name}"
    return f"{number(60 * hours)} minutes"


def told(rate: Rate, tally: Tally) -> str:
    """Return a rate with its interval, in words."""
    if not tally.outages:
        return f"none in {tally.hours:.2g} h, so fewer than {number(rate.high)} an hour"
    return f"{number(rate.per_hour)} an hour, {number(rate.low)} to {number(rate.high)}"


def number(value: float) -> str:
    """Return a number with as many digits as it is worth."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004  -- two digits are what the runs bear
