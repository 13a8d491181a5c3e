"""What came of the faults: which were caught, by what, and which were not as the catalogue says. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.table import Table
from rich.text import Text

from lab.mutants.catalogue import Mutant
from lab.mutants.trial import Tried, Verdict, Way


class Result(NamedTuple):
    """A mutant, and what came of each of its trials."""

    mutant: Mutant
    trials: tuple[Tried, ...]

    @property
    def caught(self) -> bool:
        """Whether everything caught it that has to."""
        return bool(self.trials) and all(tried.verdict is Verdict.CAUGHT for tried in self.trials)

    @property
    def survived(self) -> bool:
        """Whether nothing caught it, and every trial could be made."""
        return all(tried.verdict is Verdict.SURVIVED for tried in self.trials)

    @property
    def wrong(self) -> str:
        """What is not as the catalogue says; "" if all is."""
        failed = [tried for tried in self.trials if tried.verdict is Verdict.FAILED]
        if self.mutant.survives and failed:
            return "; ".join(f"not tried by the {tried.way}{_why(tried)}" for tried in failed)
        if self.mutant.survives:
            return "" if self.survived else "caught, though the catalogue says that it survives: take that out"
        if self.caught:
            return ""
        missed = [tried for tried in self.trials if tried.verdict is not Verdict.CAUGHT]
        return "; ".join(f"not caught by the {tried.way}{_why(tried)}" for tried in missed) or "nothing has to catch it"

    @property
    def by(self) -> str:
        """What caught it, each way; or what became of it."""
        return "\n".join(shown(tried) for tried in self.trials)

    @property
    def took_s(self) -> float:
        """How long all of its trials took."""
        return sum(tried.took_s for tried in self.trials)


def _why(tried: Tried) -> str:
    return f" ({tried.problem})" if tried.problem else ""


def result_of(mutant: Mutant, trials: Sequence[Tried]) -> Result:
    """Return what came of a mutant, the explorer first."""
    return Result(mutant, tuple(sorted(trials, key=lambda tried: tried.way)))


def shown(tried: Tried) -> str:
    """Return in a few words what a trial came to; a test without its directory."""
    if tried.verdict is Verdict.FAILED:
        return f"? {tried.problem}"
    if tried.verdict is Verdict.SURVIVED:
        return f"not by the {tried.way}"
    return f"explorer: {tried.by}" if tried.way is Way.EXPLORER else tried.by.rpartition("/")[2]


def line(tried: Tried) -> str:
    """Return a trial in a line."""
    name = tried.mutant or "as it ships"
    word = "passed" if not tried.mutant and tried.verdict is Verdict.SURVIVED else tried.verdict
    return f"{name}: {word} {tried.by or tried.problem} ({tried.way}, {tried.took_s:.1f} s)".replace("  ", " ")


def table(results: Sequence[Result]) -> Table:
    """Return every mutant, what it is, what caught it, and how long that took."""
    drawn = Table(header_style="bold", show_lines=False)
    drawn.add_column("mutant", no_wrap=True)
    drawn.add_column("in the world")
    drawn.add_column("caught by", overflow="fold")
    drawn.add_column("s", justify="right", no_wrap=True)
    for result in results:
        style = "red" if result.wrong else "yellow" if not result.caught else ""
        by = Text(result.by, style=style)
        drawn.add_row(Text(result.mutant.id, style=style), Text(result.mutant.what), by, f"{result.took_s:.1f}")
    return drawn


def catalogue_table(mutants: Sequence[Mutant]) -> Table:
    """Return every mutant, what it is, where, and what has to catch it."""
    drawn = Table(header_style="bold")
    drawn.add_column("mutant", no_wrap=True)
    drawn.add_column("in the world")
    drawn.add_column("planted in", no_wrap=True)
    drawn.add_column("to be caught by", overflow="fold")
    for mutant in mutants:
        explorer = (f"explore {mutant.explorer}",) if mutant.explorer else ()
        ways = (*explorer, *(test.rpartition("/")[2] for test in mutant.tests))
        by = f"survives: {mutant.survives}" if mutant.survives else "\n".join(ways)
        drawn.add_row(Text(mutant.id), Text(mutant.what), Text(mutant.file), Text(by))
    return drawn


def summary(results: Sequence[Result], *, judged: bool) -> Iterator[tuple[str, str]]:
    """Yield what the table comes to, line by line, each with its style.

    `judged`: whether what the catalogue says was tried; else nothing is wrong, and only what was caught is told.
    """
    caught = sum(result.caught for result in results)
    yield f"{caught} of {len(results)} mutants caught", "bold"
    for result in results:
        if not result.caught and result.mutant.survives:
            yield f"  survives: {result.mutant.id}: {result.mutant.survives}", "yellow"
    for result in results:
        if judged and result.wrong:
            yield f"  WRONG: {result.mutant.id}: {result.wrong}", "bold red"


def document(results: Sequence[Result], baseline: Sequence[Tried], *, wall_s: float) -> dict[str, Any]:
    """Return the results for programs."""
    return {
        "mutants": len(results),
        "caught": sum(result.caught for result in results),
        "survivors": {r.mutant.id: r.mutant.survives for r in results if not r.caught and r.mutant.survives},
        "wrong": {r.mutant.id: r.wrong for r in results if r.wrong},
        "baseline": msgspec.to_builtins(list(baseline)),
        "results": [
            {
                "id": result.mutant.id,
                "file": result.mutant.file,
                "what": result.mutant.what,
                "caught": result.caught,
                "trials": msgspec.to_builtins(result.trials),
            }
            for result in results
        ],
        "wall_s": wall_s,
    }
