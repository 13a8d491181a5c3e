"""What a process has in mind, in a form that is equal exactly when it would do the same from here on.

Everything that can be reached is walked: what its tasks hold in their frames, the values half-way through an expression
included, containers, structs, objects with attributes, iterators, closures. What can be changed counts once, by the
order in which it is met. Parts of the world (loop, client, clock), code and settings stand for themselves. An object of
a kind that nobody has said how to read is an error, never a guess.
"""

import asyncio
import enum
import random
from asyncio import AbstractEventLoop, TimerHandle
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from gc import get_referents
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, Final

import msgspec

from enactor.tree import Manifest
from fencepost.batch import Change, ChangeBatch
from fencepost.fence import Fence
from fencepost.plan import Content, KeptContent, Plan, Target
from fencepost.records import RecordSet
from fencepost.redis_client import Scripts
from fencepost.redis_plans import RedisPlanStore
from fencepost.redis_zones import RedisZoneStore
from fencepost.region import Region
from fencepost.settings import Settings
from lab.simulation.client import SimClient
from lab.simulation.loop import ProcessLoop, WorldTime
from lab.simulation.process import Even, Process, SimClock
from lab.simulation.scenario import Scene

PLAIN: Final = frozenset({str, int, float, bytes, bool, type(None)})
WORLD: Final = (
    *(Process, SimClock, SimClient, AbstractEventLoop, Settings, Scene, Region, Even),
    *(RedisZoneStore, RedisPlanStore, Scripts),
    *(ModuleType, type, FrameType, TracebackType, Context),
)
"""What is not memory: parts of the world, what is never changed, and code. Stores know but which scripts they have."""

_ITERATED: Final[tuple[Any, ...]] = ([], (), {}, {}.items(), {}.values(), set(), range(0), "", b"", reversed([]))
ITERATORS: Final = (*(type(iter(of)) for of in _ITERATED), zip, map, enumerate)


def _future_iterator() -> type:
    loop = ProcessLoop(WorldTime())
    try:
        return type(asyncio.Future(loop=loop).__await__())
    finally:
        loop.close()


FUTURE_ITERATOR: Final = _future_iterator()


WHOLE: Final = frozenset(
    {str, bytes, type(None), CodeType, RecordSet, Change, ChangeBatch, Content, Target, Fence, Manifest}
)
"""Kinds of values that are compared by all that they consist of, and hold nothing but such."""


class Unreadable(AssertionError):
    """An object whose memory nobody has said how to read; guessing would make an exploration unsound."""


def mind_of(process: Process) -> tuple[Any, ...]:
    """Return what a process has in mind while it waits, flat and hashable. Raises: Unreadable."""
    return memory_of([process.memory, [call.future for call in process.parked], process.timers, process.tasks])


def memory_of(roots: object) -> tuple[Any, ...]:
    """Return all that can be reached from some objects, flat and hashable. Raises: Unreadable."""
    walk = _Walk()
    walk.take(roots)
    return tuple(walk.tokens)


class _Walk:
    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self._met: dict[int, int] = {}
        self._kept: list[object] = []  # an object that is gone could lend its id to another one

    def take(self, value: Any) -> None:
        """Write down what a value consists of."""
        kind, add = type(value), self.tokens.append
        if kind in PLAIN:
            add(kind)
            add(value)
            return
        known = _KINDS.get(kind)
        if known is None:
            known = _KINDS[kind] = _reading(kind)
        is_value, read = known
        add(kind)
        if read is None:
            if isinstance(value, enum.Enum):
                add(value.name)
            return
        if is_value:
            if _is_whole(value):
                add(value)
                return
        else:
            number = self._met.get(id(value))
            if number is not None:
                add(~number)
                return
            self._met[id(value)] = len(self._met)
            self._kept.append(value)
        parts = read(value)
        add(len(parts))
        for part in parts:
            self.take(part)


def _is_whole(value: Any) -> bool:
    """Say whether a value can stand for itself: it is compared by all that it consists of."""
    if isinstance(value, tuple):
        return all(type(part) in WHOLE for part in value)
    return type(value) in WHOLE


Read = Callable[[Any], "list[Any] | tuple[Any, ...]"]
_KINDS: dict[type, tuple[bool, Read | None]] = {}
"""Type -> whether it is a value, which is never changed, and how to read it (None: its type, or name, says all)."""


def _reading(kind: type) -> tuple[bool, Read | None]:
    if issubclass(kind, (enum.Enum, *WORLD)):
        return True, None
    if kind in WHOLE:
        return True, list  # never taken apart
    for kinds, is_value, read in READINGS:
        if issubclass(kind, kinds):
            return is_value, read
    if kind.__module__ == "builtins":
        raise Unreadable(f"{kind.__qualname__}: lab/simulation/memory.py does not say how to read what it remembers")
    return False, _attributes(kind)


def _items(value: Any) -> list[Any]:
    # The order of an ordinary dict is memory, too: somebody may iterate it.
    return [part for pair in value.items() for part in pair]


def _members(value: Iterable[Any]) -> list[Any]:
    return sorted(value, key=repr)


def _function(value: Any) -> list[Any]:
    return [value.__code__, value.__defaults__, value.__kwdefaults__, *(value.__closure__ or ())]


def _suspended(value: Any) -> list[Any]:
    """Return where a coroutine or generator waits, and all that its frame holds: locals, cells, half-done values."""
    frame, code, waits_for = SUSPENDED[type(value)](value)
    if frame is None:
        return [code]
    # The garbage collector's own view is complete; what is not bound is missing in it, hence the names.
    bound = frame.f_locals
    held = [part for part in get_referents(value) if part is not bound and type(part) not in STATIC]
    return [code, frame.f_lasti, tuple(bound), *held, waits_for]


STATIC: Final = frozenset({CodeType, FrameType})
"""What a frame has besides values: the code and the instruction say it already."""

SUSPENDED: Final[Mapping[type, Callable[[Any], tuple[FrameType | None, CodeType, Any]]]] = {
    CoroutineType: lambda value: (value.cr_frame, value.cr_code, value.cr_await),
    GeneratorType: lambda value: (value.gi_frame, value.gi_code, value.gi_yieldfrom),
    AsyncGeneratorType: lambda value: (value.ag_frame, value.ag_code, value.ag_await),
}


def _future(value: Any) -> list[Any]:
    """Return a future's or task's state, and whom it wakes; a task's frames come with its coroutine."""
    found = [value._state, [callback for callback, _ in value._callbacks or ()]]  # noqa: SLF001
    if value.done() and not value.cancelled():
        found += [getattr(value, name) for name in ("_exception", "_result")]  # the public ones count as a look
    if isinstance(value, asyncio.Task):
        found += [value.get_coro(), *(getattr(value, name) for name in ("_fut_waiter", "_must_cancel"))]
    children = getattr(value, "_children", None)  # of asyncio.gather
    return [*found, children]


def _plan(value: Plan) -> list[Any]:
    # Contents follow from digests, and compare slowly.
    return [value.generation, value.published_ms, value.reason, value.forced, value.digests, value.since]


def _exception(value: BaseException) -> list[Any]:
    return [value.args, vars(value)]


def _timer(value: TimerHandle) -> list[Any]:
    return [value.when(), value.cancelled(), *(getattr(value, name) for name in ("_callback", "_args"))]


def _attributes(kind: type) -> Read:
    if kind.__dictoffset__ == 0 and not any("__slots__" in base.__dict__ for base in kind.__mro__[:-1]):
        raise Unreadable(f"{kind.__qualname__}: lab/simulation/memory.py does not say how to read what it remembers")
    slots: list[str] = []
    for base in kind.__mro__:
        named = base.__dict__.get("__slots__", ())
        slots += [named] if isinstance(named, str) else named
    names = [name for name in slots if name not in {"__dict__", "__weakref__"}]

    def read(value: Any) -> list[Any]:
        own = getattr(value, "__dict__", None)
        if not own:
            return [getattr(value, name, None) for name in names]
        return [tuple(own), *own.values(), *(getattr(value, name, None) for name in names)]

    return read


READINGS: Final[tuple[tuple[Any, bool, Read], ...]] = (
    (tuple, True, lambda value: value),
    (frozenset, True, _members),
    ((range, slice, complex), True, lambda value: [repr(value)]),
    (Plan, True, _plan),
    (KeptContent, True, lambda value: [value.value]),  # whether it was looked at is no part of it
    (msgspec.Struct, True, lambda value: [getattr(value, name) for name in value.__struct_fields__]),
    ((list, deque), False, list),
    ((dict, OrderedDict, Counter, MappingProxyType), False, _items),
    (set, False, _members),
    (random.Random, False, lambda value: value.getstate()),
    (FunctionType, False, _function),
    (MethodType, False, lambda value: [value.__func__.__qualname__, value.__self__]),
    (asyncio.Lock, False, lambda value: [value.locked(), value._waiters]),  # noqa: SLF001
    (asyncio.Semaphore, False, lambda value: [value._value, value._waiters]),  # noqa: SLF001
    (asyncio.Future, False, _future),
    (TimerHandle, False, _timer),
    (tuple(SUSPENDED), False, _suspended),
    (BaseException, False, _exception),
    (CellType, False, get_referents),
    (ITERATORS, False, lambda value: list(value.__reduce__())),
    (FUTURE_ITERATOR, False, get_referents),
    (BuiltinFunctionType, False, lambda value: [value.__qualname__, value.__self__]),
)
"""How each kind of object is taken apart, and whether it is a value; all others by their attributes."""
