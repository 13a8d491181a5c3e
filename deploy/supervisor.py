"""Starts the processes of a system, keeps them running, and stops them in order."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from deploy.child import Child
from deploy.log_view import LogView
from deploy.merged_log import MergedLog, Source
from deploy.page_list import Page
from deploy.readiness import Probe, admin_url
from deploy.restarts import ChildAbandoned, RestartPolicy
from deploy.stopping import kill_and_wait, stop_alone, stop_in_order
from deploy.tether import works_here
from deploy.topology import ProcessSpec, Stage, pages_of
from fencepost.clock import Clock
from fencepost.errors import StartupError
from fencepost.events import Events
from fencepost.operator_log import OPERATOR_LOG

SUPERVISOR: Final = "supervisor"
READY_POLL_S: Final = 0.05


def logs_dir(run_dir: Path) -> Path:
    """Return where the logs of a run are: `<process>.jsonl` and `<process>.err` each, `server.log`."""
    return run_dir / "logs"


class Supervisor:
    """Runs the processes of `specs`; they are in the order of their stages.

    Use: `start`, then `run` until somebody calls `request_stop`, then `stop` in any case. From `start`'s return to
    `stop`, a process that dies is started again, whether `run` is awaited or not; `run` raises once one is abandoned.
    All of it, on the main thread's loop (deploy/tether.py says why).

    Args:
        specs: what to run.
        run_dir: logs go to `<run_dir>/logs`.
        events: gets supervisor.*.
        echo: gets the merged log, line by line, rendered by `view`; None: nobody looks, and nothing is read.
        clock: for waiting.
        rng: for the restarts' jitter.
        policy: when to restart, and when to give up.
        view: how the merged log looks.
        ready_timeout_s: how long one stage may take to become ready.
        after_stage: awaited when a stage is ready, before the next one is started.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        run_dir: Path,
        events: Events,
        echo: Callable[[str], None] | None,
        clock: Clock,
        rng: random.Random,
        policy: RestartPolicy | None = None,
        view: LogView | None = None,
        ready_timeout_s: float = 60.0,
        after_stage: Callable[[Stage], Awaitable[None]] | None = None,
    ) -> None:
        logs = self._logs = logs_dir(run_dir)
        logs.mkdir(parents=True, exist_ok=True)
        self._children = [Child(spec, logs) for spec in specs]
        self._by_name = {child.spec.name: child for child in self._children}
        assert len(self._by_name) == len(specs), "names are unique"
        self._events, self._clock, self._rng = events, clock, rng
        self._policy = policy or RestartPolicy()
        self._ready_timeout_s, self._after_stage = ready_timeout_s, after_stage
        self._merged = (
            MergedLog(_sources(self._children, logs), view or LogView(self.names()), echo, clock) if echo else None
        )
        self._probe = Probe()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._follower: asyncio.Task[None] | None = None
        self._stop_asked = False
        self._changed = asyncio.Event()  # the stop was asked for, or there is another keeper to wait for

    def names(self) -> tuple[str, ...]:
        """Return the processes' names in the order of their start."""
        return tuple(self._by_name)

    def pid(self, name: str) -> int:
        """Return a process's id. Raises: ProcessLookupError while it does not run, KeyError for no such name."""
        return self._by_name[name].pid

    def admin_url(self, name: str) -> str:
        """Return where a process serves /readyz, /state ...; KeyError for no such name; the server has none."""
        port = self._by_name[name].spec.admin_port
        assert port is not None, f"{name} has no admin pages"
        return admin_url(port)

    def pages(self) -> tuple[Page, ...]:
        """Return where the processes serve their pages."""
        return pages_of([child.spec for child in self._children])

    def restarts(self, name: str) -> int:
        """Return how often a process was started again."""
        return self._by_name[name].restarts

    def request_stop(self) -> None:
        """Let `run` return."""
        self._stop_asked = True
        self._changed.set()

    async def start(self) -> None:
        """Start every stage in order and return when all are ready.

        Raises: StartupError with the last words of a process that ended, or why one is not ready in time; then, and
            when cancelled, everything is stopped again.
        """
        began_s = self._clock.monotonic()
        if self._merged is not None:
            self._follower = asyncio.create_task(self._merged.follow())
        if not works_here():
            self._events.emit(
                "supervisor.tether_failed", reason="this system cannot tie processes: see deploy/tether.py"
            )
        try:
            for stage, children in groupby(self._children, key=lambda child: child.spec.stage):
                await self._start_stage(stage, list(children))
        except BaseException:
            await self.stop()
            raise
        self._keepers = {child.spec.name: asyncio.create_task(self._keep(child)) for child in self._children}
        self._events.emit("supervisor.system_ready", took_ms=1000 * (self._clock.monotonic() - began_s))
        if self._merged is not None:  # whatever the caller says next comes behind
            self._merged.poll()

    async def _start_stage(self, stage: Stage, children: Sequence[Child]) -> None:
        deadline_s = self._clock.monotonic() + self._ready_timeout_s
        for child in children:
            await self._spawn(child, "supervisor.child_started")
        try:
            async with asyncio.TaskGroup() as group:
                for child in children:
                    group.create_task(self._until_ready(child, deadline_s))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        if self._after_stage is not None:
            await self._after_stage(stage)

    async def _spawn(self, child: Child, event: str) -> None:
        self._events.emit(event, child=child.spec.name, pid=await child.spawn())

    async def _until_ready(self, child: Child, deadline_s: float) -> None:
        """Return when a process is ready. Raises: StartupError if it ends before, or if the deadline passes."""
        began_s = self._clock.monotonic()
        while (problem := await self._probe.problem(child.spec)) is not None:
            if not child.alive:
                said = child.last_words() or f"nothing; exit status {await child.wait()}"
                raise StartupError(f"{child.spec.name} ended while it was starting: {said} (logs: {child.err_path})")
            if self._clock.monotonic() > deadline_s:
                waited = f"after {self._ready_timeout_s:g} s"
                raise StartupError(f"{child.spec.name} is not ready {waited}: {problem} (logs: {child.out_path})")
            await self._clock.sleep(READY_POLL_S)
        took_ms = 1000 * (self._clock.monotonic() - began_s)
        self._events.emit("supervisor.child_ready", child=child.spec.name, took_ms=took_ms)

    async def _keep(self, child: Child) -> None:
        """Start a process again whenever it dies. Raises: ChildAbandoned."""
        deaths: tuple[float, ...] = ()
        while True:
            status = await child.wait()
            now_s = self._clock.monotonic()
            deaths = (*self._policy.recent(deaths, now_s), now_s)
            self._events.emit(
                "supervisor.child_exited", child=child.spec.name, status=status, reason=child.last_words()
            )
            wait_s = self._policy.wait_s(len(deaths), self._rng)
            if wait_s is None:
                raise self._abandoned(child, len(deaths))
            await self._clock.sleep(wait_s)
            await self._spawn(child, "supervisor.child_restarted")
            child.restarts += 1
            await self._ready_or_dead(child)

    async def _ready_or_dead(self, child: Child) -> None:
        """Wait until a restarted process is ready, however long it takes, or dead again."""
        try:
            await self._until_ready(child, math.inf)
        except StartupError:
            assert not child.alive, child.spec.name

    def _abandoned(self, child: Child, deaths: int) -> ChildAbandoned:
        error = ChildAbandoned(
            child.spec.name,
            deaths=deaths,
            window_s=self._policy.window_s,
            last_words=child.last_words(),
            log=str(child.err_path),
        )
        self._events.emit("supervisor.child_abandoned", child=child.spec.name, reason=str(error))
        return error

    async def run(self) -> None:
        """Wait until `request_stop`. Raises: ChildAbandoned when a process died too often."""
        while not self._stop_asked:
            self._changed.clear()
            changing = asyncio.create_task(self._changed.wait())
            try:
                keepers = self._keepers.values()
                done, _ = await asyncio.wait({changing, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changing.cancel()
            for task in done:
                if not task.cancelled():  # one that is cancelled kept a process that was replaced
                    task.result()

    async def replace(self, spec: ProcessSpec) -> None:
        """Stop a running process in order, and run another one under its name, on its log files, from then on.

        All others go on. Raises: KeyError for no such name; StartupError if the other one does not become ready: then
            neither of them runs.
        """
        retired, successor = self._by_name[spec.name], Child(spec, self._logs)
        keeper = self._keepers.pop(spec.name)
        keeper.cancel()
        await asyncio.wait({keeper})
        await stop_alone(retired)
        self._children[self._children.index(retired)] = self._by_name[spec.name] = successor
        await self._spawn(successor, "supervisor.child_replaced")
        try:
            await self._until_ready(successor, self._clock.monotonic() + self._ready_timeout_s)
        except StartupError:
            await stop_alone(successor)
            raise
        self._keepers[spec.name] = asyncio.create_task(self._keep(successor))
        self._changed.set()

    async def stop(self) -> None:
        """Stop every process in the reverse order of stages, within 5 s in all; again does nothing.

        Cancelled, it kills what is left at once: for somebody who will not wait.
        """
        if any(child.alive for child in self._children):
            self._events.emit("supervisor.system_stopping")
        try:
            for keeper in self._keepers.values():
                keeper.cancel()
            await asyncio.gather(*self._keepers.values(), return_exceptions=True)
            await stop_in_order(self._children, self._clock)
        finally:
            await kill_and_wait(self._children)
            await self._probe.close()
            await self._end_of_log()

    async def _end_of_log(self) -> None:
        """Show what was written last, and follow no more."""
        if self._merged is None or self._follower is None:
            return
        self._follower.cancel()
        await asyncio.wait({self._follower})
        self._merged.poll()


def _sources(children: Sequence[Child], logs: Path) -> list[Source]:
    """Return the log files to follow: the supervisor's own, the operators', and each process's."""
    sources = [Source(SUPERVISOR, logs / f"{SUPERVISOR}.jsonl"), Source("operator", logs / OPERATOR_LOG)]
    for child in children:
        is_server = child.spec.admin_port is None
        sources.append(Source(child.spec.name, child.out_path, quiet=is_server))
        if not is_server:
            sources.append(Source(child.spec.name, child.err_path))
    return sources
