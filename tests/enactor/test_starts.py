"""With which endpoints an enactor begins, and with how many at a time."""

import asyncio

from enactor.starts import AT_ONCE, Starts, share

ZONES = [f"{n:02d}.test." for n in range(3 * AT_ONCE)]


async def settle() -> None:
    """Let everybody who can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_orders_of_two_enactors_differ_and_leave_no_zone_out():
    """Each is its own, and the same every time: whatever order the zones were given in."""
    one, two = Starts("one"), Starts("two")

    assert one.order(ZONES) == one.order(ZONES[::-1]) == Starts("one").order(ZONES)
    assert one.order(ZONES) != two.order(ZONES)
    assert sorted(one.order(ZONES)) == sorted(two.order(ZONES)) == ZONES
    assert set(one.order(ZONES)[:AT_ONCE]) != set(two.order(ZONES)[:AT_ONCE])


async def test_no_more_zones_are_inside_than_allowed_and_leaving_twice_lets_one_in():
    """A zone leaves with its tree, and again at its end: that makes no room for another."""
    starts, inside = Starts("one"), []

    async def begin(zone):
        await starts.enter(zone)
        inside.append(zone)

    tasks = [asyncio.create_task(begin(zone)) for zone in ZONES]
    await settle()
    assert inside == ZONES[:AT_ONCE]

    for _ in range(3):
        starts.leave(inside[0])
    starts.leave(ZONES[-1])  # which never got in
    await settle()
    assert inside == ZONES[: AT_ONCE + 1]

    for zone in ZONES:
        starts.leave(zone)
        await settle()
    await asyncio.gather(*tasks)
    assert inside == ZONES


async def test_zone_that_is_cancelled_while_it_waits_leaves_no_hole():
    """Its `leave` gives back nothing, since it took nothing: as many are inside as ever."""
    starts = Starts("one")
    for zone in ZONES[:AT_ONCE]:
        await starts.enter(zone)
    gone = asyncio.create_task(starts.enter("gone.test."))
    after = [asyncio.create_task(starts.enter(zone)) for zone in ZONES[AT_ONCE : AT_ONCE + 2]]
    await settle()

    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    starts.leave("gone.test.")
    await settle()
    assert [task.done() for task in after] == [False, False]

    starts.leave(ZONES[0])
    await settle()
    assert [task.done() for task in after] == [True, False]
    starts.leave(ZONES[1])
    await asyncio.gather(*after)


def test_shares_of_two_enactors_at_one_zone_differ_and_fill_the_span():
    """Nobody waits for none of it, or more than all; half of the zones have less than half of it, or so."""
    shares = {(name, zone): share(name, zone) for name in ("one", "two") for zone in ZONES}

    assert len(set(shares.values())) == len(shares)
    assert all(0 <= each < 1 for each in shares.values())
    assert len(shares) / 3 < sum(each < 0.5 for each in shares.values()) < len(shares) * 2 / 3
