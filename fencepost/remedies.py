"""The one command to run for each cause. A command can be pasted as it is; what has to be weighed is in its comment."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from fencepost.facts import EndpointFacts, Facts
from fencepost.settings import LOOPBACK
from fencepost.symptoms import Cause, bare


class Case(NamedTuple):
    """What a remedy depends on: the endpoints (empty: the system), the process it is about ("": none), all facts."""

    endpoints: Sequence[str]
    subject: str
    facts: Facts


def command(cause: Cause, endpoints: Sequence[str], subject: str, facts: Facts) -> str:
    """Return what to type against a cause; see `Case` for what it depends on."""
    case = Case(endpoints, subject, facts)
    return REMEDIES.get(cause, _look)(case)


def _repair(case: Case) -> str:
    return _for_each("fencepost repair", case.endpoints)


def _repair_or_wait(case: Case) -> str:
    return f"{_repair(case)}   # it needs no lock; without it, wait"


def _look(case: Case) -> str:
    return _for_each("fencepost zone show", case.endpoints) if case.endpoints else "fencepost plan history"


def _thaw(case: Case) -> str:
    return _for_each("fencepost thaw --endpoint", case.endpoints) if case.endpoints else "fencepost thaw"


def _look_at_fleet(case: Case) -> str:
    api = f"http://{LOOPBACK}:{case.facts.place.api_port}/v1/load-balancers"
    return f"curl {api}   # `trouble` says why they are out"


def _wait_or_force(case: Case) -> str:
    choices = "wait for the window, bring capacity back (`trouble` says why it is out), or drain again with"
    return f'{_look_at_fleet(case).partition("   #")[0]}   # {choices} {{"force": true}}'


def _wait_for_cache(case: Case) -> str:
    dig = f"dig @{LOOPBACK} -p {case.facts.place.cache_port} {bare(case.endpoints[0])}"
    return f"{dig}   # wait: a cached empty answer lives for {case.facts.negative_ttl_s} s (negative TTL)"


def _for_each(words: str, endpoints: Sequence[str]) -> str:
    names = " ".join(shlex.quote(bare(name)) for name in endpoints)
    return f"{words} {names}" if len(endpoints) == 1 else f"for e in {names}; do {words} $e; done"


def _start_store(case: Case) -> str:
    facts, run_dir = case.facts, case.facts.place.run_dir
    if run_dir and run_dir in facts.place.store:
        return f"tail -n 20 {shlex.quote(run_dir)}/logs/server.log   # the supervisor starts it again, if it lives"
    return f"fencepost up --reuse --redis-url {shlex.quote(facts.place.store)}   # when the server is there again"


def _look_at_process(case: Case) -> str:
    """A supervisor starts a process again; so either it cannot, and the log says why, or the supervisor is gone."""
    facts = case.facts
    run_dir = shlex.quote(facts.place.run_dir) if facts.place.run_dir else "RUN-DIR"
    asked = [process for process in facts.processes if process.answers is not None]
    if asked and not any(process.answers for process in asked):
        return f"fencepost up --reuse --run-dir {run_dir}   # none of the processes lives"
    return f"tail -n 5 {run_dir}/logs/{case.subject}.*"


def _weigh_plan(case: Case) -> str:
    endpoint, facts = case.endpoints[0], case.facts
    seen = next((found for found in facts.endpoints if found.name == endpoint), EndpointFacts(name=endpoint, types=()))
    live = seen.fence.generation if seen.fence else seen.live or 0
    look = f"fencepost plan diff {live} {facts.latest}"
    show = f"fencepost plan show --endpoint {bare(endpoint)} --json plan.json"
    return f"{look}   # if it is meant: {show} && fencepost plan publish plan.json --force"


REMEDIES: Final[Mapping[Cause, Callable[[Case], str]]] = {
    Cause.STORE_DOWN: _start_store,
    Cause.ROOT_DANGLING: _repair,
    Cause.ROOT_MISSING: _repair,
    Cause.TREE_DAMAGED: _repair,
    Cause.RESOLVER_SILENT: _look_at_process,
    Cause.CACHE_SILENT: _look_at_process,
    Cause.NO_ENACTOR: _look_at_process,
    Cause.NO_PLANNER: _look_at_process,
    Cause.PROCESS_SILENT: _look_at_process,
    Cause.PLAN_REFUSED: _weigh_plan,
    Cause.PLANNER_FAILING: _look_at_fleet,
    Cause.REMOVAL_LIMITED: _wait_or_force,
    Cause.LOCK_TOO_LONG: _repair_or_wait,
    Cause.CACHE_EMPTY: _wait_for_cache,
    Cause.FROZEN: _thaw,
    Cause.PINNED: _thaw,
    Cause.BUGGY_PROTOCOL: lambda _: "fencepost up --mode fixed",
}
"""For causes that are not here, somebody has to look at the zone, or at the plans."""
