"""Settings of an enactor; what is not given follows from the network profile."""

from typing import Annotated, Literal

from pydantic import Field

from enactor.pauses import Pauses
from fencepost.settings import Settings


class EnactorSettings(Settings):
    """An enactor's own settings. Spans are in seconds; None means: from the profile's control API.

    Attributes:
        protocol: buggy, which broke in October 2025, or fixed.
        keep: how many generations before the newest keep their trees.
        poll_s: pause between two looks for a newer plan (None: 5 medians of a round trip, at least 0.02).
        sweep_s: how often fixed looks at every zone though there is no newer plan.
        lock_ttl_s: how long a lock is good without renewal, rounded up to a whole epoch second (None: 20 times the
            99th percentile of a round trip, at least 2).
        backoff_base_s, backoff_cap_s: first and longest pause after a lost lock (None: 50 and 200 medians of a round
            trip, at least 0.01 and 0.5); the pause doubles with each loss and is drawn from its upper half.
        max_tries: after so many lost locks and refusals in a row fixed goes on with the other endpoints.
    """

    protocol: Literal["buggy", "fixed"] = "fixed"
    keep: Annotated[int, Field(ge=1)] = 10
    poll_s: Annotated[float, Field(gt=0)] | None = None
    sweep_s: Annotated[float, Field(gt=0)] = 5.0
    lock_ttl_s: Annotated[float, Field(gt=0)] | None = None
    backoff_base_s: Annotated[float, Field(gt=0)] | None = None
    backoff_cap_s: Annotated[float, Field(gt=0)] | None = None
    max_tries: Annotated[int, Field(ge=1)] = 8

    @property
    def pauses(self) -> Pauses:
        """The spans that are in force."""
        link = self.network.control_api
        return Pauses(
            poll_s=self.poll_s or max(0.02, 5 * link.median_s),
            lock_ttl_s=self.lock_ttl_s or max(2.0, 20 * link.p99_s),
            backoff_base_s=self.backoff_base_s or max(0.01, 50 * link.median_s),
            backoff_cap_s=self.backoff_cap_s or max(0.5, 200 * link.median_s),
        )
