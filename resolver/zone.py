"""A zone as the resolver holds it in memory: what it answers from, and how commits move it on.

Reading a zone whole is fuzzy: it takes several pages, and commits may come in between, so that pages of one listing
show the zone at different serials. That is no harm, because changes are absolute: CREATE and UPSERT set a record set,
DELETE removes it, none depends on what was there before. So the image starts at the *first* page's serial and replays
every commit after it, whether a page shows it already or not: whatever the pages said of a record set, the last commit
that touched it has the last word. From the last page's serial on, the image is exactly the zone; before, it may be a
mix of several states, and must not be served. Source: ZooKeeper's fuzzy snapshots (Hunt and others, USENIX ATC 2010,
section 4.3).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import astuple

from fencepost.batch import Action
from fencepost.feed import FeedPage
from fencepost.records import RecordSet
from fencepost.slices import Look, no_look
from fencepost.stores import Commit

AT_ONCE: Final = 32
"""How many changes are carried out in one go: 0.05 ms, as what they touch is in no cache."""
MAX_SHARED: Final = 200_000
"""How many different names, identifiers and values are remembered to be shared; beyond, it begins anew."""

_NO_SETS: Final[Mapping[str, RecordSet]] = MappingProxyType({})

_Node = dict[str, dict[str, RecordSet]]
"""One name: type -> set identifier -> record set."""


_DELETE: Final = Action.DELETE
"""By its own name: to look it up in the class costs as much as the rest of a change."""

_shared: dict[Any, Any] = {}
_share: Final = _shared.setdefault


class ZoneImage:
    """One state of one zone.

    `apply` hands the tables on to the next image, so that a commit costs what the commit is long, not what the zone is
    large; the image that it was called on is used up, and asserts that nobody asks it again.

    Attributes:
        name: the zone's name.
        serial: of the last commit that it holds.
    """

    __slots__ = ("_at_or_below", "_names", "name", "serial")

    def __init__(self, name: str, serial: int, record_sets: Iterable[RecordSet]) -> None:
        self.name, self.serial = name, serial
        self._names: dict[str, _Node] | None = {}
        self._at_or_below: dict[str, int] = {}
        self._move(zip(repeat(Action.CREATE), record_sets))

    def apply(self, commit: Commit, look: Look = no_look) -> "ZoneImage":
        """Return the image after the next commit; this one must not be used any more.

        Args:
            commit: the next one.
            look: called between two parts of a long one, when neither image is to be used.
        """
        assert commit.zone == self.name, commit.zone
        assert commit.serial == self.serial + 1, f"{commit.serial} does not follow {self.serial}"
        following = ZoneImage(self.name, commit.serial, ())
        # First of all, so that who asks this one in a look, or after an error, is told and not answered.
        following._names, self._names = self._table, None
        following._at_or_below = self._at_or_below
        for start in range(0, len(commit.changes), AT_ONCE):
            if start:
                look()
            following._move(map(astuple, commit.changes[start : start + AT_ONCE]))
        return following

    def sets(self, name: str, record_type: str) -> Mapping[str, RecordSet]:
        """Return the record sets of a name and type by set identifier; empty if there are none."""
        return self._table.get(name, {}).get(record_type, _NO_SETS)

    def types(self, name: str) -> tuple[str, ...]:
        """Return the types of record sets that a name has, in order."""
        return tuple(sorted(self._table.get(name, {})))

    def exists(self, name: str) -> bool:
        """Say whether a name is there, if only as an empty non-terminal. Source: RFC 4592 section 2.2.2."""
        assert self._names is not None, "this image was used up"
        return name in self._at_or_below

    def record_sets(self) -> Iterator[RecordSet]:
        """Yield every record set, in no order."""
        for node in self._table.values():
            for sets in node.values():
                yield from sets.values()

    @property
    def soa(self) -> RecordSet | None:
        """The zone's SOA; None only in a zone that no control API would have made."""
        return self.sets(self.name, "SOA").get("")

    @property
    def _table(self) -> dict[str, _Node]:
        assert self._names is not None, "this image was used up"
        return self._names

    def _move(self, changes: Iterable[tuple[Any, ...]]) -> None:
        """Carry out changes, each an action and a record set; what is deleted, a page may have shown as gone already.

        What is kept shares its parts with others, as each decoded text brings parts of its own: the records of a tree
        have one name, and load balancers come again in many trees. So it is a fifth as large.
        """
        name = kind = ""
        sets: dict[str, RecordSet] = {}
        for action, record_set in changes:
            its_name, its_kind, ttl, values, identifier, weight, alias = astuple(record_set)
            if its_name != name or its_kind != kind:  # most are as the one before
                self._leave(name, kind, sets)
                name, kind = _share(its_name, its_name), _share(its_kind, its_kind)
                sets = self._enter(name, kind)
            if action is _DELETE:
                sets.pop(identifier or "", None)
            else:
                values, identifier = _share(values, values), _share(identifier, identifier)
                sets[identifier or ""] = RecordSet(name, kind, ttl, values, identifier, weight, _share(alias, alias))
        self._leave(name, kind, sets)
        if len(_shared) > MAX_SHARED:
            _shared.clear()

    def _enter(self, name: str, kind: str) -> dict[str, RecordSet]:
        """Return the table of a name and type, to be changed; it is left by `_leave`."""
        node = self._table.get(name)
        if node is None:
            node = self._table[name] = {}
            for above in self._upwards(name):
                self._at_or_below[above] = self._at_or_below.get(above, 0) + 1
        sets = node.get(kind)
        if sets is None:
            sets = node[kind] = {}
        return sets

    def _leave(self, name: str, kind: str, sets: dict[str, RecordSet]) -> None:
        """Keep no table, and no name, without record sets."""
        if sets or not name:
            return
        node = self._table[name]
        del node[kind]
        if node:
            return
        del self._table[name]
        for above in self._upwards(name):
            self._at_or_below[above] -= 1
            if not self._at_or_below[above]:
                del self._at_or_below[above]

    def _upwards(self, name: str) -> Iterator[str]:
        """Yield a name and every name above it, up to the zone's own."""
        while name != self.name and name.endswith("." + self.name):
            yield name
            name = name.partition(".")[2]
        yield self.name


def image_of(zone: str, pages: Sequence[FeedPage]) -> ZoneImage:
    """Return the image that a listing starts: at its first page's serial, to be served from its last one's on."""
    assert pages, "a listing has at least one page"
    return ZoneImage(zone, pages[0].head.serial, (record_set for page in pages for record_set in page.record_sets))
