"""What `fencepost check DIR` does: judge the recorded history of real processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from lab.history import RUN_FILE, HistoryUnusable, load
from lab.invariants import CHECKED, Violation, check
from lab.invariants.violation import counted


class CheckedRun(NamedTuple):
    """What the checker found in one run, and over how much it looked."""

    directory: Path
    mode: str
    commits: int
    plans: int
    probes: int
    violations: tuple[Violation, ...]

    @property
    def exit_code(self) -> int:
        """0 if nothing is broken, else 1."""
        return EXIT_CHECK_FAILED if self.violations else EXIT_FINE

    def lines(self) -> Iterator[str]:
        """Yield the result in words: one line for each violation, its invariant's number first, and one in sum."""
        yield from (f"{found.invariant}  {found.endpoint}  {found.detail}" for found in self.violations)
        looked = f"{counted(self.commits, 'commit')}, {counted(self.plans, 'plan')}, {counted(self.probes, 'probe')}"
        broken = ", ".join(sorted({found.invariant for found in self.violations}))
        verdict = f"{counted(len(self.violations), 'violation')} ({broken})" if broken else f"no violation of {CHECKED}"
        yield f"{self.directory} ({self.mode}): {verdict} in {looked}"

    def document(self) -> dict[str, Any]:
        """Return the result, JSON-able."""
        return {
            "directory": str(self.directory),
            "mode": self.mode,
            "commits": self.commits,
            "plans": self.plans,
            "probes": self.probes,
            "violations": self.violations,
        }


def check_run(directory: Path, convergence_bound_s: float) -> CheckedRun:
    """Check one run's directory. Raises: HistoryUnusable if it is none."""
    history = load(directory)
    return CheckedRun(
        directory,
        history.run.mode,
        sum(map(len, history.commits.values())),
        len(history.plans),
        len(history.probes),
        check(history, convergence_bound_s=convergence_bound_s),
    )


def runs_in(directory: Path) -> tuple[Path, ...]:
    """Return the runs at a place: itself, or, as `compare` leaves them, the ones one level below, in order.

    Raises: HistoryUnusable if there are none.
    """
    if (directory / RUN_FILE).exists():
        return (directory,)
    if found := tuple(sorted(path.parent for path in directory.glob(f"*/{RUN_FILE}"))):
        return found
    raise HistoryUnusable(
        str(directory), "no run is recorded here; name a directory that `fencepost compare` has written"
    )
