"""Which calls a plan's way to the resolver is made of: one plan at a time on a quiet system, seen by the server.

Whose a call is shows in what it asks for: MONITOR has the same address for all clients of a unix socket, and no names.
"""

import asyncio
import hashlib
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

import aiohttp
import msgspec
from redis.asyncio import Redis

from fencepost.clock import Clock
from fencepost.names import fence_name
from fencepost.redis_client import load_script
from lab.bench.asker import fence_question
from lab.bench.latency_load import PAUSE_S
from lab.bench.processes import stopped
from lab.bench.programs import BenchFailed
from lab.bench.system import RESOLVER, OurSystem

BARE: Final = 500
REST_S: Final = 0.3
ALONE_S: Final = 10.0
LISTENS: Final = frozenset({"subscribe", "psubscribe", "ssubscribe"})
FOLLOWS: Final[Mapping[str, str]] = {"xread": "}:stream", "xrange": "}:stream", "hmget": "}:meta"}
"""What only the resolver reads, by these commands: a zone's history, and its head."""
FEED_PAGE: Final = hashlib.sha1(load_script("feed_page").encode(), usedforsecurity=False).hexdigest()
"""How the server knows the script by which only the resolver reads zones."""
SET_UP: Final = frozenset({"client", "hello", "auth", "select", "ping", "script"})
"""What a connection begins with, and signs of life: no part of a plan's way."""
WRITES: Final = frozenset({"evalsha", "eval"})
QUERIES: Final = 'fencepost_dns_queries_total{listener="authoritative"'


class Bare(msgspec.Struct, frozen=True):
    """Medians of round trips of nothing, seconds: PING to the server, a question to the resolver."""

    redis_s: float
    dns_s: float


class Trips(msgspec.Struct, frozen=True):
    """One plan's way from publication until it was visible, with one enactor at work.

    Attributes:
        took_s: how long it took.
        enactor: calls for this zone or for plans, up to the flip and with it; the server's commands, so calls that
            went together count one by one.
        resolver: calls after the flip.
        dns: questions that the enactor asked the resolver.
        beside: calls about other zones.
    """

    took_s: float
    enactor: int
    resolver: int
    dns: int
    beside: int

    def bare_s(self, bare: Bare) -> float:
        """Return what these calls would take one after the other if each took no longer than nothing.

        Publication is one more, and so are the two questions that show the plan.
        """
        return (1 + self.enactor + self.resolver) * bare.redis_s + (self.dns + 2) * bare.dns_s


async def bare_trips(system: OurSystem, clock: Clock) -> Bare:
    """Measure round trips of nothing on a quiet system. Raises: BenchFailed if the resolver does not answer."""
    asked, pings, questions = fence_question(system.options.many.names[0]), [], []
    for _ in range(BARE):
        began_s = clock.monotonic()
        await system.redis.ping()
        pinged_s = clock.monotonic()
        if await system.dns.ask(asked) is None:
            raise BenchFailed("the resolver leaves questions unanswered on a quiet system")
        pings.append(pinged_s - began_s)
        questions.append(clock.monotonic() - pinged_s)
    return Bare(statistics.median(pings), statistics.median(questions))


async def lone_plans(system: OurSystem, plans: int, turns: dict[str, int], clock: Clock) -> tuple[Trips, ...]:
    """Publish some plans one by one while only one enactor is at work, and count the calls of each.

    Each moves one endpoint on by one turn, from where `turns` has it, and that is kept. Raises: BenchFailed if one does
        not become visible.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:
        with stopped(system.running.supervisor.pid(name) for name in system.enactors[1:]):
            zones = (zone for _ in range(plans) for zone in system.options.many.names)
            return tuple([await _lone_plan(system, zone, turns, session, clock) for zone in islice(zones, plans)])


async def _lone_plan(
    system: OurSystem, zone: str, turns: dict[str, int], session: aiohttp.ClientSession, clock: Clock
) -> Trips:
    turns[zone] += 1
    changes = {zone: system.options.many.content(turns[zone])}
    await clock.sleep(REST_S)
    answered, asked = await _answered(system, session), system.dns.asked
    async with heard_by(system.redis) as heard:
        began_s = clock.monotonic()
        generation = await system.publish(changes)
        seen_s = await system.until_live(changes, generation, within_s=ALONE_S, pause_s=PAUSE_S)
        calls = list(heard)
    own = system.dns.asked - asked
    questions = await _answered(system, session) - answered - own
    return counted(calls, zone, seen_s - began_s, max(0, questions))


def counted(calls: Sequence[Mapping[str, Any]], zone: str, took_s: float, questions: int) -> Trips:
    """Return what the calls of one plan's way were; the first of them published it."""
    words = [str(call["command"]) for call in calls if call["client_type"] != "lua"]
    kinds = [text.partition(" ")[0].lower() for text in words]
    published = next((at for at, text in enumerate(words) if kinds[at] in WRITES and "{plans}:log" in text), -1)
    flips = [at for at, text in enumerate(words) if kinds[at] in WRITES and _moves_fence(text, zone)]
    flip = flips[-1] if flips else len(words) - 1
    way = range(published + 1, flip + 1)
    ours = [at for at in way if kinds[at] not in SET_UP and not of_resolver(words[at])]
    about = [at for at in ours if f"{{{zone}}}" in words[at] or "{plans}" in words[at]]
    following = [at for at in range(flip + 1, len(words)) if of_resolver(words[at])]
    return Trips(took_s, len(about), len(following), questions, len(ours) - len(about))


def of_resolver(text: str) -> bool:
    """Say whether a command, as MONITOR has it, is one by which the resolver follows zones; no enactor sends those."""
    kind, _, rest = text.partition(" ")
    kind = kind.lower()
    if kind == "evalsha":
        return rest.startswith(FEED_PAGE)
    return kind in LISTENS or (kind in FOLLOWS and FOLLOWS[kind] in rest)


def _moves_fence(text: str, zone: str) -> bool:
    return f"{{{zone}}}:stream" in text and fence_name(zone) in text and "CREATE" in text


async def _answered(system: OurSystem, session: aiohttp.ClientSession) -> int:
    """Return how many questions the authoritative server has answered so far."""
    url = f"{system.running.supervisor.admin_url(RESOLVER)}/metrics"
    async with session.get(url) as response:
        lines = (await response.text()).splitlines()
    return round(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(QUERIES)))


@asynccontextmanager
async def heard_by(redis: Redis) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    """Hear every command that the server executes while the context lasts; what this yields grows."""
    calls: list[Mapping[str, Any]] = []
    async with redis.monitor() as monitor:

        async def hear() -> None:
            while True:
                calls.append(await monitor.next_command())

        hearing = asyncio.create_task(hear())
        try:
            yield calls
        finally:
            hearing.cancel()
            await asyncio.wait({hearing})
