"""When a watch speaks: an alarm is raised, changed and cleared, and does not flap. A state machine without I/O."""

from enum import StrEnum
from typing import Final, NamedTuple

from fencepost.alarms import Alarm, Severity
from fencepost.symptoms import Cause

SETTLE_S: Final = 3.0
"""How long an alarm has to be gone, or to have become less, before that is said: endpoints heal one after the other."""


class Said(StrEnum):
    """What there is to say."""

    RAISED = "raised"
    CHANGED = "changed"
    CLEARED = "cleared"


class Ring(NamedTuple):
    """Something to say now: of which alarm (the one that is over, if it is cleared), and how long it has lasted."""

    said: Said
    alarm: Alarm
    lasted_s: float


class Bell:
    """Turns the alarm of each look into what is to be said.

    Invariant: raised and cleared alternate, beginning with raised; what is worse than what was said last, or concerns
    more endpoints, is said at once; what is less only after `SETTLE_S` at a stretch.

    Attributes:
        alarm: what was said last, None while all is well.
    """

    def __init__(self) -> None:
        self.alarm: Alarm | None = None
        self._raised_s = 0.0
        self._less_since_s: float | None = None

    def hear(self, alarm: Alarm | None, now_s: float) -> Ring | None:
        """Take the alarm of a look at `now_s`, seconds on a monotonic clock; return what there is to say."""
        said = self.alarm
        if said is None:
            return self._raise(alarm, now_s)
        if alarm is not None and _same(alarm, said):
            self._less_since_s, self.alarm = None, alarm
            return None
        if alarm is not None and _is_more(alarm, said):
            return self._change(alarm, now_s)
        self._less_since_s = now_s if self._less_since_s is None else self._less_since_s
        if now_s - self._less_since_s < SETTLE_S:
            return None
        return self._change(alarm, now_s) if alarm else self._clear(said, now_s)

    def _raise(self, alarm: Alarm | None, now_s: float) -> Ring | None:
        if alarm is None:
            return None
        self.alarm, self._raised_s, self._less_since_s = alarm, now_s, None
        return Ring(Said.RAISED, alarm, 0.0)

    def _change(self, alarm: Alarm, now_s: float) -> Ring:
        self.alarm, self._less_since_s = alarm, None
        return Ring(Said.CHANGED, alarm, now_s - self._raised_s)

    def _clear(self, said: Alarm, now_s: float) -> Ring:
        self.alarm, self._less_since_s = None, None
        return Ring(Said.CLEARED, said, now_s - self._raised_s)


def _same(alarm: Alarm, said: Alarm) -> bool:
    return _what(alarm) == _what(said)


def _is_more(alarm: Alarm, said: Alarm) -> bool:
    """Say whether an alarm has a worse cause, or the same one at endpoints that were not named."""
    if alarm.primary.cause is said.primary.cause:
        return not set(alarm.primary.endpoints) <= set(said.primary.endpoints)
    return _badness(alarm) < _badness(said)


def _badness(alarm: Alarm) -> tuple[int, int]:
    return list(Severity).index(alarm.primary.severity), list(Cause).index(alarm.primary.cause)


def _what(alarm: Alarm) -> tuple[Cause, tuple[str, ...]]:
    return alarm.primary.cause, alarm.primary.endpoints
