"""Settings of an enactor; what is not given follows from the network profile."""

from typing import Annotated, Final, Literal

from pydantic import Field

from enactor.pauses import Pauses
from fencepost.guards import Guard
from fencepost.settings import Settings

NEAR_S: Final = 0.001
"""Where a round trip to the control API takes longer, enactors share each plan's endpoints: nothing could be seen."""
HEAD_START: Final = 10
"""Who finds a zone flipped leaves its cleaning to who flipped it for so many pauses between two looks for a plan."""


def usual_patience_s(median_s: float) -> float:
    """Return the patience with other enactors, seconds, where a round trip to the control API has this median."""
    return 0.03 if median_s <= NEAR_S else 0.0


class EnactorSettings(Settings):
    """An enactor's own settings. Spans are in seconds; None means: from the profile's control API.

    Attributes:
        protocol: buggy, which broke in October 2025, or fixed.
        keep: how many generations before the newest keep their trees.
        poll_s: pause between two looks for a newer plan (None: 5 medians of a round trip, at least 0.02).
        sweep_s: how often fixed looks at every zone though there is no newer plan (None: 500 medians of a round trip,
            at least 5).
        lock_ttl_s: how long a lock is good without renewal, rounded up to a whole epoch second (None: 20 times the
            99th percentile of a round trip, at least 2).
        backoff_base_s, backoff_cap_s: first and longest pause after a lost lock (None: 50 and 200 medians of a round
            trip, at least 0.01 and 0.5); the pause doubles with each loss and is drawn from its upper half.
        max_tries: after so many lost locks, or refusals, in a row fixed says that an endpoint is held.
        verify_port: loopback port of the authoritative server that trees are resolved at before they go live (None: of
            none; then what is read back from the zone suffices).
        verify_wait_s: for how long a tree may take to be answered there (None: 3 times the 99th percentile of
            propagation, at least 0.5).
        patience_s: for how long fixed leaves a plan's endpoints to another enactor without seeing that it comes on, at
            most 1, half of what a lock is good for; 0: it does not (None: `usual_patience_s`).
        head_start_s: for how long, and up to twice that, fixed leaves a zone's old trees to who flipped it, before it
            helps (None: 10 `poll_s`).
        api_requests_per_s: calls to the control API that this enactor makes at most (None: a third of what the profile
            allows the account; 0: no bound).
        clean_batches_per_s: batches that this enactor's cleaner deletes at most, all zones together (None: as many as
            there are endpoints, at least 5).
    """

    protocol: Literal["buggy", "fixed"] = "fixed"
    keep: Annotated[int, Field(ge=1)] = 10
    poll_s: Annotated[float, Field(gt=0)] | None = None
    sweep_s: Annotated[float, Field(gt=0)] | None = None
    lock_ttl_s: Annotated[float, Field(gt=0)] | None = None
    backoff_base_s: Annotated[float, Field(gt=0)] | None = None
    backoff_cap_s: Annotated[float, Field(gt=0)] | None = None
    max_tries: Annotated[int, Field(ge=1)] = 8
    verify_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    verify_wait_s: Annotated[float, Field(gt=0)] | None = None
    patience_s: Annotated[float, Field(ge=0, le=1)] | None = None
    head_start_s: Annotated[float, Field(ge=0)] | None = None
    api_requests_per_s: Annotated[float, Field(ge=0)] | None = None
    clean_batches_per_s: Annotated[float, Field(gt=0)] | None = None

    @property
    def pauses(self) -> Pauses:
        """The spans that are in force."""
        link = self.network.control_api
        poll_s = self.poll_s or max(0.02, 5 * link.median_s)
        return Pauses(
            poll_s=poll_s,
            lock_ttl_s=self.lock_ttl_s or max(2.0, 20 * link.p99_s),
            backoff_base_s=self.backoff_base_s or max(0.01, 50 * link.median_s),
            backoff_cap_s=self.backoff_cap_s or max(0.5, 200 * link.median_s),
            sweep_s=self.sweep_s or max(5.0, 500 * link.median_s),
            verify_wait_s=self.verify_wait_s or max(0.5, 3 * self.network.propagation.p99_s),
            patience_s=usual_patience_s(link.median_s) if self.patience_s is None else self.patience_s,
            head_start_s=HEAD_START * poll_s if self.head_start_s is None else self.head_start_s,
        )

    @property
    def api_rate(self) -> float:
        """Calls a second that this enactor allows itself; 0: no bound, as without the guard `throttling`."""
        if Guard.THROTTLING not in self.guards:
            return 0.0
        given = self.api_requests_per_s
        return self.network.requests_per_s / 3 if given is None else given
