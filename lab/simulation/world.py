"""A simulated world: the small server, processes of shipped code, and time that moves only when a timer goes off.

Whoever drives a world chooses, one at a time, which parked call is executed and what it meets, which dead process
starts again, or that the earliest timer goes off. Nothing else decides anything: the same choices give the same world.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fencepost.events import Event
from fencepost.plan import Content, decode_content
from fencepost.redis_plans import CONTENTS, CURRENT, HEAD, digest_in
from lab.invariants.violation import Violation
from lab.simulation.choice import FORGET, NETWORK, START, TIMER, Choice, Fault
from lab.simulation.client import Call, access_of
from lab.simulation.coverage import Coverage
from lab.simulation.judge import Judge, commit_of
from lab.simulation.loop import WorldTime
from lab.simulation.past import Past
from lab.simulation.process import EPOCH_S, Process
from lab.simulation.promises import PLANS
from lab.simulation.replies import pairs
from lab.simulation.server import Reply, Server, ServerError

FIRST_ENDPOINT, ENDPOINT_WIDTH = 9, 3
"""Where the changes are in the arguments of publish_plan.lua."""


BY_THE_CLOCK: Final = frozenset({"read_reports"})
"""Reads whose reply has the server's time in it."""


class Taken(msgspec.Struct, frozen=True):
    """One choice that was taken, as a time line tells it.

    Attributes:
        at_s: the world's time, seconds.
        choice: what was chosen.
        serial: the commit that it made; None if none.
        events: what processes said at once.
        violations: what it broke.
        call: what was executed, or met a fault; None for a timer and a start.
        reply: what the server answered, None if it did not, or nothing; `error` if it answered so.
    """

    at_s: float
    choice: Choice
    serial: int | None
    events: tuple[tuple[str, Event], ...]
    violations: tuple[Violation, ...]
    call: Call | None
    reply: Reply
    error: str


class World:
    """See the module.

    Attributes:
        time: now.
        processes: in the order in which ties are broken; the last is the network, which has what callers gave up.
        trace: the choices so far.
        judge: the zones, and what was broken.
        plan: endpoint -> content, of the latest plan; `generation` is its number.
        wanted: endpoint -> what the latest plan has to have at last; empty where any will do.
        seen: how often each event was emitted.
        coverage: counts rare paths, if somebody wants to know.
        lines: what each choice did, if the world keeps a record.
        past: what can be forgotten, if anything may be.
    """

    def __init__(self, server: Server, time: WorldTime, judge: Judge, *, recording: bool = False) -> None:
        self.server, self.time, self.judge = server, time, judge
        self.processes: tuple[Process, ...] = ()
        self._by_name: dict[str, Process] = {}
        self.trace: list[Choice] = []
        self.generation = 0
        self.plan: dict[str, Content] = {}
        self.wanted: Mapping[str, Content] = {}
        self.seen: Counter[str] = Counter()
        self.lines: list[Taken] | None = [] if recording else None
        self.coverage: Coverage | None = None
        self.past: Past | None = None
        self._said: list[tuple[str, Event]] = []
        self._told = 0
        self._known: dict[str, dict[tuple[Any, ...], Reply]] = {}
        self._tick()

    def populate(self, processes: Iterable[Process]) -> None:
        """Put processes into the world, and start them."""
        network = Process(NETWORK, _nothing, server=self.server, time=self.time, seed=0, listener=self.hear)
        self.processes = (*processes, network)
        self._by_name = {process.name: process for process in self.processes}
        self.judge.promises = [process.promises for process in self.processes if process.promises is not None]
        for process in self.processes:
            process.start()

    def close(self) -> None:
        """End all processes; the server is left as it is."""
        for process in self.processes:
            process.kill()

    def hear(self, process: str, event: Event) -> None:
        """Take note of an event."""
        self.seen[event.name] += 1
        if self.coverage is not None:
            self.coverage.hear(process, event)
        if self.lines is not None:
            self._said.append((process, event))

    # What may be chosen.

    @property
    def parked(self) -> list[Call]:
        """Return all calls that wait, by process, oldest first."""
        return [call for process in self.processes for call in process.parked]

    @property
    def waits(self) -> bool:
        """Whether any call waits."""
        return any(process.parked for process in self.processes)

    @property
    def dead(self) -> list[Process]:
        """Return the processes that were killed and not started again."""
        return [process for process in self.processes if process.killed]

    @property
    def next_timer(self) -> Process | None:
        """Return whose timer is due next, None if there is no timer."""
        found, when = None, float("inf")
        for process in self.processes:
            timer_s = process.timer_s
            if timer_s is not None and timer_s < when:
                found, when = process, timer_s
        return found

    def options(self) -> Iterator[Choice]:
        """Yield everything that may happen next without a fault."""
        for process in self.processes:
            for call in process.parked:
                yield Choice(process.name, call.what)
        for process in self.dead:
            yield Choice(process.name, START)
        if (timer := self.next_timer) is not None:
            yield Choice(timer.name, TIMER)

    # Choosing.

    def named(self, name: str) -> Process:
        """Return a process by its name."""
        return self._by_name[name]

    def take(self, choice: Choice) -> bool:
        """Let a choice happen; say whether it could. Raises: what goes wrong in a process."""
        if choice.what.startswith(FORGET):
            return self.forget(choice.process, int(choice.what.removeprefix(FORGET)))
        process = self._by_name.get(choice.process)
        if process is None:
            return False
        if choice.what == TIMER:
            return process.timer_s is not None and self.fire(process)
        if choice.what == START:
            return process.killed and self.start(process)
        call = next((call for call in process.parked if call.what == choice.what), None)
        return call is not None and self.run(call, choice.fault)

    def fire(self, process: Process) -> bool:
        """Let a process's earliest timer go off; where others are due before it, they are late."""
        timer_s = process.timer_s
        assert timer_s is not None, f"{process.name} has a timer"
        self.time.now_s = max(self.time.now_s, timer_s)
        self._tick()
        try:
            process.fire()
        finally:
            self._taken(Choice(process.name, TIMER))
        return True

    def start(self, process: Process) -> bool:
        """Start a dead process again."""
        try:
            process.start()
        finally:
            self._taken(Choice(process.name, START))
        return True

    def run(self, call: Call, fault: Fault = Fault.NONE) -> bool:
        """Execute a parked call, or let it meet a fault."""
        process = self._by_name[NETWORK if call.given_up else call.process]
        serial, reply, problem = None, None, ""
        # What ends a process with an error that nobody foresaw is a choice of the schedule, too.
        try:
            if fault is Fault.CRASH:
                process.kill()
            elif fault is Fault.ERROR:
                process.fail(call, RedisConnectionError("the connection broke before the call was executed"))
            elif fault is Fault.LATE:
                call.given_up = True
                self._by_name[NETWORK].parked.append(call)
                process.fail(call, RedisTimeoutError("no reply in time"))
            else:
                before = self.server.snapshot() if self.past is not None and call.writes else None
                try:
                    reply = self._execute(call)
                except ServerError as error:
                    problem = str(error)
                    process.fail(call, ResponseError(problem))
                else:
                    serial = self._judge(call, reply) if call.writes else None
                    if before is not None and self.past is not None and (serial is not None or call.zone == PLANS):
                        self.past.note(call.zone, before)
                    if fault is Fault.LOST:
                        process.fail(call, RedisConnectionError("the connection broke before the reply came"))
                    else:
                        process.answer(call, reply)
        finally:
            if self.coverage is not None:
                self.coverage.note(call, fault, committed=serial is not None)
            self._taken(Choice(process.name, call.what, fault), call, serial, reply, problem)
        return True

    def _execute(self, call: Call) -> Reply:
        """Have a call executed; the same read of a slot that nobody has called to write to since has the same reply."""
        if self.coverage is not None:
            self.coverage.meet(call)
        known = self._known.setdefault(call.zone, {})
        if call.writes or call.name in BY_THE_CLOCK:
            known.clear()
            return call.execute(self.server)
        key = (call.name, call.keys, call.args)
        if key not in known:
            known[key] = call.execute(self.server)
        return known[key]

    def forget(self, slot: str, writes: int) -> bool:
        """Let the store fail over, and have forgotten a slot's last writes."""
        if self.past is None or not 0 < writes <= self.past.writes(slot):
            return False
        self.server.restore_slot(self.past.back(slot, writes), slot)
        if slot == PLANS:
            self.read_plan()
        else:
            self.judge.forget(slot, writes)
        self._known.pop(slot, None)
        self._taken(Choice(slot, f"{FORGET} {writes}"))
        return True

    def read_plan(self) -> None:
        """Take note of the plan that the plan store has as the latest, whoever published it."""
        access = access_of((HEAD, CURRENT, CONTENTS), ())
        self.generation = int(self.server.command("HGET", HEAD, "generation", access=access) or 0)  # type: ignore[arg-type]  # bytes
        standing = pairs(self.server.command("HGETALL", CURRENT, access=access))
        texts = pairs(self.server.command("HGETALL", CONTENTS, access=access))
        self.plan = {name.decode(): decode_content(texts[digest_in(text)]) for name, text in standing.items()}

    def _tick(self) -> None:
        self.server.now_us = round((EPOCH_S + self.time.now_s) * 1e6)

    def _judge(self, call: Call, reply: Reply) -> int | None:
        """Let the judge see a commit, and take note of a plan; return the commit's serial."""
        if not isinstance(reply, list):
            return None
        if call.name == "change_batch" and reply[0] == b"committed":
            commit = commit_of(call.args, reply)
            self.judge.take(commit)
            return commit.serial
        if call.name == "publish_plan" and reply[0] == b"published":
            self._note_plan(call, reply[1])
        return None

    def _note_plan(self, call: Call, generation: Reply) -> None:
        assert isinstance(generation, int), generation
        self.generation = generation
        if call.args[6] != 1:
            endpoints, digests = (
                call.args[FIRST_ENDPOINT::ENDPOINT_WIDTH],
                call.args[FIRST_ENDPOINT + 1 :: ENDPOINT_WIDTH],
            )
            changes = {str(endpoint): str(digest) for endpoint, digest in zip(endpoints, digests, strict=True)}
            self.judge.take_plan(call.process, changes, self.server.now_us)
        for at in range(FIRST_ENDPOINT, len(call.args), ENDPOINT_WIDTH):
            endpoint, digest, text = call.args[at : at + ENDPOINT_WIDTH]
            if digest == "":
                self.plan.pop(str(endpoint), None)
            else:
                assert isinstance(text, bytes), text
                self.plan[str(endpoint)] = decode_content(text)
            if call.args[7] == 1:
                self.judge.forced[str(endpoint)].append(generation)

    def _taken(
        self, choice: Choice, call: Call | None = None, serial: int | None = None, reply: Reply = None, error: str = ""
    ) -> None:
        self.trace.append(choice)
        if self.lines is not None:
            broken = tuple(self.judge.violations[self._told :])
            self.lines.append(Taken(self.time.now_s, choice, serial, tuple(self._said), broken, call, reply, error))
            self._said.clear()
            self._told = len(self.judge.violations)

    # Whether it has got where it should.

    @property
    def busy(self) -> bool:
        """Whether somebody has still to do what ends: plans to publish, a freeze to lift."""
        return any(process.busy for process in self.processes)

    @property
    def at_rest(self) -> bool:
        """Whether all have got where they should and sleep: only looks that find nothing would follow, and sweeps."""
        for process in self.processes:
            if process.parked or process.killed:
                return False
        return not self.busy and not self.pending()

    def pending(self) -> Sequence[str]:
        """Return why some endpoint does not have the latest plan, one sentence for each; empty if all have it."""
        found = [
            f"{endpoint}: plan {self.generation} is not what the fleet asks for"
            for endpoint, wanted in self.wanted.items()
            if self.plan.get(endpoint) != wanted
        ]
        for endpoint, wanted in sorted(self.plan.items()):
            if problem := self.judge.zones[endpoint].difference(wanted):
                found.append(f"{endpoint}: plan {self.generation} is not live: {problem}")
        return found


async def _nothing(_: Process) -> None:
    """Do nothing: a network only carries what others have called."""
