"""A frozen zone: the enactor notices, says so once, writes nothing, and goes on when it is thawed."""

import asyncio

from fencepost.batch import create, delete
from fencepost.names import tree_name
from fencepost.notice import Notice

ZONE = "b.test."
OTHER = "a.test."
NOTICE = Notice("anna", 1_792_000_000, "looking at it")


async def test_zone_that_is_frozen_is_noticed_without_a_plan_and_nothing_is_written(world):
    """Told once, with who, when and why; held; other endpoints go on; told once when it has ended."""
    await world.add_zones(OTHER, ZONE)
    enactor = world.enactor("fixed", "one", keep=1)
    for weight in (1, 2, 3):
        await world.publish(a=world.targets(weight=weight), b=world.targets(weight=weight))
        await world.install(enactor)
    await world.operate(ZONE, create(NOTICE.freezing(ZONE)))
    sent = enactor.store.writes[ZONE]

    await world.clock.sleep(6)
    await enactor.tick()
    assert enactor.saw("enactor.zone_frozen", ZONE)
    await world.publish(a=world.targets(weight=4), b=world.targets(weight=4))
    for _ in range(3):
        outcome = await enactor.tick()
        await world.clock.sleep(1)

    assert [event.reason for event in enactor.saw("enactor.zone_frozen")] == [NOTICE.told]
    assert NOTICE.told in outcome.held[ZONE]
    assert outcome.installed == 4
    assert enactor.store.writes[ZONE] == sent
    assert await world.root(OTHER) == tree_name(OTHER, 4)
    await world.operate(ZONE, delete(NOTICE.freezing(ZONE)))
    await world.install(enactor, most=1)
    assert len(enactor.saw("enactor.zone_thawed", ZONE)) == 1
    assert (await enactor.tick()).held == {}


async def test_zone_that_is_frozen_while_it_is_worked_on_takes_no_batch_any_more(world):
    """The zone itself refuses what was under way: the root stays, and the enactor keeps running."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(weight=1))
    await world.install(enactor)
    await world.publish(b=world.targets(weight=2))
    flip = enactor.store.hold("flip_committed 2", ZONE)
    passing = asyncio.create_task(enactor.tick())
    await flip.arrived.wait()
    await world.operate(ZONE, create(NOTICE.freezing(ZONE)))

    flip.opened.set()
    outcome = await passing

    assert enactor.saw("enactor.zone_frozen", ZONE)
    assert NOTICE.told in outcome.held[ZONE]
    assert (await world.comments(ZONE))[-1] == "by hand"
    await world.operate(ZONE, delete(NOTICE.freezing(ZONE)))
    await world.clock.sleep(5)
    await world.install(enactor, most=1)
    assert await world.root(ZONE) == tree_name(ZONE, 2)
