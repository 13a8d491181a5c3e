"""What a run came to, in a sentence."""

from collections import Counter
from collections.abc import Iterable, Mapping

from lab.invariants.violation import counted
from lab.report.judged import Judged


def headline(modes: Mapping[str, Judged]) -> str:
    """Return one sentence for each mode, joined."""
    return " ".join(sentence(mode, judged) for mode, judged in modes.items())


def sentence(mode: str, judged: Judged) -> str:
    """Return what happened to the endpoints in one mode, and which invariants were broken."""
    result, total = judged.result, len(judged.timelines)
    if result.endpoints_emptied:
        stuck = len(judged.empty_at_end)
        ending = f"{stuck} never came back" if stuck else "all came back"
        return (
            f"{mode} lost {result.endpoints_emptied} of {counted(total, 'endpoint')}, "
            f"the first after {result.seconds_to_first_empty:.1f} s; {ending}."
        )
    if judged.violations:
        return (
            f"{mode} kept all {total} endpoints answering, but broke {tally(v.invariant for v in judged.violations)}."
        )
    kept = f"{mode} kept all {total} endpoints answering and broke no invariant"
    refused = result.stale_attempts_refused
    return f"{kept}; its zones refused {counted(refused, 'stale flip')}." if refused else f"{kept}."


def tally(invariants: Iterable[str]) -> str:
    """Return how often each invariant was broken: `I1 x 2, I3 x 1`; `none` if there is none."""
    counts = Counter(invariants)
    return ", ".join(f"{name} \N{MULTIPLICATION SIGN} {counts[name]}" for name in sorted(counts)) or "none"
