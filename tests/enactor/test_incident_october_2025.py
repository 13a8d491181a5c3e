"""The incident of October 2025, step by step, with the real enactors over the real rules of a zone.

Source: aws.amazon.com/message/101925; AWS re:Invent 2025, DAT453. The numbers of the plans are the story's.
"""

import asyncio
from typing import Any, NamedTuple

import pytest

from fencepost.names import fence_name, rollback_name, tree_name
from fencepost.records import RecordKey

ZONE = "b.test."
OTHER = "a.test."

FIRST_BATCH = {"buggy": "lock taken", "fixed": "tree 110"}
"""What the batch that takes the lock of an install says: `fixed` begins to build in the same one."""
CLEANERS_FIRST = {"buggy": "lock taken", "fixed": "clean"}


class Played(NamedTuple):
    slow: Any
    quick: Any


@pytest.fixture
def play(world):
    """Plays steps 1 to 5; who acts when is the script's, what comes of it is the zone's."""

    async def _play(protocol: str, *, without: str = "") -> Played:
        await world.add_zones(OTHER, ZONE)
        # Time passes only where somebody waits: the cleaner's rate is not what the story is about.
        given = {"without": without, "clean_batches_per_s": 1000}
        slow, quick = world.enactor(protocol, "slow", **given), world.enactor(protocol, "quick", **given)
        for number in (99, 100, 109):
            await world.publish(number=number, a=world.targets(weight=number), b=world.targets(weight=number))
            await (slow if number == 99 else quick).tick()  # neither has just been started

        # 1. An enactor takes plan 110, which is newer than what is applied, and is held up before an endpoint's lock.
        await world.publish(number=110, a=world.targets(weight=110), b=world.targets(weight=110))
        late = slow.store.hold(FIRST_BATCH[protocol], ZONE)
        passing = asyncio.create_task(slow.tick())
        await late.arrived.wait()
        # 2. The planner goes on.
        for number in range(111, 146):
            await world.publish(number=number, a=world.targets(weight=number), b=world.targets(weight=number))
        # 3. Another enactor installs 145 on every endpoint, and is about to clean.
        cleaning = quick.store.hold(CLEANERS_FIRST[protocol], ZONE, skip=int(protocol == "buggy"))
        cleaner = asyncio.create_task(quick.tick())
        await cleaning.arrived.wait()
        assert await world.root(ZONE) == tree_name(ZONE, 145)
        # 4. In that moment the slow one gets the lock at last.
        late.opened.set()
        await passing
        # 5. The cleaner deletes what is old.
        cleaning.opened.set()
        await cleaner
        return Played(slow, quick)

    return _play


async def test_buggy_in_the_incident_of_october_2025_empties_the_endpoint_and_no_plan_heals_it(world, play):
    """The stale flip goes through, its tree is cleaned away, and every later plan is refused by the zone's rules."""
    played = await play("buggy")

    assert await world.root(ZONE) == tree_name(ZONE, 110)
    assert await world.leaves(ZONE, 110) == {}
    assert played.quick.saw("enactor.trees_cleaned", ZONE)[-1].fields["trees"] == [100, 109, 110]

    # 6. It does not heal: rollback would have to point at the missing tree.
    for number in range(146, 150):
        await world.publish(number=number, a=world.targets(weight=number), b=world.targets(weight=number))
        enactor = played[number % 2]
        await enactor.tick()
        assert enactor.saw("enactor.pass_failed")[-1].generation == number
        refused = enactor.saw("enactor.flip_refused", ZONE)[-1]
        assert f"targets {tree_name(ZONE, 110)}" in refused.reason
        assert "but that target was not found" in refused.reason
        assert await world.root(ZONE) == tree_name(ZONE, 110)
    broken = {violation.invariant for violation in await world.violations() if violation.endpoint == ZONE}
    assert broken == {"I1", "I2", "I3", "I4", "I5"}
    assert await world.root(OTHER) == tree_name(OTHER, 149)


async def test_fixed_in_the_incident_of_october_2025_has_its_stale_tree_refused_by_the_zone(world, play):
    """The same script, and nobody looks at the plan again: the zone itself refuses the stale plan, nothing dangles."""
    played = await play("fixed", without="plan-recheck")

    (refused,) = played.slow.saw("enactor.tree_refused", ZONE)
    assert refused.generation == 110
    assert fence_name(ZONE) in refused.reason
    assert await world.root(ZONE) == tree_name(ZONE, 145)
    assert len(await world.leaves(ZONE, 145)) == 2
    await world.publish(number=146, a=world.targets(weight=146), b=world.targets(weight=146))
    await played.slow.tick()
    assert await world.root(ZONE) == tree_name(ZONE, 146)
    assert await world.violations() == ()


async def test_fixed_in_the_incident_of_october_2025_without_fence_and_recheck_flips_back(world, play):
    """Either guard alone prevents the stale flip; without both the slow enactor takes the endpoint back to plan 110."""
    played = await play("fixed", without="fence,plan-recheck")

    assert played.slow.saw("enactor.flip_committed", ZONE)[-1].generation == 110
    assert await world.root(ZONE) == tree_name(ZONE, 110)
    assert "I2" in {violation.invariant for violation in await world.violations()}


async def test_fixed_in_the_incident_of_october_2025_drops_its_plan_as_soon_as_it_has_the_lock(world, play):
    """It looks at the plan again after the wait for the lock: where no fence stops it, the stale flip is not tried."""
    played = await play("fixed", without="fence")

    dropped = played.slow.saw("enactor.plan_superseded", ZONE)[0]
    assert (dropped.generation, dropped.reason) == (110, "plan 145 came while its tree was built")
    assert not played.slow.saw("enactor.flip_refused", ZONE)
    assert await world.root(ZONE) == tree_name(ZONE, 145)
    assert await world.violations() == ()


async def test_fixed_held_up_between_tree_and_flip_while_its_lock_expires_does_not_flip_back(world):
    """The lock has expired and was taken over: the held flip is refused, and the enactor drops its plan."""
    await world.add_zones(ZONE)
    slow, quick = world.enactor("fixed", "slow"), world.enactor("fixed", "quick")
    await world.publish(number=109, b=world.targets(weight=109))
    await quick.tick()
    await world.publish(number=110, b=world.targets(weight=110))
    flip = slow.store.hold("flip_committed", ZONE)
    passing = asyncio.create_task(slow.tick())
    await flip.arrived.wait()
    await world.publish(number=145, b=world.targets(weight=145))
    await world.install(quick)

    flip.opened.set()
    await passing

    assert slow.saw("enactor.lock_lost", ZONE)
    assert [event.fields["stale"] for event in slow.saw("enactor.flip_refused", ZONE)] == [True]
    assert await world.root(ZONE) == tree_name(ZONE, 145)
    assert await world.violations() == ()


async def test_fixed_after_buggy_has_emptied_an_endpoint_heals_it_with_the_next_plan(world, play):
    """A dangling root has nothing to roll back to: rollback is left out, and the endpoint answers again."""
    await play("buggy")
    await world.publish(number=146, a=world.targets(weight=146), b=world.targets(weight=146))
    fixed = world.enactor("fixed", "fixed")

    await world.install(fixed)

    assert fixed.saw("enactor.rollback_left_out", ZONE)
    assert len(await world.leaves(ZONE, 146)) == 2
    assert await world.root(ZONE) == tree_name(ZONE, 146)
    assert RecordKey(rollback_name(ZONE), "A") not in await world.records(ZONE)
