"""How long an enactor waits, and for what."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pauses:
    """The waiting times in force, in seconds; `EnactorSettings` says what each one means."""

    poll_s: float = 0.02
    lock_ttl_s: float = 2.0
    backoff_base_s: float = 0.01
    backoff_cap_s: float = 0.5
    sweep_s: float = 5.0
    verify_wait_s: float = 0.5
    patience_s: float = 0.03
    head_start_s: float = 0.2

    def backoff_s(self, losses: int, rng: random.Random) -> float:
        """Return the pause after the nth loss in a row (n >= 1): exponential, capped, from the upper half."""
        longest = min(self.backoff_cap_s, self.backoff_base_s * 2.0 ** min(losses - 1, 30))
        return rng.uniform(longest / 2, longest)
