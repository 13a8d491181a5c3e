"""Settings of the planner."""

from typing import Final

from pydantic import Field, ValidationInfo, field_validator

from fencepost.plan import Lane
from fencepost.settings import Settings
from planner.lanes import Marks, Pace

SLOW_ROUND_TRIPS: Final = 2.0
"""How many of the control API's round trips the slow lane leaves between two plans."""
MIN_SLOW_INTERVAL_S: Final = 0.1


class PlannerSettings(Settings):
    """What the planner has besides `Settings`.

    Attributes:
        observe_interval_s: seconds between two health checks of one load balancer, plus or minus a tenth.
        check_timeout_s: after how many seconds without an answer a health check has failed.
        checks_at_once: how many health checks may be under way at the same time.
        unhealthy_after: how many failed checks in a row make a healthy load balancer unhealthy.
        healthy_after: how many good checks in a row make an unhealthy one healthy again.
        look_interval_s: seconds after which the planner reads fences, requests and plans even if nothing called for it.
        retry_min_s, retry_max_s: bounds of the growing wait after a round that failed, seconds.
        slow_interval_s: seconds that the slow lane leaves between two plans; None: by the network profile.
        slow_queue_high, slow_queue_low: from how many plans published and not installed the slow lane is held back, and
            until how many are left.
        fast_queue_high, fast_queue_low: the same for the fast lane.
        fast_share: how many of the routine plans go by the fast lane, so that it is used all the time; 0 to 1.
        max_waiting: how many operator requests may be waiting for their answer.
        answer_within_s: after how many seconds a request that is stored is answered without its plan.
    """

    name: str = "planner"
    observe_interval_s: float = Field(0.25, gt=0, le=60)
    check_timeout_s: float = Field(1.0, gt=0, le=60)
    checks_at_once: int = Field(64, ge=1, le=1000)
    unhealthy_after: int = Field(3, ge=1, le=100)
    healthy_after: int = Field(2, ge=1, le=100)
    look_interval_s: float = Field(3.0, gt=0, le=60)
    retry_min_s: float = Field(0.05, gt=0, le=60)
    retry_max_s: float = Field(1.0, gt=0, le=60)
    slow_interval_s: float | None = Field(None, ge=0, le=3600)
    slow_queue_high: int = Field(4, ge=1)
    slow_queue_low: int = Field(1, ge=0)
    fast_queue_high: int = Field(16, ge=1)
    fast_queue_low: int = Field(8, ge=0)
    fast_share: float = Field(0.1, ge=0, le=1)
    max_waiting: int = Field(2000, ge=1)
    answer_within_s: float = Field(4.0, gt=0, le=600)

    @field_validator("slow_queue_low", "fast_queue_low")
    @classmethod
    def _low_is_below_high(cls, value: int, info: ValidationInfo) -> int:
        high = info.data.get(f"{str(info.field_name).removesuffix('low')}high")
        if high is not None and value >= high:
            raise ValueError(f"{value} is not below {high}, from which the lane is held back; choose a lower one")
        return value

    @property
    def pace(self) -> Pace:
        """What the lanes go by."""
        by_profile_s = max(MIN_SLOW_INTERVAL_S, SLOW_ROUND_TRIPS * self.network.control_api.median_s)
        return Pace(
            by_profile_s if self.slow_interval_s is None else self.slow_interval_s,
            {
                Lane.SLOW: Marks(self.slow_queue_high, self.slow_queue_low),
                Lane.FAST: Marks(self.fast_queue_high, self.fast_queue_low),
            },
            self.fast_share,
        )
