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


What = tuple[Cause, tuple[str, ...]]
"""A primary cause and its endpoints: what two alarms have to have in common to be one."""


def _what(alarm: Alarm) -> What:
    return alarm.primary.cause, alarm.primary.endpoints


class Bell:
    """Turns the alarm of each look into what is to be said.

    Invariant: raised and cleared alternate, beginning with raised; a worse cause, or an endpoint that was not named
    with this cause since it was raised, is said at once; what is less only when it has been so for `SETTLE_S` at a
    stretch. So endpoints that come and go are named once.

    Attributes:
        alarm: what was said last, with what the last look added; None while all is well.
    """

    def __init__(self) -> None:
        self.alarm: Alarm | None = None
        self._named: frozenset[str] = frozenset()
        self._raised_s = 0.0
        self._waiting: tuple[What | None, float] | None = None  # what is less, and since when

    def hear(self, alarm: Alarm | None, now_s: float) -> Ring | None:
        """Take the alarm of a look at `now_s`, seconds on a monotonic clock; return what there is to say."""
        said = self.alarm
        if said is None:
            if alarm is None:
                return None
            self._raised_s = now_s
            return self._say(Said.RAISED, alarm, now_s)
        if alarm is not None and _what(alarm) == _what(said):
            self.alarm, self._waiting = alarm, None
            return None
        if alarm is not None and self._is_more(alarm, said):
            return self._say(Said.CHANGED, alarm, now_s)
        return self._settled(alarm, said, now_s)

    def _is_more(self, alarm: Alarm, said: Alarm) -> bool:
        if alarm.primary.cause is said.primary.cause:
            return not set(alarm.primary.endpoints) <= self._named
        return _badness(alarm) < _badness(said)

    def _settled(self, alarm: Alarm | None, said: Alarm, now_s: float) -> Ring | None:
        """Say what is less if it has been exactly so for long enough."""
        what = _what(alarm) if alarm else None
        if self._waiting is None or self._waiting[0] != what:
            self._waiting = (what, now_s)
        if now_s - self._waiting[1] < SETTLE_S:
            return None
        if alarm is not None:
            return self._say(Said.CHANGED, alarm, now_s)
        self.alarm, self._waiting, self._named = None, None, frozenset()
        return Ring(Said.CLEARED, said, now_s - self._raised_s)

    def _say(self, said: Said, alarm: Alarm, now_s: float) -> Ring:
        same_cause = self.alarm is not None and self.alarm.primary.cause is alarm.primary.cause
        self._named = frozenset(alarm.primary.endpoints) | (self._named if same_cause else frozenset())
        self.alarm, self._waiting = alarm, None
        return Ring(said, alarm, now_s - self._raised_s)


def _badness(alarm: Alarm) -> tuple[int, int]:
    return list(Severity).index(alarm.primary.severity), list(Cause).index(alarm.primary.cause)
