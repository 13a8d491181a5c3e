"""Repair by hand: an operator installs the newest plan's tree, with no enactor and no planner needed.

The zone's own rules are in force: the tree is built first, then one batch moves the root from exactly what was seen,
and points rollback to what the root had if that still exists. Source: aws.amazon.com/message/101925 (09:25).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode

from enactor.tree import flip_rollback, in_batches, root_generation, root_keys, tree_records
from fencepost.batch import Change, ChangeBatch, create, delete, swap, upsert
from fencepost.client import Stores
from fencepost.clock import Clock
from fencepost.errors import FencepostError
from fencepost.events import Events
from fencepost.fence import Fence, fence_key
from fencepost.names import rollback_name, tree_name
from fencepost.plan import Plan, short
from fencepost.records import RecordSet, alias
from fencepost.service import LOOPBACK

ASK_TIMEOUT_S: Final = 1.0
POLL_S: Final = 0.1


class RepairRefused(FencepostError):
    """There is nothing that a repair could install, or nothing to repair."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did: from which generation (None: there was no root) to which, and how many records it wrote."""

    endpoint: str
    existing: int | None
    desired: int
    was_dangling: bool
    written: int


class Repair:
    """One endpoint's repair. Determinism: the changes depend on the zone's listing and the plan alone."""

    def __init__(self, stores: Stores, clock: Clock, events: Events) -> None:
        self._stores, self._api, self._clock, self._events = stores, stores.control(clock, events), clock, events

    async def run(self, endpoint: str) -> Repaired:
        """Install the newest plan on an endpoint. Raises: RepairRefused, ChangeRefused, StoreError."""
        plan = await self._stores.plans.latest()
        if plan is None or endpoint not in plan.digests:
            raise RepairRefused(f"no plan has {endpoint}; publish one with `fencepost plan publish FILE`")
        listing = await self._api.listing(endpoint)
        root = tuple(r for r in listing if r.key in root_keys(endpoint))
        dangling = any(not any(r.name == entry.alias for r in listing) for entry in root)
        existing, wanted = (
            root_generation(endpoint, root),
            tree_records(endpoint, plan.generation, plan.content(endpoint)),
        )
        leaves = tuple(r for r in listing if r.name == tree_name(endpoint, plan.generation))
        whole = set(leaves) == set(wanted)
        if whole and existing == plan.generation:
            raise RepairRefused(f"{endpoint} has plan {plan.generation} and all of it; there is nothing to repair")
        await self._build(endpoint, plan, [] if whole else wanted, [] if whole else leaves)
        await self._flip(endpoint, plan, root, listing)
        reason = f"plan {existing} -> {plan.generation}" + (", which pointed to nothing" if dangling else "")
        self._events.emit("operator.repair_installed", zone=endpoint, generation=plan.generation, reason=reason)
        return Repaired(endpoint, existing, plan.generation, dangling, 0 if whole else len(wanted))

    async def _build(self, endpoint: str, plan: Plan, wanted: Sequence[RecordSet], leaves: Sequence[RecordSet]) -> None:
        """Make the tree exactly the plan's: what is wrong in it goes, in batches that fit."""
        surplus = [r for r in leaves if r.key not in {w.key for w in wanted}]
        for part in in_batches(wanted):
            changes = (*map(upsert, part), *map(delete, surplus))
            await self._commit(endpoint, plan, f"repair: tree {plan.generation}", changes)
            surplus = []

    async def _flip(self, endpoint: str, plan: Plan, root: Sequence[RecordSet], listing: Sequence[RecordSet]) -> None:
        """Move the root from exactly what was seen, and the fence with it where there is one."""
        content, target = plan.content(endpoint), tree_name(endpoint, plan.generation)
        changes: list[Change] = [delete(entry) for entry in root]
        rollback = [r for r in listing if r.name == rollback_name(endpoint)]
        kept = [entry for entry in root if any(r.name == entry.alias for r in listing)]
        if root_generation(endpoint, root) != plan.generation:
            changes += flip_rollback(endpoint, kept)
            changes += [delete(r) for r in rollback if r.type not in {entry.type for entry in kept}]
        changes += [create(alias(endpoint, kind, target)) for kind in content.types]
        found = next((r for r in listing if r.key == fence_key(endpoint)), None)
        if found is not None:
            fence = Fence.parse(endpoint, found)
            flip_id = f"operator-{int(self._clock.epoch_s())}-1"
            moved = Fence(max(plan.generation, fence.generation), short(plan.digests[endpoint]), flip_id)
            changes += swap(found, moved.record(endpoint))
        await self._commit(endpoint, plan, f"repair: flip to {plan.generation}", changes)

    async def _commit(self, endpoint: str, plan: Plan, comment: str, changes: Sequence[Change]) -> None:
        await self._api.change(ChangeBatch(endpoint, tuple(changes), plan.generation, comment))


async def addresses(endpoint: str, record_type: str, port: int) -> tuple[str, int]:
    """Ask a resolver on loopback; return the response code's name and how many addresses it gave ("no answer", 0)."""
    query = dns.message.make_query(endpoint, record_type)
    try:
        answer = await dns.asyncquery.udp(query, LOOPBACK, ASK_TIMEOUT_S, port)
    except (OSError, dns.exception.DNSException):
        return "no answer", 0
    return dns.rcode.to_text(answer.rcode()), sum(len(rrset) for rrset in answer.answer)


async def wait_for_addresses(
    endpoint: str, record_type: str, ports: Sequence[int], clock: Clock, wait_s: float
) -> dict[int, float | None]:
    """Return after how many seconds each port answered with an address, None for one that did not within `wait_s`."""
    began_s = clock.monotonic()
    took: dict[int, float | None] = dict.fromkeys(ports)
    while None in took.values() and clock.monotonic() < began_s + wait_s:
        for port in [port for port, seconds in took.items() if seconds is None]:
            if (await addresses(endpoint, record_type, port))[1]:
                took[port] = clock.monotonic() - began_s
        await clock.sleep(POLL_S)
    return took
