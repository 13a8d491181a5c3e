"""`fencepost drill observations` on a real system: each wrong observation for a while, then all as it was before."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from fencepost.clock import stream
from fencepost.errors import PlanConflict
from fencepost.plan import Content, Draft
from fencepost.safety import Limits
from fencepost.symptoms import Cause
from lab.drills.cases import FleetCase, PlanCase, endpoints_of, fleet_cases, plan_cases, restoring
from lab.drills.ears import Ears, ask_status, complaints
from lab.drills.observations import Seen, Status, Tried, result
from lab.drills.result import Result
from lab.drills.stage import DrillFailed, Stage, beside, judged, required
from lab.drills.streams import Streams, capacity_points, followed
from lab.settle import unconverged

REPUBLISH_S: Final = 0.2
MOVE_WITHIN_S: Final = 5.0
RECOVER_WITHIN_S: Final = 30.0
RECOVER_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class ObservationsDrill:
    """Wrong observations, one after the other.

    Attributes:
        hold_s: for how long each one lasts.
        window_s: the velocity window that planner and enactors were told.
    """

    hold_s: float = 4.0
    window_s: float = 5.0

    def check(self) -> None:
        """Refuse what makes no sense. Raises: StartupError."""
        required(self.hold_s, "--hold")
        required(self.window_s, "--window")

    def extra(self) -> Mapping[str, Mapping[str, str]]:
        """Return what the processes have to be told."""
        told = {"FENCEPOST_VELOCITY_WINDOW_S": str(self.window_s)}
        return {"planner": told, "enactor": told}

    async def __call__(self, stage: Stage) -> Result:
        """Run the drill. Raises: DrillFailed if the system is not at rest at first."""
        async with followed(stage) as streams:
            tried = [done async for done in self._cases(stage, streams)]
        stage.enter("collecting and checking")
        parameters = {"drill": "observations", "hold_s": self.hold_s, "convergence_bound_s": RECOVER_WITHIN_S}
        parameters |= {"velocity_window_s": self.window_s}
        history = await stage.history(parameters, world_stopped_us=stage.now_us())
        limits: Limits = replace(stage.stores.settings.limits, window_s=self.window_s)
        seen = Seen(
            tried,
            {zone: capacity_points(zone, commits) for zone, commits in history.commits.items()},
            limits,
            frozenset(e.name for e in stage.region.endpoint if len(stage.region.members(e)) <= limits.small_fleet),
            await judged(history, RECOVER_WITHIN_S),
        )
        return result(f"{len(tried)} wrong observations, {self.hold_s:g} s each, network {stage.options.profile}", seen)

    async def _cases(self, stage: Stage, streams: Streams) -> AsyncIterator[Tried]:
        """Try every case; each ends when everything is as it was before."""
        usual = await self._usual(stage)
        fleet = fleet_cases(stage.region, stream(stage.options.seed, "drill", "observations"))
        cases: list[FleetCase | PlanCase] = [*fleet, *plan_cases(stage.region, usual)]
        for number, case in enumerate(cases, 1):
            stage.enter(f"{number} of {len(cases)}: {case.name}", self.hold_s)
            concerned = _concerned(stage, case)
            begun_us, ears = stage.now_us(), Ears(frozenset(concerned))
            asking = asyncio.create_task(self._ask(stage, case.cause, concerned))
            async with beside(ears.listen(stage)):
                if isinstance(case, FleetCase):
                    moved = await self._observed(stage, streams, case)
                else:
                    moved = await self._published(stage, streams, case)
                said = await asking
            stage.enter(f"{number} of {len(cases)}: {case.name}; now all is right again")
            recovered_s = await self._recovered(stage, usual)
            victims = case.victims if isinstance(case, PlanCase) else {}
            yield Tried(
                name=case.name,
                begun_us=begun_us,
                until_us=stage.now_us(),
                words=case.words,
                cause=case.cause,
                concerned=concerned,
                told=ears.sentences(),
                status=said,
                live=tuple(zone for zone, value in victims.items() if streams.went_live(zone, value, begun_us)),
                moved=moved,
                recovered_s=recovered_s,
            )

    async def _ask(self, stage: Stage, cause: Cause, concerned: Sequence[str]) -> Status:
        """Ask `fencepost status` from the middle of a case on, until it gives the cause or the case is over.

        Once is not enough: soon after a wrong plan the planner publishes a right one, and all is well for a while.
        """
        until_s = stage.clock.monotonic() + self.hold_s
        await stage.clock.sleep(self.hold_s / 2)
        while True:
            said = await ask_status(stage)
            if said.fits(cause, concerned) or stage.clock.monotonic() >= until_s:
                return said

    @staticmethod
    async def _usual(stage: Stage) -> Mapping[str, Content]:
        """Return what every endpoint has when all is well."""
        if await stage.settled_s(RECOVER_WITHIN_S) is None:
            raise DrillFailed(f"the system is not at rest after {RECOVER_WITHIN_S:g} s; see {stage.options.run_dir}")
        plan = await stage.stores.plans.latest()
        if plan is None or set(plan.digests) != set(stage.region.endpoint_names):
            raise DrillFailed("the first plan does not have every endpoint; see the planner's log")
        return {name: plan.content(name) for name in plan.digests}

    async def _observed(self, stage: Stage, streams: Streams, case: FleetCase) -> bool | None:
        """Let the fleet say what is wrong for a while; return whether another endpoint could still be moved."""
        until_s = stage.clock.monotonic() + self.hold_s
        for name, wish in case.wishes.items():
            await stage.put_balancer(name, wish)
        # By now the planner has noticed: a routine change has to get past whatever it made of that.
        await stage.clock.sleep(self.hold_s / 2)
        moved = await self._routine(stage, streams, case)
        await stage.clock.sleep(until_s - stage.clock.monotonic())
        return moved

    @staticmethod
    async def _routine(stage: Stage, streams: Streams, case: FleetCase) -> bool | None:
        """Change the capacity of a load balancer that is well; say whether that is live in time. None: all are ill."""
        well = [lb.name for lb in stage.region.load_balancer if lb.name not in case.wishes]
        if not well:
            return None
        status, answer = await stage.request("POST", f"load-balancers/{well[0]}/capacity", {"add": 1})
        generation = answer.get("generation")
        if status != HTTPStatus.OK or not isinstance(generation, int):
            return False
        zones = endpoints_of(stage.region, well[:1])
        latest = await stage.stores.plans.latest()
        live_us = await streams.reached(zones, latest, generation, within_s=MOVE_WITHIN_S)
        await stage.request("POST", f"load-balancers/{well[0]}/capacity", {"add": -1})
        return live_us is not None

    async def _published(self, stage: Stage, streams: Streams, case: PlanCase) -> bool | None:
        """Publish a wrong plan again and again, whatever the planner makes of that; return whether the rest moved."""
        begun_us, until_s = stage.now_us(), stage.clock.monotonic() + self.hold_s
        while stage.clock.monotonic() < until_s:
            await self._publish(stage, case)
            await stage.clock.sleep(REPUBLISH_S)
        if case.bystander is None or case.bystander_content is None:
            return None
        return streams.went_live(case.bystander, case.bystander_content, begun_us)

    @staticmethod
    async def _publish(stage: Stage, case: PlanCase) -> None:
        """Publish the wrong plan if it is not the latest."""
        latest = await stage.stores.plans.latest()
        if latest is not None and all(latest.content(name) == value for name, value in case.victims.items()):
            return
        draft = Draft(case.changes, f"a drill: {case.name}", by="planner")
        with suppress(PlanConflict):  # the planner was first: the next time, then
            await stage.stores.plans.publish(draft, expected=latest.generation if latest else 0)

    @staticmethod
    async def _recovered(stage: Stage, usual: Mapping[str, Content]) -> float | None:
        """Make the fleet well; return how long it takes until everything is as it was, None if too long.

        Nobody complains any more then: what is said of one case must not be heard in the next.
        """
        began_s = stage.clock.monotonic()
        for name, wish in restoring(stage.region).items():
            await stage.put_balancer(name, wish)
        while True:
            plan = await stage.stores.plans.latest()
            is_usual = plan is not None and all(plan.content(name) == value for name, value in usual.items())
            is_live = is_usual and not await unconverged(stage.stores.zones, stage.stores.plans, plan)
            if is_live and not any(sentences for _, sentences in await complaints(stage)):
                return round(stage.clock.monotonic() - began_s, 3)
            if stage.clock.monotonic() > began_s + RECOVER_WITHIN_S:
                return None
            await stage.clock.sleep(RECOVER_POLL_S)


def _concerned(stage: Stage, case: FleetCase | PlanCase) -> tuple[str, ...]:
    """Return the endpoints that a case does harm to, in order."""
    if isinstance(case, FleetCase):
        return endpoints_of(stage.region, list(case.wishes))
    return tuple(sorted(case.victims))
