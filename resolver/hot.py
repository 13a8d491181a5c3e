"""Queries whose answer is prepared: a look-up by the query's bytes, one draw of chance, and no DNS message in between.

A query that was answered here before is found by all of its bytes but the ID: name, type, RD, OPT record and whatever
else it has. One that differs from such a query only in the case of its name (RFC 5452 section 9.2; draft-vixie-dnsext-
dns0x20) is found by a second look-up. For any other, the answer is prepared, if it can be (`resolver.prepare`).

Prepared answers are those of one state of the zones. Each knows the names that it was made from; a commit drops those
whose names it touches, and all that carry the zone's serial. So what a commit costs follows the commit.
"""

import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import gcd
from typing import Final, NamedTuple, Protocol, cast

import dns.rcode
import dns.rdataclass

from fencepost.stores import Commit
from resolver.message import UDP_PAYLOAD, refusal
from resolver.mmsg import Batch, piece, pieces
from resolver.prepare import Prepared, prepare, question_size
from resolver.query import HEADER_SIZE, MAX_LABEL, Query, parse
from resolver.zone import ZoneImage

MAX_QUERIES: Final = 32_768
"""Queries, each with all its bytes, that are known at one time; with one more all are forgotten, and found again."""
MAX_PREPARED: Final = 16_384
"""Names and types with prepared answers at one time; with more all are dropped, and prepared again."""
MAX_CELLS: Final = 2048
"""Up to this sum of weights each has as many cells of a table, so that a draw is one look-up."""

_ID_SIZE: Final = 2
_QUESTION_TAIL: Final = 4
_RD: Final = 0x0100

Key = tuple[str, int]
"""A name and a type."""


def _opt(*, dnssec_ok: bool) -> bytes:
    """Return our OPT record. Source: RFC 6891 section 6.1.2."""
    return b"\0\0\x29" + UDP_PAYLOAD.to_bytes(2) + b"\0\0" + (b"\x80\0" if dnssec_ok else b"\0\0") + b"\0\0"


_OPTS: Final = {None: b"", False: _opt(dnssec_ok=False), True: _opt(dnssec_ok=True)}
"""By the DO bit; None without EDNS."""
_OPT_PIECES: Final = {dnssec_ok: piece(opt) for dnssec_ok, opt in _OPTS.items()}


class Outcome(NamedTuple):
    """What the metrics count of an answer: its code, and the zone and type of an empty one."""

    rcode: dns.rcode.Rcode
    empty: tuple[str, str] | None = None


class Choice(Protocol):
    """Tails to be chosen from by a whole number from 0 on."""

    def __getitem__(self, number: int, /) -> bytes:
        """Return the chosen tail's `piece`."""


class Hot(NamedTuple):
    """The answers to one query, as pieces for `Batch.answer`.

    Attributes:
        head: flags and counts.
        size: of the question, in bytes.
        opt: the OPT record, or nothing.
        tails: the records, one of them to be chosen by a number below `total`.
        total: the sum of the weights; as a float, which a draw is multiplied with in the least time.
    """

    head: bytes
    size: int
    opt: bytes
    tails: Choice
    total: float


_NO_ANSWER: Final = Hot(_OPT_PIECES[None], 0, _OPT_PIECES[None], (_OPT_PIECES[None],), 1.0)
"""Stands in a batch for a query that is not answered here."""


class _Weighted:
    """Tails whose weights are too large for a cell each."""

    def __init__(self, tails: Sequence[bytes], weights: Sequence[int]) -> None:
        self._tails, self._until = tails, list(accumulate(weights))

    def __getitem__(self, number: int) -> bytes:
        return self._tails[bisect(self._until, number)]


class _Counted:
    """The only tail of an answer that the metrics tell apart."""

    def __init__(self, tail: bytes, outcome: Outcome, counts: Counter[Outcome]) -> None:
        self._tail, self._outcome, self._counts = tail, outcome, counts

    def __getitem__(self, number: int) -> bytes:
        self._counts[self._outcome] += 1
        return self._tail


class _Ready(NamedTuple):
    """Prepared answers in use: what they are, where their tails lie, and by which queries they are found."""

    prepared: Prepared
    tails: Choice
    total: float
    kept: bytes
    queries: list[bytes]


class HotTable:
    """The prepared answers of some zones.

    Invariant: whatever is in the table is what `resolver.answer` would answer from the images as they are now. Whoever
    moves an image on calls `changed` in the same turn of the loop.

    Args:
        zones: by name; updated in place by the caller.
        rng: chooses among weighted record sets; one draw for each query.

    Attributes:
        prepared: the look-up of a query by all its bytes behind the ID; None if it is not known.
    """

    def __init__(self, zones: Mapping[str, ZoneImage], rng: random.Random) -> None:
        self._zones, self._rng, self._draw = zones, rng, rng.random
        self._queries: dict[bytes, Hot] = {}
        self._ready: dict[Key, _Ready] = {}
        self._users: defaultdict[str, set[Key]] = defaultdict(set)
        self._serial_users: defaultdict[str, set[Key]] = defaultdict(set)
        self._heads: dict[bytes, bytes] = {}
        self._totals: dict[int, float] = {}
        self._answered = 0
        self._counts: Counter[Outcome] = Counter()
        self.prepared = self._queries.get

    def find(self, message: bytes) -> Hot | None:
        """Return the answers to a query that `prepared` does not know; None if they are not for preparing."""
        if (end := _name_end(message)) is None:
            return None
        usual = message[_ID_SIZE:HEADER_SIZE] + message[HEADER_SIZE:end].lower() + message[end:]
        return self._queries.get(usual) or self._admit(message, usual)

    def answer(self, batch: Batch, found: Sequence[Hot | None], others: Sequence[int]) -> None:
        """Choose and send the answers to a batch of queries; `others` are the slots, in order, that have none.

        What is too much is dropped only now: from finding to sending, all that pieces point to must stay where it is.
        """
        draw = self._draw
        whole = [hot or _NO_ANSWER for hot in found] if others else cast("Sequence[Hot]", found)
        heads, sizes, opts, tails, totals = zip(*whole, strict=True)
        chosen = [choice[int(draw() * total)] for choice, total in zip(tails, totals, strict=True)]
        batch.answer(heads, sizes, chosen, opts)
        first = 0
        for slot in (*others, len(whole)):
            batch.send(first, slot)
            first = slot + 1
        self._answered += len(whole) - len(others)
        if len(self._ready) > MAX_PREPARED:
            self._drop(set(self._ready))

    def take_counts(self) -> Counter[Outcome]:
        """Return how many answers there were of each kind since the last call."""
        counts = self._counts.copy()
        counts[Outcome(dns.rcode.NOERROR)] += self._answered - counts.total()
        self._counts.clear()
        self._answered = 0
        return counts

    def changed(self, zone: str, _image: ZoneImage, commits: Sequence[Commit]) -> None:
        """Drop what a zone does not say any more; see `resolver.follow.Changed`.

        Args:
            zone: its name.
            _image: as it is now; what is asked next is prepared from it.
            commits: those that the image was moved on by; none if it was read whole.
        """
        if not commits:
            self._drop({key for key, ready in self._ready.items() if _is_in(zone, ready.prepared.zone)})
            return
        self._drop(self._serial_users.pop(zone, set()))
        if self._users:
            for name in {change.record_set.name for commit in commits for change in commit.changes}:
                self._drop(self._users.pop(name, set()))

    def _admit(self, message: bytes, usual: bytes) -> Hot | None:
        query = parse(message)
        if not isinstance(query, Query) or query.klass != dns.rdataclass.IN or refusal(query) is not None:
            return None
        if (ready := self._ready.get((query.name, query.type)) or self._prepare(query)) is None:
            return None
        if len(self._queries) >= MAX_QUERIES:
            self._forget()
        dnssec_ok = None if query.edns is None else query.edns.dnssec_ok
        head = self._head(query, ready.prepared)
        hot = Hot(head, question_size(query), _OPT_PIECES[dnssec_ok], ready.tails, ready.total)
        self._queries[usual] = hot
        ready.queries.append(usual)
        return hot

    def _prepare(self, query: Query) -> _Ready | None:
        if (prepared := prepare(self._zones, query, self._rng)) is None:
            return None
        places, kept = pieces(prepared.tails)
        outcome = Outcome(prepared.rcode, prepared.empty)
        if outcome == Outcome(dns.rcode.NOERROR):
            tails, total = _choice(places, prepared.weights)
        else:
            tails, total = _Counted(places[0], outcome, self._counts), 1
        shared = self._totals.setdefault(total, float(total))
        key = query.name, query.type
        for name in prepared.names:
            self._users[name].add(key)
        if prepared.by_serial:
            self._serial_users[prepared.zone].add(key)
        ready = self._ready[key] = _Ready(prepared, tails, shared, kept, [])
        return ready

    def _head(self, query: Query, prepared: Prepared) -> bytes:
        """Return a head's piece; there are few, and they live as long as the table."""
        flags = prepared.flags | (_RD if query.recursion_desired else 0)
        counts = (1, prepared.answers, prepared.authorities, int(query.edns is not None))
        head = b"".join(number.to_bytes(2) for number in (flags, *counts))
        if head not in self._heads:
            self._heads[head] = piece(head)
        return self._heads[head]

    def _drop(self, keys: set[Key]) -> None:
        for key in keys:
            ready = self._ready.pop(key)
            for query in ready.queries:
                del self._queries[query]
            for name in ready.prepared.names:
                _discard(self._users, name, key)
            if ready.prepared.by_serial:
                _discard(self._serial_users, ready.prepared.zone, key)

    def _forget(self) -> None:
        self._queries.clear()
        for ready in self._ready.values():
            ready.queries.clear()


def _choice(tails: Sequence[bytes], weights: Sequence[int]) -> tuple[Choice, int]:
    """Return the tails for choosing, each with the chance weight / sum of weights, and the number to choose below."""
    divisor = gcd(*weights)
    weights = [weight // divisor for weight in weights]
    total = sum(weights)
    if total > MAX_CELLS:
        return _Weighted(tails, weights), total
    return tuple(tail for tail, weight in zip(tails, weights, strict=True) for _ in range(weight)), total


def _name_end(message: bytes) -> int | None:
    """Return where the name ends of a message that may be a query; None if it is none, or ends within its question."""
    at, size = HEADER_SIZE, len(message)
    while at < size and (length := message[at]):
        if length > MAX_LABEL:
            return None
        at += 1 + length
    return at + 1 if at + _QUESTION_TAIL < size else None


def _is_in(name: str, zone: str) -> bool:
    return name == zone or name.endswith("." + zone)


def _discard(users: defaultdict[str, set[Key]], of: str, key: Key) -> None:
    if of in users:
        users[of].discard(key)
        if not users[of]:
            del users[of]
