"""A region whose trees need two batches, as TOML: for what can only happen to half a tree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ZONES: Final = 3
BALANCERS: Final = 90
"""Of each Availability Zone: two addresses each are 540 record sets, and a batch holds at most 496."""


def write_wide_region(path: Path) -> Path:
    """Write it to a file, and return that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_lines()), "utf-8")
    return path


def _lines() -> Iterator[str]:
    yield from ('name = "us-east-1"', "ttl_s = 5", "[soa]", "ttl_s = 9", "minimum_s = 864")
    for zone in range(1, ZONES + 1):
        yield from ("[[availability_zone]]", f'id = "use1-az{zone}"')
    yield from ("[[endpoint]]", 'name = "dynamodb.dualstack.us-east-1.fencepost.test"', 'kind = "dual-stack"')
    yield from ('types = ["A", "AAAA"]', 'load_balancers = ["*"]')
    yield from ("[[endpoint]]", 'name = "dynamodb-fips.us-east-1.fencepost.test"', 'kind = "fips"')
    yield from ('types = ["A"]', 'load_balancers = ["use1-az?-lb-00[78]"]')
    for zone in range(1, ZONES + 1):
        for number in range(1, BALANCERS + 1):
            address = f"127.1.{zone}.{number}"
            yield from ("[[load_balancer]]", f'name = "use1-az{zone}-lb-{number:03d}"', f'zone = "use1-az{zone}"')
            yield from (f'address = "{address}"', f'address6 = "::ffff:{address}"', "capacity = 100")
