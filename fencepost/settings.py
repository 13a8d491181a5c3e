"""Settings of a process: from its arguments, else from `FENCEPOST_*` in the environment, else the defaults here."""

from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fencepost.errors import StartupError
from fencepost.guards import Guard, parse_guards
from fencepost.network import PROFILES, Profile
from fencepost.region import Region, load_region
from fencepost.safety import Limits

LOOPBACK: Final = "127.0.0.1"
"""Everything listens here, and nowhere else."""

DEFAULT_PORT_BASE: Final = 5300

S = TypeVar("S", bound="Settings")


class Settings(BaseSettings):
    """What every process has.

    Attributes:
        name: the process's readable name, which it writes under, e.g. `use1-az1-enactor`.
        redis_url: redis://HOST:PORT/DB or unix:///PATH of the server that holds zones and plans.
        region_file: the region file; None means the default region.
        profile: the network profile.
        seed: fixes every draw.
        port_base: DNS is served on it, all other well-known ports follow.
        admin_port: where /healthz, /readyz, /state and /metrics are served on loopback; 0 lets the system choose.
        replicas: how many replicas must have a plan or a flip before it counts as done.
        stream_limit: how many commits a zone keeps at least as its history; of large ones fewer, see
            `change_script.commits_kept`.
        clock_skew_s: added to the wall clock.
        without: guards that are off, by their names in `fencepost.guards`, separated by commas.
        max_removal_fraction, velocity_window_s, min_healthy, small_fleet: see `fencepost.safety.Limits`.
    """

    model_config = SettingsConfigDict(env_prefix="FENCEPOST_", frozen=True, extra="ignore")

    name: str = "operator"
    redis_url: str = "redis://127.0.0.1:6379/0"
    region_file: Path | None = None
    profile: str = "none"
    seed: int = 1
    port_base: Annotated[int, Field(ge=1, le=65_000)] = DEFAULT_PORT_BASE
    admin_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    replicas: Annotated[int, Field(ge=0, le=10)] = 0
    stream_limit: Annotated[int, Field(ge=100)] = 10_000
    clock_skew_s: float = 0.0
    without: str = ""
    max_removal_fraction: Annotated[float, Field(gt=0, le=1)] = 0.4
    velocity_window_s: Annotated[float, Field(gt=0)] = 30.0
    min_healthy: Annotated[int, Field(ge=1)] = 2
    small_fleet: Annotated[int, Field(ge=1)] = 4

    @field_validator("without")
    @classmethod
    def _known_guards(cls, value: str) -> str:
        try:
            parse_guards(value)
        except StartupError as error:
            raise ValueError(str(error)) from error
        return value

    @property
    def guards(self) -> frozenset[Guard]:
        """The guards that are on."""
        return frozenset(Guard) - parse_guards(self.without)

    @property
    def limits(self) -> Limits:
        """What protective checks allow; without the guard `velocity` each plan is looked at by itself."""
        window_s = self.velocity_window_s if Guard.VELOCITY in self.guards else 0.0
        return Limits(self.max_removal_fraction, window_s, self.min_healthy, self.small_fleet)

    @property
    def dns_port(self) -> int:
        """Port of the authoritative server, UDP and TCP."""
        return self.port_base

    @property
    def cache_port(self) -> int:
        """Port of the caching resolver, UDP and TCP."""
        return self.port_base + 1

    @property
    def api_port(self) -> int:
        """Port of the planner's operator API."""
        return self.port_base + 2

    @property
    def fleet_port(self) -> int:
        """Port on which every load balancer of the fleet listens, each on its own address."""
        return self.port_base + 3

    @property
    def fleet_control_port(self) -> int:
        """Port on which the fleet's load balancers are made ill and well."""
        return self.port_base + 4

    @property
    def network(self) -> Profile:
        """The network profile. Raises: StartupError if there is none of this name."""
        if self.profile not in PROFILES:
            raise StartupError(f"no network profile {self.profile!r}; there are {', '.join(PROFILES)}")
        return PROFILES[self.profile]

    def region(self) -> Region:
        """Read the region file. Raises: RegionInvalid."""
        return load_region(self.region_file)


def load_settings(kind: type[S], **given: Any) -> S:
    """Return a process's settings: the given ones, the rest from the environment.

    Raises: StartupError naming every bad one.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        problems = (f"FENCEPOST_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise StartupError("bad settings: " + "; ".join(problems)) from error
