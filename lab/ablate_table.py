"""What an ablation came to: tables of guards against what goes wrong. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.ablate_cases import ALL_ON, Case
from lab.ablate_figures import FINE, OUTCOMES, RunFigures
from lab.report.verdict import tally
from lab.scenarios import SCENARIOS

SHOWN_WHOLE_FROM: Final = 100
VIOLATIONS: Final = "violations"


class Cell(NamedTuple):
    """One outcome over all runs of a case that count: in how many it happened, of how many, and how much in all."""

    runs_with: int
    runs: int
    total: float
    mean: float


ByCase = Mapping[tuple[str, str], Sequence[RunFigures]]


def by_case(runs: Sequence[RunFigures]) -> ByCase:
    """Return runs by scenario and label, in the order in which they come."""
    found: dict[tuple[str, str], list[RunFigures]] = {}
    for run in runs:
        found.setdefault((run.case.scenario, run.case.label), []).append(run)
    return found


def cell(runs: Sequence[RunFigures], outcome: str) -> Cell | None:
    """Return an outcome over the runs that count; None if there are none."""
    values = [run.outcomes[outcome] for run in runs if run.counts]
    if not values:
        return None
    return Cell(sum(v > 0 for v in values), len(values), sum(values), mean(values))


def table(cases: Sequence[Case], runs: Sequence[RunFigures]) -> RenderableType:
    """Return a table for each scenario; columns in which nothing ever happened are left out."""
    found = by_case(runs)
    scenarios = dict.fromkeys(case.scenario for case in cases)
    return Group(
        *(_scenario(scenario, [c for c in cases if c.scenario == scenario], found) for scenario in scenarios),
    )


def _scenario(scenario: str, cases: Sequence[Case], found: ByCase) -> Table:
    spec = SCENARIOS[scenario]
    shown = [name for name in OUTCOMES if any(_total(found, case, name) for case in cases)]
    title = f"{scenario}: {spec.about} (network {spec.profile})"
    drawn = Table(title=title, title_justify="left", header_style="bold")
    drawn.add_column("guards", no_wrap=True)
    drawn.add_column("runs", justify="right", no_wrap=True)
    for name in shown:
        drawn.add_column(OUTCOMES[name].title, justify="right")
    for case in cases:
        runs = found.get((scenario, case.label), ())
        cells = (Text(shown_cell(runs, name), style=_style(cell(runs, name), name)) for name in shown)
        drawn.add_row(case.label, shown_runs(runs), *cells)
    return drawn


def _total(found: ByCase, case: Case, outcome: str) -> float:
    measured = cell(found.get((case.scenario, case.label), ()), outcome)
    return measured.total if measured else 0


def _style(measured: Cell | None, outcome: str) -> str:
    return "red" if measured and measured.total and OUTCOMES[outcome].is_count else ""


def shown_cell(runs: Sequence[RunFigures], outcome: str) -> str:
    """Return a cell's text: `5/5: 37` is 37 in all, in 5 of 5 runs; a rate or a time is the mean over the runs.

    Violations are told by invariant: `2/5: I1 x 2, I3 x 4`.
    """
    measured = cell(runs, outcome)
    if measured is None:
        return "?"
    if not OUTCOMES[outcome].is_count:
        return f"{measured.mean:,.1f}" if measured.mean < SHOWN_WHOLE_FROM else f"{measured.mean:,.0f}"
    if not measured.total:
        return "-"
    amount = invariants(runs) if outcome == VIOLATIONS else f"{measured.total:,.0f}"
    return f"{measured.runs_with}/{measured.runs}: {amount}"


def invariants(runs: Sequence[RunFigures]) -> str:
    """Return how often each invariant was broken over all runs that count."""
    return tally(name for run in runs if run.counts for name, count in run.invariants.items() for _ in range(count))


def shown_runs(runs: Sequence[RunFigures]) -> str:
    """Return how many runs of a case count, and how many are not as they should be: `4 of 5 !` marks them."""
    good, usable = sum(run.state == FINE for run in runs), sum(run.counts for run in runs)
    return f"{usable}" if good == len(runs) else f"{usable} of {len(runs)} !"


def notes(runs: Sequence[RunFigures]) -> Iterator[str]:
    """Yield what is to be known of runs that are not as they should be: none of them is hidden."""
    for run in runs:
        if run.state != FINE:
            kept = "is in the table, and decides nothing" if run.counts else "counts nowhere"
            yield f"! {run.case.scenario}, {run.case.label}, seed {run.seed}: {run.state} ({run.problem}); it {kept}"


def broken_with_all_on(runs: Sequence[RunFigures]) -> list[RunFigures]:
    """Return the runs with every guard on in which automation broke an invariant."""
    return [run for run in runs if run.case.label == ALL_ON and run.counts and run.outcomes["violations"]]
