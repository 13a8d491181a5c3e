"""What may go wrong with single queries: it is told or counted, and nobody else's answer suffers from it."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fencepost.clock import Clock
from fencepost.events import Events
from resolver.message import Reply, Transport, failure

TELL_EVERY_S: Final = 10.0
"""Failures are told at most this often: whoever found a query that fails may send it as often as the network allows."""
_SHOWN: Final = 64

NOT_TAKEN: Final = "not-taken"
OVERLOADED: Final = "overloaded"
"""Why an answer was not sent: the system did not take it, or too many queries waited for theirs."""

Failed = Callable[[bytes, Exception], None]
"""Told of a message that could not be answered because of an error of ours."""
Unsent = Callable[[str, int], None]
"""Told why, and how many, answers were not sent."""


def report(_message: bytes, error: Exception) -> None:
    """Leave an error to the loop, which logs it."""
    asyncio.get_running_loop().call_exception_handler({"message": "a query was not answered", "exception": error})


def uncounted(_reason: str, _times: int) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Where a listener's troubles go."""

    failed: Failed = report
    unsent: Unsent = uncounted


class Failures:
    """Tells of errors by an event, not more often than every `TELL_EVERY_S`."""

    def __init__(self, events: Events, clock: Clock) -> None:
        self._events, self._clock = events, clock
        self._untold, self._next_s = 0, float("-inf")

    def __call__(self, message: bytes, error: Exception) -> None:
        """See `Failed`."""
        self._untold += 1
        if (now_s := self._clock.monotonic()) < self._next_s:
            return
        self._next_s = now_s + TELL_EVERY_S
        self._events.emit(
            "resolver.query_failed",
            reason=f"{type(error).__name__}: {error}",
            times=self._untold,
            query=message[:_SHOWN].hex(),
            trace=traceback.format_exception(error)[-3:],
        )
        self._untold = 0


Replier = Callable[[bytes, Transport], Reply | Awaitable[Reply] | None]
"""Takes a message and returns its answer, None for no answer at all, or something to wait for."""


def guarded(replier: Replier, failed: Failed) -> Replier:
    """Return a replier that never raises: an error is told, and answered by SERVFAIL."""

    async def wait_for(answer: Awaitable[Reply], message: bytes) -> Reply:
        try:
            return await answer
        except Exception as error:  # noqa: BLE001  -- whatever it was, the asker waits
            failed(message, error)
            return failure(message)

    def reply(message: bytes, transport: Transport) -> Reply | Awaitable[Reply] | None:
        try:
            result = replier(message, transport)
        except Exception as error:  # noqa: BLE001  -- whatever it was, the others' answers must not suffer from it
            failed(message, error)
            return failure(message)
        return result if result is None or isinstance(result, Reply) else wait_for(result, message)

    return reply
