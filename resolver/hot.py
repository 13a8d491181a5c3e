"""Queries whose answer is prepared: a look-up by the query's bytes, one draw of chance, and no DNS message in between.

A query that was answered here before is found by all of its bytes but the ID: name, type, RD, OPT record and whatever
else it has. One that differs from such a query only in what its answer does not depend on is found by a second look-up:
the case of its name (RFC 5452 section 9.2; draft-vixie-dnsext-dns0x20), options of its OPT record (a cookie, say), the
payload that it offers, flags that mean nothing in a query. So a name and type have at most six queries that differ, by
RD, EDNS and DO, and a few in other shapes beside them, those that came first. Any other gets an answer of its own, if
it is of the usual kind, or all answers to it are prepared (`resolver.prepare`).

Whatever strangers ask, what is kept is bounded, and goes a little at a time: answers of names that are there, those
without records apart, for each a few queries of a few hundred bytes, and what was asked for once.

Prepared answers are those of one state of the zones. Each knows the names that it was made from. A commit drops those
whose names it touches, and all that carry the zone's serial; but the first few that have records are prepared anew in
their place, so that nobody who asks for them has to wait. So what a commit costs follows the commit.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple, cast

import dns.rcode
import dns.rdatatype

from fencepost.slices import Look, no_look
from fencepost.stores import Commit
from resolver.choice import ONLY, Choice, Noticing, choice_of
from resolver.message import UDP_PAYLOAD
from resolver.mmsg import Batch, gathered, piece, pieces
from resolver.outcome import ANSWERED, Counted, Outcome
from resolver.prepare import REFUSED, Found, Prepared, again, every, find, is_large, one, zone_of
from resolver.query import HEADER_SIZE
from resolver.usual import ID_SIZE, OPT_SIZE, Asked, read, usual
from resolver.zone import ZoneImage

MAX_PREPARED: Final = 16_384
MAX_EMPTY: Final = 4096
"""Names and types with prepared answers at one time, with records and without; for more the oldest make room.

So many with records are remembered as asked for, too."""
MAX_BY_SERIAL: Final = 128
"""How many of one zone may have its serial in them: any commit to it drops them all, in less than 0.6 ms."""
MAX_QUERIES: Final = 12
"""Queries for one name and type that are known at one time, besides those in which the answers differ: six at most."""
ROOM: Final = 16
"""How many make room at one time."""
FOLLOWED: Final = 4
"""How many names and types are prepared anew after a commit, at most: 0.05 ms each. Others are when they are asked."""
MAX_TRIES: Final = 8
"""How many are looked at for that."""
MAX_TAILS: Final = 256
"""How many answers all of them may have together: 0.3 ms."""
MAX_FOLLOWS: Final = 16
"""So many times in a row without anybody who asks; what nobody asks for any more would be prepared for ever."""
NOTICED_FROM: Final = MAX_FOLLOWS // 2
"""From that time on it is noticed whether somebody asks: that costs each query 0.1 us, so not always."""

_NAME_AT: Final = HEADER_SIZE - ID_SIZE
_RD: Final = 0x0100
_ADDRESS_TYPES: Final = frozenset((dns.rdatatype.A, dns.rdatatype.AAAA))
_HEAD: Final = Struct("!5H")

Key = tuple[str, int]
"""A name and a type."""


def _opt(*, dnssec_ok: bool) -> bytes:
    """Return our OPT record. Source: RFC 6891 section 6.1.2."""
    return b"\0\0\x29" + UDP_PAYLOAD.to_bytes(2) + b"\0\0" + (b"\x80\0" if dnssec_ok else b"\0\0") + b"\0\0"


_OPTS: Final = {None: b"", False: _opt(dnssec_ok=False), True: _opt(dnssec_ok=True)}
"""By the DO bit; None without EDNS."""
_OPT_PIECES: Final = {dnssec_ok: piece(opt) for dnssec_ok, opt in _OPTS.items()}


class Hot(NamedTuple):
    """The answers to one query, as pieces for `Batch.answer`.

    Attributes:
        head: flags and counts.
        size: of the question, in bytes.
        opt: the OPT record, or nothing.
        tails: the records.
        choice: chooses one of them by a number below `total`.
        total: the sum of the weights; as a float, which a draw is multiplied with in the least time.
    """

    head: bytes
    size: int
    opt: bytes
    tails: Sequence[bytes]
    choice: Choice
    total: float


_NO_ANSWER: Final = Hot(_OPT_PIECES[None], 0, _OPT_PIECES[None], (_OPT_PIECES[None],), ONLY, 1.0)
"""Stands in a batch for a query that is not answered here."""


class _Ready(NamedTuple):
    """Prepared answers in use.

    Attributes:
        prepared: what they are.
        tails, choice, total: see `Hot`.
        kept: what the tails are good for as long as it lives.
        queries: by which they are found.
        follows: how many commits they were prepared anew after, since it was last noticed that somebody asked for them.
    """

    prepared: Prepared
    tails: Sequence[bytes]
    choice: Choice
    total: float
    kept: bytes
    queries: list[bytes]
    follows: int = 0


class HotTable:
    """The prepared answers of some zones.

    Invariant: whatever is in the table is what `resolver.answer` would answer from the images as they are now. Whoever
    moves an image on calls `changed` in the same turn of the loop; until that returns, only `prepared`, `known`,
    `is_awaited` and `answer` may be called: they use no image, and have the state before.

    Args:
        zones: by name; updated in place by the caller.
        rng: chooses among weighted record sets; at most one draw for each query.
        awaited: names of zones that are answered here as soon as they are known, and not in another zone's stead.

    Attributes:
        prepared: the look-up of a query by all its bytes behind the ID; None if it is not known.
        made: how often all answers to a question were prepared so far, or tried to be.
    """

    def __init__(self, zones: Mapping[str, ZoneImage], rng: random.Random, awaited: Collection[str] = ()) -> None:
        self._awaited = awaited
        self._zones, self._rng, self._draw = zones, rng, rng.random
        self._queries: dict[bytes, Hot] = {}
        self._shapes: dict[bytes, list[bytes]] = {}
        self._ready: dict[Key, _Ready] = {}
        self._empty: dict[Key, _Ready] = {}
        self._asked: dict[bytes, None] = {}
        self._asked_empty: dict[bytes, None] = {}
        self.made = 0
        self._users: defaultdict[str, set[Key]] = defaultdict(set)
        self._serial_users: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        self._heads: dict[bytes, bytes] = {}
        self._totals: dict[int, float] = {}
        self._answered = 0
        self._counts: Counter[Outcome] = Counter()
        self.prepared = self._queries.get

    def known(self, message: bytes) -> Hot | None:
        """Return the answers to a query that `prepared` may not know, but was asked in another shape."""
        if (key := usual(message)) is None or (hot := self._queries.get(key)) is None:
            return None
        if len(message) == ID_SIZE + len(key) and len(queries := self._shapes[key]) < MAX_QUERIES:
            self._keep_shape(message, key, hot, queries)
        return hot

    def is_awaited(self, message: bytes) -> bool:
        """Say whether a query that is not known will be once it is answered, as its like was asked before.

        What is never kept is not: whoever sends that again and again would be before all others every time.
        """
        if (key := usual(message)) is None:
            return False
        question = key[_NAME_AT:-OPT_SIZE] if key[_NAME_AT - 1] else key[_NAME_AT:]
        return (question in self._asked or question in self._asked_empty) and read(key) is not None

    def reply(self, message: bytes) -> bytes | None:
        """Return the answer to one query, whole; None if it is none of those that are made here.

        The first time a name is asked for it gets one answer, as nobody else may ever ask; from the second time on all
        its answers are prepared, after any commit at once. Names that are not there, or in no zone, get one answer
        every time.
        """
        if (key := usual(message)) is None:
            return None
        if (hot := self._queries.get(key)) is not None:
            return self._whole(message, hot)
        if (asked := read(key)) is None:
            return None
        ready = self._ready.get((asked.name, asked.type)) or self._empty.get((asked.name, asked.type))
        if ready is None:
            made = self._make(message, asked, key[_NAME_AT : _NAME_AT + asked.size])
            if made is None or isinstance(made, bytes):
                return made
            ready = made
        return self._whole(message, self._admit(message, key, asked, ready))

    def answer(self, batch: Batch, found: Sequence[Hot | None], others: Sequence[int]) -> int:
        """Choose and send the answers to a batch of queries; return how many the system did not take.

        Args:
            batch: the queries.
            found: their answers by `prepared` or `known`.
            others: the slots, in order, that have none.
        """
        draw = self._draw
        whole = [hot or _NO_ANSWER for hot in found] if others else cast("Sequence[Hot]", found)
        heads, sizes, opts, tails, choices, totals = zip(*whole, strict=True)
        chosen = [of[choice[int(draw() * t)]] for of, choice, t in zip(tails, choices, totals, strict=True)]
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
        counts[ANSWERED] += self._answered - counts.total()
        self._counts.clear()
        self._answered = 0
        return counts

    def changed(self, zone: str, image: ZoneImage, commits: Sequence[Commit], look: Look = no_look) -> None:
        """Drop what a zone does not say any more, or prepare it anew; see `resolver.follow.Changed`.

        Args:
            zone: its name.
            image: as it is now.
            commits: those that the image was moved on by; none if it was read whole.
            look: called between two pieces of work, before any answer changes; it may make known further shapes of
                a question, which then are of the new answers as well (`_Ready.queries` is one list).
        """
        if not commits:
            kept = (*self._ready.items(), *self._empty.items())
            self._drop({key for key, ready in kept if f".{zone}".endswith(f".{ready.prepared.zone}")})
            return
        by_serial = set(self._serial_users.get(zone, ()))
        names = {change.record_set.name for commit in commits for change in commit.changes} if self._users else ()
        touched = set[Key]().union(*(self._users[name] for name in names if name in self._users)) - by_serial
        following = self._follow_some(touched, image, look)
        self._drop(by_serial | (touched - following.keys()))
        self._replace(following)

    def _whole(self, message: bytes, hot: Hot) -> bytes:
        """Choose one of the answers to a query, and return all its bytes."""
        tail = hot.tails[hot.choice[int(self._draw() * hot.total)]]
        self._answered += 1
        question = message[HEADER_SIZE : HEADER_SIZE + hot.size]
        return message[:ID_SIZE] + gathered((hot.head,)) + question + gathered((tail, hot.opt))

    def _make(self, message: bytes, asked: Asked, question: bytes) -> bytes | _Ready | None:
        """Return an answer to a query, or prepare all of them; None if neither can be done."""
        if (name := zone_of(self._zones, asked.name, self._awaited)) is None:
            return self._alone(message, asked, REFUSED)
        found = find(self._zones[name], asked) if name in self._zones else None
        if found is not None and found.is_there and not is_large(found, asked):
            if self._is_first(question, found) and (answer := one(found, asked, self._rng)) is not None:
                return self._alone(message, asked, answer)
            self.made += 1
            if (prepared := every(self._zones, found, asked, message, self._rng)) is not None:
                return self._prepare(asked, prepared)
        self._asked.pop(question, None)
        self._asked_empty.pop(question, None)
        if found is None or found.is_there or (answer := one(found, asked, self._rng)) is None:
            return None
        return self._alone(message, asked, answer)

    def _is_first(self, question: bytes, found: Found) -> bool:
        """Note what is asked for; say whether it has records and was not asked for before, as far as is remembered."""
        table, most = (self._asked, MAX_PREPARED) if found.candidates else (self._asked_empty, MAX_EMPTY)
        if question in table:
            return False
        if len(table) >= most:
            for oldest in tuple(islice(table, ROOM)):
                del table[oldest]
        table[question] = None
        return bool(found.candidates)

    def _alone(self, message: bytes, asked: Asked, answer: Prepared) -> bytes:
        """Put an answer on the wire that is not kept."""
        outcome = Outcome(answer.rcode, answer.empty)
        self._answered += 1
        if outcome != ANSWERED:
            self._counts[outcome] += 1
        question = message[HEADER_SIZE : HEADER_SIZE + asked.size]
        return b"".join((message[:ID_SIZE], _head(asked, answer), question, *answer.tails, _OPTS[asked.dnssec_ok]))

    def _admit(self, message: bytes, key: bytes, asked: Asked, ready: _Ready) -> Hot:
        """Return what a query is answered from now on, and keep it unless it is large, in its own shape as well."""
        head = self._heads.get(made := _head(asked, ready.prepared))
        if head is None:  # there are few, and they live as long as the table
            head = self._heads[made] = piece(made)
        hot = Hot(head, asked.size, _OPT_PIECES[asked.dnssec_ok], ready.tails, ready.choice, ready.total)
        if len(key) <= _NAME_AT + hot.size + OPT_SIZE:
            self._queries[key], self._shapes[key] = hot, ready.queries
            ready.queries.append(key)
            self._keep_shape(message, key, hot, ready.queries)
        return hot

    def _keep_shape(self, message: bytes, key: bytes, hot: Hot, queries: list[bytes]) -> None:
        """Have a query found by all its bytes from now on, unless it may have any case, or has options."""
        query = message[ID_SIZE:]
        is_lower = query[_NAME_AT : _NAME_AT + hot.size] == key[_NAME_AT : _NAME_AT + hot.size]
        if is_lower and len(query) == len(key) and query not in self._queries:
            self._queries[query] = hot
            queries.append(query)

    def _prepare(self, asked: Asked, prepared: Prepared) -> _Ready:
        key = asked.name, asked.type
        table, most = (self._ready, MAX_PREPARED) if prepared.empty is None else (self._empty, MAX_EMPTY)
        if len(table) >= most:
            self._drop(set(islice(table, ROOM)))
        if prepared.by_serial:
            if len(self._serial_users[prepared.zone]) >= MAX_BY_SERIAL:
                self._drop(set(islice(self._serial_users[prepared.zone], ROOM)))
            self._serial_users[prepared.zone][key] = None
        for name in prepared.names:
            self._users[name].add(key)
        ready = table[key] = self._in_use(prepared, [])
        return ready

    def _in_use(self, prepared: Prepared, queries: list[bytes], follows: int = 0) -> _Ready:
        tails, kept = pieces(prepared.tails)
        choice: Choice = choice_of(prepared.weights)
        if prepared.empty is not None:
            choice = Counted(Outcome(dns.rcode.NOERROR, prepared.empty), self._counts)
        elif follows >= NOTICED_FROM:
            choice = Noticing(choice)
        total = sum(prepared.weights)
        return _Ready(prepared, tails, choice, self._totals.setdefault(total, float(total)), kept, queries, follows)

    def _follow_some(self, touched: set[Key], image: ZoneImage, look: Look) -> dict[Key, _Ready]:
        """Prepare anew a few of what a commit has touched, what customers ask for first; they are not in use yet."""
        following, left = dict[Key, _Ready](), MAX_TAILS
        for key in nsmallest(MAX_TRIES, touched, lambda key: _rank(image.name, key)):
            if (ready := self._follow(key, image, left, look)) is not None:
                following[key] = ready
                left -= len(ready.tails)
                if len(following) >= FOLLOWED:
                    break
        return following

    def _follow(self, key: Key, image: ZoneImage, most: int, look: Look) -> _Ready | None:
        """Prepare at most so many answers anew after a commit, to be in the place of those before it."""
        ready = self._ready.get(key)
        if ready is None or ready.prepared.zone != image.name or not ready.queries:
            return None
        is_asked = isinstance(ready.choice, Noticing) and ready.choice.is_asked
        if (follows := 0 if is_asked else ready.follows + 1) > MAX_FOLLOWS:
            return None
        prepared = again(image, key, self._rng, most)
        if prepared is None or prepared.form != ready.prepared.form:
            return None
        look()
        return self._in_use(prepared, ready.queries, follows)

    def _replace(self, following: Mapping[Key, _Ready]) -> None:
        for key, ready in following.items():
            for name in self._ready[key].prepared.names:
                _discard(self._users, name, key)
            for name in ready.prepared.names:
                self._users[name].add(key)
            self._ready[key] = ready
            for query in ready.queries:
                head, size, opt, *_ = self._queries[query]
                self._queries[query] = Hot(head, size, opt, ready.tails, ready.choice, ready.total)

    def _drop(self, keys: set[Key]) -> None:
        for key in keys:
            ready = self._ready.pop(key, None) or self._empty.pop(key)
            for query in ready.queries:
                del self._queries[query]
                self._shapes.pop(query, None)
            for name in ready.prepared.names:
                _discard(self._users, name, key)
            if ready.prepared.by_serial:
                self._serial_users[ready.prepared.zone].pop(key, None)


def _head(asked: Asked, prepared: Prepared) -> bytes:
    """Return an answer's flags and counts."""
    flags = prepared.flags | _RD if asked.recursion_desired else prepared.flags
    return _HEAD.pack(flags, 1, prepared.answers, prepared.authorities, asked.dnssec_ok is not None)


def _rank(zone: str, key: Key) -> tuple[bool, bool, Key]:
    """Say in which order names and types are prepared anew: the zone's own name and addresses, which customers ask."""
    name, kind = key
    return kind not in _ADDRESS_TYPES, name != zone, key


def _discard(users: defaultdict[str, set[Key]], of: str, key: Key) -> None:
    if of in users:
        users[of].discard(key)
        if not users[of]:
            del users[of]
