"""Logs are JSON lines on standard output; the supervisor keeps them in files and shows them readably."""

import sys
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor


def configure_log(process: str) -> None:
    """Let structlog write JSON lines with an ISO time stamp and the process's name."""
    structlog.configure(
        processors=_processors(),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


def json_logger(process: str, stream: TextIO) -> FilteringBoundLogger:
    """Return a logger of its own that writes such lines to a stream, whatever else this process logs."""
    logger: FilteringBoundLogger = structlog.wrap_logger(structlog.PrintLogger(stream), processors=_processors())
    return logger.bind(process=process)


def _processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(sort_keys=False),
    ]
