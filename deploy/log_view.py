"""How one line of a process's log looks to a person: time, process, event, zone, generation, reason, the rest. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

ROUTINE: Final = frozenset(
    {
        "control.call_throttled",
        "enactor.fence_advanced",
        "enactor.lock_acquired",
        "enactor.lock_missed",
        "enactor.pass_completed",
        "enactor.pass_started",
        "enactor.plan_left",
        "enactor.plan_superseded",
        "enactor.tree_built",
        "resolver.zone_loaded",
        "resolver.zone_updated",
        "service.process_started",
        "service.process_stopped",
        "supervisor.child_started",
    }
)
"""Events that are shown on request only: they come with every plan, or another event says as much."""

PLAIN, BOLD, DIM, RED, YELLOW, GREEN, ALARM = "0", "1", "2", "31", "33", "32", "1;97;41"
PROCESS_COLOURS: Final = ("36", "35", "34", "32", "96", "95", "94", "92")
SHOWN_APART: Final = ("timestamp", "process", "event", "level", "zone", "generation", "reason")


LONGEST_VALUE: Final = 60
"""How much of a field's value is shown when only important events are; the files have all of it."""


MOST_DETAILS: Final = 3
"""Endpoints of one alarm that are told of one by one; `fencepost status` tells of all."""
ALARMS: Final = {"watch.alarm_raised": "ALARM", "watch.alarm_changed": "ALARM", "watch.alarm_cleared": "alarm over"}
"""Events that stand out: over several lines, and none of their words cut."""


def is_routine(fields: Mapping[str, Any]) -> bool:
    """Say whether an event is shown on request only; a load balancer in health is no news, an ill one is."""
    event = fields.get("event")
    return event in ROUTINE or (event == "planner.fleet_observed" and fields.get("healthy") is True)


class LogLine(NamedTuple):
    """One line of a log.

    Attributes:
        process: who wrote it.
        text: as it was written, without the line's end.
        fields: what it says, if it is a JSON object; None for any other text.
    """

    process: str
    text: str
    fields: Mapping[str, Any] | None

    @property
    def timestamp(self) -> str:
        """ISO time in UTC, "" if it has none."""
        return str(self.fields.get("timestamp", "")) if self.fields else ""


def parse(process: str, text: str) -> LogLine:
    """Return a log line from its text; whatever is no JSON object is a line all the same."""
    if text.startswith("{"):
        try:
            return LogLine(process, text, msgspec.json.decode(text, type=dict[str, Any]))
        except msgspec.DecodeError:
            pass
    return LogLine(process, text, None)


@dataclass(frozen=True, slots=True)
class LogView:
    """Decides which lines are shown, and how.

    Attributes:
        processes: names, in the order that gives them their colours and the column its width.
        verbose: whether routine events are shown too.
        colours: whether the terminal gets ANSI colours.
    """

    processes: tuple[str, ...]
    verbose: bool = False
    colours: bool = False

    def render(self, line: LogLine) -> str | None:
        """Return the line for the terminal, None if it is not shown."""
        if line.fields is None:
            return f"{'':12}  {self._process(line.process)}  {line.text}"
        if not self.verbose and is_routine(line.fields):
            return None
        return self._event(line, line.fields)

    def _alarm(self, line: LogLine, fields: Mapping[str, Any]) -> str:
        """Return an alarm: its one line, what follows from it, and what to type."""
        over = fields["event"] == "watch.alarm_cleared"
        head = self._style(f" {ALARMS[fields['event']]} ", GREEN if over else ALARM)
        time, process = self._style(f"{clock_time(line.timestamp):12}", DIM), self._process(line.process)
        lasted = f" (after {fields['took_ms'] / 1000:.0f} s)" if "took_ms" in fields else ""
        lines = [f"{time}  {process}  {head} {self._style(str(fields.get('reason', '')), BOLD)}{lasted}"]
        if not over:
            lines += list(fields.get("details", ()))[:MOST_DETAILS]
            lines += [f"-> {text}" for text in fields.get("consequences", ())]
            lines += [f"also: {text}" for text in fields.get("also", ())]
            lines += [f"run: {self._style(str(fields['command']), BOLD)}"] if fields.get("command") else []
        return f"\n{'':16}".join(lines)

    def _event(self, line: LogLine, fields: Mapping[str, Any]) -> str:
        if fields.get("event") in ALARMS:
            return self._alarm(line, fields)
        parts = [
            self._style(f"{clock_time(line.timestamp):12}", DIM),
            self._process(line.process),
            self._style(str(fields.get("event", "")), self._event_style(fields)),
        ]
        if "zone" in fields:
            parts.append(str(fields["zone"]))
        if "generation" in fields:
            parts.append(self._style(f"plan {fields['generation']}", BOLD))
        if fields.get("reason"):
            parts.append(str(fields["reason"]))
        rest = (f"{key}={self._value(value)}" for key, value in fields.items() if key not in SHOWN_APART)
        parts.append(self._style(" ".join(rest), DIM))
        return "  ".join(part for part in parts if part)

    def _event_style(self, fields: Mapping[str, Any]) -> str:
        level = fields.get("level")
        if level in ("error", "critical"):
            return RED
        return YELLOW if level == "warning" else GREEN

    def _value(self, value: Any) -> str:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return text if self.verbose or len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."

    def _process(self, name: str) -> str:
        width = max(map(len, self.processes), default=0)
        number = self.processes.index(name) if name in self.processes else 0
        return self._style(f"{name:{width}}", PROCESS_COLOURS[number % len(PROCESS_COLOURS)])

    def _style(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[{PLAIN}m" if self.colours and text else text


def clock_time(timestamp: str) -> str:
    """Return the time of day, UTC, to the millisecond, of an ISO time stamp: 2025-10-20T06:48:01.123456Z."""
    return timestamp[11:23].rstrip("Z")
