"""Stopping processes in order, within a bound: asked first, killed then."""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from deploy.child import Child
from fencepost.clock import Clock

STAGE_S: Final = 1.0
"""How long one stage is waited for before the next one is asked to end as well."""
ALL_S: Final = 3.2
"""When everything but the first stage is killed; a service gives itself 3 s."""
FIRST_STAGE_S: Final = 0.8
"""How long the first stage has, when nobody uses it any more. Together: 4 s, and the kernel's own time."""


async def stop_in_order(children: Sequence[Child], clock: Clock) -> None:
    """Stop processes in the reverse order of their stages.

    A stage that hangs does not hold up the others for long: they are asked while it still has time. The first stage
    (the server) is asked only when all others are gone: their last writes reach it.
    """
    first, *others = [list(stage) for _, stage in groupby(children, key=lambda child: child.spec.stage)] or [[]]
    deadline_s = clock.monotonic() + ALL_S
    for stage in reversed(others):
        _ask(stage)
        await _gone(stage, min(STAGE_S, deadline_s - clock.monotonic()))
    later = [child for stage in others for child in stage]
    await _gone(later, deadline_s - clock.monotonic())
    await kill_and_wait(later)
    _ask(first)
    await _gone(first, FIRST_STAGE_S)
    await kill_and_wait(first)


async def stop_alone(child: Child) -> None:
    """Stop one process while all others go on: it is asked, and killed when its time is over."""
    _ask([child])
    await _gone([child], ALL_S)
    await kill_and_wait([child])


async def kill_and_wait(children: Sequence[Child]) -> None:
    """Kill the processes that are left, and wait for their end."""
    for child in children:
        child.kill()
    await _gone(children, None)


def _ask(children: Sequence[Child]) -> None:
    for child in children:
        child.terminate()


async def _gone(children: Sequence[Child], timeout_s: float | None) -> None:
    """Wait for the end of processes, or for the time to be over."""
    waits = [asyncio.create_task(child.wait()) for child in children if child.alive]
    if not waits:
        return
    try:
        await asyncio.wait(waits, timeout=None if timeout_s is None else max(0.0, timeout_s))
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
