"""A scenario: what a world is made of. Together with a list of choices it says all that happens in a simulation."""

from functools import cached_property
from typing import Final, Literal

import msgspec
from pydantic import PrivateAttr

from deploy.freeze import PATIENCE_S
from enactor.settings import EnactorSettings
from enactor.tree import RESERVED_CHARACTERS
from fencepost.batch import Limits
from fencepost.guards import Guard
from fencepost.plan import Content, Target, content
from fencepost.region import AvailabilityZone, Endpoint, LoadBalancer, Region
from fencepost.settings import Settings, load_settings
from planner.settings import PlannerSettings

TTL_S: Final = 5
NAMES: Final = "abcdefghijklmnopqrstuvwxyz"
PLANNERS_LOOK_S: Final = 10.0
"""Within how long a planner is sure to look again, and to publish: its look interval, waits after errors, the lanes."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a world is made of.

    Attributes:
        mode: the enactors' protocol.
        enactors, endpoints, balancers: how many; every load balancer is behind every endpoint.
        generations: how many plans are published.
        wants: what the script's plans want, a letter for each: A, B, ... a content for every endpoint; "." names none,
            as a plan that changes something else. Empty: drawn. It repeats itself if there are more plans.
        installed: how many of them are published, and on every endpoint, when the world begins.
        planner: whether the real planner publishes them, from changes of the fleet; else a script does.
        planners: how many of them there are, if it does: one, or more over the same store.
        operator: whether an operator freezes, thaws, rolls back, repairs and publishes meanwhile.
        deeds: how many things an operator does.
        faults: how many faults a schedule may have.
        forgets: how often a store may fail over that forgets its last writes to a zone, or of the plans. That takes the
            real planner, who raises the floor; and no operator, since nobody would thaw a second time.
        rounds: how many rounds an enactor makes before the world only heals, in an exhaustive search.
        keep: how many generations' trees the cleaner leaves.
        batch_records: how many record sets of a tree fit into one batch; 0: as many as Route 53's limits allow.
        without: guards that are off, separated by commas.
        poll_s, lock_ttl_s, backoff_base_s, backoff_cap_s, sweep_s, patience_s, head_start_s: see `EnactorSettings`;
            half of the schedules that are drawn have no patience, see `Explorer`.
        even: whether every draw of a span is its middle, so that jitter makes no more different instants.
        skew_s: the processes' wall clocks differ by up to so much.
        seed: fixes every draw of the processes.
    """

    mode: Literal["buggy", "fixed"] = "fixed"
    enactors: int = 3
    endpoints: int = 3
    balancers: int = 3
    generations: int = 4
    wants: str = ""
    installed: int = 0
    planner: bool = False
    planners: int = 1
    operator: bool = False
    deeds: int = 3
    faults: int = 0
    forgets: int = 0
    rounds: int = 1
    keep: int = 1
    batch_records: int = 0
    without: str = ""
    poll_s: float = 2.0
    lock_ttl_s: float = 20.0
    backoff_base_s: float = 2.0
    backoff_cap_s: float = 8.0
    sweep_s: float = 30.0
    patience_s: float = 1.0
    head_start_s: float = 0.0
    even: bool = False
    skew_s: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what could not heal."""
        if self.forgets and (self.operator or not self.planner):
            raise ValueError("plans that were forgotten take `planner`, and no `operator`: see `Scenario.forgets`")
        known = "." + NAMES[: self.balancers + 1].upper()
        if set(self.wants) - set(known) or self.wants.startswith("."):
            raise ValueError(
                f"`wants` {self.wants!r} has letters that are not among {known}, or names nothing at first"
            )


class _EnactorSettings(EnactorSettings):
    # The spans of a world are to be told apart, not as short as real ones: nobody waits for them.
    patience_s: float | None = None
    _region: Region = PrivateAttr()

    def use(self, region: Region) -> None:
        self._region = region

    def region(self) -> Region:
        return self._region


class Scene:
    """What follows from a scenario, worked out once for all of its schedules."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    @cached_property
    def zones(self) -> tuple[str, ...]:
        """The endpoints' names."""
        return tuple(f"{NAMES[index]}.test." for index in range(self.scenario.endpoints))

    @cached_property
    def region(self) -> Region:
        """The region file that there would be."""
        balancers = tuple(
            LoadBalancer(f"lb-{n}", "az1", f"10.0.0.{n}", None, 100) for n in range(1, self.scenario.balancers + 1)
        )
        endpoints = tuple(Endpoint(zone, "regional-ipv4", ("*",)) for zone in self.zones)
        return Region("simulated", TTL_S, (AvailabilityZone("az1"),), balancers, endpoints)

    @cached_property
    def enactor_names(self) -> tuple[str, ...]:
        """The enactors' names."""
        return tuple(f"enactor-{n}" for n in range(1, self.scenario.enactors + 1))

    @cached_property
    def enactor_settings(self) -> dict[str, EnactorSettings]:
        """Each enactor's settings."""
        return {name: self.settings_of(name) for name in self.enactor_names}

    def settings_of(self, name: str) -> EnactorSettings:
        """Return the settings of an enactor of this name."""
        given = self.scenario
        settings = _EnactorSettings(
            name=name,
            protocol=given.mode,
            keep=given.keep,
            without=self.without,
            small_fleet=1,
            poll_s=given.poll_s,
            lock_ttl_s=given.lock_ttl_s,
            backoff_base_s=given.backoff_base_s,
            backoff_cap_s=given.backoff_cap_s,
            sweep_s=given.sweep_s,
            patience_s=given.patience_s,
            head_start_s=given.head_start_s,
            api_requests_per_s=0.0,
        )
        settings.use(self.region)
        return settings

    @property
    def without(self) -> str:
        """The guards that are off; the protocol that broke has none."""
        return ",".join(Guard) if self.scenario.mode == "buggy" else self.scenario.without

    @cached_property
    def planner_names(self) -> tuple[str, ...]:
        """The planners' names; none if a script publishes."""
        return tuple(f"planner-{n}" for n in range(1, self.scenario.planners + 1)) if self.scenario.planner else ()

    @cached_property
    def planner_settings(self) -> dict[str, PlannerSettings]:
        """Each planner's settings; one check is enough to believe what a load balancer says."""
        given = {"without": self.without, "small_fleet": 1, "slow_interval_s": self.scenario.poll_s}
        checks = {"unhealthy_after": 1, "healthy_after": 1}
        return {name: load_settings(PlannerSettings, name=name, **given, **checks) for name in self.planner_names}

    @cached_property
    def operator_settings(self) -> Settings:
        """What a command's settings are."""
        return load_settings(Settings, without=self.without, small_fleet=1)

    @cached_property
    def contents(self) -> tuple[Content, ...]:
        """What an endpoint may be wanted to have: all load balancers, or all but one."""
        everybody = [Target(lb.name, "A", lb.address, 100) for lb in self.region.load_balancer]
        fewer = [[target for target in everybody if target is not out] for out in everybody]
        return tuple(content(TTL_S, targets) for targets in (everybody, *fewer))

    @property
    def least(self) -> Content:
        """What no endpoint may be brought to but by force: one load balancer, the last."""
        return content(TTL_S, list(self.contents[0].targets[-1:]))

    @property
    def limits(self) -> Limits:
        """How large a batch may be: by its characters, since those leave room for the control records."""
        fit = self.scenario.batch_records
        if not fit:
            return Limits()
        longest = max(len(lb.address) for lb in self.region.load_balancer)
        return Limits(characters=RESERVED_CHARACTERS + 2 * fit * longest)

    @property
    def heal_s(self) -> float:
        """Within how long, after the last fault and the last plan, every endpoint has that plan (I5).

        Where there are others who have to come to their end first, that is added: the fleet, and two looks of a
        planner; an operator's deeds, each with its pauses and with all the patience of a freeze and a thaw.
        """
        given = self.scenario
        healed_s = 2 * (given.lock_ttl_s + given.backoff_cap_s + given.poll_s) + given.sweep_s
        if given.planner:
            healed_s += (2 * given.generations + 1) * given.poll_s + 2 * PLANNERS_LOOK_S
        if given.operator:
            healed_s += (given.deeds + 1 + given.faults) * (2 * PATIENCE_S + 4 * given.poll_s)
        return healed_s
