"""What `fencepost bench dns` is asked for."""

import os
from dataclasses import dataclass
from typing import Final

from fencepost.errors import UsageError
from lab.bench.dns.capture import TCPDUMP
from lab.bench.dns.dnsperf import DNSPERF
from lab.bench.dns.endpoints import MOST_BALANCERS, MOST_ENDPOINTS
from lab.bench.peers.peer import chosen, installed, needs
from lab.bench.peers.servers import DNS_PEERS, DnsPeer

MOST_WORKERS: Final = 64
LEAST_RATE: Final = 100
"""Queries a second, of which the slowest percent can be told."""


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """A benchmark of the resolver.

    Attributes:
        rounds: how often each side is measured, after one that does not count.
        seconds: for how long, each time.
        endpoints: how many names, each a zone in ours.
        balancers: weighted addresses of each, in ours.
        peers: their names, separated by commas; "" for all that are installed.
        workers: of every server that can have more than one.
        edns: whether queries carry EDNS0.
        replan: whether answers are timed during a re-plan of every endpoint, too.
        rate: queries a second for that.
        capture: whether the kernel's times are taken then as well; root alone may do that.
        seed: fixes weights and the order of queries.
    """

    rounds: int = 5
    seconds: float = 5.0
    endpoints: int = 1_000
    balancers: int = 24
    peers: str = ""
    workers: int = 1
    edns: bool = False
    replan: bool = True
    rate: int = 20_000
    capture: bool = False
    seed: int = 1

    def check(self) -> tuple[tuple[DnsPeer, ...], tuple[DnsPeer, ...]]:
        """Return the peers to measure, and those that are not installed; refuse what cannot be measured.

        Raises: UsageError naming the option, StartupError naming what is missing and how to install it.
        """
        bounds = (
            ("--rounds", self.rounds, 1, 1_000),
            ("--seconds", self.seconds, 0.1, 3_600),
            ("--endpoints", self.endpoints, 1, MOST_ENDPOINTS),
            ("--balancers", self.balancers, 2, MOST_BALANCERS),
            ("--workers", self.workers, 1, MOST_WORKERS),
            ("--rate", self.rate, LEAST_RATE, 1_000_000),
        )
        for flag, value, least, most in bounds:
            if not least <= value <= most:
                raise UsageError(f"{flag} {value:g} is outside {least:g} to {most:g}")
        peers = chosen(DNS_PEERS, self.peers)
        needs(DNSPERF)
        if self.capture:
            if not self.replan:
                raise UsageError("--capture takes times of the re-plan, and --no-replan leaves that out")
            needs(TCPDUMP)
            if os.geteuid() != 0:
                raise UsageError("--capture reads packets, which root alone may do; run it as root, or leave it out")
        present = installed(peers, named=bool(self.peers))
        return present, tuple(peer for peer in peers if peer not in present)
