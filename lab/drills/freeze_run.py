"""The rounds of `fencepost drill freeze`, on a real system."""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from deploy.freeze import Freezer
from fencepost.clock import stream
from fencepost.network import PROFILES
from fencepost.notice import Notice
from lab.clients import targets_of
from lab.compare_options import settle_bound_s
from lab.drills.freeze import Round, Seen, automation_commits, result, thawed_spans
from lab.drills.result import Result
from lab.drills.stage import DrillFailed, Stage, judged, required, silent

FROZEN_S: Final = (0.05, 0.3)
THAWED_S: Final = (0.1, 0.4)
"""How long each round stays frozen, and lets the automation run before: drawn evenly from these."""
WARM_UP_S: Final = 1.0
"""How long the world changes before the first round."""


@dataclass(frozen=True, slots=True)
class FreezeDrill:
    """Freezes and thaws a busy region `rounds` times while the world changes at `rate` a second."""

    rounds: int = 200
    rate: float = 40.0

    def check(self) -> None:
        """Refuse what makes no sense. Raises: StartupError."""
        required(self.rounds, "--rounds")
        required(self.rate, "--rate")

    async def __call__(self, stage: Stage) -> Result:
        """Run the drill."""
        rng = stream(stage.options.seed, "drill", "freeze")
        rounds: list[Round] = []
        stage.enter("freezing and thawing")
        async with stage.world(self.rate):
            await stage.clock.sleep(WARM_UP_S)
            began_s = stage.clock.monotonic()
            while len(rounds) < self.rounds:
                rounds.append(await self._round(stage, rng))
                took_s = stage.clock.monotonic() - began_s
                stage.progress.words = f"round {len(rounds)} of {self.rounds}"
                stage.progress.expect(took_s / len(rounds) * (self.rounds - len(rounds)))
        world_stopped_us = stage.now_us()
        bound_s = settle_bound_s(PROFILES[stage.options.profile], zones=len(stage.region.endpoint))
        stage.enter("settling", bound_s)
        settled_s = await stage.settled_s(bound_s)
        stage.enter("collecting and checking")
        parameters = {"drill": "freeze", "rounds": self.rounds, "rate": self.rate, "convergence_bound_s": bound_s}
        history = await stage.history(parameters, world_stopped_us=world_stopped_us)
        spans = thawed_spans(stage.started_us, rounds)
        done = [automation_commits(history.commits, *span) for span in spans]
        seen = Seen(
            rounds,
            history.commits,
            history.events,
            await judged(history, bound_s),
            busy=sum(map(bool, done)),
            thawed_s=sum(until - start for start, until in spans) / 1e6,
            thawed_commits=sum(done),
            settled_s=settled_s,
        )
        title = f"{self.rounds} freezes, {self.rate:g} changes a second, network {stage.options.profile}"
        return result(title, seen, self.rounds)

    async def _round(self, stage: Stage, rng: random.Random) -> Round:
        stores = stage.stores
        await stage.clock.sleep(rng.uniform(*THAWED_S))
        called_us = stage.now_us()
        notice = Notice("drill", int(stage.clock.epoch_s()), "a drill of the freeze")
        freezer = Freezer(stores, stage.clock, stage.events)
        frozen = await freezer.freeze(notice)
        returned_us = stage.now_us()
        if not frozen.complete:
            raise DrillFailed(f"not everything could be frozen: {frozen}")
        serials = {held.zone: held.serial for held in frozen.zones if held.zone and held.serial}
        generation = await stores.plans.latest_generation()
        asked, _ = await asyncio.gather(
            silent(targets_of(stage.region), stores.settings.dns_port), stage.clock.sleep(rng.uniform(*FROZEN_S))
        )
        serials_then = await self._serials(stage)
        generation_then = await stores.plans.latest_generation()
        thawing_us = stage.now_us()
        thawed = await freezer.thaw()
        if not thawed.complete:
            raise DrillFailed(f"not everything could be thawed: {thawed}")
        return Round(
            called_us,
            returned_us,
            thawing_us,
            stage.now_us(),
            {zone: (serial, serials_then[zone]) for zone, serial in serials.items()},
            (generation, generation_then),
            asked,
        )

    @staticmethod
    async def _serials(stage: Stage) -> dict[str, int]:
        names = stage.region.endpoint_names
        reads = await asyncio.gather(*(stage.stores.zones.read(name, []) for name in names))
        return {name: read.serial for name, read in zip(names, reads, strict=True)}
