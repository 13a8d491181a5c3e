"""What each guard is worth, by what goes wrong without it. Pure.

A starved run decides nothing, and neither does one event: what never happens otherwise has to happen in two runs.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from fencepost.guards import GUARDS, Guard
from lab.ablate_cases import ALL_OFF, ALL_ON, SCENARIO_OF, Case, alone, pair, without
from lab.ablate_figures import OUTCOMES, RunFigures
from lab.ablate_table import VIOLATIONS, ByCase, Cell, by_case, cell, invariants
from lab.invariants.violation import counted

WORSE: Final = 1.5
"""By more than this factor, in the mean over runs, a case has to be worse than another one to count as worse."""
RUNS_NEEDED: Final = 2
"""In so many runs something has to happen that never happens in what it is compared with; with one seed, in the one."""


class Runs(NamedTuple):
    """The runs that may decide something, by case; `needed` as in `RUNS_NEEDED`."""

    found: ByCase
    needed: int

    @classmethod
    def of(cls, runs: Sequence[RunFigures]) -> "Runs":
        """Return those of an ablation."""
        needed = min(RUNS_NEEDED, len({run.seed for run in runs}))
        return cls(by_case([run for run in runs if run.judges]), needed)

    def get(self, scenario: str, label: str) -> Sequence[RunFigures]:
        """Return the runs of a case, none if it has none."""
        return self.found.get((scenario, label), ())


class Lost(NamedTuple):
    """In which outcomes a case is worse than another one: for certain, and by one event in one run only."""

    certain: list[str]
    perhaps: list[str]


def verdicts(cases: Sequence[Case], runs: Sequence[RunFigures]) -> Iterator[str]:
    """Yield a line for each guard that was looked at: what it is worth."""
    labels, judging = {(case.scenario, case.label) for case in cases}, Runs.of(runs)
    for guard, scenario in SCENARIO_OF.items():
        if (scenario, without(guard)) in labels:
            yield f"{guard}: {_verdict(guard, scenario, judging)}"


def _verdict(guard: Guard, scenario: str, runs: Runs) -> str:
    on, off = runs.get(scenario, ALL_ON), runs.get(scenario, without(guard))
    if not on or not off:
        return "not measured; see the runs above"
    lost = lost_in(off, on, runs.needed)
    if lost.certain:
        return f"earns its place. Without it: {told(off, on, lost.certain)}"
    if second := _second_line(guard, scenario, runs):
        return second
    if lost.perhaps:
        return f"not decided, it happened in one run only; run more seeds. Without it: {told(off, on, lost.perhaps)}"
    return f"nothing went wrong without it in these runs: remove it, or find the scenario. It says: {GUARDS[guard]}"


def _second_line(guard: Guard, scenario: str, runs: Runs) -> str:
    """Return what a guard is worth where others fail; "" if nothing."""
    for partner in Guard:
        one, both = runs.get(scenario, without(partner)), runs.get(scenario, pair(partner, guard))
        if one and both and (lost := lost_in(both, one, runs.needed).certain):
            beside = f"Without both, beside without {partner} alone"
            return f"a second line behind {partner}. {beside}: {told(both, one, lost)}"
    on, only, none = (runs.get(scenario, label) for label in (ALL_ON, alone(guard), ALL_OFF))
    if only and none:
        fewer = lost_in(none, only, runs.needed).certain
        if kept := [name for name in lost_in(none, on, runs.needed).certain if name in fewer]:
            return f"a second line. Others stand in for it here, but where all are off: {told(none, only, kept)}"
    return ""


def lost_in(runs: Sequence[RunFigures], than: Sequence[RunFigures], needed: int) -> Lost:
    """Return in what a case is worse than another one, and whether one event is all that says so."""
    lost = Lost([], [])
    for name in worse(runs, than):
        one = cell(runs, name)
        assert one is not None, name
        (lost.certain if one.runs_with >= needed else lost.perhaps).append(name)
    return lost


def worse(runs: Sequence[RunFigures], than: Sequence[RunFigures]) -> list[str]:
    """Return the outcomes in which a case is worse than another one, by more than chance is good for."""
    found = []
    for name, outcome in OUTCOMES.items():
        one, other = cell(runs, name), cell(than, name)
        if outcome.only_in and runs[0].case.scenario not in outcome.only_in:
            continue
        if one and other and one.mean > WORSE * other.mean + outcome.floor:
            found.append(name)
    return found


def told(runs: Sequence[RunFigures], than: Sequence[RunFigures], names: Sequence[str]) -> str:
    """Return what goes wrong in words: `37 stale flips committed in 5 of 5 runs (0 with it)`."""
    words = [_told_one(cell(runs, name), cell(than, name), name) for name in names]
    if VIOLATIONS in names:
        words[-1] += f": {invariants(runs)}"
    return "; ".join(words)


def _told_one(one: Cell | None, other: Cell | None, name: str) -> str:
    assert one is not None, name
    assert other is not None, name
    about = OUTCOMES[name].about
    if OUTCOMES[name].is_count:
        return f"{one.total:,.0f} {about} in {one.runs_with} of {counted(one.runs, 'run')} ({other.total:,.0f} with it)"
    return f"{one.mean:,.1f} {about} ({other.mean:,.1f} with it)"
