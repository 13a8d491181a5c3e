"""`fencepost drill heal` on a real system: break it with `buggy`, then restart nothing but the enactors, as `fixed`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from deploy.topology import Mode, enactor_names, process_specs
from fencepost.errors import StartupError
from fencepost.network import PROFILES
from lab.clients import Target, targets_of
from lab.drills.heal import Patient, Seen, result
from lab.drills.result import Result
from lab.drills.stage import DrillFailed, Stage, addresses, judged, required
from lab.drills.streams import Streams, followed
from lab.history import event_us

REST_S: Final = 5.0
"""For how long after the world's last change an endpoint has to stay empty: then nobody is going to help it."""
POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class HealDrill:
    """Breaks a buggy system by changes and delays alone, and lets fixed enactors find it.

    Attributes:
        rate: changes of the world a second.
        timeout_s: within how many seconds something has to be stuck.
        bound_s: within how many seconds it has to be healed.
    """

    rate: float = 40.0
    timeout_s: float = 180.0
    bound_s: float = 30.0

    def check(self) -> None:
        """Refuse what makes no sense. Raises: StartupError."""
        for option, value in (("--rate", self.rate), ("--timeout", self.timeout_s), ("--bound", self.bound_s)):
            required(value, option)

    async def __call__(self, stage: Stage) -> Result:
        """Run the drill. Raises: StartupError if nothing gets stuck: then there is nothing to heal."""
        async with followed(stage) as streams:
            stuck_after_s = await self._until_stuck(stage, streams)
            world_stopped_us = stage.now_us()
            patients = await self._examine(stage, streams)
        restarting_us = stage.now_us()
        patients, settled_us = await self._heal(stage, patients)
        stage.enter("collecting and checking")
        parameters = {"drill": "heal", "rate": self.rate, "convergence_bound_s": self.bound_s}
        history = await stage.history(parameters, world_stopped_us=world_stopped_us, faults_ended_us=restarting_us)
        replaced = [event for event in history.events if event.get("event") == "supervisor.child_replaced"]
        if not replaced:
            raise DrillFailed(f"the supervisor does not say that it replaced anything; see {stage.options.run_dir}")
        started_us = min(map(event_us, replaced))
        seen = Seen(
            patients,
            stuck_after_s,
            started_us,
            history.events,
            await judged(history, self.bound_s),
            settled_s=None if settled_us is None else max(0.0, (settled_us - started_us) / 1e6),
            bound_s=self.bound_s,
            negative_ttl_s=stage.region.negative_ttl_s,
        )
        title = f"{len(patients)} stuck after {stuck_after_s:.0f} s of buggy at {self.rate:g} changes a second"
        return result(f"{title}, network {stage.options.profile}; then fixed", seen)

    async def _until_stuck(self, stage: Stage, streams: Streams) -> float:
        """Let the world change until something is stuck for good; return how long that took, seconds."""
        began_s = stage.clock.monotonic()
        while (left_s := began_s + self.timeout_s - stage.clock.monotonic()) > 0:
            stage.enter("breaking it", left_s)
            async with stage.world(self.rate):
                await streams.until(lambda: bool(stuck(stage, streams)), within_s=left_s)
            took_s = stage.clock.monotonic() - began_s
            stage.enter("world stopped: is it stuck for good?", REST_S)
            await stage.clock.sleep(REST_S + 2 * PROFILES[stage.options.profile].propagation.p99_s)
            if stuck(stage, streams):
                return took_s
        raise StartupError(
            f"nothing was stuck within {self.timeout_s:g} s, so there is nothing to heal: name another --seed, "
            "a longer --timeout or a higher --rate"
        )

    async def _examine(self, stage: Stage, streams: Streams) -> Sequence[Patient]:
        settings = stage.stores.settings
        found = []
        for target in stuck(stage, streams):
            roots = streams.states[target.endpoint].at(target.endpoint, target.type)
            pointed = ", ".join(root.alias or "addresses" for root in roots) or "nothing"
            said = await asyncio.gather(*(addresses(target, port) for port in (settings.dns_port, settings.cache_port)))
            found.append(Patient(target.endpoint, target.type, pointed, (said[0], said[1])))
        return found

    async def _heal(self, stage: Stage, patients: Sequence[Patient]) -> tuple[Sequence[Patient], int | None]:
        """Restart the enactors; return the patients with their times, and when every root was at the last plan."""
        bound_s = self.bound_s + stage.region.negative_ttl_s
        stage.enter("fixed enactors at work", bound_s)
        options = replace(stage.options.system, mode=Mode.FIXED)
        names = enactor_names(stage.region, options.enactors)
        specs = [s for s in process_specs(options, stage.region, stage.system.redis_url) if s.name in names]
        async with asyncio.TaskGroup() as group:
            for spec in specs:
                group.create_task(stage.system.supervisor.replace(spec))
            began_us, settling = stage.now_us(), group.create_task(stage.settled_s(bound_s))
            watches = [group.create_task(self._watch(stage, patient, bound_s)) for patient in patients]
        settled_s = settling.result()
        return [watch.result() for watch in watches], None if settled_s is None else began_us + round(settled_s * 1e6)

    async def _watch(self, stage: Stage, patient: Patient, bound_s: float) -> Patient:
        settings, target = stage.stores.settings, Target(patient.endpoint, patient.type)
        live_us, cached_us = await asyncio.gather(
            *(_answered_us(stage, target, port, bound_s) for port in (settings.dns_port, settings.cache_port))
        )
        return msgspec.structs.replace(patient, authoritative_us=live_us, caching_us=cached_us)


def stuck(stage: Stage, streams: Streams) -> tuple[Target, ...]:
    """Return what the zones themselves have no address for."""
    return tuple(t for t in targets_of(stage.region) if not streams.states[t.endpoint].addresses(*t))


async def _answered_us(stage: Stage, target: Target, port: int, bound_s: float) -> int | None:
    """Ask a server until it answers with an address; return when that was, None if it was not within the bound."""
    deadline_s = stage.clock.monotonic() + bound_s
    while not await addresses(target, port):
        if stage.clock.monotonic() > deadline_s:
            return None
        await stage.clock.sleep(POLL_S)
    return stage.now_us()
