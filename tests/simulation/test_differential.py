"""The adapters on the small server and on the real one: the same steps, the same answers, the same contents."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from fencepost.batch import Action, Change, ChangeBatch
from fencepost.errors import FencepostError
from fencepost.notice import Notice
from fencepost.plan import Draft, Lane, Plan, Target, content, digest
from fencepost.records import RecordKey, RecordSet, ns, soa
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor, Commit, Report
from lab.simulation.direct import DirectClient
from lab.simulation.server import Stream

EXAMPLES = int(os.environ.get("FENCEPOST_DIFFERENTIAL_EXAMPLES", "0"))
"""0: the same few every time, as CI has them. More: that many new ones."""

ZONES = ("a.test.", "b.test.")
ENDPOINTS = ("a.test.", "b.test.", "c.test.")
KEEP = 3
ENACTOR, OPERATOR = Actor("use1-az1-enactor"), Actor("operator", operator=True)


class Side:
    """Both stores on one of the two servers.

    Attributes:
        zones: a zone store by the name that steps call it. One leaves each zone busy, one has one request in centuries.
        known: plans that were read from this server, which `latest` may be given again.
        told: what `latest` had to say to who knew a plan.
    """

    def __init__(self, client: Any) -> None:
        self.zones = {
            "enactor": RedisZoneStore(client, ENACTOR),
            "operator": RedisZoneStore(client, OPERATOR),
            "slow": RedisZoneStore(client, ENACTOR, processing_s=3600),
            "throttled": RedisZoneStore(client, ENACTOR, requests_per_s=1e-10),
        }
        self.plans = RedisPlanStore(client, keep=KEEP)
        self.known: list[Plan | None] = [None]
        self.told: set[str] = set()

    async def outcome(self, step: Callable[["Side"], Awaitable[Any]]) -> tuple[str, Any]:
        """Do a step; return what it answered, or its error with all that it says."""
        try:
            return "answer", timeless(await step(self))
        except FencepostError as error:
            fields = {name: value for name, value in vars(error).items() if name != "wait_s"}
            # Where in which script it happened is said behind the error itself.
            return type(error).__name__, (str(error).partition(" script: ")[0], fields)


def timeless(value: Any) -> Any:
    """Return an answer without what the server's clock has put in."""
    if isinstance(value, Commit):
        return msgspec.structs.replace(value, at_us=0)
    if isinstance(value, Report):
        return msgspec.structs.replace(value, age_s=0)
    if isinstance(value, dict):
        return {key: timeless(part) for key, part in value.items()}
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(timeless(part) for part in value)
    if hasattr(value, "published_ms"):
        return msgspec.structs.replace(value, published_ms=0)
    return value


TIMES = {b"at_us", b"at_ms", b"busy_until_us"}


def timeless_contents(contents: dict[str, Any]) -> dict[str, Any]:
    """Return a server's contents without what its clock has put in."""
    return {key: _timeless_value(key, value) for key, value in contents.items()}


def _timeless_value(key: str, value: Any) -> Any:
    if key == "{plans}:reports":
        return {name: text.partition(b" ")[2] for name, text in value.items()}
    if isinstance(value, dict):
        return {field: b"" if field in TIMES else text for field, text in value.items()}
    if isinstance(value, Stream):
        return value._replace(entries=tuple((entry_id, _timeless_fields(flat)) for entry_id, flat in value.entries))
    return value


def _timeless_fields(flat: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(b"" if at % 2 and flat[at - 1] in TIMES else part for at, part in enumerate(flat))


# What steps are made of: small pools, so that exact matches, conflicts and missing targets are all frequent.

LABELS = ("", "www.", "rollback.", "plan-000001.", "plan-000002.", "_lock.", "_generation.", "_frozen.", "_tree.x.")


def malformed(zone: str) -> tuple[RecordSet, ...]:
    """Return record sets that no zone takes, each for a reason of its own."""
    return (
        RecordSet("www.other.org.", "A", 5, ("10.0.0.1",)),
        RecordSet(f"www.{zone}", "A", alias="www.other.org."),
        RecordSet(f"www.{zone}", "A", 5, ("10.0.0.300",)),
        RecordSet(f"www.{zone}", "A", 5, ()),
        RecordSet(f"www.{zone}", "MX", 5, ("mail",)),
        RecordSet(f"Ä.{zone}", "TXT", 5, ('"x"',)),
        RecordSet(f"www.{zone}", "A", 5, ("10.0.0.1",), "lb-1"),
        RecordSet(f"www.{zone}", "A", 5, ("10.0.0.1",), "tab\t", 1),
        ns(zone),
    )


@st.composite
def record_sets(draw: st.DrawFn, zone: str) -> RecordSet:
    """Draw a record set that is well-formed, or one time in twelve is not."""
    if draw(st.integers(0, 11)) == 11:
        return draw(st.sampled_from(malformed(zone)))
    name = draw(st.sampled_from(LABELS)) + zone
    form = draw(st.sampled_from(("text", "address", "weighted", "alias", "alias", "cname")))
    if form == "text" or name.startswith("_"):
        return RecordSet(name, "TXT", 1, (f'"{draw(st.sampled_from("xy"))}"',))
    if form == "cname":
        return RecordSet(name, "CNAME", 5, (f"www.{zone}",))
    kind, address = draw(st.sampled_from((("A", "10.0.0."), ("AAAA", "fd00::"))))
    if form == "alias":
        return RecordSet(name, kind, alias=draw(st.sampled_from(LABELS[:5])) + zone)
    values = (address + draw(st.sampled_from("12")),)
    if form == "address":
        return RecordSet(name, kind, 5, values)
    return RecordSet(
        name, kind, 5, values, draw(st.sampled_from(("lb-1", "lb-2", "ü-3"))), draw(st.sampled_from((1, 2)))
    )


Step = Callable[[Side], Awaitable[Any]]
STEPS: dict[str, Callable[[st.DrawFn], Step]] = {}


def step(draw_step: Callable[[st.DrawFn], Step]) -> Callable[[st.DrawFn], Step]:
    """Register a kind of step."""
    STEPS[draw_step.__name__] = draw_step
    return draw_step


def zone_of(draw: st.DrawFn) -> str:
    return draw(st.sampled_from((*ZONES, *ZONES, "c.test.")))


def store_of(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(("enactor", "enactor", "operator")))


@step
def nothing(_: st.DrawFn) -> Step:
    """Do nothing: what a step that does not matter is shrunk to."""
    return lambda _: asyncio.sleep(0)


@step
def create_zone(draw: st.DrawFn) -> Step:
    zone = draw(st.sampled_from((*ZONES, "c.test.")))
    more = draw(st.lists(record_sets(zone), max_size=2))
    return lambda side: side.zones["operator"].create_zone(zone, (soa(zone, ttl=9, minimum=9), ns(zone), *more))


def batch_step(draw: st.DrawFn, actions: tuple[Action, ...], most: int) -> Step:
    zone, store = zone_of(draw), store_of(draw)
    change = st.builds(Change, st.sampled_from(actions), record_sets(zone))
    changes = tuple(draw(st.lists(change, max_size=most)))
    generation, comment = draw(st.sampled_from((None, 0, 7))), draw(st.sampled_from(("", "built tree", "ü\n")))
    batch = ChangeBatch(zone, changes, generation, comment)
    return lambda side: side.zones[store].change(batch)


@step
def change(draw: st.DrawFn) -> Step:
    return batch_step(draw, tuple(Action), 4)


@step
def fill(draw: st.DrawFn) -> Step:
    return batch_step(draw, (Action.CREATE, Action.UPSERT, Action.UPSERT), 6)


@step
def one_by_one(draw: st.DrawFn) -> Step:
    return batch_step(draw, tuple(Action), 1)


@step
def never_valid(draw: st.DrawFn) -> Step:
    """Ask for what no zone takes, each for a reason of its own: by chance alone some of these are hardly ever drawn."""
    zone, store = zone_of(draw), store_of(draw)
    change = st.builds(Change, st.sampled_from(tuple(Action)), st.sampled_from(malformed(zone)))
    batch = ChangeBatch(zone, tuple(draw(st.lists(change, min_size=1, max_size=4))))
    return lambda side: side.zones[store].change(batch)


@step
def delete_what_is_there(draw: st.DrawFn) -> Step:
    """Delete record sets as they stand, or nearly, and create others: the compare-and-swap of the protocol."""
    zone, store, picks = zone_of(draw), store_of(draw), draw(st.lists(st.integers(0, 30), min_size=1, max_size=3))
    creations = [Change(Action.CREATE, record_set) for record_set in draw(st.lists(record_sets(zone), max_size=2))]
    wrong = draw(st.sampled_from((False, False, True)))

    async def act(side: Side) -> Commit:
        there = [r for r in (await side.zones["operator"].page(zone)).record_sets if r.type not in {"SOA", "NS"}]
        found = [there[pick % len(there)] for pick in picks if there]
        if wrong:
            found = [msgspec.structs.replace(r, ttl=r.ttl + 1) if r.ttl else r for r in found]
        deletions = [Change(Action.DELETE, record_set) for record_set in found]
        return await side.zones[store].change(ChangeBatch(zone, (*deletions, *creations)))

    return act


@step
def crowd(draw: st.DrawFn) -> Step:
    """Put simple and weighted record sets, text and CNAME at one name: most pairs of them exclude each other."""
    zone, store = zone_of(draw), store_of(draw)
    name = f"www.{zone}"
    crowded = (
        RecordSet(name, "A", 5, ("10.0.0.1",)),
        RecordSet(name, "A", 5, ("10.0.0.1",), "lb-1", 1),
        RecordSet(name, "A", 5, ("10.0.0.2",), "lb-2", 1),
        RecordSet(name, "AAAA", 5, ("fd00::1",), "lb-1", 1),
        RecordSet(name, "CNAME", 5, (f"other.{zone}",)),
        ns(zone),
    )
    change = st.builds(Change, st.sampled_from(tuple(Action)), st.sampled_from(crowded))
    changes = draw(st.lists(change, min_size=1, max_size=3))
    again = changes[:1] if draw(st.sampled_from((False, False, True))) else []
    batch = ChangeBatch(zone, (*changes, *again))
    return lambda side: side.zones[store].change(batch)


@step
def busy(draw: st.DrawFn) -> Step:
    """Let a zone of its own process one batch, and send it another."""
    wait = Change(Action.UPSERT, RecordSet("slow.test.", "TXT", 1, ('"x"',)))

    async def act(side: Side) -> Commit:
        await side.zones["slow"].create_zone("slow.test.", (soa("slow.test.", ttl=9, minimum=9),))
        return await side.zones["slow"].change(ChangeBatch("slow.test.", (wait,)))

    return act


@step
def throttled(draw: st.DrawFn) -> Step:
    """Ask twice where the account has one request in centuries."""
    zone = zone_of(draw)

    async def act(side: Side) -> tuple[Any, Any]:
        return await side.zones["throttled"].page(zone), await side.zones["throttled"].page(zone)

    return act


@step
def read(draw: st.DrawFn) -> Step:
    zone, store = zone_of(draw), store_of(draw)
    keys = [record_set.key for record_set in draw(st.lists(record_sets(zone), max_size=4))]
    return lambda side: side.zones[store].read(zone, keys)


@step
def page(draw: st.DrawFn) -> Step:
    """Read a zone page by page, from its beginning or from anywhere: each page starts where the last one said."""
    zone, store, limit = zone_of(draw), store_of(draw), draw(st.sampled_from((1, 2, 3, 300)))
    within = draw(st.none() | st.sampled_from(LABELS).map(lambda label: label + zone))
    first: RecordKey | None = draw(st.none() | record_sets(zone).map(lambda record_set: record_set.key))

    async def act(side: Side) -> tuple[Any, ...]:
        pages = [await side.zones[store].page(zone, first, limit, within=within)]
        while pages[-1].next_key:
            pages.append(await side.zones[store].page(zone, pages[-1].next_key, limit, within=within))
        return tuple(pages)

    return act


@step
def commits(draw: st.DrawFn) -> Step:
    zone, after, limit = zone_of(draw), draw(st.integers(0, 6)), draw(st.sampled_from((1, 2, 1000)))
    return lambda side: side.zones["enactor"].commits(zone, after, limit)


@step
def follow(draw: st.DrawFn) -> Step:
    positions = draw(st.dictionaries(st.sampled_from((*ZONES, "c.test.")), st.integers(0, 6), min_size=1))
    return lambda side: side.zones["enactor"].follow(positions, 0)


CONTENTS = [content(ttl, [Target("lb-1", "A", "10.0.0.1", 1)]) for ttl in (1, 2, 3)]


@step
def publish(draw: st.DrawFn) -> Step:
    changes = draw(st.dictionaries(st.sampled_from(ENDPOINTS), st.sampled_from((None, *CONTENTS)), max_size=3))
    operator, force = draw(st.booleans()), draw(st.booleans())
    pin = draw(st.none() | st.just(Notice("ann", 1_790_000_000, "held"))) if operator else None
    by, lane = ("ann", Lane.FAST) if operator else ("planner", Lane.SLOW)
    draft = Draft(changes, "why not", lane, by, operator, operator and force, pin)
    wrong, floor = draw(st.sampled_from((0,) * 9 + (1,))), draw(st.sampled_from((0, 0, 0, 5, 12)))

    async def act(side: Side) -> int:
        return await side.plans.publish(draft, expected=await side.plans.latest_generation() + wrong, floor=floor)

    return act


@step
def latest(draw: st.DrawFn) -> Step:
    pick, other_time = draw(st.integers(0, 9)), draw(st.sampled_from((0, 0, 0, 1)))

    async def act(side: Side) -> Plan | None:
        known = side.known[-1 - pick % len(side.known)]
        if known:
            known = msgspec.structs.replace(known, published_ms=known.published_ms + other_time)
        found = await side.plans.latest(known)
        if known and found:
            side.told.add("told nothing more" if found is known else "told what changed")
        side.known.append(found)
        return found

    return act


@step
def get(draw: st.DrawFn) -> Step:
    back = draw(st.integers(-1, 5))

    async def act(side: Side) -> Plan:
        summaries = await side.plans.history(limit=10)
        kept = [summary.generation for summary in summaries] or [0]
        return await side.plans.get(kept[back] if 0 <= back < len(kept) else kept[-1] - back)

    return act


@step
def history(draw: st.DrawFn) -> Step:
    limit, before = draw(st.sampled_from((1, 2, 20))), draw(st.none() | st.integers(1, 14))
    return lambda side: side.plans.history(limit, before)


@step
def contents(draw: st.DrawFn) -> Step:
    digests = draw(st.lists(st.sampled_from([*map(digest, CONTENTS), "0" * 32]), max_size=4))
    return lambda side: side.plans.contents(digests)


@step
def set_requests(draw: st.DrawFn) -> Step:
    keys, values = st.sampled_from(("drain a", "drain b", "ü")), st.none() | st.sampled_from(("{}", '{"x": 1}'))
    changes = draw(st.dictionaries(keys, values, max_size=3))
    return lambda side: side.plans.set_requests(changes)


@step
def controls(draw: st.DrawFn) -> Step:
    return lambda side: side.plans.controls()


@step
def freeze(draw: st.DrawFn) -> Step:
    why = draw(st.sampled_from(("", "a drill")))
    return lambda side: side.plans.freeze(Notice("ann", 1_790_000_000, why))


@step
def thaw(draw: st.DrawFn) -> Step:
    return lambda side: side.plans.thaw()


@step
def unpin(draw: st.DrawFn) -> Step:
    endpoints = draw(st.lists(st.sampled_from(ENDPOINTS), max_size=3))
    return lambda side: side.plans.unpin(endpoints)


@step
def report(draw: st.DrawFn) -> Step:
    name, held = draw(st.sampled_from(("planner", "enactor"))), draw(st.sampled_from(({}, {"a.test.": "locked"})))
    word = Report(role=name, generation=draw(st.integers(0, 3)), text="works", held=held)
    return lambda side: side.plans.report(name, word)


@step
def what_is_said(draw: st.DrawFn) -> Step:
    return lambda side: both_of(side.plans.requests(), side.plans.reports())


async def both_of(first: Awaitable[Any], second: Awaitable[Any]) -> tuple[Any, Any]:
    return await first, await second


OFTEN = {"change": 5, "fill": 4, "one_by_one": 6, "delete_what_is_there": 6, "publish": 9, "latest": 4, "get": 3}
KINDS = tuple(name for name in STEPS for _ in range(OFTEN.get(name, 2)))


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, Step]:
    """Draw one step with its name."""
    name = draw(st.sampled_from(KINDS))
    return name, STEPS[name](draw)


EXPECTED = {
    "committed", "not_found", "mismatch", "exists", "target_missing", "target_outside", "deleted_twice",
    "cname_conflict", "policy_conflict", "outside_zone", "malformed", "apex_required", "no_changes",
    "ZoneFrozen", "NoSuchHostedZone",
    "PriorRequestNotComplete", "Throttling", "published", "PlanConflict", "PlansFrozen", "EndpointPinned",
    "PlanNotFound", "oldest kept", "told nothing more", "told what changed", "a plan got",
}  # fmt: skip


def reached(name: str, kind: str, said: Any) -> set[str]:
    """Return what a step's outcome shows to have been reached."""
    if kind == "InvalidChangeBatch":
        return {failed.reason for failed in said[1]["failed"]}
    if kind == "PlanNotFound":
        return {kind, "oldest kept"} if said[1]["oldest"] > 1 else {kind}
    if kind != "answer":
        return {kind}
    if isinstance(said, Commit):
        return {"committed"}
    return {{"publish": "published", "get": "a plan got"}.get(name, name)}


class Comparison:
    """Runs the same steps on both servers, and counts what they reached."""

    def __init__(self, both: Any, url: str) -> None:
        self.both, self.url, self.reached = both, url, Counter[str]()
        both.small.now_us = 1_790_000_000_000_000

    async def run(self, drawn: list[tuple[str, Step]]) -> None:
        """Do the steps on two empty servers; require equal outcomes, and equal contents at the end."""
        self.both.small.flush()
        await self.both.real.flushall()
        client = open_client(self.url)
        small, real = Side(DirectClient(self.both.small)), Side(client)
        try:
            for side in (small, real):
                for zone in ZONES:
                    await side.zones["operator"].create_zone(zone, (soa(zone, ttl=9, minimum=9), ns(zone)))
            for name, act in drawn:
                outcome = await small.outcome(act)
                note(f"{name}: {outcome}")
                assert outcome == await real.outcome(act), name
                self.reached.update(reached(name, *outcome))
        finally:
            await client.aclose()
        assert small.told == real.told
        self.reached.update(small.told)
        in_small, in_real = self.both.small.contents(), await self.both.real_contents()
        assert timeless_contents(in_small) == timeless_contents(in_real)


def test_adapters_do_the_same_on_the_small_server_and_on_the_real_one(both, redis_server):
    """Whatever steps are drawn: each one's answer or error is equal, the whole contents afterwards are, too.

    And they are steps worth comparing: every reason for a refusal, freezes, pins, forgotten plans are among them.
    """
    comparison = Comparison(both, redis_server)

    @settings(
        max_examples=EXAMPLES or 100,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(steps(), min_size=30, max_size=60))
    def compare(drawn: list[tuple[str, Step]]) -> None:
        both.runner.run(comparison.run(drawn))

    compare()

    assert EXPECTED - comparison.reached.keys() == set(), dict(comparison.reached)
