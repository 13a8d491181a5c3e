"""How times, people and records are shown to a person."""

from datetime import UTC, datetime
from typing import Final

from rich.console import Console

from fencepost.notice import Notice
from fencepost.records import RecordSet

PIPE_COLUMNS: Final = 200
"""Width of what is not shown on a terminal: names stay whole for `grep`."""


def console() -> Console:
    """Return a console as wide as the terminal, and wide enough for every name where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=max(PIPE_COLUMNS, found.width))


def shown_time(at_ms: int) -> str:
    """Return a time as UTC text; `at_ms` is in epoch milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def told(by: str, at_s: int, why: str) -> str:
    """Return who did something, when and why, in words; `at_s` is in epoch seconds, 0 if nobody knows."""
    return Notice(by, at_s, why).told


def shown_value(record_set: RecordSet) -> str:
    """Return what a record set says."""
    return f"-> {record_set.alias}" if record_set.alias else " ".join(record_set.values)
