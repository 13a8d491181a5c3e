"""`fencepost drill heal`: is what `buggy` has broken for good made whole by `fixed`, with nobody's help?

Pure: what was measured, and the verdict. `heal_run` breaks and restarts. Source: docs/invariants.md, I5.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from lab.drills.result import Promise, Result
from lab.history import event_us
from lab.invariants import Violation

FOUND: Final = ".damage_found"
DONE: Final = ".endpoint_repaired"
SAID: Final = (FOUND, DONE, ".rollback_left_out")
"""The events by which an enactor tells what it found and what it did about it."""
SHOWN: Final = 5


class Patient(msgspec.Struct, frozen=True):
    """One endpoint and type that was stuck.

    Attributes:
        dangling: what the root pointed to, which was not there.
        answers_before: addresses that the authoritative server, and the caching one, gave before; None: no answer.
        authoritative_us, caching_us: when each answered with an address again, epoch microseconds; None: not in time.
    """

    endpoint: str
    type: str
    dangling: str
    answers_before: tuple[int | None, int | None]
    authoritative_us: int | None = None
    caching_us: int | None = None


class Seen(NamedTuple):
    """All that a drill has seen.

    Attributes:
        patients: what was stuck.
        stuck_after_s: how long it took to get the first endpoint stuck.
        started_us: when the first fixed enactor was started, epoch microseconds.
        events: all processes' log lines.
        violations: of the checker, those that began before included.
        settled_s: how long after the start every root was at the last plan; None: not within the bound.
        bound_s, negative_ttl_s: within which the authoritative server has to answer, and by how much later caches may.
    """

    patients: Sequence[Patient]
    stuck_after_s: float
    started_us: int
    events: Sequence[Mapping[str, Any]]
    violations: Sequence[Violation]
    settled_s: float | None
    bound_s: float
    negative_ttl_s: float


def said(events: Sequence[Mapping[str, Any]], zone: str, since_us: int) -> tuple[str, ...]:
    """Return what enactors said of a zone's damage and its repair from an instant on, each sentence once, in order."""
    lines = (
        f"{event.get('process')}: {event['event']}" + (f": {event['reason']}" if event.get("reason") else "")
        for event in events
        if event.get("zone") == zone and str(event.get("event")).endswith(SAID) and event_us(event) >= since_us
    )
    return tuple(dict.fromkeys(lines))


def healed_s(seen: Seen, at_us: int | None) -> float | None:
    """Return how long after the first fixed enactor's start something was, seconds; None if it never was."""
    return None if at_us is None else max(0.0, (at_us - seen.started_us) / 1e6)


def result(title: str, seen: Seen) -> Result:
    """Return the verdict."""
    rows, notes, listed = [], [], []
    for patient in seen.patients:
        live_s, cached_s = healed_s(seen, patient.authoritative_us), healed_s(seen, patient.caching_us)
        rows.append(
            (
                f"{patient.endpoint} {patient.type}",
                patient.dangling.partition(".")[0],
                _seconds(live_s),
                _seconds(cached_s),
            )
        )
        listed.append({**msgspec.to_builtins(patient), "authoritative_s": live_s, "caching_s": cached_s})
    sentences = {p.endpoint: said(seen.events, p.endpoint, seen.started_us) for p in seen.patients}
    for endpoint, words in sentences.items():
        notes += [f"{endpoint}  {sentence}" for sentence in words[:SHOWN]]
    later = tuple(violation for violation in seen.violations if violation.at_us >= seen.started_us)
    return Result(
        drill="heal",
        title=title,
        columns=("stuck", "pointed to", "answers after", "caches after"),
        rows=tuple(rows),
        notes=tuple(notes),
        promises=tuple(_promises(seen, sentences, later)),
        figures={
            "stuck": len(seen.patients),
            "stuck_after_s": seen.stuck_after_s,
            "healed": sum(patient.authoritative_us is not None for patient in seen.patients),
            "patients": listed,
            "said": sentences,
            "settled_s": seen.settled_s,
            "violations_of_fixed": later,
        },
    )


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def _promises(seen: Seen, sentences: Mapping[str, tuple[str, ...]], later: Sequence[Violation]) -> Iterator[Promise]:
    for claim, bound_s, taken in (
        ("every stuck endpoint answers again", seen.bound_s, [p.authoritative_us for p in seen.patients]),
        (
            "caches answer again, their negative TTL later at most",
            seen.bound_s + seen.negative_ttl_s,
            [p.caching_us for p in seen.patients],
        ),
    ):
        spans = [healed_s(seen, at_us) for at_us in taken]
        healed = [span for span in spans if span is not None and span <= bound_s]
        worst = f"{len(healed)} of {len(spans)}, the last after {_seconds(max(healed, default=None))}"
        yield Promise(claim, len(healed) == len(spans) > 0, f"{worst}; the bound is {bound_s:g} s")
    everywhere = "never" if seen.settled_s is None else f"{seen.settled_s:.2f} s after the start"
    yield Promise("every endpoint, stuck or not, gets to the last plan", seen.settled_s is not None, everywhere)
    mute = sorted(e for e, words in sentences.items() if not all(any(k in w for w in words) for k in (FOUND, DONE)))
    told = f"not of {', '.join(mute)}" if mute else f"of {len(sentences)} endpoints"
    yield Promise("the automation says what it found and did", not mute, told)
    broken = "; ".join(f"{v.invariant} {v.endpoint} {v.detail}" for v in later[:SHOWN])
    yield Promise("no invariant is broken from the start of the fixed enactors on", not later, broken or "0 violations")
