"""A small server in this process: it runs the scripts that ship, under LuaJIT, over tables that fork cheaply."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeAlias

from lupa.luajit21 import LuaRuntime  # type: ignore[import-untyped]  # it has no types

Reply: TypeAlias = "int | bytes | list[Reply] | None"
Argument: TypeAlias = str | bytes | int

MOST_AT_ONCE: Final = 200
"""Arguments that are handed over one by one; more than that go in a table."""

SCALAR, LIST, NESTED, LARGE, FAILED, UNDECLARED = range(6)
"""What server.lua says that an answer is."""


class Undeclared(AssertionError):
    """A script or command touched a key, or wrote one, that its call had not declared: a bug of ours.

    The explorer takes two calls for independent by what they declare, so that this would let it skip schedules.
    """


class ServerError(Exception):
    """What the real server answers as an error: WRONGTYPE, a stream id that is too small, an error in a script."""


class Access(NamedTuple):
    """The keys that a call may read and write; one that is written may be read, too."""

    reads: frozenset[str]
    writes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Script:
    """A compiled script, for the server that compiled it only."""

    number: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The whole contents at one instant, for the server that made it only; later writes do not touch it."""

    tables: Any


class Stream(NamedTuple):
    """A stream's contents: (id, flat fields and values) of each entry, and the last id that was ever used."""

    entries: tuple[tuple[bytes, tuple[bytes, ...]], ...]
    last_id: bytes


class Server:
    """Redis' data types, commands and scripts, as far as the shipped scripts and adapters use them.

    It is held equal to the real server by tests/simulation/test_differential.py. Not thread-safe.

    Attributes:
        now_us: the server's clock, epoch microseconds: what TIME answers. It is no part of a snapshot.
    """

    def __init__(self) -> None:
        self.now_us = 0
        lua = LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
        values = lua.execute(_source("values"), _digest)
        self._lua = lua.execute(_source("server"), values, lua.execute(_source("commands"), values))
        self._run, self._run_large, self._command = self._lua.run, self._lua.run_large, self._lua.command
        self._table = lua.table_from
        self._scripts: dict[str, Script] = {}
        self._accesses: dict[Access, Any] = {}

    def script(self, text: str) -> Script:
        """Return a script, compiled when it is first asked for. Raises: ServerError if it cannot be."""
        if text not in self._scripts:
            number = self._lua.compile(text.encode())
            if isinstance(number, tuple):
                raise ServerError(f"ERR Error compiling script (new function): {number[1].decode()}")
            self._scripts[text] = Script(number, text)
        return self._scripts[text]

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument], access: Access) -> Reply:
        """Run a script and return its answer; as on the real server, one that fails keeps what it has written.

        Raises: Undeclared, ServerError.
        """
        words = [
            # Most words are texts; a call for each would cost more than to encode them.
            word if type(word) is bytes else word.encode() if type(word) is str else _encoded(word)
            for word in (*args, *keys)
        ]
        granted = self._accesses.get(access) or self._grant(access)
        count = len(args)
        if len(words) <= MOST_AT_ONCE:
            return self._answer(self._run(script.number, self.now_us, granted, count, len(keys), *words))
        tables = self._table(words[count:]), self._table(words[:count])
        return self._answer(self._run_large(script.number, self.now_us, granted, *tables))

    def command(self, name: str, *args: Argument, access: Access) -> Reply:
        """Run one command and return its raw answer, as RESP2 has it. Raises: Undeclared, ServerError."""
        granted = self._accesses.get(access) or self._grant(access)
        return self._answer(self._command(name.encode(), self.now_us, granted, *map(_encoded, args)))

    def snapshot(self) -> Snapshot:
        """Return the contents as they are now; nothing is copied before somebody writes."""
        return Snapshot(self._lua.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back to where it was at a snapshot, the clock apart."""
        self._lua.restore(snapshot.tables)

    def restore_slot(self, snapshot: Snapshot, slot: str) -> None:
        """Put the keys of one hash slot, `{slot}:...`, back to where they were at a snapshot."""
        self._lua.restore_slot(snapshot.tables, slot.encode())

    def fingerprint(self, skip: Collection[str] = ()) -> bytes:
        """Return 16 bytes that are equal exactly if the contents are, keys in `skip` apart.

        Its cost follows what has changed since the last one. "Exactly" is up to a collision of 128-bit BLAKE2b.
        """
        skipped = self._table({key.encode(): True for key in skip})
        return _digest(self._lua.fingerprint(skipped))

    def contents(self) -> dict[str, Any]:
        """Return everything as plain Python, by key: bytes, dict (hash), tuple of (member, score), or Stream."""
        return {key.decode(): _contents(self._lua.shown_value(key)) for key in self._keys()}

    def flush(self) -> None:
        """Forget everything but compiled scripts and the clock."""
        self._lua.flush()

    def _keys(self) -> list[bytes]:
        return list(self._lua.key_names().values())

    def _grant(self, access: Access) -> Any:
        keys = ([key.encode() for key in sorted(part)] for part in access)
        granted = self._accesses[access] = self._lua.access(*map(self._table, keys))
        return granted

    def _answer(self, found: tuple[Any, ...]) -> Reply:
        kind, first, *rest = found
        if kind == LIST:
            return rest
        if kind == SCALAR:
            return first  # type: ignore[no-any-return]  # bytes, int or None
        if kind == NESTED:
            return _nested(iter([first, *rest]))
        if kind == LARGE:
            return _nested(first[place] for place in range(1, rest[0] + 1))
        raise (Undeclared if kind == UNDECLARED else ServerError)(first.decode())


def _source(name: str) -> bytes:
    return (files("lab.simulation") / f"{name}.lua").read_bytes()


def _encoded(word: Argument) -> bytes:
    if isinstance(word, bytes):
        return word
    return word.encode() if isinstance(word, str) else b"%d" % word


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()


def _nested(tokens: Iterator[Any]) -> Reply:
    token = next(tokens)
    return [_nested(tokens) for _ in range(next(tokens))] if token is True else token


def _contents(found: Any) -> Any:
    kind = found[1]
    if kind == b"string":
        return found[2]
    if kind == b"stream":
        entries = ((entry[1], tuple(entry[2].values())) for entry in found[3].values())
        return Stream(tuple(entries), found[2])
    flat = list(found[2].values())
    pairs = tuple(zip(flat[::2], flat[1::2], strict=True))
    return dict(pairs) if kind == b"hash" else pairs
