"""The floor: fences that know more than the plan store, and the plan that is numbered above them."""

import pytest

from fencepost.errors import StoreUnavailable
from fencepost.fence import Fence
from fencepost.plan import Contents, Lane, Plan, short
from fencepost.records import RecordSet
from planner.floor import fences_of, find_lost, read_zones

DIGESTS = {"a.test.": "aaaaaaaa" + "0" * 24, "b.test.": "bbbbbbbb" + "0" * 24}
LATEST = Plan(7, 0, Lane.SLOW, "", DIGESTS, Contents({}), {}, {"a.test.": 7, "b.test.": 4})


@pytest.mark.parametrize(
    ("fences", "words"),
    [
        ({}, None),
        ({"a.test.": Fence(7, "aaaaaaaa", "x"), "b.test.": Fence(7, "bbbbbbbb", "x")}, None),
        ({"a.test.": Fence(6, "cccccccc", "x")}, None),
        (
            {"a.test.": Fence(7, "cccccccc", "x")},
            "a.test. has plan 7 (cccccccc), but the plan store's plan 7 has another",
        ),
        ({"c.test.": Fence(7, "cccccccc", "x")}, "another content there"),
        ({"b.test.": Fence(3, "cccccccc", "x")}, None),
        ({"b.test.": Fence(4, "bbbbbbbb", "x")}, None),
        (
            {"b.test.": Fence(5, "cccccccc", "x")},
            "b.test. has plan 5 (cccccccc), but the plan store's plan 5 has another",
        ),
        ({"a.test.": Fence(8, "aaaaaaaa", "x")}, "a.test. has plan 8 (aaaaaaaa), but the plan store's latest is 7"),
        ({"a.test.": Fence(8, "aaaaaaaa", "x"), "b.test.": Fence(9, "bbbbbbbb", "x")}, "b.test. has plan 9"),
    ],
)
def test_lost_plan_is_found_by_a_fence_that_no_kept_plan_explains(fences, words):
    """A generation above the latest, or one since which there is one content, with another; the highest is named."""
    lost = find_lost(fences, LATEST)

    assert (lost is None) == (words is None)
    assert (words or "") in (lost or "")


def test_lost_plan_is_found_when_the_store_is_empty():
    """All was lost."""
    assert find_lost({"a.test.": Fence(1, "aaaaaaaa", "x")}, None)
    assert find_lost({}, None) is None


async def test_fences_of_zones_that_do_not_exist_or_have_none_are_left_out(zones, set_fence):
    """Neither is an error: enactors may not have been there yet, and the broken protocol has no fences."""
    await set_fence("a.test.", "7 aaaaaaaa x")
    await zones.create_zone("b.test.", [RecordSet("b.test.", "SOA", 1, ("x",)), RecordSet("b.test.", "NS", 1, ("x",))])

    seen = await read_zones(zones, ["a.test.", "b.test.", "c.test."])
    assert fences_of(seen) == {"a.test.": Fence(7, "aaaaaaaa", "x")}


async def test_planner_that_finds_a_fence_above_the_latest_plan_publishes_the_region_above_it(
    planner, plans, set_fence, recorder
):
    """The plan store lost plans up to 145: the next one is 146, holds every endpoint, and says why; once."""
    await planner.tick()
    await set_fence("b.test.", "145 cccccccc other/1/1")
    planner.publisher.distrust()

    outcome = await planner.tick()
    again = await planner.tick()

    (summary, _) = await plans.history()
    assert (outcome.generation, again.generation) == (146, 146)
    assert summary.generation == 146
    assert sorted(summary.changed) == ["a.test.", "b.test."]
    assert summary.reason == ("whole region again: b.test. has plan 145 (cccccccc), but the plan store's latest is 1")
    assert [event.generation for event in recorder.events if event.name == "planner.floor_raised"] == [146]


async def test_planner_that_finds_the_latest_generation_with_another_content_publishes_above_it(
    planner, plans, set_fence
):
    """Two plans of one number: the zone has the lost one, so a third with a new number settles it."""
    await planner.tick()
    await set_fence("a.test.", "1 cccccccc other/1/1")
    planner.publisher.distrust()

    assert (await planner.tick()).generation == 3  # above one more, so that nothing from before passes for unchanged
    assert len((await plans.history())[0].changed) == 2


async def test_planner_whose_fence_agrees_with_the_latest_plan_publishes_nothing(planner, plans, set_fence):
    """The usual case: the enactor has installed what the store has."""
    await planner.tick()
    plan = await plans.latest()
    await set_fence("a.test.", f"1 {short(plan.digests['a.test.'])} enactor/1/1")
    planner.publisher.distrust()

    assert (await planner.tick()).generation == 1


async def test_planner_on_an_emptied_store_starts_above_the_fences(planner, plans, set_fence):
    """The first plan of a store that lost everything is no number that a zone has seen."""
    await set_fence("a.test.", "41 cccccccc other/1/1")

    assert (await planner.tick()).generation == 42
    assert (await plans.latest()).generation == 42


async def test_planner_looks_at_the_fences_again_after_its_interval(new_planner, fleet, set_fence, running, until):
    """A failover that nobody noticed is found within the interval."""
    planner = new_planner(look_interval_s=0.1)
    async with running(planner):
        await until(lambda: planner.publisher.snapshot.generation == 1)
        await set_fence("a.test.", "9 cccccccc other/1/1")
        await until(lambda: planner.publisher.snapshot.generation == 10)


class Away:
    """Zones of which some do not answer."""

    def __init__(self, zones, *names: str) -> None:
        self._zones, self._names = zones, names

    async def read(self, zone, keys):
        if zone in self._names:
            raise StoreUnavailable(f"{zone} is away")
        return await self._zones.read(zone, keys)


async def test_zone_that_cannot_be_read_counts_as_it_was_last_and_stops_no_other(zones, set_fence):
    """A shard that is down is no reason to publish nothing; a store that answers for no zone is."""
    await set_fence("a.test.", "7 aaaaaaaa one")
    await set_fence("b.test.", "8 bbbbbbbb one")
    known = await read_zones(zones, ("a.test.", "b.test."))
    await set_fence("b.test.", "9 bbbbbbbb two")

    seen = await read_zones(Away(zones, "a.test."), ("a.test.", "b.test."), known)

    assert {name: fence.generation for name, fence in fences_of(seen).items()} == {"a.test.": 7, "b.test.": 9}
    with pytest.raises(StoreUnavailable):
        await read_zones(Away(zones, "a.test.", "b.test."), ("a.test.", "b.test."), known)
