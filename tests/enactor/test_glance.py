"""Glances at fences: a large region notices a zone that went back before the sweep comes round to it."""

import asyncio

import pytest

from enactor.glance import MOST, Glances, glance_span_s
from enactor.held import Held
from enactor.pace import sweep_span_s
from fencepost.batch import create, delete
from fencepost.fence import Fence, fence_key
from fencepost.names import tree_name
from fencepost.plan import short
from fencepost.records import RecordKey, alias

ZONE = "b.test."
POLL_S = 0.02


def counted(staged) -> list[str]:
    """Return the zones that an enactor's store is asked for from now on."""
    read, asked = staged.store.read, []

    async def counting(zone, keys):
        asked.append(zone)
        return await read(zone, keys)

    staged.store.read = counting
    return asked


def glances_of(world, staged) -> Glances:
    return Glances(staged.tools.api, Held(world.clock, staged.tools.events, 9), world.clock, 5.0, 0.0)


@pytest.mark.parametrize(
    ("zones", "api_rate", "span_s"),
    [
        (6, 0.0, None),
        (100, 0.0, None),
        (101, 0.0, 5.0),
        (2_000, 0.0, 5.0),
        (4_000, 0.0, 10.0),
        (1_000, 500 / 3, 12.0),
        (1_000, 5 / 3, None),
    ],
)
def test_span_of_glances_is_the_sweep_s_own_up_to_2000_zones_and_keeps_within_the_api_s_rate(zones, api_rate, span_s):
    """Where the sweep is no later, or the control API allows no more calls than the sweep makes, there are none."""
    assert glance_span_s(zones, 5.0, api_rate) == (None if span_s is None else pytest.approx(span_s))


@pytest.mark.parametrize("zones", [101, 1_000, 2_000])
async def test_glances_come_round_to_every_zone_within_their_span_a_few_a_round(world, zones):
    """Each in its turn, and one that does not answer stops no other."""
    names, enactor = [f"{n:04d}.test." for n in range(zones)], world.enactor("fixed", "one")
    glances, asked, most = glances_of(world, enactor), counted(enactor), 0

    for _ in range(round(5.0 / POLL_S) + 1):
        before = len(asked)
        world.clock.now_s += POLL_S
        await glances.go_on(names)
        most = max(most, len(asked) - before)

    assert sorted(set(asked)) == names
    assert len(asked) <= zones * 1.01
    assert most <= MOST


async def test_glances_after_a_long_round_catch_up_a_few_a_round(world):
    """A round that installs a region takes its time: what was missed does not come all at once."""
    names, enactor = [f"{n:04d}.test." for n in range(1_000)], world.enactor("fixed", "one")
    glances, asked = glances_of(world, enactor), counted(enactor)
    world.clock.now_s += 60

    await glances.go_on(names)

    assert asked == names[:MOST]


async def test_zone_that_went_back_is_installed_again_without_a_plan_or_a_sweep(world, monkeypatch):
    """Its store failed over and forgot the last flip; the region is large, and the sweep comes after 50 s only."""
    monkeypatch.setattr("enactor.pace.SWEEP_ZONE_S", 25.0)  # two zones count for a thousand
    await world.add_zones("a.test.", ZONE)
    enactor = world.enactor("fixed", "one")
    for weight in (1, 2):
        await world.publish(a=world.targets(weight=weight), b=world.targets(weight=weight))
        await world.install(enactor)
    found = await world.records(ZONE)
    fence, root = found[fence_key(ZONE)], found[RecordKey(ZONE, "A")]
    back = Fence(1, Fence.parse(ZONE, fence).digest[::-1], "one-0-1").record(ZONE)
    began_s = world.clock.now_s
    await world.operate(ZONE, delete(fence), create(back), delete(root), create(alias(ZONE, "A", tree_name(ZONE, 1))))

    while await world.fenced(ZONE) != 2:
        await enactor.tick()
        await world.clock.sleep(POLL_S)
        assert world.clock.now_s < began_s + 5.0 + 5 * POLL_S

    assert sweep_span_s(2, 5.0) == 50
    assert await world.root(ZONE) == tree_name(ZONE, 2)


async def test_glance_at_what_is_known_makes_nothing_due(world):
    """Whose flip it was does not count; what is known of a zone is forgotten only if its fence is another."""
    await world.publish(b=world.targets())
    plan = await world.plans.latest()
    held = Held(world.clock, world.enactor("fixed", "one").tools.events, 9)
    held.turn_to(plan)
    held.arrived(ZONE, plan)

    held.glance(ZONE, Fence(1, short(plan.digests[ZONE]), "somebody-else-1"))
    assert not held.is_due(ZONE)

    held.glance(ZONE, None)
    assert held.is_due(ZONE)


async def test_glance_waits_for_no_token_and_is_given_up_where_the_store_is_away(world):
    """An install needs the calls more, and a shard that is down holds up no round."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", api_requests_per_s=1)
    asked, began_s = counted(enactor), world.clock.now_s
    enactor.store.away = {ZONE}

    first = await asyncio.gather(enactor.tools.api.glance(ZONE, [fence_key(ZONE)]), return_exceptions=True)
    second = await enactor.tools.api.glance(ZONE, [fence_key(ZONE)])

    assert "is away" in str(first[0])
    assert second is None
    assert asked == [ZONE]
    assert world.clock.now_s == began_s
