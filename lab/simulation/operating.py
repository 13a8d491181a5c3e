"""An operator's process: a person who types the shipped commands, reads what they say, and leaves nothing in force."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from deploy.freeze import Freezer
from deploy.repair import Repair
from deploy.rollback import Rollback
from fencepost.client import Stores
from fencepost.errors import FencepostError
from fencepost.notice import Notice, frozen_key
from fencepost.plan import Draft, Lane
from fencepost.publish import HandPublisher
from fencepost.stores import Actor
from lab.simulation.process import Main, Process
from lab.simulation.promises import PLANS
from lab.simulation.scenario import Scene
from lab.simulation.stores import RETRY_S, plans_of, zones_of

T = TypeVar("T")


def operator(scene: Scene) -> Main:
    """Return what an operator's process does: some deeds by chance, and at last a thaw of everything."""

    async def main(process: Process) -> None:
        person = Person(process, scene)
        if process.life > 1:
            await person.look()
        for _ in range(scene.scenario.deeds if process.life == 1 else 1):
            await person.pause()
            await person.act()
        await person.leave()

    return main


class Person:
    """One operator; what it was told, and relies on, is `Process.promises`, which outlives the command that died."""

    def __init__(self, process: Process, scene: Scene) -> None:
        assert process.promises is not None, "whoever types commands relies on what they say"
        actor = Actor(process.name, operator=True)
        zones, plans = zones_of(process, operator=True), plans_of(process)
        self._process, self._scene, self._clock = process, scene, process.clock
        self._stores = Stores(scene.operator_settings, scene.region, zones, plans, actor)
        self._rng, self._told = process.rng("deeds"), process.promises
        self._deeds: Sequence[Callable[[], Awaitable[None]]] = (
            self._freeze,
            self._freeze_one,
            self._roll_back,
            self._repair,
            self._publish,
        )

    async def act(self) -> None:
        """Do one thing."""
        await self._rng.choice(self._deeds)()

    async def pause(self) -> None:
        """Think for a moment."""
        await self._clock.sleep(self._rng.uniform(0.0, 2 * self._scene.scenario.poll_s))

    async def look(self) -> None:
        """Look at what is in force: a command before this one may have died."""
        while await self._typed(self._in_force()) is None:
            await self._clock.sleep(RETRY_S)

    async def leave(self) -> None:
        """Thaw everything, until nothing is left in force."""
        while await self._typed(self._thaw()) is None:
            await self._clock.sleep(RETRY_S)

    async def _in_force(self) -> Sequence[str]:
        """Return what is frozen or pinned."""
        controls = await self._stores.plans.controls()
        reads = {zone: await self._stores.zones.read(zone, [frozen_key(zone)]) for zone in self._scene.zones}
        frozen = [zone for zone, read in reads.items() if read.records]
        return [*([PLANS] if controls.frozen else []), *frozen, *controls.pins]

    async def _typed(self, command: Awaitable[T]) -> T | None:
        """Return what a command came to, None if it ended with an error, which a person can read."""
        try:
            return await command
        except FencepostError:
            return None

    def _notice(self, why: str) -> Notice:
        return Notice(self._process.name, int(self._clock.epoch_s()), why)

    def _freezer(self) -> Freezer:
        return Freezer(self._stores, self._clock, self._process)

    async def _thaw(self, endpoints: Sequence[str] | None = None) -> bool | None:
        """Thaw; None if something may be left in force."""
        if endpoints is None:
            self._told.frozen.clear()
        self._told.frozen.difference_update(endpoints or ())
        for endpoint in endpoints or self._scene.zones:
            self._told.forget(endpoint)
        thawed = await self._freezer().thaw(endpoints)
        if not thawed.complete:
            return None
        if endpoints is None and (left := await self._in_force()):
            raise AssertionError(f"thaw said that it was complete, and left in force: {', '.join(left)}")
        return True

    async def _freeze(self, endpoints: Sequence[str] | None = None) -> None:
        frozen = await self._freezer().freeze(self._notice("look first"), endpoints)
        done = [held.zone for held in frozen.zones if held.done]
        if frozen.plans is not None and frozen.plans.done:
            done.append(PLANS)
        self._told.frozen.update(zone for zone in done if zone is not None)
        await self.pause()
        await self._typed(self._thaw(endpoints))

    async def _freeze_one(self) -> None:
        await self._freeze([self._endpoint()])

    async def _roll_back(self) -> None:
        endpoint = self._endpoint()
        self._told.forget(endpoint)
        done = await self._typed(Rollback(self._stores, self._clock, self._process).run(endpoint, why="look first"))
        if done is None:
            return
        self._told.planned[endpoint] = self._told.live[endpoint] = done.content
        await self.pause()
        if self._rng.random() < 0.5:  # noqa: PLR2004  -- else the last thaw ends it
            await self._typed(self._thaw([endpoint]))

    async def _repair(self) -> None:
        await self._typed(Repair(self._stores, self._clock, self._process).run(self._endpoint()))

    async def _publish(self) -> None:
        """Publish a plan by hand, with or without force, which is held or not."""
        endpoint, wanted = self._endpoint(), self._rng.choice((*self._scene.contents, self._scene.least))
        force, hold = self._rng.random() < 0.5, self._rng.random() < 0.5  # noqa: PLR2004  -- like a coin
        pin = self._notice("hold it") if hold else None
        by, number = self._process.name, self._rng.randrange(1000)
        draft = Draft({endpoint: wanted}, f"by hand, {number}", Lane.FAST, by=by, operator=True, force=force, pin=pin)
        self._told.forget(endpoint)
        done = await self._typed(HandPublisher(self._stores, self._clock, self._process).publish(draft))
        if done is not None and hold:
            self._told.planned[endpoint] = wanted

    def _endpoint(self) -> str:
        return self._rng.choice(self._scene.zones)
