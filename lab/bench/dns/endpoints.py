"""What `fencepost bench dns` serves: many endpoints, each with weighted addresses that no other one has."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from fencepost.clock import stream
from fencepost.plan import Content, Draft, Target, content

ZONE: Final = "bench.fencepost.test."
TTL_S: Final = 60
MOST_ENDPOINTS: Final = 60_000
MOST_BALANCERS: Final = 250
HEAVIEST: Final = 250
"""Of a weight, so that a re-plan can add to it."""
PER_OCTET: Final = 250


class Right(NamedTuple):
    """What a right answer to a query for one name has: one of some addresses, each with its weight, and a TTL."""

    weights: dict[str, int]
    ttl_s: int = TTL_S


class Endpoints:
    """The endpoints of a benchmark; the same count, balancers and seed give the same.

    Args:
        count: how many.
        balancers: addresses of each.
        seed: fixes the weights.
    """

    def __init__(self, count: int, balancers: int, seed: int) -> None:
        self.count, self.balancers, self.seed = count, balancers, seed

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(f"endpoint-{number:05d}.{ZONE}" for number in range(1, self.count + 1))

    def content(self, number: int, plan: int) -> Content:
        """Return what one answers by a plan: from one plan to the next every weight changes, no address does."""
        rng = stream(self.seed, "bench", "weights", str(number))
        targets = [
            Target(f"lb-{balancer:03d}", "A", address(number, balancer), rng.randint(1, HEAVIEST) + plan % 2)
            for balancer in range(1, self.balancers + 1)
        ]
        return content(TTL_S, targets)

    def draft(self, plan: int) -> Draft:
        """Return a plan that changes every endpoint; by force, as its addresses are no load balancers of a region."""
        changes = {name: self.content(number, plan) for number, name in enumerate(self.names)}
        return Draft(changes, f"bench: plan {plan} of every endpoint", by="bench", operator=True, force=True)

    @cached_property
    def weighted(self) -> dict[str, Right]:
        """What ours answers by plan 1: any of an endpoint's addresses, by its weight."""
        contents = ((name, self.content(number, 1)) for number, name in enumerate(self.names))
        return {name: Right({t.address: t.weight for t in value.targets}) for name, value in contents}

    @cached_property
    def plain(self) -> dict[str, Right]:
        """What peers answer: an endpoint's first address."""
        return {name: Right({address(number, 1): 1}) for number, name in enumerate(self.names)}

    def write_region(self, path: Path) -> Path:
        """Write the region that ours needs to know of; the plans come from `draft`, not from its load balancers.

        Its directory is made, if it is not there.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(self._region()) + "\n", "utf-8")
        return path

    def _region(self) -> Iterator[str]:
        yield from ('name = "bench"', f"ttl_s = {TTL_S}", "[[availability_zone]]", 'id = "bench-az1"')
        yield from ("[[load_balancer]]", 'name = "lb-001"', 'zone = "bench-az1"', 'address = "127.1.0.1"')
        for name in self.names:
            yield from ("[[endpoint]]", f'name = "{name}"', 'kind = "bench"', 'load_balancers = ["lb-001"]')

    def write_zone(self, path: Path) -> Path:
        """Write the zone that peers serve, as RFC 1035 has it."""
        head = f"$ORIGIN {ZONE}\n$TTL {TTL_S}\n@ SOA ns1 hostmaster 1 7200 900 1209600 864\n@ NS ns1\nns1 A 127.0.0.1\n"
        lines = (f"{name} A {address(number, 1)}\n" for number, name in enumerate(self.names))
        path.write_text(head + "".join(lines), "utf-8")
        return path

    def write_hosts(self, path: Path) -> Path:
        """Write the same names as /etc/hosts has them."""
        lines = (f"{address(number, 1)} {name.rstrip('.')}\n" for number, name in enumerate(self.names))
        path.write_text("".join(lines), "utf-8")
        return path

    def write_queries(self, path: Path, laps: int) -> Path:
        """Write what is asked: every name `laps` times, each lap in another order."""
        rng, names = stream(self.seed, "bench", "queries"), list(self.names)
        with path.open("w", encoding="utf-8") as file:
            for _ in range(laps):
                rng.shuffle(names)
                file.writelines(f"{name} A\n" for name in names)
        return path


def address(number: int, balancer: int) -> str:
    """Return the address of one endpoint's load balancer, which is nobody else's."""
    high, low = divmod(number, PER_OCTET)
    return f"10.{high}.{low}.{balancer}"
