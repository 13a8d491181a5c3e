"""A plan store that has lost a plan which the planner knew: nobody who knew it may pass for having the latest."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from fencepost.plan import Draft
from fencepost.redis_client import open_client
from planner.observe import Observed

WEAKER = Observed(healthy=True, capacity=60)


@pytest.fixture
def forgetting(redis_url):
    """The store fails over at the end, and has forgotten every plan that was published inside."""

    @asynccontextmanager
    async def forget():
        client = open_client(redis_url)
        keys = [b"{plans}:" + part for part in (b"head", b"current", b"log", b"contents", b"references")]
        kept = [await client.dump(key) for key in keys]
        yield
        for key, dumped in zip(keys, kept, strict=True):
            await client.restore(key, 0, dumped, replace=True)
        await client.aclose()
        # Plans of one number are told apart by their millisecond, and no failover is over within the same one.
        await asyncio.sleep(0.002)

    return forget


@pytest.mark.parametrize("others", [0, 1, 2])
async def test_planner_that_knew_a_lost_plan_publishes_the_region_anew(
    *, planner, plans, forgetting, published, recorder, others
):
    """Whatever has that number now: an enactor may be about to install the lost one, and every zone is to refuse it."""
    await planner.tick()
    known = await plans.latest()
    async with forgetting():
        planner.observer.fleet = {**planner.observer.fleet, "az1-lb-1": WEAKER}
        assert (await planner.tick()).generation == 2
    for number in range(others):
        value = known.content("b.test.")
        await plans.publish(
            Draft({"b.test.": value.__class__(60 + number, value.targets)}, "by hand"), expected=1 + number
        )

    outcome = await planner.tick()

    latest = await plans.latest(known)
    assert outcome.generation == latest.generation > max(2, 1 + others)
    assert set(latest.since.values()) == {latest.generation}
    assert (await published())["a.test."]["az1-lb-1/A"] == 60
    raised = [event for event in recorder.events if event.name == "planner.floor_raised"]
    assert [event.reason for event in raised] == ["the plan store has lost plan 2, which others may know as well"]
    assert (await planner.tick()).generation == outcome.generation


async def test_planner_that_published_upon_another_past_publishes_the_region_once_more(
    planner, plans, forgetting, recorder
):
    """The store forgets between the planner's look and its plan, and has a plan of the number that it builds on."""
    await planner.tick()
    known = await plans.latest()
    async with forgetting():
        planner.observer.fleet = {**planner.observer.fleet, "az1-lb-1": WEAKER}
        await planner.tick()
        await planner.publisher._look()
    value = known.content("b.test.")
    await plans.publish(Draft({"b.test.": value.__class__(60, value.targets)}, "by hand"), expected=1)
    planner.observer.fleet = {**planner.observer.fleet, "az2-lb-1": WEAKER}
    published, _ = await planner.publisher._attempt(planner.observer.fleet)
    assert published.generation == 3

    outcome = await planner.tick()

    assert outcome.generation > 3
    assert "planner.floor_raised" in recorder.names()
    assert set((await plans.latest(known)).since.values()) == {outcome.generation}


async def test_plan_for_the_whole_region_by_somebody_else_is_not_taken_for_another_past(
    planner, plans, someone_publishes, recorder
):
    """All is new in it, but what was known before is kept: the planner goes on from there as ever."""
    await planner.tick()
    await someone_publishes(60)
    await someone_publishes(70)

    outcome = await planner.tick()

    assert outcome.generation == 4
    assert "planner.floor_raised" not in recorder.names()
