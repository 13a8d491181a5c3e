"""What may happen next in a world, as schedules and files say it."""

from enum import StrEnum
from typing import Final

import msgspec

TIMER: Final = "timer"
START: Final = "start"
FORGET: Final = "forget"
NETWORK: Final = "network"
"""Whose turn it is when a call is executed that its caller has given up."""


class Fault(StrEnum):
    """What a parked call meets; `NONE` is no fault."""

    NONE = ""
    ERROR = "error"
    LOST = "lost"
    LATE = "late"
    CRASH = "crash"


FAULTS: Final = {
    Fault.ERROR: "the call is not executed, and its caller gets an error",
    Fault.LOST: "the call is executed, and its caller gets an error instead of the reply",
    Fault.LATE: "its caller gets an error and goes on, and the call is executed at any later time",
    Fault.CRASH: "the caller dies before the call is executed, and is later started again with empty memory",
}
"""What each fault does, in words."""


class Choice(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One choice of a schedule.

    Attributes:
        process: whose call, timer or start it is; `network` for a call that its caller has given up; the slot that
            forgets.
        what: the parked call, e.g. `change_batch a.test.` (the oldest such of the process), or `timer`, or `start`, or
            `forget 3` for a slot whose last three writes are gone.
        fault: what the call meets.
    """

    process: str
    what: str
    fault: Fault = Fault.NONE
