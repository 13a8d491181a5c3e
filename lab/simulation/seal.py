"""The seal around a simulation: the real world's clocks, chance, sockets and threads raise inside it."""

import os
import random
import socket
import subprocess
import threading
import time
import uuid
from asyncio.events import _get_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from lab.simulation.loop import NotInSimulation, ProcessLoop

CLOCKS: Final = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")
CHANCES: Final = ("random", "uniform", "randint", "randrange", "choice", "choices", "sample", "shuffle", "gauss")
FORBIDDEN: Final[tuple[tuple[Any, str], ...]] = (
    *((time, name) for name in CLOCKS),
    *((random, name) for name in CHANCES),
    (random, "_urandom"),
    (os, "urandom"),
    (uuid, "uuid4"),
    (socket.socket, "__init__"),
    (threading.Thread, "start"),
    (subprocess.Popen, "__init__"),
)


@contextmanager
def sealed() -> Iterator[None]:
    """Let real clocks, unseeded chance, sockets and threads raise `NotInSimulation` while a simulated process runs.

    The explorer around the processes goes on using them. `datetime.now` and the like cannot be replaced; a test of the
    whole tree says that nobody calls them.
    """
    real = [getattr(owner, name) for owner, name in FORBIDDEN]
    try:
        for owner, name in FORBIDDEN:
            setattr(owner, name, _guarded(owner, name))
        random.Random.__init__ = _seeded  # type: ignore[method-assign]  # only without a seed it is the real world's
        yield
    finally:
        random.Random.__init__ = _UNGUARDED  # type: ignore[method-assign]
        for (owner, name), function in zip(FORBIDDEN, real, strict=True):
            setattr(owner, name, function)


_UNGUARDED: Final = random.Random.__init__


def _seeded(self: random.Random, x: Any = None) -> None:
    if x is None and isinstance(_get_running_loop(), ProcessLoop):
        raise NotInSimulation("random.Random without a seed")
    _UNGUARDED(self, x)


def _guarded(owner: Any, name: str) -> Callable[..., Any]:
    real = getattr(owner, name)

    @wraps(real)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if isinstance(_get_running_loop(), ProcessLoop):
            raise NotInSimulation(f"{owner.__name__}.{name}")
        return real(*args, **kwargs)

    return guarded
