"""The peers of `bench apply`: a name server that is empty, and a command that brings every record into it."""

import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.asyncquery
import dns.exception
import dns.zone

from deploy.topology import ProcessSpec
from fencepost.clock import Clock
from fencepost.settings import LOOPBACK
from lab.bench.apply_plain import SERVER_NAME, ZONE, Plain, Records, octodns_zone, updates, zone_file
from lab.bench.asker import Asker, asker, question
from lab.bench.peers.peer import Peer, configured
from lab.bench.processes import found, free_ports, running, workplace
from lab.bench.programs import BenchFailed, timed

VISIBLE_S: Final = 60.0
FULL: Final = "full"
ENDPOINTS: Final = "endpoints"
KNOT: Final = Peer(
    "knsupdate_knot", ("knotd", "knsupdate"), "apt-get install knot knot-dnsutils", asks_version=("--version",)
)
BIND: Final = Peer("nsupdate_bind", ("named", "nsupdate"), "apt-get install bind9 bind9-dnsutils", asks_version=("-v",))
OCTODNS: Final = Peer(
    "octodns_bind", ("octodns-sync", "named"), "pip install octodns octodns-bind; apt-get install bind9"
)
APPLY_PEERS: Final = (KNOT, BIND, OCTODNS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer's round happens: a directory of its own, the server's port, and one who asks it."""

    directory: Path
    port: int
    dns: Asker
    clock: Clock


Prepare = Callable[[Place, Records, Records], tuple[str, ...]]
"""Writes what the command reads to come from some records to others; returns the command."""


async def measure_peer(peer: Peer, plain: Plain, moved: int, clock: Clock) -> dict[str, float]:
    """Run a peer's server and bring all records into it, then change some; return the seconds of both.

    Args:
        peer: one of `APPLY_PEERS`.
        plain: the records.
        moved: how many endpoints change in the second step.
        clock: measures.

    Returns: `full` and `endpoints`, each from the command's start until the server answers all of it.
    Raises: BenchFailed if a command fails, or the server lacks a record afterwards.
    """
    before, full, after = {SERVER_NAME: ""}, plain.records(), plain.records(moved)
    async with _server(peer, clock) as place:
        return {
            FULL: await _step(peer, place, {}, full, before),
            ENDPOINTS: await _step(peer, place, full, after, before),
        }


async def _step(peer: Peer, place: Place, existing: Records, desired: Records, ours: Mapping[str, str]) -> float:
    command = COMMANDS[peer.name](place, existing, desired)
    last = next(owner for owner in reversed(list(desired)) if existing.get(owner) != desired[owner])
    asked, address = question(last, "A"), ipaddress.ip_address(desired[last]).packed
    began_s = place.clock.monotonic()
    ended = await timed(command, place.directory, place.clock)
    if ended.exit_code != 0:
        raise BenchFailed(f"{ended.name} ended with {ended.exit_code}: {ended.last_words}")
    deadline_s = place.clock.monotonic() + VISIBLE_S
    seen_s = await place.dns.until(asked, lambda answer: answer.endswith(address), deadline_s=deadline_s)
    if seen_s is None:
        raise BenchFailed(f"{peer.name}: {last} was not answered within {VISIBLE_S:g} s: {ended.last_words}")
    has = {owner: text for owner, text in (await _transferred(place)).items() if owner not in ours}
    if has != desired:
        wrong = sum(has.get(owner) != address for owner, address in desired.items())
        raise BenchFailed(f"{peer.name}: of {len(desired)} records {wrong} are not there: {ended.last_words}")
    return seen_s - began_s


async def _transferred(place: Place) -> dict[str, str]:
    """Return every address that the server has, by a transfer of its zone."""
    zone = dns.zone.Zone(ZONE, relativize=False)
    try:
        await dns.asyncquery.inbound_xfr(LOOPBACK, zone, port=place.port, lifetime=VISIBLE_S)
    except (OSError, dns.exception.DNSException) as error:
        raise BenchFailed(f"the zone cannot be transferred to look at it: {error}") from error
    return {name.to_text(): rdata.to_text() for name, _, rdata in zone.iterate_rdatas("A")}


@asynccontextmanager
async def _server(peer: Peer, clock: Clock) -> AsyncIterator[Place]:
    """Run a peer's name server with an empty zone."""
    with workplace() as directory:
        port = free_ports()
        (directory / "zone").write_text(zone_file(), "utf-8")
        spec = ProcessSpec(peer.name, _knotd(directory, port) if peer is KNOT else _named(directory, port))
        async with asker(port, clock) as dns:
            asked = question(ZONE, "SOA")

            async def ready() -> bool:
                return await dns.ask(asked) is not None

            async with running(spec, directory, ready, clock):
                yield Place(directory, port, dns, clock)


def _knotd(directory: Path, port: int) -> tuple[str, ...]:
    config = configured("knot-update.conf", place=directory, port=port, zone=ZONE, zone_file="zone")
    return (_path("knotd"), "-c", str(config))


def _named(directory: Path, port: int) -> tuple[str, ...]:
    config = configured("named-update.conf", place=directory, port=port, zone=ZONE, zone_file="zone")
    return (_path("named"), "-f", "-n", "2", "-c", str(config))


def _path(program: str) -> str:
    path = found(program)
    assert path is not None, f"{program} was found before"
    return path


def _knsupdate(place: Place, existing: Records, desired: Records) -> tuple[str, ...]:
    return (_path("knsupdate"), _updates(place, existing, desired))


def _nsupdate(place: Place, existing: Records, desired: Records) -> tuple[str, ...]:
    return (_path("nsupdate"), _updates(place, existing, desired))


def _updates(place: Place, existing: Records, desired: Records) -> str:
    path = place.directory / "updates"
    path.write_text(updates(existing, desired, place.port), "utf-8")
    return str(path)


def _octodns(place: Place, _: Records, desired: Records) -> tuple[str, ...]:
    (place.directory / "config").mkdir(exist_ok=True)
    (place.directory / "config" / f"{ZONE}yaml").write_text(octodns_zone(desired), "utf-8")
    config = configured("octodns.yaml", place=place.directory, port=place.port, zone=ZONE)
    return (_path("octodns-sync"), "--config-file", str(config), "--doit")


COMMANDS: Final[Mapping[str, Prepare]] = {KNOT.name: _knsupdate, BIND.name: _nsupdate, OCTODNS.name: _octodns}
