"""Our side of `bench apply`: a fresh system, a plan with every record, and then smaller plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import dns.message
import dns.rdatatype

from fencepost.clock import Clock
from fencepost.plan import Content
from fencepost.records import RecordKey, RecordSet
from fencepost.settings import DEFAULT_PORT_BASE
from lab.bench.apply_peers import ENDPOINTS, FULL
from lab.bench.asker import Seen, addresses, question
from lab.bench.many import Many
from lab.bench.programs import BenchFailed
from lab.bench.system import OurOptions, OurSystem, our_system, used
from lab.bench.usage import Usage

RECORDS: Final = "records"
REPLAN: Final = "replan"
REST_S: Final = 1.0
"""Processes that have just started, or have just been busy, come to rest first."""
INSTALLED_S: Final = 120.0
CAUGHT_UP_S: Final = 10.0
SAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class OursRun:
    """Seconds of each step, and what each process used for the first, which is `full`."""

    steps_s: Mapping[str, float]
    full_used: Mapping[str, Usage]


async def measure_ours(
    many: Many, moved: int, clock: Clock, *, enactors: int = 3, port_base: int = DEFAULT_PORT_BASE
) -> OursRun:
    """Start a system, measure every step, and stop it.

    Returns: seconds from the call that publishes until the resolver shows the plan on every endpoint that it changes:
        `full`: every record, into empty zones; `endpoints`: all records of the first `moved` endpoints change;
        `records`: one record in each endpoint changes; `replan`: every record changes.
    Raises: BenchFailed if something is not there in time, or is not what the plan says.
    """
    odd_one = many.members // 2
    steps = {
        FULL: many.all(0),
        ENDPOINTS: {zone: many.own(number, 1) for number, zone in enumerate(many.names[:moved])},
        RECORDS: {zone: many.own(i, int(i < moved), odd_one=odd_one) for i, zone in enumerate(many.names)},
        REPLAN: many.all(2),
    }
    taken_s, full_used = {}, {}
    async with our_system(OurOptions(many, enactors, port_base), clock) as system:
        for step, changes in steps.items():
            await clock.sleep(REST_S)
            before = system.usage()
            taken_s[step] = await system.install(changes, within_s=INSTALLED_S)
            if step == FULL:
                full_used = used(before, system.usage())
            await verify(system, changes)
        system.check_alive()
    return OursRun(taken_s, full_used)


async def verify(system: OurSystem, changes: Mapping[str, Content]) -> None:
    """See that zone and resolver have exactly a plan's records; it has been shown as live before.

    The tree is read from the zone, every record set of it, at some serial, which the resolver has to come to: then it
    has all of these commits. A few of its answers are looked at, too. Raises: BenchFailed.
    """
    for zone, content in changes.items():
        wanted = {(target.identifier, target.address, target.weight) for target in content.targets}
        serial, found = await _tree(system, zone)
        if found != wanted:
            raise BenchFailed(f"{zone}: {len(wanted - found)} of {len(wanted)} record sets are not in its live tree")
        looks = [(f"{zone} at serial {serial}", question(zone, "SOA"), _has_come_to(serial))]
        await system.dns.until_all(looks, within_s=CAUGHT_UP_S)
        asked, right = question(zone, "A"), {target.address for target in content.targets}
        for _ in range(SAMPLES):
            if len(given := addresses(await system.dns.ask(asked))) != 1 or not given <= right:
                raise BenchFailed(
                    f"{zone} is answered with {', '.join(sorted(given)) or 'nothing'}, which is not right"
                )


async def _tree(system: OurSystem, zone: str) -> tuple[int, set[tuple[str, str, int]]]:
    """Return the serial at which a zone's live tree was read, and its record sets."""
    key = RecordKey(zone, "A")
    root = (await system.zones.read(zone, [key])).records.get(key)
    if root is None or root.alias is None:
        raise BenchFailed(f"{zone} has no root")
    start: RecordKey | None = RecordKey(root.alias, "A")
    sets: list[RecordSet] = []
    serial = 0
    while start is not None and start.name == root.alias:
        page = await system.zones.page(zone, start)
        sets += [record_set for record_set in page.record_sets if record_set.name == root.alias]
        serial, start = page.serial, page.next_key
    return serial, {(r.set_identifier or "", r.values[0], r.weight or 0) for r in sets}


def _has_come_to(serial: int) -> Seen:
    """Return a look for a serial that is no earlier than one."""

    def seen(answer: bytes) -> bool:
        rrset = next(iter(dns.message.from_wire(answer).answer), None)
        return rrset is not None and rrset.rdtype == dns.rdatatype.SOA and rrset[0].serial >= serial

    return seen
