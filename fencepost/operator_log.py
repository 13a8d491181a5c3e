"""Where the events of operators' commands go: `logs/operator.jsonl` of the run directory, beside all others."""

from pathlib import Path
from typing import Final

from fencepost.client import Stores
from fencepost.events import Event, EventBus
from fencepost.log import json_logger
from fencepost.settings import Settings, load_settings
from fencepost.sinks import LogSink

OPERATOR_LOG: Final = "operator.jsonl"


class _Known(Settings):
    """What this shell knows: `run_dir` is the system's run directory, as `. RUN-DIR/env` sets it, "" if nothing has."""

    run_dir: str = ""


class _FileSink:
    """Appends each event as one line; several commands may do so at the same time."""

    def __init__(self, path: Path, by: str) -> None:
        self._path, self._by = path, by

    def __call__(self, event: Event) -> None:
        """Write one line. A log that cannot be written is no reason to leave a deed undone: zones keep it, too."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                LogSink(json_logger("operator", file).bind(by=self._by))(event)
        except OSError:
            return


def operator_events(stores: Stores) -> EventBus:
    """Return where an operator's events go: the log of the system that this shell knows, if it is this one."""
    known = load_settings(_Known)
    logs = Path(known.run_dir) / "logs"
    if not known.run_dir or known.redis_url != stores.settings.redis_url or not logs.is_dir():
        return EventBus()
    return EventBus(_FileSink(logs / OPERATOR_LOG, stores.actor.name))
