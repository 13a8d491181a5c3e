"""Three enactors in processes of their own, of which the one that goes first at a plan is stopped."""

import asyncio
import os
import signal

import msgspec
import pytest

from enactor.lock import lock_key
from enactor.opening import common_order
from fencepost.clock import SystemClock
from fencepost.fence import Fence, fence_key
from lab.bench.many import Many
from lab.bench.system import OurOptions, OurSystem, our_system

MANY = Many(endpoints=24, members=3, turns=2)
LIVE_S = 30.0
ENACTOR = {"FENCEPOST_VERIFY_WAIT_S": "60", "FENCEPOST_PATIENCE_S": "0.5"}
"""Trees go live when the resolver answers them, however late that is; and who comes late finds the plan begun."""


async def holder_of(system: OurSystem, zone: str) -> str:
    """Wait until a zone's lock is somebody's; return whose."""
    while True:
        found = (await system.zones.read(zone, [lock_key(zone)])).records
        if found:
            return found[lock_key(zone)].text.split(" ")[0]


async def flipped_by(system: OurSystem, zone: str) -> str:
    """Return who put a zone to where it is."""
    record = (await system.zones.read(zone, [fence_key(zone)])).records[fence_key(zone)]
    return Fence.parse(zone, record).flip_id.rsplit("-", 2)[0]


def told(system: OurSystem, name: str, event: str) -> list[dict[str, str]]:
    """Return what an enactor's log says of a kind of event."""
    lines = (system.running.run_dir / "logs" / f"{name}.jsonl").read_bytes().splitlines()
    return [line for line in map(msgspec.json.decode, lines) if line["event"] == event]


async def until_told(system: OurSystem, name: str, event: str) -> None:
    """Wait until an enactor's log says a kind of event."""
    while True:
        if told(system, name, event):
            return
        await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
async def test_enactor_that_is_stopped_after_it_began_a_plan_leaves_it_to_the_others(port_base):
    """It has the first endpoint, so they leave the plan to it; it comes on no more, so they do all of it themselves.

    The resolver is stopped meanwhile and answers no tree, so nothing can be live yet when the enactor is stopped.
    """
    options = OurOptions(MANY, enactors=3, port_base=port_base, enactor=ENACTOR)
    async with our_system(options, SystemClock()) as system:
        supervisor, opening = system.running.supervisor, common_order(1, MANY.names)[0]
        os.kill(supervisor.pid("resolver"), signal.SIGSTOP)
        changes = dict.fromkeys(MANY.names, MANY.content(0))
        generation = await system.publish(changes)
        first = await holder_of(system, opening)
        others = set(system.enactors) - {first}
        for name in others:
            await until_told(system, name, "enactor.plan_left")
        os.kill(supervisor.pid(first), signal.SIGSTOP)
        os.kill(supervisor.pid("resolver"), signal.SIGCONT)

        await system.until_live(changes, generation, within_s=LIVE_S)

        assert {await flipped_by(system, zone) for zone in MANY.names} <= others
        for name in others:
            assert {event["zone"] for event in told(system, name, "enactor.plan_left")} == {opening}
        os.kill(supervisor.pid(first), signal.SIGCONT)
        await system.install(dict.fromkeys(MANY.names, MANY.content(1)), within_s=LIVE_S)
        system.check_alive()
