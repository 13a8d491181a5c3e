"""The figures that table and page show, in one order and with one opinion on what is bad."""

from collections.abc import Iterator
from typing import NamedTuple

from lab.measures import SLOW_S, ModeResult
from lab.report.verdict import tally

GOOD_AVAILABILITY = 0.999


class Figure(NamedTuple):
    """One figure of one mode as people read it; `is_bad` where it should alarm them."""

    label: str
    text: str
    is_bad: bool = False


def figures(result: ModeResult) -> tuple[Figure, ...]:
    """Return a mode's figures: what customers felt, what broke, what was promised, then the machinery."""
    return (*_felt(result), *_broken(result), *_promised(result), *_machinery(result))


def _felt(result: ModeResult) -> Iterator[Figure]:
    yield Figure("endpoints emptied", f"{result.endpoints_emptied:,}", result.endpoints_emptied > 0)
    yield Figure("first empty after", seconds(result.seconds_to_first_empty), result.seconds_to_first_empty is not None)
    yield Figure("endpoints stuck at the end", f"{result.stuck_endpoints:,}", result.stuck_endpoints > 0)
    empty = result.dns_empty_answers
    yield Figure("empty DNS answers", f"{empty:,} of {result.dns_queries:,}", empty > 0)
    yield Figure("DNS queries without any answer", f"{result.dns_unanswered:,}", result.dns_unanswered > 0)
    failed = result.requests_failed
    yield Figure("customer requests failed", f"{failed:,} of {result.requests:,}", _is_low(result.availability))
    yield Figure("availability", percent(result.availability), _is_low(result.availability))


def _broken(result: ModeResult) -> Iterator[Figure]:
    broken = tally(violation.invariant for violation in result.violations)
    yield Figure("invariants broken", broken, bool(result.violations))
    yield Figure("stale flips committed", f"{result.stale_flips:,}", result.stale_flips > 0)
    yield Figure("stale flips refused by the zone", f"{result.stale_attempts_refused:,}")
    yield Figure("live trees deleted", f"{result.active_trees_deleted:,}", result.active_trees_deleted > 0)


def _promised(result: ModeResult) -> Iterator[Figure]:
    too_much = result.velocity_violations
    yield Figure("steps that took too much capacity (I7)", f"{too_much:,}", too_much > 0)
    yield Figure("removals limited by the planner", f"{result.removals_limited:,}")
    yield Figure("plans refused by protective checks", f"{result.plans_refused:,}")
    incomplete = result.incomplete_flips
    yield Figure("flips to a tree that was not the plan's", f"{incomplete:,}", incomplete > 0)
    yield Figure("damaged endpoints repaired by automation", f"{result.repairs:,}")
    frozen = result.frozen_violations
    yield Figure("zones frozen / batches that went through (I9)", f"{result.freezes:,} / {frozen:,}", frozen > 0)
    yield Figure("alarms raised", f"{result.alarms_raised:,}")
    yield Figure("plans by the fast lane", _fast_share(result))
    yield Figure("longest queue of plans held back", f"{result.queue_size_max:,}")


def _fast_share(result: ModeResult) -> str:
    fast, total = result.plans_by_lane.get("fast", 0), sum(result.plans_by_lane.values())
    return f"{fast:,} ({percent(fast / total if total else None)})"


def _machinery(result: ModeResult) -> Iterator[Figure]:
    yield Figure("plans published", f"{result.plans_published:,} ({result.plans_per_s:.1f} a second)")
    yield Figure("flips committed", f"{result.flips:,}")
    times = result.convergence_ms
    yield Figure("plan to live, p50 / p99", f"{milliseconds(times.p50)} / {milliseconds(times.p99)}")
    slow = f"{result.slow_pairs:,} on {result.slow_endpoints:,} endpoints"
    yield Figure(f"changes that took more than {SLOW_S:g} s", slow if result.slow_pairs else "0")
    yield Figure("changes that never went live", f"{result.unconverged_pairs:,}", result.unconverged_pairs > 0)
    yield Figure("longest run of lost locks", f"{result.lock_streak_max:,}")
    yield Figure("batches committed / refused", f"{result.batches_committed:,} / {result.batches_refused:,}")
    yield Figure("old trees cleaned", f"{result.trees_cleaned:,}")


def _is_low(availability: float | None) -> bool:
    return availability is not None and availability < GOOD_AVAILABILITY


def seconds(value: float | None) -> str:
    """Return seconds as people read them; `never` for None."""
    return "never" if value is None else f"{value:.1f} s"


def milliseconds(value: float | None) -> str:
    """Return milliseconds as people read them, `-` for None."""
    return "-" if value is None else f"{value:,.0f} ms"


def percent(share: float | None) -> str:
    """Return a share as people read it: never rounded up to 100 %; `-` for None."""
    if share is None:
        return "-"
    return "100 %" if share == 1 else f"{int(share * 100_000) / 1000:.3f} %"
