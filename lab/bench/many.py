"""A region of any size, and what its endpoints answer: endpoints that share one fleet of load balancers.

Each endpoint answers `members` of the fleet at a time, and a turn says which: from one turn to the next the whole
endpoint moves on to other load balancers, so that any single answer tells the turn, until the fleet comes round again.
Where many endpoints move at once, each has a part of the fleet that is its own, shifted against its neighbour's, so
that what is done once for each content is done for each endpoint. The addresses are nobody's: nothing ever connects
to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fencepost.plan import Content, Target, content

ZONES: Final = 3
WEIGHT: Final = 10
TTL_S: Final = 5
OCTET: Final = 250
"""Addresses 10.1.1.1 to 10.250.250.250: so many load balancers are enough for anybody."""


@dataclass(frozen=True, slots=True)
class Many:
    """A region.

    Attributes:
        endpoints: how many.
        members: how many load balancers each answers at a time, one A record each.
        turns: after so many turns an endpoint is at its first load balancers again.
    """

    endpoints: int
    members: int
    turns: int = 1

    @property
    def records(self) -> int:
        """How many address records the region answers."""
        return self.endpoints * self.members

    @property
    def fleet(self) -> int:
        """How many load balancers there are."""
        return self._stride * self.turns

    @property
    def _stride(self) -> int:
        """How far one turn is from the next, so that no endpoint comes to what another one had before."""
        return max(self.members, self.endpoints)

    @property
    def names(self) -> tuple[str, ...]:
        """The endpoints, which are the zones."""
        return tuple(f"endpoint-{number:04d}.us-east-1.fencepost.test." for number in range(self.endpoints))

    def content(self, turn: int, *, weight: int = WEIGHT, odd_one: int | None = None) -> Content:
        """Return what an endpoint answers at a turn; the member `odd_one` has a weight that differs by one."""
        return self._from(turn * self.members, weight, odd_one)

    def own(
        self, number: int, turn: int, *, weight: int = WEIGHT, odd_one: int | None = None, odd_by: int = 1
    ) -> Content:
        """Return a content that only the endpoint with a number has, at one turn; `odd_by`: by how much one differs."""
        return self._from(turn * self._stride + number, weight, odd_one, odd_by)

    def all(self, turn: int, *, weight: int = WEIGHT) -> dict[str, Content]:
        """Return what every endpoint answers at a turn if each has its own content."""
        return {name: self.own(number, turn, weight=weight) for number, name in enumerate(self.names)}

    def _from(self, first: int, weight: int, odd_one: int | None, odd_by: int = 1) -> Content:
        places = ((place, (first + place) % self.fleet) for place in range(self.members))
        targets = [
            Target(balancer(number), "A", address(number), weight + odd_by * (place == odd_one))
            for place, number in places
        ]
        return content(TTL_S, targets)

    def turn_of(self, ipv4: str) -> int:
        """Return the turn, 0 to `turns` - 1, that an address belongs to; it is one of the fleet's."""
        _, high, middle, low = map(int, ipv4.split("."))
        return (((high - 1) * OCTET + middle - 1) * OCTET + low - 1) // self.members

    def write(self, path: Path) -> Path:
        """Write the region file, and return where it is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(self._lines()) + "\n", "utf-8")
        return path

    def _lines(self) -> Iterator[str]:
        yield from ('name = "us-east-1"', f"ttl_s = {TTL_S}", "[soa]", "ttl_s = 9", "minimum_s = 864")
        for zone in range(1, ZONES + 1):
            yield from ("[[availability_zone]]", f'id = "use1-az{zone}"')
        for name in self.names:
            yield from ("[[endpoint]]", f'name = "{name}"', 'kind = "cell"', 'load_balancers = ["*"]')
        for number in range(self.fleet):
            yield from ("[[load_balancer]]", f'name = "{balancer(number)}"', f'zone = "use1-az{number % ZONES + 1}"')
            yield f'address = "{address(number)}"'


def balancer(number: int) -> str:
    """Return the readable name of a load balancer, counted from 0; names are in the order of the numbers."""
    return f"use1-lb-{number:06d}"


def address(number: int) -> str:
    """Return the address of a load balancer, counted from 0."""
    high, rest = divmod(number, OCTET * OCTET)
    return f"10.{high + 1}.{rest // OCTET + 1}.{rest % OCTET + 1}"
