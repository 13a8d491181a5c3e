"""Settings of the planner."""

from pydantic import Field

from fencepost.settings import Settings


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
