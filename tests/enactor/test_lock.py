"""The lock of a zone, as one enactor knows it, and the hand that uses it on a real zone."""

import random

import pytest

from enactor.lock import ZoneLock, lock_key
from enactor.pauses import Pauses
from fencepost.batch import Action, create, delete
from fencepost.errors import InvalidChangeBatch, OutcomeUnknown, Throttling
from fencepost.records import txt

ZONE = "a.test."


@pytest.fixture
def clock(world):
    return world.clock


def taken(lock: ZoneLock):
    """Return the record that a lock offers, taken by it."""
    record = lock.taking(None)[-1].record_set
    lock.committed()
    return record


def test_lock_of_another_may_be_taken_only_when_it_has_expired(clock):
    """Until the second that the record names has passed it is its holder's."""
    record = taken(ZoneLock(ZONE, "one", 2.0, clock))
    other = ZoneLock(ZONE, "two", 2.0, clock)

    clock.now_s = 2.0
    assert not other.may_take(record)
    clock.now_s = 2.1
    assert other.may_take(record)
    assert other.taking(record) == (delete(record), create(other.taking(None)[-1].record_set))


def test_lock_after_an_unknown_outcome_is_ours_whether_the_write_happened_or_not(clock):
    """Both records that may be in the zone are taken back at once; a third one is somebody else's."""
    lock = ZoneLock(ZONE, "one", 2.0, clock)
    before = taken(lock)
    clock.now_s = 1.0
    after = lock.renewing()[-1].record_set

    lock.unknown()

    assert lock.held is None
    assert lock.may_take(before)
    assert lock.may_take(after)
    assert lock.may_take(None)
    assert not lock.may_take(taken(ZoneLock(ZONE, "two", 2.0, clock)))


def test_lock_that_was_lost_is_not_taken_back_before_it_expires(clock):
    """What one has lost for certain is like anybody's."""
    lock = ZoneLock(ZONE, "one", 2.0, clock)
    record = taken(lock)

    lock.lost()

    assert not lock.may_take(record)


def test_lock_that_is_renewed_is_good_for_a_whole_life_again(clock):
    """Whoever works for longer than a lock's life keeps it, batch by batch."""
    lock = ZoneLock(ZONE, "one", 2.0, clock)
    first = taken(lock)
    clock.now_s = 1.5

    assert lock.renewing()[0] == delete(first)
    lock.committed()

    clock.now_s = 3.0
    assert ZoneLock(ZONE, "two", 2.0, clock).may_take(first)
    assert not ZoneLock(ZONE, "two", 2.0, clock).may_take(lock.held)


@pytest.mark.parametrize(("skew_s", "free"), [(288.0, True), (-288.0, False)])
async def test_lock_under_clock_skew_is_taken_early_or_late(world, skew_s, free):
    """A lock on wall clocks is only as good as these; what a thief can do with it the fence decides."""
    record = taken(ZoneLock(ZONE, "one", 2.0, world.clock))
    world.clock.now_s, world.clock.skew_s = (0.0, skew_s) if free else (10.0, skew_s)

    assert ZoneLock(ZONE, "two", 2.0, world.clock).may_take(record) is free


async def test_hand_whose_lock_was_taken_over_is_refused_whole_and_knows_it(world):
    """The batch begins with the lock as its holder knows it: nothing of it happens, and the thief keeps the zone."""
    await world.add_zones(ZONE)
    one, two = world.enactor("fixed", "one"), world.enactor("fixed", "two")
    slow, quick = one.tools.hand(ZONE), two.tools.hand(ZONE)
    assert await slow.try_lock(None)
    assert not await quick.try_lock(await quick.read_lock())
    await world.clock.sleep(10)
    assert await quick.try_lock(await quick.read_lock())

    with pytest.raises(InvalidChangeBatch) as refused:
        await slow.commit(1, "late", create(await world.foreign_lock("x." + ZONE, 1)))

    assert refused.value.concerns(lock_key(ZONE).name)
    assert not slow.holds
    assert one.saw("enactor.lock_lost", ZONE)
    await slow.release()
    assert (await world.text(lock_key(ZONE).name, ZONE) or "").startswith("two ")
    await quick.release()
    assert await world.text(lock_key(ZONE).name, ZONE) is None


async def test_hand_whose_lock_was_taken_over_unnoticed_gives_back_nothing(world):
    """It deletes the lock exactly as it knows it: what is there now is somebody else's."""
    await world.add_zones(ZONE)
    one, two = world.enactor("fixed", "one"), world.enactor("fixed", "two")
    slow, quick = one.tools.hand(ZONE), two.tools.hand(ZONE)
    assert await slow.try_lock(None)
    await world.clock.sleep(10)
    assert await quick.try_lock(await quick.read_lock())

    await slow.release()

    assert not slow.holds
    assert (await world.text(lock_key(ZONE).name, ZONE) or "").startswith("two ")


@pytest.mark.parametrize("executed", [True, False])
async def test_hand_after_an_unknown_taking_takes_the_lock_at_once(world, executed):
    """Neither outcome makes it wait for its own lock to expire."""
    await world.add_zones(ZONE)
    staged = world.enactor("fixed", "one")
    staged.store.lose_write = (ZONE, 1, executed)
    hand = staged.tools.hand(ZONE)
    with pytest.raises(OutcomeUnknown):
        await hand.try_lock(None)

    assert await hand.try_lock(await hand.read_lock())
    await hand.release()

    assert await world.text(lock_key(ZONE).name, ZONE) is None


async def test_hand_whose_only_batch_takes_a_free_lock_gives_it_back_in_the_same_one(world):
    """One write where it were two; somebody's lock refuses it whole, one that has expired is given back after it."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    note = txt(f"note.{ZONE}", "by one")

    hand = enactor.tools.hand(ZONE)
    assert hand.reach(await hand.read_lock())
    theirs = await world.foreign_lock(ZONE, 60)
    await world.operate(ZONE, create(theirs))
    with pytest.raises(InvalidChangeBatch) as caught:
        await hand.commit(None, "noted", create(note), last=True)
    assert caught.value.concerns(theirs.name)
    assert hand.streak == 1

    await world.operate(ZONE, delete(theirs))
    assert hand.reach(await hand.read_lock())
    commit = await hand.commit(None, "noted", create(note), last=True)
    assert [change.action for change in commit.changes] == [Action.CREATE, Action.DELETE, Action.CREATE]
    assert not hand.holds
    assert lock_key(ZONE) not in await world.records(ZONE)

    expired = await world.foreign_lock(ZONE, -60)
    await world.operate(ZONE, create(expired))
    assert hand.reach(await hand.read_lock())
    await hand.commit(None, "noted no more", delete(note), last=True)
    assert hand.holds
    await hand.release()
    assert lock_key(ZONE) not in await world.records(ZONE)
    assert await world.violations() == ()


async def test_call_that_is_throttled_is_made_again_and_gives_up_after_some_tries(world):
    """A retryable refusal costs a pause; eight in a row go up."""
    await world.add_zones(ZONE)
    staged = world.enactor("fixed", "one")
    staged.store.errors = [Throttling(ZONE, wait_s=1.0)] * 7

    await staged.tools.hand(ZONE).read_lock()

    assert [event.fields["tries"] for event in staged.saw("control.call_throttled")] == list(range(1, 8))
    staged.store.errors = [Throttling(ZONE, wait_s=1.0)] * 8
    with pytest.raises(Throttling):
        await staged.tools.hand(ZONE).read_lock()


def test_backoff_after_losses_in_a_row_doubles_up_to_its_cap():
    """Drawn from the upper half, so that it grows for certain; never beyond the cap."""
    pauses, rng = Pauses(backoff_base_s=0.01, backoff_cap_s=0.5), random.Random(1)

    for losses in range(1, 200):
        longest = min(0.5, 0.01 * 2.0 ** (losses - 1))
        assert longest / 2 <= pauses.backoff_s(losses, rng) <= longest
