"""Health checks: the state machine on every row of checks, what answers and errors mean, and checks of a real fleet."""

import asyncio
import errno
from functools import reduce
from itertools import takewhile
from types import SimpleNamespace

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fencepost.clock import SystemClock
from fencepost.events import EventBus
from planner.observe import (
    Observed,
    Observer,
    Reading,
    Thresholds,
    Verdict,
    advance,
    is_judged,
    read_answer,
    read_error,
)

WELL, FAILED, UNKNOWN = Reading(Verdict.WELL, 100), Reading(Verdict.FAILED, None, "no"), Reading(Verdict.UNKNOWN)
LIMITS = Thresholds(3, 2)
readings = st.lists(st.sampled_from([WELL, FAILED, UNKNOWN, Reading(Verdict.WELL, 50)]), max_size=40)
thresholds = st.builds(Thresholds, st.integers(1, 4), st.integers(1, 4))


def after(row: list[Reading], limits: Thresholds = LIMITS) -> Observed:
    """Return what is known after a row of checks."""
    return reduce(lambda seen, reading: advance(seen, reading, limits), row, Observed())


@given(readings, thresholds)
def test_health_changes_only_after_enough_checks_in_a_row(row: list[Reading], limits: Thresholds):
    """At each change of health, the last checks that said anything all say the same, and are enough of them."""
    seen, told = Observed(), list[Verdict]()
    for reading in row:
        before, seen = seen, advance(seen, reading, limits)
        if reading.verdict is not Verdict.UNKNOWN:
            told.insert(0, reading.verdict)
        if seen.healthy != before.healthy:
            needed = (
                {None: 1, False: limits.healthy_after}.get(before.healthy) if seen.healthy else limits.unhealthy_after
            )
            in_a_row = len(list(takewhile(lambda verdict: verdict is told[0], told)))
            assert told[0] is (Verdict.WELL if seen.healthy else Verdict.FAILED)
            assert in_a_row >= needed


@given(readings, thresholds)
def test_checks_that_learnt_nothing_change_nothing(row: list[Reading], limits: Thresholds):
    """Health, capacity and streak are the same with all unknown readings left out."""
    with_unknown = after(row, limits)
    without = after([reading for reading in row if reading.verdict is not Verdict.UNKNOWN], limits)

    assert (with_unknown.healthy, with_unknown.capacity, with_unknown.streak) == (
        without.healthy,
        without.capacity,
        without.streak,
    )


@given(readings, thresholds)
def test_capacity_is_the_last_one_reported(row: list[Reading], limits: Thresholds):
    """A failure never makes a capacity up or forgets it."""
    reported = [reading.capacity for reading in row if reading.capacity is not None]

    assert after(row, limits).capacity == (reported[-1] if reported else None)


def test_health_of_a_failing_load_balancer_turns_at_the_third_check_and_back_at_the_second():
    """The defaults, step by step."""
    steps = [WELL, FAILED, FAILED, WELL, FAILED, FAILED, FAILED, WELL, FAILED, WELL, WELL]

    assert [after(steps[: n + 1]).healthy for n in range(len(steps))] == [True] * 6 + [False] * 4 + [True]


def test_load_balancer_is_judged_by_a_verdict_or_when_it_had_its_checks():
    """A load balancer that only ever talks nonsense does not hold up the region for ever."""
    well = [[WELL], [FAILED] * 3, [UNKNOWN] * 3]
    assert [is_judged(after(steps), LIMITS) for steps in (*well, [FAILED] * 2, [UNKNOWN] * 2)] == [True] * 3 + [
        False
    ] * 2
    assert after([UNKNOWN] * 3).healthy is None


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b'{"name":"x","status":"ok","capacity":0}', Verdict.WELL),
        (200, b'{"name":"x","status":"ok","capacity":100,"more":1}', Verdict.WELL),
        (503, b'{"name":"x","status":"unhealthy","capacity":100}', Verdict.FAILED),
        (500, b"", Verdict.FAILED),
        (404, b"", Verdict.FAILED),
        (302, b"", Verdict.FAILED),
        (200, b"", Verdict.UNKNOWN),
        (200, b"ok", Verdict.UNKNOWN),
        (200, b"\xff\xfe{", Verdict.UNKNOWN),
        (200, b"[]", Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"ok","capacity":-1}', Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"ok","capacity":1000001}', Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"ok","capacity":"many"}', Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"ok","capacity":1.5}', Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"ok","capacity":true}', Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"ok","capacity":NaN}', Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"ok"}', Verdict.UNKNOWN),
        (200, b'{"name":"x","status":"unhealthy","capacity":1}', Verdict.UNKNOWN),
        (200, b'{"name":"y","status":"ok","capacity":100}', Verdict.UNKNOWN),
    ],
)
def test_answer_counts_only_if_it_makes_sense(status, body, verdict):
    """Anything but 200 is a failure; a 200 that is nonsense says nothing, and why is kept for people."""
    reading = read_answer("x", status, body)

    assert reading.verdict is verdict
    assert (reading.capacity is not None) == (verdict is Verdict.WELL)
    assert bool(reading.reason) == (verdict is not Verdict.WELL)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (TimeoutError(), Verdict.FAILED),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Verdict.FAILED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Verdict.FAILED),
        (aiohttp.ServerDisconnectedError(), Verdict.FAILED),
        (aiohttp.ClientPayloadError(), Verdict.FAILED),
        (OSError(errno.EHOSTUNREACH, "no route"), Verdict.FAILED),
        (OSError(errno.EMFILE, "too many open files"), Verdict.UNKNOWN),
        (OSError(errno.ENETUNREACH, "network is unreachable"), Verdict.UNKNOWN),
        (OSError(errno.EADDRNOTAVAIL, "no port left"), Verdict.UNKNOWN),
    ],
)
def test_error_counts_against_the_load_balancer_unless_it_is_ours(error, verdict):
    """A planner out of file descriptors does not declare the fleet dead."""
    reading = read_error(error, 1.0)

    assert reading.verdict is verdict
    assert reading.reason


async def test_observer_learns_health_and_capacity_of_a_whole_fleet_in_one_round(new_planner, fleet, set_fleet):
    """One good answer each is enough to begin with."""
    await set_fleet("az2-lb-2", capacity=70)
    observer = new_planner().observer
    assert observer.age_s() is None

    await observer.round()

    assert observer.complete
    assert {name: (seen.healthy, seen.capacity) for name, seen in observer.fleet.items()} == {
        "az1-lb-1": (True, 100),
        "az1-lb-2": (True, 100),
        "az2-lb-1": (True, 100),
        "az2-lb-2": (True, 70),
    }
    assert observer.age_s() < 5


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"failure": "refuse"}, "refused the connection"),
        ({"failure": "hang"}, "no answer within 0.5 s"),
        ({"failure": "error"}, "answered 500"),
        ({"healthy": False}, "answered 503"),
    ],
)
async def test_observer_finds_each_kind_of_failure_and_the_recovery(planner, set_fleet, recorder, wish, reason):
    """Three failed checks make it unhealthy, two good ones healthy again; each is one event, of this one alone."""
    observer = planner.observer
    recorder.events.clear()

    await set_fleet("az1-lb-2", **wish)
    states = []
    for _ in range(3):
        await observer.round()
        states.append(observer.fleet["az1-lb-2"].healthy)
    found = observer.fleet["az1-lb-2"]
    await set_fleet("az1-lb-2", failure="none", healthy=True)
    await observer.round()
    await observer.round()

    assert states == [True, True, False]
    assert (found.reason, found.capacity) == (reason, 100)
    assert observer.fleet["az1-lb-2"] == msgspec.structs.replace(found, healthy=True, reason="", checks=3)
    assert [(event.fields["load_balancer"], event.fields["healthy"]) for event in recorder.events] == [
        ("az1-lb-2", False),
        ("az1-lb-2", True),
    ]


@pytest.fixture
async def impostor(settings, region, port_base):
    """An observer of `az1-lb-1` alone, whose address is a server of the test's that answers with `impostor.answer`."""
    moved = msgspec.structs.replace(region.load_balancer[0], address="127.1.9.9")
    found = Observer(
        settings,
        msgspec.structs.replace(region, load_balancer=(moved,)),
        EventBus(),
        SystemClock(),
        lambda **_: None,
    )
    server = SimpleNamespace(observer=found, answer=b'{"name":"az1-lb-1","status":"ok","capacity":100}', callers=[])

    async def health(request: web.Request) -> web.Response:
        server.callers.append(request.transport.get_extra_info("peername"))
        return web.Response(body=server.answer)

    app = web.Application()
    app.router.add_get("/health", health)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, moved.address, port_base + 3).start()
    yield server
    await runner.cleanup()


async def test_observer_of_an_address_that_answers_nonsense_keeps_what_it_knew(impostor):
    """A load balancer whose page is replaced by another server's stays as it was, for as long as that lasts."""
    await impostor.observer.round()
    for impostor.answer in (b"<html>", b'{"name":"az1-lb-2","status":"ok","capacity":1}', b"", b"x" * 100_000):
        await impostor.observer.round()

    seen = impostor.observer.fleet["az1-lb-1"]
    assert (seen.healthy, seen.capacity) == (True, 100)
    assert "makes no sense" in seen.reason


async def test_observer_uses_a_new_connection_for_each_check(impostor, until):
    """One kept open would go on answering when nobody listens any more."""
    running = asyncio.create_task(impostor.observer.run())
    await until(lambda: len(impostor.callers) >= 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert len(set(impostor.callers)) == len(impostor.callers)


async def test_observer_that_runs_is_not_held_up_by_a_silent_load_balancer(new_planner, fleet, set_fleet, until):
    """While one check waits for its timeout, the others go on at their interval."""
    await set_fleet("az1-lb-1", failure="hang")
    observer = new_planner().observer
    running = asyncio.create_task(observer.run())

    await until(lambda: all(observer.fleet[name].checks == 3 for name in ("az1-lb-2", "az2-lb-1", "az2-lb-2")))
    silent = observer.fleet["az1-lb-1"].checks
    await until(lambda: observer.fleet["az1-lb-1"].healthy is False)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert silent < 3
    assert observer.complete


async def test_observer_never_has_more_checks_under_way_than_it_may(new_planner, fleet, set_fleet):
    """Four silent load balancers, one check at a time: their timeouts add up."""
    observer = new_planner(checks_at_once=1, check_timeout_s=0.1).observer
    for name in observer.fleet:
        await set_fleet(name, failure="hang")
    loop = asyncio.get_running_loop()

    started_s = loop.time()
    await observer.round()

    assert loop.time() - started_s >= 0.39
