"""Record sets, as Route 53 has them: the values that zones hold and change batches carry."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from fencepost.names import order_key, order_prefix

ADDRESS_TYPES: Final = ("A", "AAAA")
CONTROL_TTL_S: Final = 1
"""TTL of lock, fence and manifest records, in seconds: `dig` shows them fresh."""


class RecordKey(NamedTuple):
    """What identifies a record set in a zone. `set_identifier` is "" for a simple record set."""

    name: str
    type: str
    set_identifier: str = ""


class RecordSet(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One resource record set.

    It can be in no circle of references, so the garbage collector need not look at it: a resolver holds 300,000.

    Attributes:
        name: absolute, lower case, with the trailing dot.
        type: A, AAAA, TXT, SOA, NS, CNAME ...
        ttl: seconds; None for an alias, which has its target's.
        values: in presentation format (a TXT value carries its quotes), sorted; empty for an alias.
        set_identifier: tells weighted record sets of one name and type apart; None for a simple one.
        weight: 0 to 255 for a weighted record set, else None.
        alias: absolute name that this one stands for, in the same zone and of the same type; None if no alias.

    Source: Route 53 API Reference, ResourceRecordSet and AliasTarget.
    """

    name: str
    type: str
    ttl: int | None = None
    values: tuple[str, ...] = ()
    set_identifier: str | None = None
    weight: int | None = None
    alias: str | None = None

    @property
    def key(self) -> RecordKey:
        """What identifies this record set in its zone."""
        return RecordKey(self.name, self.type, self.set_identifier or "")

    @property
    def order(self) -> str:
        """Where ListResourceRecordSets shows it."""
        return order_key(self.name, self.type, self.set_identifier)

    @property
    def text(self) -> str:
        """The one TXT value without its quotes; asserts that there is exactly one."""
        assert self.type == "TXT", self
        assert len(self.values) == 1, self
        return self.values[0][1:-1]


def orders(record_sets: Iterable[RecordSet]) -> list[str]:
    """Return the `order` of many record sets."""
    return [order_prefix(r.name, r.type) + (r.set_identifier or "") for r in record_sets]


def encode(record_set: RecordSet) -> bytes:
    """Return the canonical text of a record set: two are equal exactly when these are equal."""
    return msgspec.json.encode(record_set)


_decoder: Final = msgspec.json.Decoder(RecordSet)


@lru_cache(maxsize=16_384)
def decode(text: bytes | str) -> RecordSet:
    """Return the record set of a canonical text. Raises: msgspec.ValidationError if it is none."""
    return _decoder.decode(text)


def address(
    name: str, record_type: str, value: str, *, ttl: int, set_identifier: str | None = None, weight: int | None = None
) -> RecordSet:
    """Return an A or AAAA record set with one address."""
    assert record_type in ADDRESS_TYPES, record_type
    return RecordSet(name, record_type, ttl, (value,), set_identifier, weight)


def txt(name: str, text: str, *, ttl: int = CONTROL_TTL_S) -> RecordSet:
    """Return a TXT record set with one string, which may hold no quote and no backslash."""
    assert '"' not in text, text
    assert "\\" not in text, text
    return RecordSet(name, "TXT", ttl, (f'"{text}"',))


def alias(name: str, record_type: str, target: str) -> RecordSet:
    """Return an alias of `name` to the records of the same type at `target`."""
    return RecordSet(name, record_type, alias=target)


def soa(zone: str, *, ttl: int, minimum: int) -> RecordSet:
    """Return a zone's SOA; resolvers keep a negative answer for min(ttl, minimum) seconds.

    The serial stays 1, as in Route 53; the resolver answers with the zone's own serial. Source: RFC 2308 section 5.
    """
    return RecordSet(zone, "SOA", ttl, (f"ns1.{zone} hostmaster.{zone} 1 7200 900 1209600 {minimum}",))


def ns(zone: str, *, ttl: int = 3600) -> RecordSet:
    """Return a zone's NS record set, of the one name server that serves it here."""
    return RecordSet(zone, "NS", ttl, (f"ns1.{zone}",))
