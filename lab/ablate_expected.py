"""What an ablation has to show, and whether it does: the outage comes back where it should, and nowhere else. Pure.

Source: README.md, the incident; docs/invariants.md, I1 to I7.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from fencepost.guards import Guard
from lab.ablate_cases import ALL_ON, Case, pair, without
from lab.ablate_figures import RunFigures
from lab.ablate_table import broken_with_all_on, by_case
from lab.ablate_verdicts import told, worse
from lab.drills.result import Promise
from lab.invariants.violation import counted

BINDING_FROM: Final = 3
"""In fewer runs what has to happen may fail to happen by chance: that is told, and the exit code does not count it."""
_AS_IN_THE_OUTAGE: Final = f"without {Guard.FENCE} + {Guard.CLEANER_CHECK} + {Guard.ROLLBACK_TOLERANCE}"


class Expectation(msgspec.Struct, frozen=True):
    """Something that goes wrong, beside every guard on, in one at least of some cases: (scenario, label).

    One event is enough where nothing is what there is otherwise: the claim is that it comes back, not how often.
    """

    claim: str
    outcome: str
    cases: tuple[tuple[str, str], ...]


EXPECTED: Final = (
    Expectation("without the fence, stale flips come back", "stale_flips", (("hands", without(Guard.FENCE)),)),
    Expectation(
        "without fence and cleaner check, endpoints are emptied",
        "emptied",
        (("hands", pair(Guard.FENCE, Guard.CLEANER_CHECK)),),
    ),
    Expectation(
        "without rollback tolerance, endpoints stay stuck",
        "stuck",
        (("hands", _AS_IN_THE_OUTAGE), ("dangling", without(Guard.ROLLBACK_TOLERANCE))),
    ),
    Expectation(
        "without protective checks, too much capacity goes (I7)",
        "capacity",
        (("observer", without(Guard.PROTECTIVE_CHECKS)),),
    ),
    Expectation(
        "without velocity control, too much capacity goes (I7)", "capacity", (("flapping", without(Guard.VELOCITY)),)
    ),
    Expectation(
        "without throttling, more stale plans are taken up a second",
        "stale_rate",
        (("race", without(Guard.THROTTLING)),),
    ),
)


class Met(msgspec.Struct, frozen=True):
    """What became of an expectation; `binding`: whether the exit code counts it."""

    promise: Promise
    binding: bool

    @property
    def broken(self) -> bool:
        """Whether it fails the ablation."""
        return self.binding and not self.promise.held


def expectations(cases: Sequence[Case], runs: Sequence[RunFigures]) -> Iterator[Met]:
    """Yield each expectation that has a case of its own among `cases` and was measured.

    Starved runs show nothing here, except that what breaks an invariant with every guard on does so in any run.
    """
    chosen = {(case.scenario, case.label) for case in cases}
    judging = by_case([run for run in runs if run.judges])
    for expected in EXPECTED:
        asked = [key for key in expected.cases if key in chosen]
        if measured := [key for key in asked if judging.get(key) and judging.get((key[0], ALL_ON))]:
            yield _met(expected, measured, judging)
    if all_on := [run for run in runs if run.case.label == ALL_ON and run.counts]:
        broken = broken_with_all_on(all_on)
        said = f"in {len(broken)} of {counted(len(all_on), 'run')}"
        yield Met(
            Promise("with every guard on, no invariant is broken in any scenario", not broken, said), binding=True
        )


def _met(
    expected: Expectation, keys: Sequence[tuple[str, str]], runs: Mapping[tuple[str, str], Sequence[RunFigures]]
) -> Met:
    pairs = {key: (runs[key], runs[key[0], ALL_ON]) for key in keys}
    held = any(expected.outcome in worse(off, on) for off, on in pairs.values())
    words = "; or ".join(f"{key[0]}: {told(off, on, [expected.outcome])}" for key, (off, on) in pairs.items())
    fewest = min(len(each) for pair_of in pairs.values() for each in pair_of)
    binding = fewest >= BINDING_FROM
    if not held and not binding:
        words += f"; in fewer than {BINDING_FROM} runs that may be chance, and the exit code does not count it"
    return Met(Promise(expected.claim, held, words), binding)
