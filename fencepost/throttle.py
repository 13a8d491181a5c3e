"""A token bucket: how a caller keeps its own rate, so that it does not have to be told to."""

from math import inf

from fencepost.clock import Clock


class TokenBucket:
    """Tokens come at a steady rate and are kept up to `burst`; what wants one takes it, or waits for its turn.

    Args:
        rate: tokens a second; 0 means that there is no bound at all.
        burst: how many are kept while nobody takes one, >= 1.
    """

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        assert rate >= 0, rate
        assert burst >= 1, burst
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens = burst
        self._at_s: float | None = None

    async def take(self) -> float:
        """Take a token; return how long that had to be waited for, seconds. First come, first served."""
        if not self._rate:
            return 0.0
        self._refill()
        self._tokens -= 1  # below 0: taken ahead of its time, by whoever waits until then
        wait_s = max(0.0, -self._tokens / self._rate)
        if wait_s:
            await self._clock.sleep(wait_s)
        return wait_s

    def try_take(self) -> bool:
        """Take a token if there is one; never waits."""
        if not self._rate:
            return True
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def spare(self) -> float:
        """How many tokens can be taken without a wait."""
        if not self._rate:
            return inf
        self._refill()
        return max(0.0, self._tokens)

    def give_back(self) -> None:
        """Put a token back that was taken for nothing."""
        self._tokens = min(self._burst, self._tokens + 1)

    def _refill(self) -> None:
        now_s = self._clock.monotonic()
        passed_s = 0.0 if self._at_s is None else now_s - self._at_s
        self._at_s = now_s
        self._tokens = min(self._burst, self._tokens + passed_s * self._rate)
