"""What is left of a run: the zones' commits, the plans, what probes and customers saw, and what processes said.

On disk a run is a directory: `run.json`, `commits.jsonl`, `plans.jsonl` and `last_plan.json` from the stores,
`canary.jsonl` and `load.jsonl` as their processes wrote them line by line, and `logs/*.jsonl`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from fencepost.errors import StartupError
from fencepost.plan import Content, Contents, Plan, PlanSummary
from fencepost.stores import Commit, PlanStore, ZoneStore

RUN_FILE: Final = "run.json"
COMMITS_FILE: Final = "commits.jsonl"
PLANS_FILE: Final = "plans.jsonl"
LAST_PLAN_FILE: Final = "last_plan.json"
CANARY_FILE: Final = "canary.jsonl"
LOAD_FILE: Final = "load.jsonl"
LOGS_DIR: Final = "logs"
PAGE: Final = 1000
EMPTY_RCODES: Final = ("NOERROR", "NXDOMAIN")

T = TypeVar("T")


class HistoryUnusable(StartupError):
    """A run's history cannot be read, or is not whole; the message names the place and the remedy."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place, self.problem = place, problem


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one mode. Instants are epoch microseconds; 0 means that it is not known.

    Attributes:
        mode: buggy or fixed.
        duration_s: for how long the world was meant to change.
        parameters: every option, JSON-able. `clock_skew_s` is the most that two processes' clocks differ by.
        started_us: when every process was ready and the world began to change.
        stopped_us: when the last probe ended.
        faults_ended_us, world_stopped_us: when the last fault, the last change of the world was over.
    """

    mode: str
    seed: int
    profile: str
    started_us: int
    duration_s: float
    parameters: dict[str, Any] = {}
    stopped_us: int = 0
    faults_ended_us: int = 0
    world_stopped_us: int = 0

    def seconds(self, at_us: int) -> float:
        """Return how long after the start of the run an instant is, in seconds."""
        return (at_us - self.started_us) / 1e6


class Probe(msgspec.Struct, frozen=True):
    """One question of the canary to the authoritative server.

    Attributes:
        at_us: when it was asked, epoch microseconds.
        type: A or AAAA.
        rcode: NOERROR, NXDOMAIN ...; "" where no answer came.
        addresses: in the order of the answer.
        error: why there was no usable answer (a timeout, say); "" where there was one.
    """

    at_us: int
    endpoint: str
    type: str
    rcode: str
    addresses: tuple[str, ...]
    took_ms: float
    error: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether the server denied, with authority, that there is an address. No answer at all is no denial."""
        return not self.error and not self.addresses and self.rcode in EMPTY_RCODES


class Request(msgspec.Struct, frozen=True):
    """One customer's request, from the look-up of the name to the last byte. `at_us` is when it began."""

    at_us: int
    endpoint: str
    ok: bool
    error: str
    took_ms: float
    load_balancer: str = ""


class Collected(NamedTuple):
    """What the stores know after a run: commits by zone and plans, oldest first, and the last plan, whole."""

    commits: dict[str, tuple[Commit, ...]]
    plans: tuple[PlanSummary, ...]
    last_plan: Plan | None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one run that the checker and the report read.

    Attributes:
        commits: zone -> all of its commits, serials 1, 2, 3 ... without a gap.
        plans: oldest first.
        last_plan: the last one with all of its contents; None if no plan was published.
        probes, requests: in order of `at_us`.
        events: parsed JSON log lines of all processes, in order of `timestamp`.
    """

    run: RunInfo
    commits: dict[str, tuple[Commit, ...]]
    plans: tuple[PlanSummary, ...] = ()
    last_plan: Plan | None = None
    probes: tuple[Probe, ...] = ()
    requests: tuple[Request, ...] = ()
    events: tuple[dict[str, Any], ...] = ()

    @property
    def end_us(self) -> int:
        """When the recording ends: as the run says, else the last thing in it."""
        if self.run.stopped_us:
            return self.run.stopped_us
        committed = (commits[-1].at_us for commits in self.commits.values() if commits)
        probed = (probe.at_us for probe in self.probes[-1:])
        requested = (request.at_us for request in self.requests[-1:])
        return max([self.run.started_us, *committed, *probed, *requested])


async def collect(
    zone_store: ZoneStore, plan_store: PlanStore, zones: Sequence[str], *, until_us: int | None = None
) -> Collected:
    """Read all commits and plans that the stores keep, up to an instant (epoch microseconds; None: all that there are).

    A system that runs on may be at work on a plan that came after the last look at it: that is no part of the run.
    Raises: HistoryUnusable if a zone's first commits are no longer kept, NoSuchHostedZone, StoreError.
    """
    commits = {zone: await _all_commits(zone_store, zone) for zone in sorted(zones)}
    plans, last = await _all_plans(plan_store), await plan_store.latest()
    if until_us is not None:
        commits = {zone: tuple(takewhile(lambda c: c.at_us <= until_us, found)) for zone, found in commits.items()}
        plans = tuple(plan for plan in plans if plan.published_ms * 1000 <= until_us)
    if not plans:
        last = None
    elif last is None or last.generation != plans[-1].generation:
        last = await plan_store.get(plans[-1].generation)
    return Collected(commits, plans, last)


async def _all_commits(store: ZoneStore, zone: str) -> tuple[Commit, ...]:
    found: list[Commit] = []
    while page := await store.commits(zone, found[-1].serial if found else 0, PAGE):
        found += page
    require_whole(zone, found)
    return tuple(found)


async def _all_plans(store: PlanStore) -> tuple[PlanSummary, ...]:
    newest_first: list[PlanSummary] = []
    while page := await store.history(PAGE, newest_first[-1].generation if newest_first else None):
        newest_first += page
    return tuple(reversed(newest_first))


def require_whole(zone: str, commits: Sequence[Commit]) -> None:
    """Refuse a zone history that does not have every serial from 1 on: nothing could be proved from it.

    Raises: HistoryUnusable.
    """
    for last, commit in enumerate(commits):
        require_next(zone, last, commit)


def require_next(zone: str, last: int, commit: Commit) -> None:
    """Refuse a commit that does not come right after the one with the serial `last`. Raises: HistoryUnusable."""
    if commit.serial != last + 1:
        raise HistoryUnusable(
            zone,
            f"commits {last + 1} to {commit.serial - 1} are not in the history; "
            "record the run anew with a larger FENCEPOST_STREAM_LIMIT, or a shorter one",
        )


def save(history: History, directory: Path) -> None:
    """Write a run into a directory, which is made if need be.

    `canary.jsonl`, `load.jsonl` and `logs` belong to the processes that write them: where they exist they stay as is.
    Raises: ContentDamaged before anything is written.
    """
    last_plan = msgspec.json.encode(history.last_plan, enc_hook=dict)  # first: the plan store may have damaged it
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RUN_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(history.run)))
    _write_lines(directory / COMMITS_FILE, (c for zone in sorted(history.commits) for c in history.commits[zone]))
    _write_lines(directory / PLANS_FILE, history.plans)
    (directory / LAST_PLAN_FILE).write_bytes(last_plan)
    theirs: Mapping[Path, Sequence[Any]] = {
        directory / CANARY_FILE: history.probes,
        directory / LOAD_FILE: history.requests,
        directory / LOGS_DIR / "events.jsonl": history.events,
    }
    for path, items in theirs.items():
        if items and not path.exists() and not (path.parent.name == LOGS_DIR and path.parent.exists()):
            path.parent.mkdir(exist_ok=True)
            _write_lines(path, items)


def load(directory: Path) -> History:
    """Read a run from its directory. Raises: HistoryUnusable naming the file, the line and the remedy."""
    run = _read_one(directory / RUN_FILE, RunInfo)
    commits: dict[str, list[Commit]] = {}
    for commit in _read_lines(directory / COMMITS_FILE, Commit):
        commits.setdefault(commit.zone, []).append(commit)
    for zone, found in commits.items():
        require_whole(zone, found)
    return History(
        run=run,
        commits={zone: tuple(found) for zone, found in sorted(commits.items())},
        plans=tuple(_read_lines(directory / PLANS_FILE, PlanSummary)),
        last_plan=_read_one(directory / LAST_PLAN_FILE, Plan | None, _contents),  # type: ignore[arg-type]  # a union is a type to msgspec
        probes=tuple(sorted(_read_probes(directory / CANARY_FILE, Probe), key=lambda probe: probe.at_us)),
        requests=tuple(sorted(_read_probes(directory / LOAD_FILE, Request), key=lambda request: request.at_us)),
        events=tuple(read_events(directory / LOGS_DIR)),
    )


def event_us(event: Mapping[str, Any]) -> int:
    """Return when a log line was written, epoch microseconds; 0 if it does not say."""
    try:
        return round(datetime.fromisoformat(str(event.get("timestamp"))).timestamp() * 1e6)
    except ValueError:
        return 0


def _write_lines(path: Path, items: Iterable[Any]) -> None:
    encoder = msgspec.json.Encoder()
    with path.open("wb") as out:
        for item in items:
            out.write(encoder.encode(item) + b"\n")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HistoryUnusable(
            str(path),
            f"{error.strerror}; name a directory that `fencepost compare` has written, one mode's or its parent",
        ) from error


def _contents(_: type, found: object) -> Contents:
    """Return a plan's contents, the one thing in a run that msgspec cannot read by itself."""
    return Contents.of(msgspec.convert(found, dict[str, Content]))


def _read_one(path: Path, kind: type[T], dec_hook: Callable[[type, Any], object] | None = None) -> T:
    try:
        return msgspec.json.decode(_read_bytes(path), type=kind, dec_hook=dec_hook)
    except msgspec.DecodeError as error:
        raise HistoryUnusable(str(path), f"is not part of a run: {error}") from error


def _read_lines(path: Path, kind: type[T]) -> list[T]:
    return _decode_lines(path, _read_bytes(path).split(b"\n"), kind)


def _read_probes(path: Path, kind: type[T]) -> list[T]:
    """Read what a process wrote line by line: none at all if it never ran, and its last line may be cut off."""
    if not path.exists():
        return []
    *lines, rest = _read_bytes(path).split(b"\n")
    found = _decode_lines(path, lines, kind)
    try:
        return [*found, msgspec.json.decode(rest, type=kind)]
    except msgspec.DecodeError:
        return found


def _decode_lines(path: Path, lines: Iterable[bytes], kind: type[T]) -> list[T]:
    decoder = msgspec.json.Decoder(kind)
    found = []
    for number, line in enumerate(lines, 1):
        try:
            if line:
                found.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise HistoryUnusable(f"{path}, line {number}", f"is not part of a run: {error}") from error
    return found


def read_events(directory: Path) -> list[dict[str, Any]]:
    """Read every log line that is a JSON object; a traceback between them is for people."""
    found = []
    for path in sorted(directory.glob("*.jsonl")):
        for line in _read_bytes(path).splitlines():
            try:
                found.append(msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.DecodeError:
                continue
    return sorted(found, key=lambda event: str(event.get("timestamp", "")))
