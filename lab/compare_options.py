"""What a comparison runs on: every parameter, what follows from them, and how they are written into the report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from deploy.topology import Mode, ProcessSpec, SystemOptions, check_options, process_specs
from enactor.left import most_patiences
from enactor.pace import sweep_span_s
from enactor.settings import EnactorSettings
from fencepost.errors import StartupError, UsageError
from fencepost.guards import parse_guards
from fencepost.network import PROFILES, Profile
from fencepost.region import load_region
from fencepost.settings import DEFAULT_PORT_BASE, Settings
from lab.world import rules_of

STREAM_LIMIT: Final = 100_000_000
"""Commits that a zone keeps: the checker needs every one. A run makes some tens of thousands, but one batch of
1,000 records cuts the history down to a 400th of this limit: see `change_script.commits_kept`."""
INSTALL_BOUND_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """A comparison. Both modes run on exactly the same.

    Attributes:
        run_dir: each mode's history goes below it, in a directory that has the mode's name.
        modes: which protocols, in the order in which they run.
        seed: fixes every draw of world, load, network delays and jitter; the operating system's scheduling it does not.
        profile: the network profile's name.
        duration_s: for how long the world changes in each mode.
        settle_s: for how long the system may then take to get to the last plan; None: `settle_bound_s` of the profile.
        enactors, keep: how many enactors, and how many generations' trees they keep.
        plan_rate: changes of the world a second, each of which becomes a plan.
        load_rate: customers' requests a second, over all endpoints.
        canary_rate: probes a second of each endpoint and type.
        world: graceful or failures.
        without: guards that the fixed protocol runs without, by name, separated by commas.
        port_base: the first of the ports.
        region_file: None means the default region.
        lock_ttl_s, poll_s, backoff_base_s, backoff_cap_s: the enactors' spans; None: what follows from the profile.
        keep_running: whether the last mode's system stays up until Ctrl-C.
    """

    run_dir: Path
    modes: tuple[Mode, ...] = (Mode.BUGGY, Mode.FIXED)
    seed: int = 1
    profile: str = "accelerated"
    duration_s: float = 45.0
    settle_s: float | None = None
    enactors: int = 3
    keep: int = 10
    plan_rate: float = 40.0
    load_rate: float = 100.0
    canary_rate: float = 10.0
    world: str = "graceful"
    without: str = ""
    port_base: int = DEFAULT_PORT_BASE
    region_file: Path | None = None
    lock_ttl_s: float | None = None
    poll_s: float | None = None
    backoff_base_s: float | None = None
    backoff_cap_s: float | None = None
    keep_running: bool = False

    def check(self) -> None:
        """Refuse what cannot be run, before anything is started. Raises: StartupError naming the option."""
        rules_of(self.world)
        if self.without and Mode.FIXED not in self.modes:
            raise UsageError(f"--without {self.without} is for the fixed protocol; buggy has no guards to be without")
        for mode in self.modes:
            check_options(self.system(mode))
            if self.mode_dir(mode).exists():
                raise StartupError(f"{self.mode_dir(mode)} has a run already; name another --run-dir")
        load_region(self.region_file)
        for name, value in (
            ("--duration", self.duration_s),
            ("--plan-rate", self.plan_rate),
            ("--load-rate", self.load_rate),
            ("--canary-rate", self.canary_rate),
        ):
            if value <= 0:
                raise StartupError(f"{name} {value:g} makes no sense; it is above 0")

    @property
    def network(self) -> Profile:
        """The network profile."""
        return PROFILES[self.profile]

    @property
    def bound_s(self) -> float:
        """Within how many seconds after the last change every endpoint has to have the last plan (invariant I5)."""
        if self.settle_s is not None:
            return self.settle_s
        return settle_bound_s(self.network, zones=len(load_region(self.region_file).endpoint))

    def mode_dir(self, mode: Mode) -> Path:
        """Return where a mode's history goes."""
        return self.run_dir / mode.value

    def system(self, mode: Mode) -> SystemOptions:
        """Return the system to run for a mode."""
        return SystemOptions(
            run_dir=self.mode_dir(mode),
            mode=mode,
            profile=self.profile,
            enactors=self.enactors,
            seed=self.seed,
            port_base=self.port_base,
            region_file=self.region_file,
            without=self.without,
            extra={"enactor": dict(self._enactor_env())},
        )

    def _enactor_env(self) -> Iterator[tuple[str, str]]:
        yield "FENCEPOST_STREAM_LIMIT", str(STREAM_LIMIT)
        yield "FENCEPOST_KEEP", str(self.keep)
        for name in ("lock_ttl_s", "poll_s", "backoff_base_s", "backoff_cap_s"):
            if (value := getattr(self, name)) is not None:
                yield f"FENCEPOST_{name.upper()}", str(value)

    def parameters(self) -> dict[str, Any]:
        """Return every parameter, with what is in force where an option was left out; JSON-able."""
        given = {
            name: value
            for name in ("keep", "lock_ttl_s", "poll_s", "backoff_base_s", "backoff_cap_s")
            if (value := getattr(self, name)) is not None
        }
        enactor = EnactorSettings(profile=self.profile, **given)
        return {
            "seed": self.seed,
            "profile": self.profile,
            "duration_s": self.duration_s,
            "convergence_bound_s": self.bound_s,
            "world": self.world,
            "plan_rate": self.plan_rate,
            "load_rate": self.load_rate,
            "canary_rate": self.canary_rate,
            "enactors": self.enactors,
            "keep": self.keep,
            "poll_s": enactor.pauses.poll_s,
            "lock_ttl_s": enactor.pauses.lock_ttl_s,
            "backoff_base_s": enactor.pauses.backoff_base_s,
            "backoff_cap_s": enactor.pauses.backoff_cap_s,
            "without": sorted(parse_guards(self.without)),
            **limits_in_force(enactor),
            "region": load_region(self.region_file).name,
            "region_file": str(self.region_file) if self.region_file else None,
            "port_base": self.port_base,
        }


def limits_in_force(settings: Settings) -> dict[str, float]:
    """Return the protective checks' limits as a run is judged by them (invariant I7), whichever guards are off."""
    names = ("max_removal_fraction", "velocity_window_s", "min_healthy", "small_fleet")
    return {name: getattr(settings, name) for name in names}


def settle_bound_s(network: Profile, *, zones: int = 1) -> float:
    """Return within how many seconds after its last change a system is to have the last plan everywhere.

    A sweep, which finds in so many zones what no plan tells of; the patience with an enactor that is slow or gone; two
    passes over all endpoints, in either of which a call may be stalled or lost once; and then the propagation. Five
    seconds are for what depends on none of these, so for the expiry of the locks of who is gone.
    """
    pauses = EnactorSettings(profile=network.name).pauses
    swept_s = sweep_span_s(zones, pauses.sweep_s) + most_patiences(zones) * pauses.patience_s
    control = network.control_api
    worst_call_s = max(control.stall_max_s if control.stall else 0.0, control.timeout_s if control.loss else 0.0)
    return 5.0 + swept_s + 2 * worst_call_s + 2 * network.propagation.p99_s


def watcher_specs(options: CompareOptions, settings: Settings, mode: Mode) -> Mapping[str, ProcessSpec]:
    """Return the lab's own processes beside a system: `load` and `canary`, with the files that they write."""
    system = replace(options.system(mode), load_rate=options.load_rate)
    *_, load = process_specs(system, settings.region(), settings.redis_url)
    assert load.name == "load", load.name
    assert load.admin_port is not None
    canary = replace(
        load,
        name="canary",
        argv=(*load.argv[:-1], "lab.canary"),
        admin_port=load.admin_port + 1,
        env={
            **load.env,
            "FENCEPOST_NAME": "canary",
            "FENCEPOST_ADMIN_PORT": str(load.admin_port + 1),
            "FENCEPOST_CANARY_RATE": str(options.canary_rate),
            "FENCEPOST_CANARY_FILE": str((options.mode_dir(mode) / "canary.jsonl").resolve()),
        },
    )
    return {"load": load, "canary": canary}
