"""The benchmark of latency: every plan is followed until it is visible, and its way is counted."""

import asyncio
import io
import math
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from rich.console import Console

from fencepost.cli import run
from fencepost.exit_codes import EXIT_FINE, EXIT_USAGE
from fencepost.records import ns, soa
from fencepost.redis_client import open_client
from fencepost.redis_feed import RedisZoneFeed
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor
from lab.bench.fine_clock import FineClock
from lab.bench.latency import LatencyBench, LatencyOptions, Measured, result
from lab.bench.latency_load import LatencyLoad, Sent
from lab.bench.latency_trips import SET_UP, Bare, Trips, counted, heard_by, of_resolver
from lab.bench.many import Many
from lab.bench.programs import BenchFailed
from lab.bench.system import OurOptions, our_system
from lab.bench.usage import usage
from lab.compare import Outputs

ZONE = "a.test."
MANY = Many(endpoints=2, members=3, turns=64)


def sent(*took_s: float | None) -> list[Sent]:
    """Return plans that took so long, None for one that was never seen."""
    return [Sent("x.", 1, 10.0, visible_s=None if one is None else 10.0 + one) for one in took_s]


def measured(*took_s: float | None) -> Measured:
    """Return a run with such plans."""
    return Measured(sent(*took_s), Bare(0.001, 0.002), [Trips(0.1, 9, 2, 3, 0)], {"resolver": usage()})


class TestRun:
    """On a real system."""

    async def test_bench_sees_every_plan_and_writes_its_latency(self, port_base, tmp_path, monkeypatch):
        """Each plan is visible, no sooner than it was published, and the way of a lone one is counted."""
        monkeypatch.setattr("lab.bench.latency.LONE", 2)
        options = LatencyOptions(rate=20, duration_s=0.5, endpoints=2, members=3, enactors=2, port_base=port_base)
        outputs = Outputs(tmp_path / "out.json", tmp_path / "out.html")

        code = await LatencyBench(options, outputs, Console(file=io.StringIO()), Console(file=io.StringIO())).run()

        found = msgspec.json.decode((tmp_path / "out.json").read_bytes())
        assert code == EXIT_FINE
        assert (found["bench"], found["peers"], found["plans"], found["never_seen"]) == ("latency", {}, 10, 0)
        assert 0 < found["ours"] == found["p50_s"] <= found["p99_s"] <= found["max_s"]
        assert 0 < found["bare"]["redis_s"] < found["p50_s"]
        assert all(trips["enactor"] >= 2 and trips["took_s"] > 0 for trips in found["lone"])
        assert "publish -&gt; visible" in (tmp_path / "out.html").read_text("utf-8")

    async def test_load_whose_enactors_stand_still_counts_plans_as_never_seen(self, port_base, monkeypatch):
        """Nothing is made up, and the wait is bounded."""
        monkeypatch.setattr("lab.bench.latency_load.SETTLE_S", 0.2)
        async with our_system(OurOptions(MANY, 1, port_base), FineClock()) as system:
            os.kill(system.running.supervisor.pid(system.enactors[0]), signal.SIGSTOP)

            plans = await LatencyLoad(system, dict.fromkeys(MANY.names, 0), FineClock()).run(20, 0.2)

        assert len(plans) == 4
        assert [plan.visible_s for plan in plans] == [None] * 4

    async def test_load_finds_answers_that_contradict_their_plan(self, port_base):
        """A fence that says one plan over addresses of another is an error, and no latency."""
        async with our_system(OurOptions(MANY, 1, port_base), FineClock()) as system:
            load = LatencyLoad(system, dict.fromkeys(MANY.names, 0), FineClock())
            await load.publish_one(MANY.names[0], 0.0)
            watched = load.watched[MANY.names[0]]

            with pytest.raises(BenchFailed, match=r"said to be at plan 1, but answers turn \[7\]"):
                load.see(watched, 1, {7})

            load.see(watched, 1, {1})
            assert not watched.waiting


class TestFigures:
    """What is said of the plans."""

    def test_quantile_counts_plans_that_were_never_seen(self):
        """A plan that never came is not left out of the count: it is slower than every other."""
        run_of = measured(0.1, 0.3, 0.2, None)

        assert run_of.quantile_s(0.5) == pytest.approx(0.2)
        assert run_of.quantile_s(0.75) == pytest.approx(0.3)
        assert run_of.quantile_s(0.99) == math.inf
        assert run_of.never_seen == 1

    def test_document_has_none_where_it_was_never(self):
        """Infinity is no JSON."""
        found = result(LatencyOptions(), measured(0.1, None)).document

        assert (found["p50_s"], found["p99_s"], found["max_s"]) == (pytest.approx(0.1), None, None)
        assert msgspec.json.decode(msgspec.json.encode(found))["never_seen"] == 1

    def test_way_of_bare_round_trips_counts_publication_and_both_questions(self):
        """Ten calls and two of the resolver to Redis, three questions and two."""
        assert measured(0.1).bare_path_s == pytest.approx((1 + 9 + 2) * 0.001 + (3 + 2) * 0.002)

    def test_calls_of_a_way_are_told_apart(self):
        """Up to the flip they are the enactor's, behind it the resolver's; other zones are beside.

        An enactor that waits for the next plan, behind the flip, is no part of the way.
        """
        heard = [
            "EVALSHA 1 8 {plans}:head {plans}:log",
            "CLIENT SETINFO",
            "EVALSHA 2 4 {plans}:head",
            "HMGET {a.}:meta serial at_us",
            "EVALSHA 3 2 {a.}:records",
            "EVALSHA 3 2 {b.}:records",
            "XREAD COUNT 1 STREAMS {a.}:stream",
            "EVALSHA 4 5 {a.}:records {a.}:stream CREATE _generation.a.",
            "HMGET {a.}:meta serial at_us",
            "XREAD COUNT 1 BLOCK 2000 STREAMS {plans}:log 7-0",
            "XRANGE {a.}:stream",
            "EVALSHA 4 5 {a.}:records {a.}:stream CREATE _lock.a.",
        ]
        calls = [{"command": text, "client_type": "unix"} for text in heard]
        calls.insert(3, {"command": "HGET {a.}:records", "client_type": "lua"})

        assert counted(calls, "a.", 0.5, 3) == Trips(0.5, enactor=3, resolver=2, dns=3, beside=1)


class TestWhose:
    """Whose a call is, by what the adapters really send."""

    async def test_calls_of_the_feed_are_the_resolvers(self, redis_url):
        """All that it sends, whatever way it follows a zone."""
        zones, feed = RedisZoneStore(open_client(redis_url), Actor("test")), RedisZoneFeed(open_client(redis_url))
        await zones.create_zone(ZONE, (soa(ZONE, ttl=9, minimum=9), ns(ZONE)))
        await feed.page(ZONE)
        try:
            async with heard(redis_url) as calls:
                await feed.page(ZONE)
                await feed.heads([ZONE])
                await feed.since({ZONE: 1})
                await feed.hints(0.01)
        finally:
            await feed.close()
            await zones.close()

        kinds = [text.partition(" ")[0].lower() for text in calls]
        assert kinds == ["evalsha", "hmget", "xrange", "subscribe"]
        assert all(map(of_resolver, calls))

    async def test_calls_of_plans_and_zones_are_not_the_resolvers(self, redis_url):
        """An enactor that waits for a plan reads a stream, too, but the plans' one."""
        zones, plans = RedisZoneStore(open_client(redis_url), Actor("test")), RedisPlanStore(open_client(redis_url))
        await zones.create_zone(ZONE, (soa(ZONE, ttl=9, minimum=9), ns(ZONE)))
        try:
            async with heard(redis_url) as calls:
                await plans.wait(0, 0.01)
                await plans.latest()
                await plans.contents(["0" * 64])
                await zones.read(ZONE, [])
                await zones.page(ZONE)
        finally:
            await plans.close()
            await zones.close()

        assert {"xread", "hmget", "evalsha"} <= {text.partition(" ")[0].lower() for text in calls}
        assert not any(map(of_resolver, calls))


@asynccontextmanager
async def heard(url: str) -> AsyncIterator[list[str]]:
    """Hear what the server is told while the context lasts, without what a connection begins with."""
    client = open_client(url)
    try:
        async with heard_by(client) as calls:
            told: list[str] = []
            yield told
            await client.echo("that is all")
            async with asyncio.timeout(5):
                while not any("that is all" in str(call["command"]) for call in calls):  # noqa: ASYNC110  -- MONITOR's end
                    await asyncio.sleep(0.001)
            words = (str(call["command"]) for call in calls[:-1] if call["client_type"] != "lua")
            told += [text for text in words if text.partition(" ")[0].lower() not in SET_UP]
    finally:
        await client.aclose()


def test_command_without_plans_ends_with_2(capsys):
    """A rate of nothing is no load."""
    code = run(["bench", "latency", "--rate", "0"])

    assert code == EXIT_USAGE
    assert "--rate 0" in capsys.readouterr().err
