"""The token bucket: a steady rate, a burst, and no faster whoever asks."""

import asyncio
from math import inf

from fencepost.throttle import TokenBucket


class Clock:
    """A clock that stands still but where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


async def test_take_beyond_the_burst_waits_for_the_rate():
    """A burst goes at once, then one token each tenth of a second."""
    clock = Clock()
    bucket = TokenBucket(10, 3, clock)

    waits = [round(await bucket.take(), 6) for _ in range(6)]
    assert waits == [0, 0, 0, 0.1, 0.1, 0.1]
    assert round(clock.now_s, 6) == 0.3


async def test_try_take_never_waits_and_goes_on_when_time_has_passed():
    """What may be left out is left out, and done when a token has come; no more than the burst is saved up."""
    clock = Clock()
    bucket = TokenBucket(10, 2, clock)

    assert [bucket.try_take() for _ in range(3)] == [True, True, False]
    clock.now_s += 100
    assert [bucket.try_take() for _ in range(3)] == [True, True, False]


async def test_rate_of_0_is_no_bound():
    """No rate, no waiting."""
    bucket = TokenBucket(0, 1, Clock())

    assert [await bucket.take() for _ in range(100)] == [0.0] * 100
    assert all(bucket.try_take() for _ in range(100))
    assert bucket.spare == inf


async def test_spare_tokens_are_those_that_can_be_taken_without_a_wait():
    """They come back with time, and there are none while somebody waits for one taken ahead of its time."""
    clock = Clock()
    bucket = TokenBucket(10, 3, clock)
    assert bucket.spare == 3

    for _ in range(3):
        bucket.try_take()
    ahead = asyncio.create_task(bucket.take())
    await asyncio.sleep(0)
    assert bucket.spare == 0
    await ahead
    clock.now_s += 0.2

    assert round(bucket.spare, 6) == 2
