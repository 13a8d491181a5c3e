"""The region file: which endpoints, Availability Zones and load balancers there are.

It is TOML; the default, `fencepost/data/us-east-1.toml`, shows and explains every key.
"""

import re
import tomllib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from fencepost import records
from fencepost.errors import PlanInvalid, RegionInvalid
from fencepost.names import absolute
from fencepost.plan import Target, target_problems
from fencepost.records import ADDRESS_TYPES, RecordSet

MAX_CAPACITY: Final = 1_000_000


class Soa(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Negative answers are kept for min(ttl_s, minimum_s) seconds. Source: RFC 2308 section 5."""

    ttl_s: int = 900
    minimum_s: int = 86_400


class AvailabilityZone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An Availability Zone: its id, e.g. `use1-az1`."""

    id: str


class LoadBalancer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A load balancer.

    Attributes:
        name: readable and unique, e.g. `use1-az1-lb-003`.
        zone: the id of its Availability Zone.
        address: IPv4.
        address6: IPv6, None if it has none; needed where an endpoint answers AAAA.
        capacity: requests per second that it reports when it is well.
    """

    name: str
    zone: str
    address: str = ""
    address6: str | None = None
    capacity: int = 100

    def address_of(self, record_type: str) -> str | None:
        """Return its address of type A or AAAA."""
        return self.address if record_type == "A" else self.address6


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A DNS name that customers use; each is a zone of its own.

    Attributes:
        name: absolute, lower case, with the trailing dot (the file may leave it out).
        kind: for people: regional-ipv4, dual-stack, fips, account-based, cell ...
        types: A, AAAA or both.
        load_balancers: names or shell patterns of names.
    """

    name: str
    kind: str
    load_balancers: tuple[str, ...]
    types: tuple[str, ...] = ("A",)


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole region. `ttl_s` is the TTL of every address record, in seconds."""

    name: str
    ttl_s: int
    availability_zone: tuple[AvailabilityZone, ...]
    load_balancer: tuple[LoadBalancer, ...]
    endpoint: tuple[Endpoint, ...]
    soa: Soa = Soa()

    @property
    def endpoint_names(self) -> tuple[str, ...]:
        """The endpoints' names, which are the zones' names, in order."""
        return tuple(sorted(endpoint.name for endpoint in self.endpoint))

    @property
    def negative_ttl_s(self) -> int:
        """For how long a resolver keeps an empty answer."""
        return min(self.soa.ttl_s, self.soa.minimum_s)

    def members(self, endpoint: Endpoint) -> tuple[LoadBalancer, ...]:
        """Return the load balancers behind an endpoint, in order of their names; for many endpoints see `Members`."""
        return Members(self.load_balancer).of(endpoint.load_balancers)

    def zone_records(self, endpoint: str) -> tuple[RecordSet, ...]:
        """Return the record sets that a zone is created with: SOA and NS."""
        return (
            records.soa(endpoint, ttl=self.soa.ttl_s, minimum=self.soa.minimum_s),
            records.ns(endpoint),
        )


_LITERAL: Final = re.compile(r"[^*?[]*")
"""What a shell pattern begins with as it is."""


class Members:
    """Finds the load balancers behind endpoints, each at the cost of what it finds and not of the whole fleet."""

    def __init__(self, balancers: Iterable[LoadBalancer]) -> None:
        self._balancers = sorted(balancers, key=lambda lb: lb.name)
        self._names = [lb.name for lb in self._balancers]
        self._found: dict[tuple[str, ...], tuple[LoadBalancer, ...]] = {}

    def of(self, patterns: tuple[str, ...]) -> tuple[LoadBalancer, ...]:
        """Return the load balancers that have one of these names or shell patterns, in order of their names."""
        if patterns not in self._found:  # many endpoints have the same ones
            places = {place for pattern in patterns for place in self._places(pattern)}
            self._found[patterns] = tuple(self._balancers[place] for place in sorted(places))
        return self._found[patterns]

    def _places(self, pattern: str) -> Iterator[int]:
        start = _LITERAL.match(pattern)
        assert start, "it matches nothing as well"
        for place in range(bisect_left(self._names, start[0]), len(self._names)):
            if not self._names[place].startswith(start[0]):
                return
            if fnmatchcase(self._names[place], pattern):
                yield place


def default_region_path() -> Path:
    """Return the path of the region file that is used when none is named."""
    return Path(str(files("fencepost") / "data" / "us-east-1.toml"))


def load_region(path: Path | None = None) -> Region:
    """Read and check a region file; None means the default one.

    Raises: RegionInvalid naming the file, the place and the remedy.
    """
    source = path or default_region_path()
    try:
        region = msgspec.convert(tomllib.loads(source.read_text("utf-8")), Region)
        region = msgspec.structs.replace(
            region,
            endpoint=tuple(msgspec.structs.replace(e, name=absolute(e.name)) for e in region.endpoint),
        )
    except OSError as error:
        raise RegionInvalid(str(source), f"cannot be read ({error.strerror}); name one with --region") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RegionInvalid(str(source), f"is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise RegionInvalid(str(source), f"{error}; {default_region_path()} shows every key") from error
    except PlanInvalid as error:
        raise RegionInvalid(str(source), str(error)) from error
    if problems := list(_problems(region)):
        raise RegionInvalid(str(source), "; ".join(problems))
    return region


def _problems(region: Region) -> Iterator[str]:
    zones = [zone.id for zone in region.availability_zone]
    names = [lb.name for lb in region.load_balancer]
    for kind, seen in (
        ("availability zone", zones),
        ("load balancer", names),
        ("address", [lb.address for lb in region.load_balancer if lb.address]),
        ("endpoint", [endpoint.name for endpoint in region.endpoint]),
    ):
        if not seen and kind != "address":
            yield f"it has no {kind}; add [[{kind.replace(' ', '_')}]]"
        yield from (f"{kind} {twice} occurs twice" for twice, times in sorted(Counter(seen).items()) if times > 1)
    for lb in region.load_balancer:
        yield from _balancer_problems(lb, zones)
    members = Members(region.load_balancer)
    for endpoint in region.endpoint:
        yield from _endpoint_problems(members, endpoint)


def _balancer_problems(lb: LoadBalancer, zones: list[str]) -> Iterator[str]:
    if lb.zone not in zones:
        yield f"load balancer {lb.name} is in {lb.zone!r}, which is no [[availability_zone]]"
    if not 0 <= lb.capacity <= MAX_CAPACITY:
        yield f"load balancer {lb.name} has capacity {lb.capacity}, outside 0 to {MAX_CAPACITY}"
    yield from target_problems(Target(lb.name, "A", lb.address, 1))
    if lb.address6 is not None:
        yield from target_problems(Target(lb.name, "AAAA", lb.address6, 1))


def _endpoint_problems(members: Members, endpoint: Endpoint) -> Iterator[str]:
    for pattern in endpoint.load_balancers:
        if not members.of((pattern,)):
            yield f"endpoint {endpoint.name}: no load balancer is called {pattern!r}"
    if not endpoint.load_balancers:
        yield f"endpoint {endpoint.name} has no load balancers"
    if not endpoint.types or set(endpoint.types) - set(ADDRESS_TYPES):
        yield f"endpoint {endpoint.name} has types {list(endpoint.types)}; they may be A, AAAA or both"
    elif "AAAA" in endpoint.types:
        lacking = [lb.name for lb in members.of(endpoint.load_balancers) if lb.address6 is None]
        if lacking:
            yield f"endpoint {endpoint.name} answers AAAA, but {', '.join(lacking)} has no address6"
