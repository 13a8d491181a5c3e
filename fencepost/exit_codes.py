"""What the exit code of every command and process says."""

from typing import Final

EXIT_FINE: Final = 0
EXIT_CHECK_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_STARTED: Final = 3
EXIT_INTERRUPTED: Final = 130
"""Ended by Ctrl-C before there was a result, as shells have it: 128 + SIGINT."""
