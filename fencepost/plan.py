"""Plans: what every endpoint of a region should answer, numbered, immutable, and shared where nothing changed."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from socket import AF_INET, AF_INET6, inet_pton
from sys import intern
from typing import Final

import msgspec

from fencepost.batch import MAX_WEIGHT
from fencepost.errors import ContentDamaged, PlanInvalid
from fencepost.names import absolute
from fencepost.notice import Notice
from fencepost.records import ADDRESS_TYPES

MAX_TTL_S: Final = 86_400
MAX_IDENTIFIER: Final = 128


class Lane(StrEnum):
    """How urgent a plan is: `fast` for emergencies (a zone taken out of service), `slow` for routine changes."""

    SLOW = "slow"
    FAST = "fast"


class Target(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One load balancer's address in an endpoint; there may be hundreds of thousands, so no collector looks at them.

    Attributes:
        identifier: its readable name, unique with `type` in the endpoint, e.g. `use1-az1-lb-003`; the set identifier.
        type: A or AAAA.
        address: in canonical text form.
        weight: 0 to 255; 0 means that it gets no queries while another has more.
    """

    identifier: str
    type: str
    address: str
    weight: int


class Content(msgspec.Struct, frozen=True, array_like=True, cache_hash=True):
    """What one endpoint answers: a TTL in seconds and targets ordered by (identifier, type)."""

    ttl: int
    targets: tuple[Target, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """The address types that occur, A before AAAA."""
        present = {target.type for target in self.targets}
        return tuple(kind for kind in ADDRESS_TYPES if kind in present)

    @property
    def weight(self) -> int:
        """The whole capacity, in weight units, all types together."""
        return sum(target.weight for target in self.targets)


_canonical: Final = attrgetter("identifier", "type")


def content(ttl: int, targets: list[Target]) -> Content:
    """Return a content with its targets in canonical order, so that equal contents have equal digests."""
    return Content(ttl, tuple(sorted(targets, key=_canonical)))


def encode_content(value: Content) -> bytes:
    """Return the canonical text of a content, which the digest is of."""
    return msgspec.json.encode(value)


_content_decoder: Final = msgspec.json.Decoder(Content)


def decode_content(text: bytes | str) -> Content:
    """Return the content of a canonical text. Raises: msgspec.ValidationError if it is none."""
    found = _content_decoder.decode(text)
    # A load balancer is behind many endpoints, and in many plans: its name and address are in memory once.
    targets = [Target(intern(t.identifier), intern(t.type), intern(t.address), t.weight) for t in found.targets]
    return Content(found.ttl, tuple(targets))


class KeptContent(msgspec.Struct, eq=False, gc=False):
    """A content as the plan store has it: `held` is its canonical text until the first look, then what that says."""

    digest: str
    held: bytes | Content

    @property
    def value(self) -> Content:
        """The content. Raises: ContentDamaged if the text is none; that is told to each who looks."""
        if isinstance(self.held, bytes):
            try:
                self.held = decode_content(self.held)
            except ValueError as error:  # msgspec's errors and those of UTF-8 are ValueErrors, too
                raise ContentDamaged(self.digest, str(error)) from error
        return self.held

    @property
    def readable(self) -> Content | None:
        """The content, None if it is damaged: for who can do without."""
        try:
            return self.value
        except ContentDamaged:
            return None


class Contents(Mapping[str, Content]):
    """Content digest -> content, decoded at the first look: most who read a plan leave its work to another.

    `kept` is what plans share, so that what one of them has decoded is decoded in all; `damaged` are the digests of
    those that were looked at in vain.
    """

    def __init__(self, kept: Mapping[str, KeptContent]) -> None:
        self.kept = kept
        self.damaged: set[str] = set()

    @classmethod
    def of(cls, decoded: Mapping[str, Content]) -> "Contents":
        """Return contents that come from elsewhere than the plan store."""
        return cls({digest_of: KeptContent(digest_of, value) for digest_of, value in decoded.items()})

    def readable(self, digest_of: str) -> Content | None:
        """Return a content, None if there is none, or if it is damaged: for who can do without."""
        try:
            return self[digest_of]
        except (KeyError, ContentDamaged):
            return None

    def renew(self, fresh: Mapping[str, KeptContent]) -> None:
        """Take what the store has by now in place of what was damaged, in all plans that share it."""
        for digest_of, other in fresh.items():
            if self.kept[digest_of].held != other.held:
                self.kept[digest_of].held = other.held
                self.damaged.discard(digest_of)

    def __getitem__(self, digest_of: str) -> Content:
        """Return a content. Raises: KeyError, ContentDamaged if the store has it damaged."""
        try:
            return self.kept[digest_of].value
        except ContentDamaged:
            self.damaged.add(digest_of)
            raise

    def __contains__(self, digest_of: object) -> bool:
        """Say whether there is such a content, without a look at it."""
        return digest_of in self.kept

    def __iter__(self) -> Iterator[str]:
        """Return the digests."""
        return iter(self.kept)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.kept)


def digest(value: Content) -> str:
    """Return the 32 hex digits that name a content in the plan store; zones carry the first 8 (`short`)."""
    return hashlib.sha256(encode_content(value)).hexdigest()[:32]


def short(full_digest: str) -> str:
    """Return the 8 hex digits of a digest that fence and manifest show."""
    return full_digest[:8]


class Forced(msgspec.Struct, frozen=True):
    """An operator's last plan by force for an endpoint: later plans are compared with it until it is live.

    `generation` and `digest` (of the content, 32 hex) are that plan's, `by` is who.
    """

    generation: int
    digest: str
    by: str


class Plan(msgspec.Struct, frozen=True):
    """One published plan.

    Attributes:
        generation: its number, >= 1, unique and growing.
        published_ms: when the store took it, epoch milliseconds by the store's clock.
        lane: slow or fast.
        reason: one sentence, for people.
        digests: endpoint -> content digest, for every endpoint of the region, in order of their names.
        contents: content digest -> content, for every digest above; shared between plans, never changed. A look at
            one raises ContentDamaged if the store has it damaged.
        forced: endpoint -> the last plan up to this one that an operator has published for it by force.
        since: endpoint -> the last generation up to this one that says anything of it, be it what it had already:
            from that one to this the endpoint has one content. Never too low; too high where nobody knows, which costs
            a write in vain. An endpoint that is missing counts as said of just now. Source: docs/invariants.md, I5.
    """

    generation: int
    published_ms: int
    lane: Lane
    reason: str
    digests: Mapping[str, str]
    contents: Contents
    forced: Mapping[str, Forced] = {}
    since: Mapping[str, int] = {}

    def content(self, endpoint: str) -> Content:
        """Return what an endpoint should answer.

        Raises: KeyError for an endpoint that the plan does not have; ContentDamaged, which names the endpoint.
        """
        try:
            return self.contents[self.digests[endpoint]]
        except ContentDamaged as error:
            raise ContentDamaged(error.digest, error.problem, endpoint) from error

    def readable(self, endpoint: str) -> Content | None:
        """Return what an endpoint should answer, None if that is damaged, or in no plan: for who can do without."""
        return self.contents.readable(self.digests.get(endpoint, ""))

    def damaged(self) -> list[ContentDamaged]:
        """Decode all, for who needs all, and return what is wrong, endpoint by endpoint."""
        found = []
        for endpoint in self.digests:
            try:
                self.content(endpoint)
            except ContentDamaged as error:
                found.append(error)
        return found

    def unchanged_since(self, endpoint: str) -> int:
        """Return the generation since which an endpoint has its content; every plan from there to this one has it."""
        return self.since.get(endpoint, self.generation)


class PlanSummary(msgspec.Struct, frozen=True):
    """One line of the plan history: `changed` maps each changed endpoint to its digests (before, after).

    `by` is who published it; `operator` and `force` are as in `Draft`.
    """

    generation: int
    published_ms: int
    lane: Lane
    reason: str
    changed: Mapping[str, tuple[str | None, str | None]]
    by: str = "planner"
    operator: bool = False
    force: bool = False


class Draft(msgspec.Struct, frozen=True):
    """A plan that is not numbered yet: only what changes.

    Attributes:
        changes: endpoint -> what it should answer from now on; None takes the endpoint out of the plan.
        reason: one sentence, for people.
        lane: slow or fast.
        by: who publishes it, without spaces.
        operator: whether that is a person: only then may it be published while the automation is frozen, and change an
            endpoint that is pinned, which ends the pin.
        force: whether protective checks are to let these changes pass; an operator's word only.
        pin: who wants automation to leave these endpoints as they are now, when and why; None: nobody. An operator's
            word only; the endpoint's next plan by an operator ends it.
    """

    changes: Mapping[str, Content | None]
    reason: str
    lane: Lane = Lane.SLOW
    by: str = "planner"
    operator: bool = False
    force: bool = False
    pin: Notice | None = None


def check_draft(draft: Draft, endpoints: frozenset[str]) -> None:
    """Refuse a draft that no region could want.

    Args:
        draft: what somebody wants to publish.
        endpoints: every endpoint that the region has.

    Raises: PlanInvalid naming every problem: unknown endpoint, no target, bad or missing address, duplicate
        identifier or address, weight outside 0 to 255 or all zero, TTL outside 0 to 86,400.
    """
    if problems := list(draft_problems(draft, endpoints)):
        raise PlanInvalid("the plan was not published: " + "; ".join(problems))


def draft_problems(draft: Draft, endpoints: frozenset[str]) -> Iterator[str]:
    """Yield what `check_draft` would refuse a draft for, in words; nothing if it is well."""
    for name, value in draft.changes.items():
        yield from _problems(name, value, endpoints)


def _problems(name: str, value: Content | None, endpoints: frozenset[str]) -> Iterator[str]:
    if absolute(name) not in endpoints:
        yield f"{name} is not an endpoint of this region (it has {', '.join(sorted(endpoints))})"
    if value is None:
        return
    if not value.targets:
        yield f"{name} would have no address"
    elif value.weight == 0:
        yield f"{name} would have only targets of weight 0"
    yield from (f"{name}: {problem}" for problem in content_problems(value))


def content_problems(value: Content) -> Iterator[str]:
    """Yield what is wrong with a content in itself, in words; nothing if it is well. Emptiness is another matter."""
    if not 0 <= value.ttl <= MAX_TTL_S:
        yield f"TTL {value.ttl} is outside 0 to {MAX_TTL_S} s"
    targets = value.targets
    identifiers, types = [target.identifier for target in targets], [target.type for target in targets]
    addresses, weights = [target.address for target in targets], [target.weight for target in targets]
    once = len(set(addresses)) == len(set(zip(identifiers, types, strict=True))) == len(targets)
    if once and all_well(identifiers, types, addresses, weights):
        return
    for target in targets:
        yield from target_problems(target)
    for kind, seen in (
        ("load balancer", Counter(f"{target.identifier} ({target.type})" for target in targets)),
        ("address", Counter(target.address for target in targets)),
    ):
        yield from (f"{kind} {what} occurs twice" for what, times in sorted(seen.items()) if times > 1)


def all_well(
    identifiers: Sequence[str], types: Sequence[str], addresses: Sequence[str], weights: Sequence[int]
) -> bool:
    """Say of many targets at once, the nth of each, whether `target_problems` has nothing to say of any of them.

    It takes a sixth of the time that looking at one after the other takes. What a plan wants is looked at once more as
    the records of its tree, shortly after: if that is one batch, the answer is known then.
    """
    return not identifiers or _all_well(tuple(identifiers), tuple(types), tuple(addresses), tuple(weights))


@lru_cache(maxsize=16)  # a few endpoints are built at a time; contents may be large
def _all_well(
    identifiers: tuple[str, ...], types: tuple[str, ...], addresses: tuple[str, ...], weights: tuple[int, ...]
) -> bool:
    return (
        set(types).issubset(ADDRESS_TYPES)
        and min(map(len, identifiers)) > 0
        and max(map(len, identifiers)) <= MAX_IDENTIFIER
        and "".join(identifiers).isprintable()
        and min(weights) >= 0
        and max(weights) <= MAX_WEIGHT
        and all(map(is_address, addresses, types))
    )


def target_problems(target: Target) -> Iterator[str]:
    """Yield what is wrong with one target, in words; nothing if it is well."""
    if not 0 < len(target.identifier) <= MAX_IDENTIFIER or not target.identifier.isprintable():
        yield f"load balancer name {target.identifier!r} must be 1 to {MAX_IDENTIFIER} printable characters"
    if target.type not in ADDRESS_TYPES:
        yield f"load balancer {target.identifier} has type {target.type!r}, which is neither A nor AAAA"
    elif not target.address:
        yield f"load balancer {target.identifier} has no address"
    elif not is_address(target.address, target.type):
        yield f"load balancer {target.identifier}: {target.address!r} is not an address of type {target.type}"
    if not 0 <= target.weight <= MAX_WEIGHT:
        yield f"load balancer {target.identifier} has weight {target.weight}, outside 0 to {MAX_WEIGHT}"


@lru_cache(maxsize=16_384)
def is_address(text: str, record_type: str) -> bool:
    """Say whether a text is an IPv4 (for A) or IPv6 (for AAAA) address."""
    # The C library reads it in a tenth of module ipaddress's time, and without scopes (`%eth0`): AAAA has none.
    try:
        inet_pton(AF_INET if record_type == "A" else AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True
