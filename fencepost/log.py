"""Logs are JSON lines on standard output; the supervisor keeps them in files and shows them readably.

A line is written at once, by one write(2): what was told is in the file, whatever ends the process.
"""

import json
import sys
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

ENCODE: Final = json.JSONEncoder(default=repr).encode
"""As `json.dumps`, which makes an encoder for every line."""


def configure_log(process: str) -> None:
    """Let structlog write JSON lines with an ISO time stamp and the process's name."""

    def named(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
        event_dict.setdefault("process", process)
        return event_dict

    structlog.configure(
        processors=[named, *_processors()],
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


def json_logger(process: str, stream: TextIO) -> FilteringBoundLogger:
    """Return a logger of its own that writes such lines to a stream, whatever else this process logs."""
    logger: FilteringBoundLogger = structlog.wrap_logger(structlog.BytesLogger(stream.buffer), processors=_processors())
    return logger.bind(process=process)


def _processors() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _render,
    ]


def _render(_: WrappedLogger, __: str, event_dict: EventDict) -> bytes:
    return ENCODE(event_dict).encode()
