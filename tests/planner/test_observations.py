"""Wrong observations, one after the other, through a real fleet: none of them harms an endpoint."""

import asyncio
import dataclasses

import msgspec
import pytest
from aiohttp import web

from fencepost.plan import Target
from fencepost.region import MAX_CAPACITY, AvailabilityZone, Endpoint, LoadBalancer, Region
from planner.decide import Decider


@pytest.fixture
def region() -> Region:
    """Two endpoints of ten and three load balancers."""
    balancers = tuple(
        LoadBalancer(f"az{zone}-lb-{n:02d}", f"az{zone}", f"127.1.{zone}.{n}")
        for zone, count in ((1, 10), (2, 3))
        for n in range(1, count + 1)
    )
    return Region(
        name="test",
        ttl_s=5,
        availability_zone=(AvailabilityZone("az1"), AvailabilityZone("az2")),
        load_balancer=balancers,
        endpoint=(Endpoint("a.test.", "x", ("az1-*",)), Endpoint("b.test.", "x", ("az2-*",))),
    )


@pytest.fixture
def observe_all(planner, set_fleet):
    """Sets the condition of load balancers, lets the planner see it for certain, and does a round."""

    async def change(names: list[str], **wish: object):
        for name in names:
            await set_fleet(name, **wish)
        for _ in range(3):
            await planner.observer.round()
        return await planner.tick()

    return change


A = [f"az1-lb-{n:02d}" for n in range(1, 11)]
B = [f"az2-lb-{n:02d}" for n in range(1, 4)]


async def test_everything_unhealthy_changes_nothing(planner, observe_all, published):
    """Fail open, and said of each endpoint."""
    await planner.tick()
    before = await published()

    outcome = await observe_all(A + B, healthy=False)

    assert (outcome.generation, sorted(outcome.held)) == (1, ["a.test.", "b.test."])
    assert await published() == before


async def test_one_endpoint_without_any_load_balancer_stays_and_the_other_one_moves(planner, observe_all, published):
    """b.test. is seen empty: it keeps what it has; a.test. follows the world in the same round."""
    await planner.tick()
    before = await published()
    await observe_all(B, failure="refuse")

    outcome = await observe_all(A[:1], capacity=40)

    after = await published()
    assert (after["b.test."], after["a.test."]["az1-lb-01/A"]) == (before["b.test."], 40)
    assert list(outcome.held) == ["b.test."]


async def test_ninety_percent_gone_in_one_step_leaves_what_must_stay(planner, observe_all, published, recorder):
    """By capacity, not by health: nine of ten report 1 of 100; the limit is kept, told once, and ends by itself."""
    await planner.tick()

    outcome = await observe_all(A[:9], capacity=1)
    await planner.tick()

    assert sum((await published())["a.test."].values()) >= 600
    assert "takes away 891 of 1000 A capacity within 30 s (89%), the limit is 40%" in outcome.limited["a.test."].text
    assert planner.state()["limited"] == {"a.test.": outcome.limited["a.test."].text}
    await observe_all(A[:9], capacity=100)
    told = [event for event in recorder.events if event.name.startswith("planner.removal_")]
    assert [(event.name, event.zone) for event in told] == [
        ("planner.removal_limited", "a.test."),
        ("planner.removal_allowed", "a.test."),
    ]
    assert told[0].fields["counts"] == {"removed": 891, "highest": 1000, "limit": 0.4}
    assert len(told[0].fields["kept"]) == 5
    assert planner.state()["limited"] == {}


async def test_limited_capacity_goes_by_itself_when_the_window_has_passed(
    new_planner, fleet, set_fleet, running, until
):
    """Nothing but time passes: the planner looks again, and ends with what lives."""
    planner = new_planner(look_interval_s=0.1, velocity_window_s=0.5)
    async with running(planner):
        await until(lambda: planner.not_ready() is None)
        for name in A[:9]:
            await set_fleet(name, failure="refuse")
        await until(lambda: bool(planner.outcome.limited))
        first = len(planner.publisher.snapshot.contents["a.test."].targets)
        async with asyncio.timeout(20):
            while len(planner.publisher.snapshot.contents["a.test."].targets) > 2:  # noqa: ASYNC110  -- time passes
                await asyncio.sleep(0.05)

    assert first >= 6
    assert (await planner.tick()).held == {}


@pytest.mark.parametrize(("capacity", "least"), [(0, 600), (MAX_CAPACITY, 600)])
async def test_capacity_of_nothing_or_of_far_too_much_leaves_what_must_stay(
    *, planner, observe_all, published, capacity, least
):
    """Half of the fleet says 0, or a million: neither takes the others' share of the queries."""
    await planner.tick()

    await observe_all(A[:5] if capacity == 0 else A[:1], capacity=capacity)

    after = (await published())["a.test."]
    assert sum(after.values()) >= least
    assert sum(weight == 100 for weight in after.values()) >= 4


@pytest.fixture
async def answering(settings, port_base, region, fleet, set_fleet):
    """Lets a server of the test's answer at the address of `az1-lb-01`, whatever it is told to."""
    told = {"body": b""}

    async def health(_: web.Request) -> web.Response:
        return web.Response(body=told["body"])

    await set_fleet("az1-lb-01", failure="refuse")
    app = web.Application()
    app.router.add_get("/health", health)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.1.1.1", port_base + 3).start()
    yield told
    await runner.cleanup()


@pytest.mark.parametrize(
    "page",
    [
        b'{"name":"az9-lb-99","status":"ok","capacity":1}',
        b'{"name":"az1-lb-01","status":"ok","capacity":-5}',
        b'{"name":"az1-lb-01","status":"ok","capacity":99999999}',
        b"",
    ],
)
async def test_health_page_of_a_stranger_or_of_no_sense_changes_nothing(new_planner, answering, published, page):
    """An unknown load balancer, a negative capacity, one beyond all bounds, an empty page: as it was before."""
    planner = new_planner()
    answering["body"] = b'{"name":"az1-lb-01","status":"ok","capacity":77}'
    await planner.observer.round()
    await planner.tick()
    before = await published()
    answering["body"] = page
    for _ in range(5):
        await planner.observer.round()

    outcome = await planner.tick()

    assert before["a.test."]["az1-lb-01/A"] == 77
    assert (outcome.generation, outcome.held, await published()) == (1, {}, before)


async def test_duplicate_address_holds_up_its_own_endpoint_only(planner, published, observe_all):
    """Two load balancers at one address: no plan with that is published for a.test., and b.test. moves on."""
    await planner.tick()
    before = await published()
    layout, moved = planner._layout, Target("az1-lb-02", "A", "127.1.1.1", 100)
    members = tuple(
        msgspec.structs.replace(lb, address=moved.address) if lb.name == moved.identifier else lb
        for lb in layout.members["a.test."]
    )
    twice = dataclasses.replace(layout, members={**layout.members, "a.test.": members})
    planner.publisher._decider = Decider(twice, planner._limits)

    outcome = await observe_all(B[:1], capacity=50)

    after = await published()
    assert after["a.test."] == before["a.test."]
    assert after["b.test."]["az2-lb-01/A"] == 50
    assert "address 127.1.1.1 occurs twice; correct the region file" in outcome.held["a.test."]
