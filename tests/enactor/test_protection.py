"""Protective checks in the enactor: what is live, what a zone had lately, and what an operator's force lets pass."""

import asyncio

import pytest
import redis.asyncio

from fencepost.batch import delete, swap
from fencepost.capacity import CapacityHistory, capacity_key
from fencepost.names import tree_name
from fencepost.plan import Target, content, digest

ZONE = "b.test."
OTHER = "a.test."


async def test_plan_that_takes_half_of_an_endpoint_is_refused_and_the_other_endpoint_is_installed(world):
    """Told once with rule and counts; held with the reason that names limit and remedy; others go on."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(a=world.targets(10), b=world.targets(10))
    await world.install(enactor)
    await world.publish(a=world.targets(9), b=world.targets(5))

    for _ in range(3):
        outcome = await enactor.tick()
        await world.clock.sleep(1)

    (told,) = enactor.saw("enactor.plan_refused")
    assert (told.zone, told.generation) == (ZONE, 2)
    assert told.fields == {"rule": "removal", "removed": 5, "highest": 10, "limit": 0.4}
    assert outcome.held == {ZONE: told.reason}
    assert "takes away 5 of 10 A capacity within 30 s (50%), the limit is 40%" in told.reason
    assert "--force" in told.reason
    assert outcome.installed == 2
    assert (await world.root(OTHER), await world.root(ZONE)) == (tree_name(OTHER, 2), tree_name(ZONE, 1))
    assert await world.leaves(ZONE, 2) == {}


async def test_plan_that_takes_half_of_an_endpoint_without_protective_checks_is_installed(world):
    """What the guard is worth: a bad plan goes through."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without="protective-checks")
    await world.publish(b=world.targets(10))
    await world.install(enactor)
    await world.publish(b=world.targets(5))

    await world.install(enactor)

    assert len(await world.leaves(ZONE, 2)) == 5
    assert capacity_key(ZONE) not in await world.records(ZONE)


async def drain_step_by_step(world, enactor) -> int:
    """Take one of ten load balancers away with each plan, one a second; return how many the endpoint has at the end."""
    for count in range(10, 2, -1):
        await world.publish(b=world.targets(count))
        await enactor.tick()
        await world.clock.sleep(1)
    live = await world.root(ZONE)
    return len([r for r in (await world.records(ZONE)).values() if r.name == live])


@pytest.mark.parametrize(("without", "left"), [("", 6), ("velocity", 3)])
async def test_endpoint_drained_step_by_step_keeps_what_the_window_allows(world, without, left):
    """However many plans it takes, 40 % may go within the window; without velocity each plan is judged by itself."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without=without)

    assert await drain_step_by_step(world, enactor) == left

    refused = enactor.saw("enactor.plan_refused", ZONE)
    assert bool(refused) is (left == 6)


async def test_enactor_whose_clock_is_ahead_judges_by_the_same_window(world):
    """A minute ahead, and the window has not passed for that: what counts is the time of the store."""
    await world.add_zones(ZONE)
    enactor, ahead = world.enactor("fixed", "one"), world.enactor("fixed", "two", clock=type(world.clock)(skew_s=60))
    await world.publish(b=world.targets(10))
    await world.install(ahead)
    await world.publish(b=world.targets(7))
    await world.install(enactor)
    await world.publish(b=world.targets(5))

    await ahead.tick()

    assert [event.fields["rule"] for event in ahead.saw("enactor.plan_refused", ZONE)] == ["removal"]


async def test_plan_that_was_refused_is_installed_when_the_window_has_passed(world):
    """The zone keeps the history, so another enactor knows it too; what may go later goes later."""
    await world.add_zones(ZONE)
    enactor, another = world.enactor("fixed", "one"), world.enactor("fixed", "two")
    await drain_step_by_step(world, enactor)
    await world.publish(b=world.targets(4))
    await another.tick()
    assert another.saw("enactor.plan_refused", ZONE)[0].fields["highest"] == 10

    await world.clock.sleep(31)
    await another.tick()

    assert await world.root(ZONE) == tree_name(ZONE, 9)
    history = CapacityHistory.parse(ZONE, (await world.records(ZONE))[capacity_key(ZONE)])
    assert history.samples[-1].capacity == (4, 0)


async def test_plan_that_an_operator_forces_passes_and_starts_the_history_anew(world):
    """Force lets this plan pass, and the next ones are compared with it, not with what was live before."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(10))
    await world.install(enactor)
    await world.publish(b=world.targets(5), force=True)
    await world.publish(b=world.targets(5, weight=2))

    await world.install(enactor)
    assert await world.root(ZONE) == tree_name(ZONE, 3)

    await world.publish(b=world.targets(2))
    await enactor.tick()
    (told,) = enactor.saw("enactor.plan_refused")
    assert told.fields["highest"] == 10  # five of weight 2
    assert await world.root(ZONE) == tree_name(ZONE, 3)


async def test_endpoint_that_answers_nothing_has_nothing_to_lose(world):
    """Its fence names a content that is gone: a plan with half of it is better than none."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(10))
    await world.install(enactor)
    await world.operate(
        ZONE, *(delete(r) for r in (await world.records(ZONE)).values() if r.name == tree_name(ZONE, 1))
    )
    await world.publish(b=world.targets(5))

    await world.install(enactor)

    assert len(await world.leaves(ZONE, 2)) == 5
    assert not enactor.saw("enactor.plan_refused")
    assert enactor.saw("enactor.rollback_left_out", ZONE)


async def test_enactor_that_never_saw_what_is_live_reads_it_from_the_zone(world):
    """A restarted enactor knows no digest: the live tree is read, here that of a zone that buggy left behind."""
    await world.add_zones(ZONE)
    await world.publish(b=world.targets(10))
    await world.enactor("buggy", "old").tick()
    await world.publish(b=world.targets(5))
    fixed = world.enactor("fixed", "new")

    await fixed.tick()

    assert fixed.saw("enactor.plan_refused", ZONE)[0].fields["highest"] == 10
    assert await world.root(ZONE) == tree_name(ZONE, 1)


async def test_plan_with_a_load_balancer_that_the_region_does_not_have_is_refused_unless_forced(world):
    """A stranger's address is not served on a planner's word alone."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    known = {f"lb-{n:04d}": {"A": f"10.1.0.{n}"} for n in range(1, 11)}
    enactor.tools.protection._known = {ZONE: known}
    await world.publish(b=world.targets(10))
    await world.install(enactor)
    stranger = content(5, [*world.targets(9).targets, Target("lb-0666", "A", "10.6.6.6", 1)])
    await world.publish(b=stranger)

    await enactor.tick()

    (told,) = enactor.saw("enactor.plan_refused")
    assert (told.fields["rule"], told.fields["strangers"]) == ("strangers", 1)
    assert "lb-0666 (10.6.6.6)" in told.reason
    await world.publish(b=stranger, force=True)
    await world.install(enactor)
    assert "lb-0666/A" in await world.leaves(ZONE, 3)


async def test_flip_whose_zone_was_given_another_history_meanwhile_is_refused_and_tried_again(world):
    """The record of the capacity is swapped in the flip's own batch: two flips cannot both count from one state."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(10))
    await world.install(enactor)
    await world.publish(b=world.targets(9))
    flip = enactor.store.hold("flip_committed 2", ZONE)
    installing = asyncio.create_task(world.install(enactor))
    await flip.arrived.wait()
    existing = (await world.records(ZONE))[capacity_key(ZONE)]
    noted = CapacityHistory.parse(ZONE, existing).noted(world.clock.epoch_s() + 3, (12, 0), 30)
    await world.operate(ZONE, *swap(existing, noted.record(ZONE)))

    flip.opened.set()
    await installing

    assert [event.fields["stale"] for event in enactor.saw("enactor.flip_refused", ZONE)] == [False]
    history = CapacityHistory.parse(ZONE, (await world.records(ZONE))[capacity_key(ZONE)])
    assert max(sample.capacity[0] for sample in history.samples) == 12


async def install_forced_stranger(world, enactor) -> None:
    """Know ten load balancers; let an operator force lb-0001 to another address."""
    known = {f"lb-{n:04d}": {"A": f"10.1.0.{n}"} for n in range(1, 11)}
    enactor.tools.protection._known = {ZONE: known}
    await world.publish(b=world.targets(10))
    await world.install(enactor)
    await world.publish(b=moved(world), force=True)
    await world.install(enactor)


def moved(world):
    """Return ten load balancers, the first of them at an address that the region file does not have."""
    return content(5, [Target("lb-0001", "A", "10.6.6.6", 1), *world.targets(10).targets[1:]])


async def test_address_of_the_region_is_right_again_after_an_operator_forced_another(world):
    """What was forced is right as well, it does not stand in the region file's place for ever."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await install_forced_stranger(world, enactor)

    await world.publish(b=world.targets(10))
    await world.install(enactor, most=1)

    assert await world.leaves(ZONE, 3) == await world.leaves(ZONE, 1) != await world.leaves(ZONE, 2)


@pytest.mark.parametrize("restarted", [False, True])
async def test_forced_address_is_a_stranger_s_in_a_later_plan_whatever_is_remembered(world, restarted):
    """Force is for one content, until it is live: who has just been started judges a later one in the same way."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await install_forced_stranger(world, enactor)
    judging = world.enactor("fixed", "two") if restarted else enactor
    judging.tools.protection._known = enactor.tools.protection._known

    await world.publish(b=content(6, moved(world).targets))
    await judging.tick()

    assert [event.fields["rule"] for event in judging.saw("enactor.plan_refused")] == ["strangers"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_forced_content_that_is_forgotten_lets_nothing_pass(world, restarted):
    """What is live stands for it then: a plan with half of that is refused as any other."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(10))
    await world.install(enactor)
    await world.publish(b=world.targets(9), force=True)
    await world.publish(b=world.targets(5))
    judging = world.enactor("fixed", "two") if restarted else enactor
    client = redis.asyncio.Redis.from_url(world.url)
    assert await client.hdel("{plans}:contents", digest(world.targets(9))) == 1
    await client.aclose()

    await judging.tick()

    (told,) = judging.saw("enactor.plan_refused")
    assert (told.fields["rule"], told.fields["highest"]) == ("removal", 10)


@pytest.mark.parametrize("forced", [True, False])
async def test_type_that_is_live_is_not_emptied_even_by_force(world, forced):
    """One address of each type stays, whoever says otherwise."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(3, kinds=("A", "AAAA")))
    await world.install(enactor)
    await world.publish(b=world.targets(3), force=forced)

    await enactor.tick()

    assert [event.fields["rule"] for event in enactor.saw("enactor.plan_refused")] == ["empty"]
    assert await world.root(ZONE, "AAAA") == tree_name(ZONE, 1)


async def test_plan_on_top_of_a_forced_one_that_was_never_live_is_noted_with_what_was_forced(world):
    """Ten were forced, eight are installed in their place: from then on the window counts from ten."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(10), force=True)
    await world.publish(b=world.targets(8))
    await world.install(enactor)
    await world.publish(b=world.targets(5))

    await enactor.tick()

    (told,) = enactor.saw("enactor.plan_refused")
    assert told.fields["highest"] == 10
