"""How slow and unreliable links are, and the stores as seen over such links.

A profile gives each kind of link a round trip: a log-normal body, loss, and rare long stalls. Half of a round trip
passes before the call is executed and half after. One seed fixes all draws, one stream per process and link.

Sources: the medians within and across Availability Zones are AWS's public statements ("single-digit millisecond",
and measurements published around 0.1 to 1 ms); Route 53 states that changes propagate "to all Route 53 DNS servers
within 60 seconds" (Developer Guide, ChangeResourceRecordSets). All other figures (tails, loss, stalls, control API
latency, time a batch keeps its zone busy) are assumptions, chosen to be plausible; each is a setting of the profile.
"""

import math
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from fencepost.clock import Clock
from fencepost.errors import OutcomeUnknown

T = TypeVar("T")

P99_Z: Final = 2.3263
"""The 99th percentile of the standard normal distribution."""


class LinkSpec(msgspec.Struct, frozen=True):
    """One kind of link.

    Attributes:
        median_s, p99_s: of the round trip's log-normal body, seconds; a median of 0 means no delay at all.
        loss: probability that a call gets no answer; half of them before it was executed, half after.
        stall: probability of a stall, whose length is uniform between `stall_min_s` and `stall_max_s`.
        timeout_s: after how long a caller without an answer gives up.
    """

    median_s: float = 0.0
    p99_s: float = 0.0
    loss: float = 0.0
    stall: float = 0.0
    stall_min_s: float = 0.0
    stall_max_s: float = 0.0
    timeout_s: float = 5.0

    @property
    def sigma(self) -> float:
        """The log-normal's shape."""
        return math.log(self.p99_s / self.median_s) / P99_Z if self.median_s > 0 else 0.0

    @property
    def is_free(self) -> bool:
        """Whether calls over it are as if there were no link: no delay, no loss, no stalls."""
        return self.median_s <= 0 and not self.loss and not self.stall

    def draw_s(self, rng: random.Random) -> float:
        """Return one round trip in seconds. Draws the same count of numbers every time."""
        body = self.median_s * math.exp(self.sigma * rng.gauss(0.0, 1.0))
        stalled, length = rng.random() < self.stall, rng.uniform(self.stall_min_s, self.stall_max_s)
        return body + (length if stalled else 0.0)


class Profile(msgspec.Struct, frozen=True):
    """A network: its links, and how the control API limits its callers.

    Attributes:
        same_zone, across_zones: between processes in one Availability Zone, and in two.
        control_api: from an enactor to the zones' control API.
        propagation: from a commit until the data plane answers with it (not a round trip: all of it counts).
        requests_per_s: the account's token bucket at the control API; 0: no limit. Its burst is one second's worth.
        processing_s: how long the control API works on a batch, in which the zone refuses another one.
    """

    name: str
    same_zone: LinkSpec = LinkSpec()
    across_zones: LinkSpec = LinkSpec()
    control_api: LinkSpec = LinkSpec()
    propagation: LinkSpec = LinkSpec()
    requests_per_s: float = 0.0
    processing_s: float = 0.0


_ACCELERATED: Final = LinkSpec(0.01, 0.1, loss=0.0001, stall=0.001, stall_min_s=0.5, stall_max_s=3.0, timeout_s=6.0)
_SAME_ZONE: Final = LinkSpec(median_s=0.0001, p99_s=0.0005)
_ACROSS_ZONES: Final = LinkSpec(median_s=0.0007, p99_s=0.003)

PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("none"),
        Profile("lan", same_zone=_SAME_ZONE, across_zones=_ACROSS_ZONES, control_api=_ACROSS_ZONES),
        Profile(
            "region",
            same_zone=_SAME_ZONE,
            across_zones=_ACROSS_ZONES,
            control_api=LinkSpec(0.1, 1.0, loss=0.0001, stall=0.001, stall_min_s=5.0, stall_max_s=30.0, timeout_s=60.0),
            propagation=LinkSpec(10.0, 60.0),
            requests_per_s=5.0,
            processing_s=0.02,
        ),
        Profile(
            "accelerated",
            same_zone=_SAME_ZONE,
            across_zones=_ACROSS_ZONES,
            control_api=_ACCELERATED,
            propagation=LinkSpec(0.1, 0.6),
            requests_per_s=500.0,
            processing_s=0.002,
        ),
        Profile(
            "rough",
            same_zone=_SAME_ZONE,
            across_zones=_ACROSS_ZONES,
            control_api=msgspec.structs.replace(_ACCELERATED, stall=0.01),
            propagation=LinkSpec(0.1, 0.6),
            requests_per_s=500.0,
            processing_s=0.002,
        ),
    )
}
"""`accelerated` is `region` with the control API ten times and the propagation a hundred times as fast.

`rough` is `accelerated` with the control API's stalls ten times as frequent, 1 % of all calls: for short runs in which
slow enactors are to be met often. No public source says how often an API stalls, here as there.
"""


class Link:
    """One process's end of a link: delays calls, and loses some.

    Determinism: the draws depend on the stream alone, two numbers groups per call, in the order of the calls.
    """

    def __init__(self, spec: LinkSpec, clock: Clock, rng: random.Random) -> None:
        self.spec, self._clock, self._rng = spec, clock, rng

    async def call(self, execute: Callable[[], Awaitable[T]]) -> T:
        """Carry out one call over the link.

        Raises: OutcomeUnknown when the request or the answer got lost; whatever the call raises.
        """
        round_trip_s = self.spec.draw_s(self._rng)
        fate = self._rng.random() / self.spec.loss if self.spec.loss else 1.0
        if round_trip_s > 0:
            await self._clock.sleep(round_trip_s / 2)
        if fate < 0.5:  # noqa: PLR2004  -- half of the losses come before the execution
            await self._give_up()
        result = await execute()
        if fate < 1.0:
            await self._give_up()
        if round_trip_s > 0:
            await self._clock.sleep(round_trip_s / 2)
        return result

    async def _give_up(self) -> None:
        await self._clock.sleep(self.spec.timeout_s)
        raise OutcomeUnknown(f"no answer within {self.spec.timeout_s:g} s: the call may have been executed")
