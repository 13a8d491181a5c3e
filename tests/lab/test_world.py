"""The world: which changes it chooses, which bounds it keeps, and how it asks for them."""

import asyncio
import math
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from fencepost.clock import SystemClock
from fencepost.errors import StartupError
from fencepost.events import EventBus, Recorder
from fencepost.region import load_region
from fencepost.settings import Settings
from lab.world import WORLDS, Change, Kind, Made, State, World, applied, choose, rules_of

REGION = load_region()
BASE = {lb.name: lb.capacity for lb in REGION.load_balancer}
worlds = st.sampled_from(sorted(WORLDS))


def history(world: str, seed: int, steps: int) -> list[tuple[Change, State]]:
    """Return the first changes of a world, each with the state after it."""
    rng, state, found = random.Random(seed), State(), []
    for _ in range(steps):
        change = choose(state, REGION, WORLDS[world], rng)
        state = applied(state, change)
        found.append((change, state))
    return found


@given(worlds, st.integers())
@settings(max_examples=20, deadline=None)
def test_world_of_one_seed_is_always_the_same(world: str, seed: int):
    """Both protocols meet the same changes in the same order."""
    assert history(world, seed, 50) == history(world, seed, 50)


@given(worlds, st.integers())
@settings(max_examples=20, deadline=None)
def test_world_keeps_enough_load_balancers_of_every_endpoint_in_service(world: str, seed: int):
    """After every change, each endpoint has its share of load balancers that are neither drained nor failing."""
    rules = WORLDS[world]

    for _, state in history(world, seed, 200):
        gone = state.drained | state.failing
        for endpoint in REGION.endpoint:
            members = {lb.name for lb in REGION.members(endpoint)}
            assert len(members - gone) >= math.ceil(rules.min_undrained * len(members))
        assert len(state.failing) <= rules.max_failing


@given(worlds, st.integers())
@settings(max_examples=20, deadline=None)
def test_world_keeps_capacities_within_their_bounds(world: str, seed: int):
    """Capacity goes up and down between 40 % and 160 % of what a load balancer has at first."""
    rules = WORLDS[world]

    for change, state in history(world, seed, 200):
        for name, added in state.added.items():
            assert rules.capacity_min * BASE[name] <= BASE[name] + added <= rules.capacity_max * BASE[name]
        assert (change.kind is Kind.CAPACITY) == (change.amount != 0)


def test_graceful_world_never_fails_a_load_balancer_and_does_everything_else():
    """Every lost request of the default comparison is then the DNS automation's doing."""
    kinds = {change.kind for change, _ in history("graceful", 1, 500)}

    assert kinds == {Kind.CAPACITY, Kind.DRAIN, Kind.UNDRAIN}


def test_failures_world_does_everything():
    """Hard failures and recoveries happen besides."""
    kinds = {change.kind for change, _ in history("failures", 1, 500)}

    assert kinds == set(Kind)


def test_rules_of_an_unknown_world_names_the_worlds():
    """A misspelt --world ends the command at once."""
    with pytest.raises(StartupError, match="graceful, failures"):
        rules_of("gracefull")


class Api:
    """The planner's and the fleet's APIs as the world sees them: real HTTP, answers that a test sets."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.queries: list[str] = []
        self.delay_s = 0.0
        self.status = 200

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, await request.read()))
        self.queries.append(request.query_string)
        await asyncio.sleep(self.delay_s)
        return web.json_response({"generation": len(self.asked)}, status=self.status)


@pytest.fixture
async def api(port_base) -> AsyncIterator[Api]:
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    for port in (port_base + 2, port_base + 4):
        await web.TCPSite(runner, "127.0.0.1", port).start()
    yield api
    await runner.cleanup()


def world_of(port_base: int, made: list[Made], recorder: Recorder, rate: float = 100.0) -> World:
    """Return a world that fails load balancers, too."""
    return World(
        Settings(port_base=port_base),
        WORLDS["failures"],
        rate=rate,
        rng=random.Random(1),
        clock=SystemClock(),
        events=EventBus(recorder),
        note=made.append,
    )


async def test_world_asks_planner_and_fleet_for_its_changes_and_notes_the_generations(api, port_base):
    """Capacity and drains go to the planner, failures to the fleet, and each change is noted with its plan."""
    made, recorder = list[Made](), Recorder()
    world = world_of(port_base, made, recorder)

    async with aiohttp.ClientSession() as session:
        while not any(m.change.kind is Kind.RECOVER for m in made):
            await world.once(session)

    paths = {m.change.kind: asked[:2] for m, asked in zip(made, api.asked, strict=True)}
    assert {kind: method for kind, (method, _) in paths.items()} == {
        Kind.CAPACITY: "POST",
        Kind.DRAIN: "POST",
        Kind.UNDRAIN: "DELETE",
        Kind.FAIL: "PUT",
        Kind.RECOVER: "PUT",
    }
    assert paths[Kind.CAPACITY][1].startswith("/v1/load-balancers/use1-")
    assert paths[Kind.FAIL][1].startswith("/v1/balancers/use1-")
    assert {m.change.kind: q for m, q in zip(made, api.queries, strict=True)} == dict.fromkeys(
        (Kind.CAPACITY, Kind.DRAIN, Kind.UNDRAIN), "wait=false"
    ) | dict.fromkeys((Kind.FAIL, Kind.RECOVER), "")
    assert [m.generation for m in made] == list(range(1, len(made) + 1))
    assert set(recorder.names()) == {"world.change_made"}


async def test_world_whose_request_is_refused_notes_it_and_goes_on(api, port_base):
    """A planner that says no is written down; the sequence of changes stays the seed's."""
    api.status = 503
    made, recorder = list[Made](), Recorder()
    world = world_of(port_base, made, recorder)

    async with aiohttp.ClientSession(raise_for_status=True) as session:
        first, second = await world.once(session), await world.once(session)

    assert "503" in (first.error or "")
    assert [first.change, second.change] == [change for change, _ in history("failures", 1, 2)]
    assert recorder.names() == ["world.change_failed"] * 2
    assert (world.made, world.failed) == (0, 2)


async def test_world_with_a_slow_planner_leaves_turns_out_and_counts_them(api, port_base, until):
    """At 100 changes a second and 35 ms an answer, about two turns of three pass: the reached rate is known."""
    api.delay_s = 0.035
    made = list[Made]()
    world = world_of(port_base, made, Recorder())
    running = asyncio.create_task(world.run())
    await until(lambda: len(made) >= 5)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert world.left_out >= 2 * len(made)
