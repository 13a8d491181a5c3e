"""The servers that `fencepost bench dns` measures, each started once and left running."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.topology import ProcessSpec
from fencepost.clock import Clock
from lab.bench.cores import Cores, pinned
from lab.bench.dns.asking import Judge, answering, judge_echo, judge_of
from lab.bench.dns.endpoints import TTL_S, ZONE, Endpoints
from lab.bench.peers.servers import DnsPeer, Site
from lab.bench.processes import free_ports, running
from lab.bench.programs import BenchFailed, timed


@dataclass(frozen=True, slots=True)
class Side:
    """A server that answers.

    Attributes:
        port: on loopback.
        judge: judges its answers.
        pids: the processes that lead its sessions; all in these is the server.
        workers: how many processors it can use.
    """

    port: int
    judge: Judge
    pids: tuple[int, ...]
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts peers.

    Attributes:
        endpoints: what they serve, as plain A records.
        place: where each gets a directory of its own.
        cores: where they run.
        workers: of each that can have more than one.
    """

    endpoints: Endpoints
    place: Path
    cores: Cores
    workers: int
    clock: Clock

    async def start(self, peer: DnsPeer, stack: AsyncExitStack) -> Side:
        """Start a peer, which ends with the stack. Raises: BenchFailed if it does not come to answer rightly."""
        site = self._site(peer)
        if peer.builds is not None:
            built = await timed(peer.builds(site), site.place, self.clock, tied=True)
            if built.exit_code != 0:
                raise BenchFailed(f"{peer.name} cannot be made: {built.last_words}")
        judge = judge_of(self.endpoints.plain) if peer.looks_up else judge_echo
        spec = ProcessSpec(peer.name, pinned(peer.command(site), self.cores.server))
        names = (self.endpoints.names[0], self.endpoints.names[-1])
        ready = answering(site.port, names, judge)
        child = await stack.enter_async_context(running(spec, site.place, ready, self.clock))
        return Side(site.port, judge, (child.pid,), 1 if peer.one_worker else self.workers)

    def _site(self, peer: DnsPeer) -> Site:
        place = self.place / peer.name
        place.mkdir()
        zone_file, hosts_file = self.place / "zone.txt", self.place / "hosts.txt"
        self.endpoints.write_zone(zone_file)
        self.endpoints.write_hosts(hosts_file)
        return Site(place, free_ports(), ZONE, zone_file, hosts_file, TTL_S, self.workers)
