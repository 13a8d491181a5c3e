"""`fencepost check`: what the checker says of a directory of runs."""

from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from lab.check import check_run, runs_in
from lab.history import RUN_FILE, RunInfo
from lab.load_command import write_json

UNSTATED_BOUND_S: Final = 10.0
"""The bound of I5 for a run that does not say its own."""


def check_directory(directory: Path, *, bound_s: float | None, json_path: Path | None) -> int:
    """Check every run of a directory, say what was found, and return 0 if nothing is broken, else 1.

    Raises: HistoryUnusable if there is no run, or one that cannot be read.
    """
    console = Console()
    checked = [check_run(path, bound_of(path) if bound_s is None else bound_s) for path in runs_in(directory)]
    for run in checked:
        for line in run.lines():
            console.print(Text(line), soft_wrap=True)
    if json_path is not None:
        write_json(json_path, {"runs": [run.document() for run in checked]})
    return EXIT_CHECK_FAILED if any(run.violations for run in checked) else EXIT_FINE


def bound_of(run_directory: Path) -> float:
    """Return the bound that a run was recorded with; a run that cannot be read is for `check_run` to tell of."""
    try:
        run = msgspec.json.decode((run_directory / RUN_FILE).read_bytes(), type=RunInfo)
    except (OSError, msgspec.DecodeError):
        return UNSTATED_BOUND_S
    return float(run.parameters.get("convergence_bound_s", UNSTATED_BOUND_S))
