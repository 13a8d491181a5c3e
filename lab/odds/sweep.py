"""Which settings are looked at: a base, and around it one parameter at a time. Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from fencepost.errors import UsageError
from lab.odds.model import Setting


class Sweep(NamedTuple):
    """One parameter and what it is set to.

    Attributes:
        name: what `--only` calls it.
        field: of `Setting`.
        values: in the order of the table.
        about: what it is, with its unit, for people.
        rises, falls: what it means if there are more, or fewer, outages with higher values.
    """

    name: str
    field: str
    values: Sequence[float]
    about: str
    rises: str
    falls: str


SWEEPS: Final = (
    Sweep(
        "plans",
        "plans_per_s",
        (20.0, 10.0, 5.0, 3.0, 2.0, 1.0),
        "plans a second",
        "throttling the planner buys time: a plan is too old only after so many others, and at a low rate nobody is "
        "late by as much",
        "the rate of plans is not what makes enactors late",
    ),
    Sweep(
        "stalls",
        "stall",
        (0.0, 0.002, 0.01, 0.05),
        "control API calls that stall",
        "a stall makes an enactor late at one stroke; what is left without any is waiting for locks",
        "stalls hold up those who would clean more than those who are late",
    ),
    Sweep(
        "stall-length",
        "stall_s",
        (0.25, 0.5, 1.0, 2.0),
        "average stall, seconds",
        "an enactor has to be late by as many plans as the cleaner keeps, and longer stalls are worth more plans",
        "who stalls for long loses its lock, and with it the stale flip",
    ),
    Sweep(
        "enactors",
        "enactors",
        (1, 2, 3, 4, 6),
        "enactors",
        "redundant enactors compete for each lock: each one more makes losers wait longer, and is one more to clean",
        "more enactors repair a stale flip before anybody cleans",
    ),
    Sweep(
        "keep",
        "keep",
        (3, 5, 10, 20, 40),
        "generations that the cleaner keeps",
        "what is kept longer is deleted in larger batches",
        "the cleaner's margin is counted in plans: each kept generation is one more that an enactor has to be late by",
    ),
    Sweep(
        "backoff",
        "backoff_cap_s",
        (0.05, 0.5, 2.0, 8.0),
        "longest pause after a lost lock, seconds",
        "who has lost often waits long, and comes back with an old plan",
        "longer pauses mean fewer that compete for a lock at a time",
    ),
)
BY_NAME: Final = {sweep.name: sweep for sweep in SWEEPS}


def chosen(names: str) -> tuple[Sweep, ...]:
    """Return the sweeps of these names, separated by commas; all if none is named. Raises: UsageError."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(BY_NAME)):
        raise UsageError(f"--only {', '.join(unknown)}: there is no such parameter; there are {', '.join(BY_NAME)}")
    return tuple(sweep for sweep in SWEEPS if not wanted or sweep.name in wanted)


class Point(NamedTuple):
    """One row of a table: a sweep's value, and the whole setting."""

    value: float
    setting: Setting


def points(sweep: Sweep, base: Setting) -> tuple[Point, ...]:
    """Return a sweep's points around a base; the base's own value is always among them."""
    own = getattr(base, sweep.field)
    values = sweep.values if own in sweep.values else sorted({*sweep.values, own}, reverse=_falls(sweep.values))
    return tuple(Point(value, _with(base, sweep.field, value)) for value in values)


def settings(sweeps: Sequence[Sweep], base: Setting) -> tuple[Setting, ...]:
    """Return every setting that is to be run, each once, the base first."""
    return tuple(dict.fromkeys([base, *(point.setting for sweep in sweeps for point in points(sweep, base))]))


def words(sweep: Sweep, value: float) -> str:
    """Return a value as people read it."""
    return f"{100 * value:g} %" if sweep.field == "stall" else f"{value:g}"


def _falls(values: Sequence[float]) -> bool:
    return values[0] > values[-1]


def _with(base: Setting, field: str, value: Any) -> Setting:
    return msgspec.structs.replace(base, **{field: value})
