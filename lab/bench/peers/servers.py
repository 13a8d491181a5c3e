"""DNS servers that people know, each with a configuration of ours that makes it as quick as it can be with one worker.

All serve one zone with one plain A record for each name: they have no weights. That favours them twice: ours has a zone
for each endpoint, and chooses among two dozen record sets in every answer. `echo` is ours: it looks nothing up, and
shows what dnsperf can ask for on this machine.
"""

import getpass
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from lab.bench.peers.peer import Peer, configured
from lab.bench.processes import found

FOR_A_DAY_S: Final = 86_400
"""How long PowerDNS keeps an answer in its packet cache: for all of the benchmark."""
BATCH: Final = 32
"""Datagrams that the batching echo takes at once, at most."""


class Site(NamedTuple):
    """Where a server is to run, and what it serves.

    Attributes:
        place: an empty directory of its own.
        port: on loopback, UDP and TCP.
        zone: the zone's name, absolute.
        zone_file: the zone, as RFC 1035 has it.
        hosts_file: the same names, as /etc/hosts has them.
        ttl_s: of every address record.
        workers: threads, or processes, that answer.
    """

    place: Path
    port: int
    zone: str
    zone_file: Path
    hosts_file: Path
    ttl_s: int
    workers: int = 1


Command = Callable[[Site], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class DnsPeer(Peer):
    """A DNS server.

    Attributes:
        command: writes its configuration, and returns what runs it in the foreground.
        builds: returns the command that makes it first; None if it is installed as it is.
        looks_up: whether it answers from a zone; what does not only sends back what it got.
        one_worker: whether it has one, however many it is given.
    """

    command: Command = lambda _: ()
    builds: Command | None = None
    looks_up: bool = True
    one_worker: bool = False


def _program(name: str) -> str:
    path = found(name)
    assert path is not None, f"{name} was looked for before"
    return path


def _echo_built(site: Site) -> tuple[str, ...]:
    source = Path(__file__).with_name("echo.c")
    return (_program("gcc"), "-O2", "-o", str(site.place / "echo"), str(source))


def _echo(site: Site) -> tuple[str, ...]:
    return (str(site.place / "echo"), str(site.port))


def _echo_batched(site: Site) -> tuple[str, ...]:
    return (*_echo(site), str(BATCH))


def _knot(site: Site) -> tuple[str, ...]:
    (site.place / "db").mkdir()
    return (_program("knotd"), "-c", str(configured("knot.conf", **site._asdict())))


def _nsd(site: Site) -> tuple[str, ...]:
    return (_program("nsd"), "-d", "-c", str(configured("nsd.conf", **site._asdict())))


def _bind(site: Site) -> tuple[str, ...]:
    file = configured("named.conf", **site._asdict())
    return (_program("named"), "-f", "-n", str(site.workers), "-c", str(file))


def _pdns(site: Site) -> tuple[str, ...]:
    configured("pdns-zones.conf", **site._asdict())
    reuseport = "yes" if site.workers > 1 else "no"
    configured("pdns.conf", **site._asdict(), cache_ttl_s=FOR_A_DAY_S, reuseport=reuseport)
    return (_program("pdns_server"), f"--config-dir={site.place}")


def _dnsmasq(site: Site) -> tuple[str, ...]:
    file = configured("dnsmasq.conf", **site._asdict(), bare_zone=site.zone.rstrip("."), user=_user())
    return (_program("dnsmasq"), "-C", str(file))


def _user() -> str:
    """Who runs this: dnsmasq would become somebody else if it may, which would cut its tie to us."""
    return getpass.getuser()


KNOT: Final = DnsPeer("knot", ("knotd",), "apt-get install knot", command=_knot)
NSD: Final = DnsPeer("nsd", ("nsd",), "apt-get install nsd", ("-v",), command=_nsd)
BIND: Final = DnsPeer("bind", ("named",), "apt-get install bind9", ("-v",), command=_bind)
PDNS: Final = DnsPeer("pdns", ("pdns_server",), "apt-get install pdns-server pdns-backend-bind", command=_pdns)
DNSMASQ: Final = DnsPeer("dnsmasq", ("dnsmasq",), "apt-get install dnsmasq-base", command=_dnsmasq, one_worker=True)
ECHO: Final = DnsPeer(
    "echo",
    ("gcc",),
    "apt-get install gcc libc6-dev",
    command=_echo,
    builds=_echo_built,
    looks_up=False,
    one_worker=True,
)
ECHO_BATCHED: Final = DnsPeer(
    "echo_batched",
    ("gcc",),
    ECHO.install,
    command=_echo_batched,
    builds=_echo_built,
    looks_up=False,
    one_worker=True,
)
DNS_PEERS: Final = (ECHO, ECHO_BATCHED, KNOT, NSD, PDNS, DNSMASQ, BIND)
