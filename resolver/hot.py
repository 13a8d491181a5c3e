"""Queries whose answer is prepared: a look-up by the query's bytes, one draw of chance, and no DNS message in between.

A query that was answered here before is found by all of its bytes but the ID: name, type, RD, OPT record and whatever
else it has. One that differs from such a query only in the case of its name (RFC 5452 section 9.2; draft-vixie-dnsext-
dns0x20) or in options of its OPT record (a cookie, say) is found by a second look-up. For any other, the answer is
prepared, if it can be (`resolver.prepare`).

Whatever strangers ask, what is kept is bounded, and goes a little at a time: answers of names that are there, those
without records apart, and for each a few shapes of query of a few hundred bytes.

Prepared answers are those of one state of the zones. Each knows the names that it was made from; a commit drops those
whose names it touches, and all that carry the zone's serial. So what a commit costs follows the commit.
"""

import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice
from math import gcd
from typing import Final, NamedTuple, Protocol, cast

import dns.rcode
import dns.rdataclass

from fencepost.stores import Commit
from resolver.message import UDP_PAYLOAD, refusal
from resolver.mmsg import Batch, gathered, piece, pieces
from resolver.prepare import OPT_SIZE, Prepared, prepare, question_size
from resolver.query import HEADER_SIZE, MAX_LABEL, Query, are_options, parse
from resolver.zone import ZoneImage

MAX_PREPARED: Final = 16_384
MAX_EMPTY: Final = 4096
"""Names and types with prepared answers at one time, with records and without; for more the oldest make room."""
MAX_SHAPES: Final = 8
"""Queries for one name and type that are known at one time; for one more the oldest makes room."""
ROOM: Final = 16
"""How many make room at one time."""
MAX_OPTIONS: Final = 128
"""Bytes of options that are looked at for the second look-up; a cookie has at most 44. Source: RFC 7873 section 4."""
MAX_CELLS: Final = 2048
"""Up to this sum of weights each has as many cells of a table, so that a draw is one look-up."""

_ID_SIZE: Final = 2
_QUESTION_TAIL: Final = 4
_RD: Final = 0x0100
_ONLY_ADDITIONAL: Final = bytes((0, 0, 0, 0, 0, 1))
_OPT_START: Final = b"\0\0\x29"

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
        self._empty: dict[Key, _Ready] = {}
        self._users: defaultdict[str, set[Key]] = defaultdict(set)
        self._serial_users: defaultdict[str, set[Key]] = defaultdict(set)
        self._heads: dict[bytes, bytes] = {}
        self._totals: dict[int, float] = {}
        self._answered = 0
        self._counts: Counter[Outcome] = Counter()
        self.prepared = self._queries.get

    def known(self, message: bytes) -> Hot | None:
        """Return the answers to a query that `prepared` may not know, but was asked in another case or with options."""
        return None if (usual := _usual(message)) is None else self._queries.get(usual)

    def find(self, message: bytes) -> Hot | None:
        """Return the answers to any query; None if they are not for preparing.

        They are good until the next call, which may drop them: nothing else is to be found before they are sent.
        """
        if (usual := _usual(message)) is None:
            return None
        return self._queries.get(usual) or self._admit(message, usual)

    def whole(self, message: bytes, hot: Hot) -> bytes:
        """Choose one of the answers to a query, and return all its bytes."""
        tail = hot.tails[int(self._draw() * hot.total)]
        self._answered += 1
        question = message[HEADER_SIZE : HEADER_SIZE + hot.size]
        return message[:_ID_SIZE] + gathered((hot.head,)) + question + gathered((tail, hot.opt))

    def answer(self, batch: Batch, found: Sequence[Hot | None], others: Sequence[int]) -> int:
        """Choose and send the answers to a batch of queries; return how many the system did not take.

        Args:
            batch: the queries.
            found: their answers by `prepared` or `known`.
            others: the slots, in order, that have none.
        """
        draw = self._draw
        whole = [hot or _NO_ANSWER for hot in found] if others else cast("Sequence[Hot]", found)
        heads, sizes, opts, tails, totals = zip(*whole, strict=True)
        chosen = [choice[int(draw() * total)] for choice, total in zip(tails, totals, strict=True)]
        batch.answer(heads, sizes, chosen, opts)
        first = unsent = 0
        for slot in (*others, len(whole)):
            unsent += batch.send(first, slot)
            first = slot + 1
        self._answered += len(whole) - len(others)
        return unsent

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
            every = (*self._ready.items(), *self._empty.items())
            self._drop({key for key, ready in every if _is_in(zone, ready.prepared.zone)})
            return
        self._drop(self._serial_users.pop(zone, set()))
        if self._users:
            for name in {change.record_set.name for commit in commits for change in commit.changes}:
                self._drop(self._users.pop(name, set()))

    def _admit(self, message: bytes, usual: bytes) -> Hot | None:
        query = parse(message)
        if not isinstance(query, Query) or query.klass != dns.rdataclass.IN or refusal(query) is not None:
            return None
        key = query.name, query.type
        if (ready := self._ready.get(key) or self._empty.get(key) or self._prepare(query, key)) is None:
            return None
        dnssec_ok = None if query.edns is None else query.edns.dnssec_ok
        head = self._head(query, ready.prepared)
        hot = Hot(head, question_size(query), _OPT_PIECES[dnssec_ok], ready.tails, ready.total)
        if len(usual) <= HEADER_SIZE - _ID_SIZE + hot.size + OPT_SIZE:
            self._keep(usual, hot, ready.queries)
        return hot

    def _keep(self, usual: bytes, hot: Hot, shapes: list[bytes]) -> None:
        if len(shapes) >= MAX_SHAPES:
            del self._queries[shapes.pop(0)]
        self._queries[usual] = hot
        shapes.append(usual)

    def _prepare(self, query: Query, key: Key) -> _Ready | None:
        if (prepared := prepare(self._zones, query, self._rng)) is None:
            return None
        places, kept = pieces(prepared.tails)
        if prepared.empty is None:
            tails, total = _choice(places, prepared.weights)
            table, most = self._ready, MAX_PREPARED
        else:
            tails, total = _Counted(places[0], Outcome(dns.rcode.NOERROR, prepared.empty), self._counts), 1
            table, most = self._empty, MAX_EMPTY
        if len(table) >= most:
            self._drop(set(islice(table, ROOM)))
        shared = self._totals.setdefault(total, float(total))
        for name in prepared.names:
            self._users[name].add(key)
        if prepared.by_serial:
            self._serial_users[prepared.zone].add(key)
        ready = table[key] = _Ready(prepared, tails, shared, kept, [])
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
            ready = self._ready.pop(key, None) or self._empty.pop(key)
            for query in ready.queries:
                del self._queries[query]
            for name in ready.prepared.names:
                _discard(self._users, name, key)
            if ready.prepared.by_serial:
                _discard(self._serial_users, ready.prepared.zone, key)


def _choice(tails: Sequence[bytes], weights: Sequence[int]) -> tuple[Choice, int]:
    """Return the tails for choosing, each with the chance weight / sum of weights, and the number to choose below."""
    divisor = gcd(*weights)
    weights = [weight // divisor for weight in weights]
    total = sum(weights)
    if total > MAX_CELLS:
        return _Weighted(tails, weights), total
    return tuple(tail for tail, weight in zip(tails, weights, strict=True) for _ in range(weight)), total


def _usual(message: bytes) -> bytes | None:
    """Return what queries with the same answers have in common, as bytes behind the ID; None if it is no query."""
    if (end := _name_end(message)) is None:
        return None
    rest = message[end:]
    if _QUESTION_TAIL + OPT_SIZE < len(rest) <= _QUESTION_TAIL + OPT_SIZE + MAX_OPTIONS:
        rest = _without_options(message, rest)
    return message[_ID_SIZE:HEADER_SIZE] + message[HEADER_SIZE:end].lower() + rest


def _without_options(message: bytes, rest: bytes) -> bytes:
    """Return a question's tail and its OPT record without options, of which we know none; else all as it is."""
    opt = rest[_QUESTION_TAIL:]
    size, options = opt[OPT_SIZE - 2 : OPT_SIZE], opt[OPT_SIZE:]
    is_only = message[HEADER_SIZE - len(_ONLY_ADDITIONAL) : HEADER_SIZE] == _ONLY_ADDITIONAL
    if is_only and opt.startswith(_OPT_START) and int.from_bytes(size) == len(options) and are_options(options):
        return rest[: _QUESTION_TAIL + OPT_SIZE - 2] + b"\0\0"
    return rest


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
