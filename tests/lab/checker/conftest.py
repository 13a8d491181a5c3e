"""Fixtures of the checker's tests: scripts that write a zone's history by the rules of a change batch."""

import random
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from fencepost import plan, records
from fencepost.batch import Action, Change, create, delete, swap, upsert
from fencepost.names import fence_name, lock_name, rollback_name, tree_name
from fencepost.plan import Content, Contents, Lane, Plan, PlanSummary, Target
from fencepost.records import RecordSet
from fencepost.stores import Actor, Commit
from lab.history import History, Probe, Request, RunInfo

ZONE = "dynamodb.us-east-1.fencepost.test."
START_US = 1_792_000_000_000_000
LOCK_TTL_S = 5.0


class Refused(Exception):
    """The zone would not have committed this."""


class ZoneScript:
    """Writes a zone's history, and refuses what a zone would refuse; `now_s` moves by 10 ms with each commit."""

    def __init__(self, zone: str = ZONE) -> None:
        self.zone, self.now_s = zone, 0.0
        self.records: dict[tuple[str, str, str], RecordSet] = {}
        self.commits: list[Commit] = []
        self.commit("operator", *map(create, (records.soa(zone, ttl=9, minimum=9), records.ns(zone))), operator=True)

    @property
    def now_us(self) -> int:
        return START_US + round(self.now_s * 1e6)

    def commit(
        self, actor: str, *changes: Change, operator: bool = False, generation: int | None = None, lenient: bool = False
    ) -> Commit:
        """Commit a batch whole, or raise Refused; `lenient` writes down what no zone would have taken."""
        draft = dict(self.records)
        for change in changes:
            if not lenient and not self.is_legal(draft, change):
                raise Refused(change)
            draft.pop(change.record_set.key, None)
            if change.action is not Action.DELETE:
                draft[change.record_set.key] = change.record_set
        self.records, self.now_s = draft, self.now_s + 0.01
        serial = len(self.commits) + 1
        found = Commit(self.zone, serial, self.now_us, Actor(actor, operator), generation, "", changes)
        self.commits.append(found)
        return found

    @staticmethod
    def is_legal(draft: dict[tuple[str, str, str], RecordSet], change: Change) -> bool:
        existing, wanted = draft.get(change.record_set.key), change.record_set
        if change.action is Action.DELETE:
            return existing == wanted
        if change.action is Action.CREATE and existing is not None:
            return False
        return wanted.alias is None or any(key[:2] == (wanted.alias, wanted.type) for key in draft)

    def lock(self, actor: str) -> tuple[Change, ...]:
        """The two changes that every batch begins with."""
        existing = self.records.get((lock_name(self.zone), "TXT", ""))
        desired = records.txt(lock_name(self.zone), f"{actor} {self.now_us / 1e6 + LOCK_TTL_S:.3f}")
        return swap(existing, desired)

    def release(self, actor: str) -> None:
        self.commit(actor, delete(self.records[lock_name(self.zone), "TXT", ""]))

    def leaves(self, generation: int, content: Content) -> list[RecordSet]:
        name = tree_name(self.zone, generation)
        return [
            records.address(name, t.type, t.address, ttl=content.ttl, set_identifier=t.identifier, weight=t.weight)
            for t in content.targets
        ]

    def build(self, actor: str, generation: int, content: Content) -> None:
        self.commit(actor, *self.lock(actor), *map(upsert, self.leaves(generation, content)), generation=generation)

    def flip_changes(self, generation: int, kinds: tuple[str, ...] = ("A",)) -> list[Change]:
        """Root and, if there is a root already, rollback, as both protocols flip them."""
        changes = []
        for kind in kinds:
            if before := self.records.get((self.zone, kind, "")):
                changes.append(upsert(records.alias(rollback_name(self.zone), kind, before.alias or "")))
            changes.append(upsert(records.alias(self.zone, kind, tree_name(self.zone, generation))))
        return changes

    def flip(self, actor: str, generation: int, kinds: tuple[str, ...] = ("A",), *, operator: bool = False) -> None:
        lock = () if operator else self.lock(actor)
        self.commit(actor, *lock, *self.flip_changes(generation, kinds), operator=operator, generation=generation)

    def fence(self, actor: str, generation: int) -> None:
        existing = self.records.get((fence_name(self.zone), "TXT", ""))
        desired = records.txt(fence_name(self.zone), f"{generation} 0a1b2c3d {actor}.{generation}")
        self.commit(actor, *self.lock(actor), *swap(existing, desired), generation=generation)

    def install(self, actor: str, generation: int, content: Content) -> None:
        """Lock, build, flip, release."""
        self.build(actor, generation, content)
        self.flip(actor, generation, content.types)
        self.release(actor)

    def clean(self, actor: str, *generations: int, keep_sets: int = 0) -> None:
        """Delete trees, by their numbers alone; `keep_sets` record sets of each stay."""
        names = {tree_name(self.zone, generation) for generation in generations}
        doomed = [delete(found) for key, found in sorted(self.records.items()) if key[0] in names]
        self.commit(actor, *self.lock(actor), *doomed[keep_sets:])
        self.release(actor)


def contents(count: int = 3, *, kinds: tuple[str, ...] = ("A",), weight: int = 100, first: int = 1) -> Content:
    """A content of `count` load balancers."""
    address = {"A": "127.1.0.{}", "AAAA": "fd00::{}"}
    found = [
        Target(f"use1-az1-lb-{n:03d}", kind, address[kind].format(n), weight)
        for n in range(first, first + count)
        for kind in kinds
    ]
    return plan.content(5, found)


def history_of(*scripts: ZoneScript, wanted: Content | None = None, generation: int = 1, **fields: object) -> History:
    """A history of zone scripts; `wanted` is the content of the last plan in every zone."""
    end_us = max((script.now_us for script in scripts), default=START_US)
    run = {"mode": "fixed", "seed": 1, "profile": "none", "duration_s": 45.0, "started_us": START_US}
    run |= {"stopped_us": end_us} | fields.pop("run", {})  # type: ignore[operator]  # only ever a dict
    last_plan, plans = None, ()
    if wanted is not None:
        name = plan.digest(wanted)
        digests = {script.zone: name for script in scripts}
        last_plan = Plan(generation, START_US // 1000, Lane.SLOW, "", digests, Contents.of({name: wanted}))
        changed = dict.fromkeys(digests, (None, name))
        plans = (PlanSummary(generation, START_US // 1000, Lane.SLOW, "", changed),)
    commits = {script.zone: tuple(script.commits) for script in scripts}
    return History(**{"run": RunInfo(**run), "commits": commits, "plans": plans, "last_plan": last_plan} | fields)


def probe(at_s: float, *addresses: str, kind: str = "A", rcode: str = "NOERROR", error: str = "") -> Probe:
    """What the canary saw, `at_s` seconds after the start."""
    return Probe(START_US + round(at_s * 1e6), ZONE, kind, rcode, addresses, 0.5, error)


def request(at_s: float, *, ok: bool = True) -> Request:
    """A customer's request, `at_s` seconds after the start."""
    return Request(START_US + round(at_s * 1e6), ZONE, ok, "" if ok else "no address", 2.0)


class Kit:
    """What the tests of this folder need; test modules cannot import each other."""

    zone, start_us, Refused, ZoneScript = ZONE, START_US, Refused, ZoneScript
    contents, history_of, probe, request = map(staticmethod, (contents, history_of, probe, request))


@pytest.fixture(scope="session")
def kit() -> Kit:
    """The builders."""
    return Kit()


@pytest.fixture(scope="session")
def script() -> Callable[[], ZoneScript]:
    """Makes a zone that has just been created."""
    return ZoneScript


@pytest.fixture(scope="session")
def incident() -> Callable[..., tuple[ZoneScript, Content]]:
    """The seven steps of the incident, on one zone; returns it with the content that the last plan wanted.

    With `stop_after` only the first steps are taken.
    """

    def play(stop_after: int = 7) -> tuple[ZoneScript, Content]:
        zone, slow, fast = ZoneScript(), "use1-az1-enactor", "use1-az2-enactor"
        zone.install(fast, 109, contents())
        zone.build(slow, 110, contents())  # step 1: its one check passed; step 2: it waits for the lock to flip
        zone.release(slow)
        if stop_after >= 3:
            for generation in (111, 145):
                zone.install(fast, generation, contents(weight=generation))
        if stop_after >= 4:
            zone.flip(slow, 110)
            zone.release(slow)
        if stop_after >= 5:
            zone.now_s = 10.0
            zone.clean(fast, 109, 110, 111)
        if stop_after >= 6:
            zone.build(fast, 146, contents(weight=146))
            with pytest.raises(Refused):
                zone.flip(fast, 146)
            zone.release(fast)
        zone.now_s = max(zone.now_s, 11.0)
        if stop_after >= 7:
            operator = "operator"
            tree = tree_name(zone.zone, 146)
            zone.commit(operator, upsert(records.alias(zone.zone, "A", tree)), operator=True, generation=146)
        return zone, contents(weight=146)

    return play


ENDPOINTS = tuple(
    f"{name}.us-east-1.fencepost.test." for name in ("123456789012.ddb", "cell-01", "cell-02", "dynamodb")
)


@pytest.fixture(scope="session")
def long_run() -> Callable[..., History]:
    """Makes a history of a whole run: every endpoint follows a stream of plans, and some are lost as in the incident.

    `lost` maps endpoints to the second in which a slow enactor flips them back and the cleaner passes.
    """

    def make(mode: str, *, lost: dict[str, float], duration_s: float, plans_per_s: float) -> History:
        rng = random.Random(f"{mode}/{duration_s}")
        count = round(duration_s * plans_per_s)
        published = {g: g / plans_per_s for g in range(1, count + 1)}
        zones = [_zone(endpoint, published, rng, lost.get(endpoint), duration_s) for endpoint in ENDPOINTS]
        wanted = contents(2)
        changed = dict.fromkeys(ENDPOINTS, (None, plan.digest(wanted)))
        plans = tuple(
            PlanSummary(g, START_US // 1000 + round(at_s * 1000), Lane.SLOW, f"change {g}", changed)
            for g, at_s in published.items()
        )
        probes, requests = _seen(lost, duration_s)
        info = {"mode": mode, "seed": 7, "profile": "accelerated", "duration_s": duration_s}
        info |= {
            "stopped_us": START_US + round(duration_s * 1e6),
            "parameters": {"enactors": 3, "plan_rate": plans_per_s},
        }
        events = tuple(
            event for endpoint, at_s in lost.items() for event in _incident_events(endpoint, at_s, plans_per_s)
        )
        history = history_of(*zones, wanted=wanted, generation=count, run=info)
        return msgspec.structs.replace(history, plans=plans, probes=probes, requests=requests, events=events)

    return make


def _zone(
    endpoint: str, published: dict[int, float], rng: random.Random, lost_s: float | None, duration_s: float
) -> ZoneScript:
    zone, generation, kept = ZoneScript(endpoint), 0, list[int]()
    for coming, at_s in published.items():
        if at_s + 0.05 < zone.now_s or at_s > duration_s - 0.3 or (lost_s is not None and at_s > lost_s):
            continue
        zone.now_s = max(zone.now_s, at_s + rng.uniform(0.01, 0.15))
        zone.install(f"use1-az{rng.randint(1, 3)}-enactor", coming, contents(2))
        generation, kept = coming, [*kept, coming]
        if len(kept) > 10:
            zone.clean("use1-az1-enactor", kept.pop(0))
    if lost_s is not None:
        stale = kept[2]
        zone.flip("use1-az3-enactor", stale)
        zone.release("use1-az3-enactor")
        zone.now_s += 0.3
        zone.clean("use1-az1-enactor", *(old for old in kept[:-5] if old < generation))
    zone.now_s = min(zone.now_s, duration_s)
    return zone


def _seen(lost: dict[str, float], duration_s: float) -> tuple[tuple[Probe, ...], tuple[Request, ...]]:
    probes, requests = [], []
    for tick in range(round(duration_s * 10)):
        at_s = tick / 10 + 0.4
        for endpoint in ENDPOINTS:
            empty = at_s > lost.get(endpoint, duration_s) + 0.6
            at_us = START_US + round(at_s * 1e6)
            probes.append(Probe(at_us, endpoint, "A", "NOERROR", () if empty else ("127.1.0.1",), 0.4))
            requests.append(Request(at_us, endpoint, not empty, "no address" if empty else "", 3.0))
    return tuple(probes), tuple(requests)


def _incident_events(endpoint: str, lost_s: float, plans_per_s: float) -> list[dict[str, object]]:
    def line(at_s: float, name: str, process: str, **fields: object) -> dict[str, object]:
        stamp = datetime.fromtimestamp(START_US / 1e6 + at_s, UTC).isoformat()
        return {"event": f"enactor.{name}", "timestamp": stamp, "process": process, "zone": endpoint, **fields}

    reason = (
        "InvalidChangeBatch: [Tried to create an alias that targets plan-000110, type A, but that target was not found]"
    )
    missed = [line(lost_s - 2 + n * 0.4, "lock_missed", "use1-az3-enactor", streak=n) for n in range(1, 5)]
    refused = [
        line(
            lost_s + 0.5 + n / 5,
            "flip_refused",
            "use1-az1-enactor",
            generation=round(lost_s * plans_per_s) + n,
            reason=reason,
        )
        for n in range(40)
    ]
    return [*missed, *refused]
