"""What `bench apply` gives to programs that have no weights: the same addresses as plain records in one zone.

Each record set of ours has an identity of its own, so each has a name of its own there. One zone for all endpoints, and
no weights, trees, aliases and checks: that is less than ours does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lab.bench.many import TTL_S, Many

ZONE: Final = "us-east-1.fencepost.test."
SERVER_NAME: Final = f"ns1.{ZONE}"
SERVER_ADDRESS: Final = "127.0.0.1"
BATCH: Final = 1000
"""Records in one update: its message has 46 kB, and nsupdate refuses to make one of 1,400 (65,535 bytes is the limit).
Knot was the quickest with 1,000, of all sizes from 100 to 1,400."""

Records = Mapping[str, str]
"""Owner -> address, absolute names."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A region as plain records."""

    many: Many

    def records(self, moved: int = 0) -> dict[str, str]:
        """Return every record, with the first `moved` endpoints at their next load balancers' addresses."""
        own = self.many.own
        return {
            f"{before.identifier}.{name}": after.address
            for number, name in enumerate(self.many.names)
            for before, after in zip(own(number, 0).targets, own(number, int(number < moved)).targets, strict=True)
        }


def zone_file() -> str:
    """Return the zone as it is before: without any of the records."""
    return (
        f"$ORIGIN {ZONE}\n@ {TTL_S} SOA ns1 hostmaster 1 7200 900 1209600 {TTL_S}\n@ {TTL_S} NS ns1\n"
        f"ns1 {TTL_S} A {SERVER_ADDRESS}\n"
    )


def updates(existing: Records, desired: Records, port: int) -> str:
    """Return what knsupdate and nsupdate read to come from some records to others, in batches."""
    return "\n".join(("server 127.0.0.1 " + str(port), f"zone {ZONE}", *_batches(existing, desired), ""))


def _batches(existing: Records, desired: Records) -> Iterator[str]:
    waiting = 0
    for owner, address in desired.items():
        if (before := existing.get(owner)) == address:
            continue
        if before is not None:
            yield f"update delete {owner} A {before}"
        yield f"update add {owner} {TTL_S} A {address}"
        waiting += 1
        if waiting == BATCH:
            yield "send"
            waiting = 0
    if waiting:
        yield "send"


def octodns_zone(records: Records) -> str:
    """Return the zone's file for octoDNS's YamlProvider."""
    return "\n".join(("---", *_octodns_lines({**records, SERVER_NAME: SERVER_ADDRESS}), ""))


def _octodns_lines(records: Records) -> Iterator[str]:
    yield from ("'':", f"  ttl: {TTL_S}", "  type: NS", f"  values: [{SERVER_NAME}]")
    for owner, address in sorted(records.items()):
        yield from (f"{owner.removesuffix('.' + ZONE)}:", f"  ttl: {TTL_S}", "  type: A", f"  value: {address}")
