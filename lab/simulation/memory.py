"""What a process remembers, in a form that is equal exactly when it would do the same from here on.

Everything that can be reached from some objects is walked: containers, structs, objects with attributes, bound methods
and closures. What can be changed counts once, by the order in which it is met. Parts of the world (loop, client, clock)
are the same for all and stand for themselves.
"""

import asyncio
import enum
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final

import msgspec

from lab.simulation.client import SimClient
from lab.simulation.loop import ProcessLoop
from lab.simulation.process import Process, SimClock

PLAIN: Final = (str, int, float, bytes, bool, type(None))
WORLD: Final = (Process, SimClock, SimClient, ProcessLoop, ModuleType, type, BuiltinFunctionType)
"""What is not memory: parts of the world, and code."""


VALUES: Final = (tuple, frozenset, msgspec.Struct)
"""What is never changed, by the house's rules: two that are equal are the same, shared or not."""


class Unreadable(AssertionError):
    """An object whose memory nobody has said how to read; guessing would make an exploration unsound."""


def digest_of(roots: object) -> bytes:
    """Return 16 bytes that stand for what can be reached. Raises: Unreadable."""
    found = blake2b(digest_size=16)
    for token in _Walk().tokens(roots):
        found.update(token)
        found.update(b"\0")
    return found.digest()


class _Walk:
    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._kept: list[object] = []  # an object that is gone could lend its id to another one

    def tokens(self, value: Any) -> Iterator[bytes]:
        """Yield what a value consists of."""
        if isinstance(value, PLAIN):
            yield f"{type(value).__name__}:{value!r}".encode()
            return
        if isinstance(value, enum.Enum):
            yield f"{type(value).__qualname__}.{value.name}".encode()
            return
        if isinstance(value, WORLD):
            yield f"<{type(value).__qualname__}>".encode()
            return
        if not isinstance(value, VALUES):
            number = self._met.get(id(value))
            if number is not None:
                yield f"#{number}".encode()
                return
            self._met[id(value)] = len(self._met)
            self._kept.append(value)
        yield f"{type(value).__module__}.{type(value).__qualname__}(".encode()
        for part in _parts(value):
            yield from self.tokens(part)
        yield b")"


def _parts(value: Any) -> Iterator[Any]:
    for kinds, parts in PARTS:
        if isinstance(value, kinds):
            yield from parts(value)
            return
    if hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
        yield from _attributes(value)
        return
    raise Unreadable(f"{type(value).__qualname__}: add to lab/simulation/memory.py how to read what it remembers")


def _mapping(value: Mapping[Any, Any]) -> Iterator[Any]:
    # The order of an ordinary dict is memory, too: somebody may iterate it.
    for key, item in value.items():
        yield key
        yield item


def _set(value: AbstractSet[Any]) -> Iterator[Any]:
    yield from sorted(value, key=repr)


def _function(value: FunctionType) -> Iterator[Any]:
    yield value.__qualname__
    for cell in value.__closure__ or ():
        yield cell.cell_contents


def _method(value: MethodType) -> Iterator[Any]:
    yield value.__func__.__qualname__
    yield value.__self__


def _lock(value: asyncio.Lock) -> Iterator[Any]:
    if value.locked():
        raise Unreadable("a lock is held at the end of a round")
    yield "free"


def _struct(value: msgspec.Struct) -> Iterator[Any]:
    for name in value.__struct_fields__:
        yield getattr(value, name)


def _attributes(value: Any) -> Iterator[Any]:
    yield from sorted(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in {"__dict__", "__weakref__"} and hasattr(value, name):
                yield name
                yield getattr(value, name)


PARTS: Final[tuple[tuple[Any, Callable[[Any], Iterator[Any]]], ...]] = (
    ((tuple, list, deque), iter),
    ((dict, OrderedDict, Counter, MappingProxyType), _mapping),
    ((set, frozenset), _set),
    (msgspec.Struct, _struct),
    (random.Random, lambda rng: iter((rng.getstate(),))),
    (FunctionType, _function),
    (MethodType, _method),
    (asyncio.Lock, _lock),
)
"""How each kind of object is taken apart; the rest by its attributes."""
