"""Servers that a benchmark runs: in the foreground, in a place of their own, tied to this process, ended with it."""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from deploy.child import Child
from deploy.stopping import kill_and_wait, stop_alone
from deploy.topology import ProcessSpec
from fencepost.clock import Clock
from fencepost.settings import LOOPBACK
from lab.bench.cores import give_way, pinned
from lab.bench.programs import BenchFailed

SBIN: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Where Debian puts servers; a user's PATH may lack them."""
READY_S: Final = 60.0
LOOK_EVERY_S: Final = 0.02
SPIN: Final = ("/bin/sh", "-c", "while :; do :; done")
LOW, HIGH = 20_000, 32_000


def found(program: str) -> str | None:
    """Return where a program is: on PATH, else where servers are installed; None if nowhere."""
    return shutil.which(program) or shutil.which(program, path=":".join(SBIN))


@contextmanager
def workplace() -> Iterator[Path]:
    """Yield an empty directory for a benchmark, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fencepost-bench-") as place:
        yield Path(place)


def free_ports(count: int = 1) -> int:
    """Return the first of so many loopback ports in a row that nobody has now, neither for UDP nor for TCP.

    They are below the ports that the system gives to clients, so that no client can come in between.

    Raises: BenchFailed if none can be found.
    """
    for first in range(LOW + os.getpid() % 500 * 20, HIGH - count, count):
        if all(_is_free(first + offset) for offset in range(count)):
            return first
    raise BenchFailed(f"no {count} free ports in a row on {LOOPBACK} below {HIGH}; end what holds them")


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind((LOOPBACK, port))
            udp.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@asynccontextmanager
async def running(
    spec: ProcessSpec,
    place: Path,
    ready: Callable[[], Awaitable[bool]],
    clock: Clock,
    *,
    timeout_s: float = READY_S,
    yields: bool = False,
) -> AsyncIterator[Child]:
    """Run a process that has to become ready; whatever happens, it has ended afterwards.

    Args:
        spec: what to run; see `lab.bench.cores.pinned` for where.
        place: where its output goes.
        ready: says whether it does what it is for; asked again and again.
        clock: paces that.
        timeout_s: how long it may take.
        yields: whether it gives way to the processes of other sessions.

    Raises: BenchFailed with its last words if it ends, or is not ready in time.
    """
    child = Child(spec, place)
    try:
        await child.spawn()
        if yields:
            give_way(child.pid)
        await _until_ready(child, ready, clock, timeout_s)
        yield child
    except BaseException:
        await asyncio.shield(kill_and_wait([child]))
        raise
    await stop_alone(child)


async def _until_ready(child: Child, ready: Callable[[], Awaitable[bool]], clock: Clock, timeout_s: float) -> None:
    deadline_s = clock.monotonic() + timeout_s
    while not await ready():
        if not child.alive:
            raise BenchFailed(f"{child.spec.name} ended with {await child.wait()}: {_words(child)}")
        if clock.monotonic() > deadline_s:
            raise BenchFailed(f"{child.spec.name} was not ready after {timeout_s:g} s: {_words(child)}")
        await clock.sleep(LOOK_EVERY_S)


def _words(child: Child) -> str:
    return child.last_words() or "it wrote nothing"


@asynccontextmanager
async def awake(cores: Iterable[int], place: Path, clock: Clock) -> AsyncIterator[None]:
    """Keep processors from halting as long as this lasts: on each, something spins while nobody else has work there.

    A virtual processor that halts goes on when its host comes to it. So answers to a few queries take longer than
    answers to many, and whatever else a processor has to do seems to make it quicker. Without `chrt` nobody spins, as
    what does would take a share.
    """

    async def at_once() -> bool:
        return True

    async with AsyncExitStack() as stack:
        for core in cores if shutil.which("chrt") else ():
            spec = ProcessSpec(f"awake-{core}", pinned(SPIN, (core,), yields=True), {})
            await stack.enter_async_context(running(spec, place, at_once, clock, yields=True))
        yield


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """Stop some processes for as long as this lasts."""
    ours = tuple(pids)
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in ours:
            os.kill(pid, signal.SIGCONT)
