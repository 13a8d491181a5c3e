"""`fencepost drill freeze`: does a freeze that has returned hold, again and again, under full plan and enactor load?

Pure: what the rounds and the zones' own streams say. `freeze_run` makes the rounds.
Source: docs/invariants.md, I9.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from fencepost.batch import Action
from fencepost.notice import frozen_key
from fencepost.stores import Commit
from lab.drills.result import Promise, Result, milliseconds, percentile
from lab.invariants import Violation

BUSY_SHARE: Final = 1 / 3
"""In this share of the rounds automation has to commit something before the freeze, or the drill has shown nothing.

After a thaw it takes a plan, an enactor's poll and a few round trips until the first batch: short rounds see none."""
SHOWN: Final = 5
SAID_FROZEN: Final = (".zone_frozen", ".automation_frozen")
WHY_FROZEN: Final = ("ZoneFrozen", "while the automation is frozen")
"""How processes say that a freeze stopped them: by these events, or by any other that gives one of these reasons."""


class Round(msgspec.Struct, frozen=True):
    """One freeze and thaw.

    Attributes:
        called_us, returned_us: when freeze was called, and when it had returned; epoch microseconds.
        thawing_us, thawed_us: when thaw was called, and when it had returned.
        serials: zone -> the serial of its freeze, and its serial before thaw was called.
        generations: the latest plan at the same two times.
        silent: what DNS did not answer with an address while all was frozen, in words.
    """

    called_us: int
    returned_us: int
    thawing_us: int
    thawed_us: int
    serials: Mapping[str, tuple[int, int]]
    generations: tuple[int, int]
    silent: tuple[str, ...] = ()

    @property
    def took_ms(self) -> float:
        """How long freeze took, milliseconds."""
        return (self.returned_us - self.called_us) / 1000


class Breach(NamedTuple):
    """A commit that a freeze should have made impossible."""

    zone: str
    serial: int
    words: str


def breaches(commits: Mapping[str, Sequence[Commit]], rounds: Sequence[Round]) -> tuple[Breach, ...]:
    """Return every automation batch that was committed in a frozen zone, each once.

    Told twice over: by the zone's own record of the freeze, and by the serials that were read after freeze returned.
    """
    found: dict[tuple[str, int], Breach] = {}
    for zone, zone_commits in sorted(commits.items()):
        windows = [found_round.serials[zone] for found_round in rounds if zone in found_round.serials]
        for breach in (*_by_record(zone, zone_commits), *_by_serial(zone, zone_commits, windows)):
            found.setdefault((breach.zone, breach.serial), breach)
    return tuple(found[key] for key in sorted(found))


def _by_record(zone: str, commits: Sequence[Commit]) -> Iterator[Breach]:
    since: int | None = None
    for commit in commits:
        if since is not None and not commit.actor.operator:
            yield Breach(zone, commit.serial, f"{commit.actor.name} committed in a zone frozen since serial {since}")
        for change in commit.changes:
            if change.record_set.key == frozen_key(zone):
                since = None if change.action is Action.DELETE else commit.serial


def _by_serial(zone: str, commits: Sequence[Commit], windows: Sequence[tuple[int, int]]) -> Iterator[Breach]:
    by_serial = {commit.serial: commit for commit in commits}
    for after, until in windows:
        for serial in range(after + 1, until + 1):
            commit = by_serial.get(serial)
            if commit is not None and not commit.actor.operator:
                yield Breach(zone, serial, f"{commit.actor.name} committed after freeze had returned (serial {after})")


def automation_commits(commits: Mapping[str, Sequence[Commit]], from_us: int, until_us: int) -> int:
    """Return how many batches automation committed in a span, in all zones."""
    return sum(
        from_us <= commit.at_us < until_us and not commit.actor.operator
        for zone_commits in commits.values()
        for commit in zone_commits
    )


def noticed(events: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how often processes said that a freeze stopped them: event -> count."""
    found = Counter(
        str(event.get("event"))
        for event in events
        if str(event.get("event")).endswith(SAID_FROZEN) or any(w in str(event.get("reason", "")) for w in WHY_FROZEN)
    )
    return dict(sorted(found.items()))


class Seen(NamedTuple):
    """All that a drill has seen.

    Attributes:
        rounds: in order.
        commits: zone -> its whole history.
        events: all processes' log lines.
        violations: of the checker.
        busy: in how many rounds automation committed something between the thaw before and the freeze.
        thawed_s, thawed_commits: how long all was thawed in sum, and what automation committed then.
        settled_s: how long the last plan took to be everywhere after the last thaw; None: not within the bound.
    """

    rounds: Sequence[Round]
    commits: Mapping[str, Sequence[Commit]]
    events: Sequence[Mapping[str, Any]]
    violations: Sequence[Violation]
    busy: int
    thawed_s: float
    thawed_commits: int
    settled_s: float | None


def thawed_spans(started_us: int, rounds: Sequence[Round]) -> tuple[tuple[int, int], ...]:
    """Return the spans in which nothing was frozen, one before each round."""
    starts = (started_us, *(done.thawed_us for done in rounds))
    return tuple((start, done.called_us) for start, done in zip(starts, rounds, strict=False))


def result(title: str, seen: Seen, wanted_rounds: int) -> Result:
    """Return the verdict."""
    took = [done.took_ms for done in seen.rounds]
    found = breaches(seen.commits, seen.rounds)
    said = noticed(seen.events)
    per_s = seen.thawed_commits / seen.thawed_s if seen.thawed_s else 0.0
    freeze_ms = {"p50": percentile(took, 0.5), "p99": percentile(took, 0.99), "max": max(took, default=None)}
    figures = {
        "rounds": len(seen.rounds),
        "freeze_ms": freeze_ms,
        "automation_commits_while_frozen": len(found),
        "automation_commits_per_thawed_s": round(per_s, 1),
        "rounds_with_automation_at_work": seen.busy,
        "frozen_s": round(sum(done.thawing_us - done.returned_us for done in seen.rounds) / 1e6, 3),
        "said_frozen": said,
        "settled_s": seen.settled_s,
        "violations": list(seen.violations),
    }
    spans = ", ".join(f"{name} {milliseconds(value)}" for name, value in freeze_ms.items())
    rows = (
        ("rounds", f"{len(seen.rounds)} of {wanted_rounds}"),
        ("freeze returned after", spans),
        ("automation's batches per thawed second", f"{per_s:,.1f}"),
        ("rounds with automation at work before the freeze", f"{seen.busy}"),
        ("times that processes said they were frozen", ", ".join(f"{n} x {e}" for e, n in said.items()) or "0"),
        ("automation's batches while frozen", f"{len(found)}"),
    )
    return Result(
        drill="freeze",
        title=title,
        columns=("", "measured"),
        rows=rows,
        promises=tuple(_promises(seen, found, wanted_rounds)),
        figures=figures,
    )


def _promises(seen: Seen, found: Sequence[Breach], wanted_rounds: int) -> Iterator[Promise]:
    words = "; ".join(f"{b.zone} serial {b.serial}: {b.words}" for b in found[:SHOWN])
    frozen = f"{len(found)} in {len(seen.rounds)} rounds"
    yield Promise("no automation batch commits between freeze and thaw (I9)", not found, words or frozen)
    moved = [done.generations for done in seen.rounds if done.generations[0] != done.generations[1]]
    yield Promise("no plan is published while frozen", not moved, f"{moved[:SHOWN]}" if moved else "0 published")
    silent = sorted({words for done in seen.rounds for words in done.silent})
    yield Promise("DNS stays as it is", not silent, "; ".join(silent[:SHOWN]) or "every answer had an address")
    done = len(seen.rounds) == wanted_rounds and seen.busy >= BUSY_SHARE * wanted_rounds
    yield Promise(
        "automation was at work, so that there was something to stop",
        done,
        f"it committed before {seen.busy} of {wanted_rounds} freezes",
    )
    after = "never" if seen.settled_s is None else f"{seen.settled_s:g} s after the last thaw"
    yield Promise("the last plan is everywhere after the thaw", seen.settled_s is not None, after)
    broken = "; ".join(f"{v.invariant} {v.endpoint} {v.detail}" for v in seen.violations[:SHOWN])
    yield Promise("no invariant is broken", not seen.violations, broken or "0 violations")
