"""Operator requests: what people have asked of the planner, kept in the plan store until they end it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from fencepost.errors import PlanInvalid

OPERATOR: Final = "operator"
"""Who asks, if they do not say."""


class Kind(StrEnum):
    """What is asked: no queries for a load balancer, none for an Availability Zone, or more or less capacity."""

    DRAIN = "drain"
    ZONE_DRAIN = "zone-drain"
    CAPACITY = "capacity"


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request in force. There is at most one of a kind for a subject.

    Attributes:
        kind: what is asked.
        subject: a load balancer's name; for `zone-drain` an Availability Zone's id.
        add: for `capacity`: requests per second on top of what the load balancer reports, may be negative; else 0.
        reason: in the operator's words, "" if none were given.
        since_ms: when it was made, or changed last; epoch milliseconds by the planner's wall clock, for people only.
        force: whether it may take more from an endpoint than protective checks allow.
        by: who asked, without spaces.
        leaves: for `capacity` by force: the capacity that it was to leave when it was asked, by what the load balancer
            reported then. Force goes no further: what a load balancer reports later is an observation, nobody's word.
    """

    kind: Kind
    subject: str
    add: int = 0
    reason: str = ""
    since_ms: int = 0
    force: bool = False
    by: str = OPERATOR
    leaves: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def key(self) -> str:
        """Where the plan store keeps it."""
        return f"{self.kind}/{self.subject}"

    @property
    def in_force(self) -> bool:
        """Whether it asks for anything: adding 0 does not."""
        return self.kind is not Kind.CAPACITY or self.add != 0


class Requests(msgspec.Struct, frozen=True):
    """All requests in force, by their keys, in order."""

    by_key: Mapping[str, Request]

    def get(self, kind: Kind, subject: str) -> Request | None:
        """Return the request of a kind for a subject, None if there is none."""
        return self.by_key.get(f"{kind}/{subject}")

    def forced(self, load_balancer: str, zone: str) -> Request | None:
        """Return the request by force that takes capacity from a load balancer, None if there is none.

        Args:
            load_balancer: its name.
            zone: the id of its Availability Zone.
        """
        found = (
            self.get(Kind.DRAIN, load_balancer),
            self.get(Kind.ZONE_DRAIN, zone),
            self.get(Kind.CAPACITY, load_balancer),
        )
        return next((request for request in found if request and request.force), None)

    def added(self, load_balancer: str) -> int:
        """Return the capacity that is added to a load balancer, 0 if none."""
        request = self.get(Kind.CAPACITY, load_balancer)
        return request.add if request else 0

    def with_request(self, request: Request) -> "Requests":
        """Return these requests with one more in force, in place of an earlier one of its kind and subject."""
        return Requests(dict(sorted({**self.by_key, request.key: request}.items())))

    def without(self, key: str) -> "Requests":
        """Return these requests with one ended."""
        return Requests({other: request for other, request in self.by_key.items() if other != key})


NONE: Final = Requests({})

_decoder: Final = msgspec.json.Decoder(Request)


def encode_request(request: Request) -> str:
    """Return the text that the plan store keeps."""
    return msgspec.json.encode(request).decode()


def decode_requests(texts: Mapping[str, str]) -> Requests:
    """Return the requests that the plan store keeps.

    Raises: PlanInvalid if one cannot be understood. It may be a drain, so that going on without it could send customers
        to a load balancer that somebody is working on: no plan is made until it is corrected.
    """
    return Requests({key: _decode(key, text) for key, text in sorted(texts.items())})


def _decode(key: str, text: str) -> Request:
    try:
        request = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PlanInvalid(
            f"the operator request {key!r} in the plan store cannot be read ({error}); no plan is made until it is "
            "corrected or deleted there"
        ) from error
    if request.key != key:
        raise PlanInvalid(f"the operator request {key!r} in the plan store says that it is {request.key!r}; correct it")
    return request
