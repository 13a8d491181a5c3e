"""I1 as customers see it: what the canary was answered."""

from collections.abc import Iterator, Sequence
from itertools import dropwhile

from lab.history import History, Probe
from lab.invariants.violation import Violation, counted, episodes, lasting


def by_question(history: History) -> dict[tuple[str, str], tuple[Probe, ...]]:
    """Return the probes that got an answer, by endpoint and type, from the first one with an address on.

    Before that an endpoint is not there yet, or has no address of this type: that is no fault. No answer at all is
    the resolver's availability, not the zone's content, and is left out.
    """
    found: dict[tuple[str, str], list[Probe]] = {}
    for probe in history.probes:
        if probe.addresses or probe.is_empty:
            found.setdefault((probe.endpoint, probe.type), []).append(probe)
    started = {key: tuple(dropwhile(lambda p: not p.addresses, probes)) for key, probes in sorted(found.items())}
    return {key: probes for key, probes in started.items() if probes}


def never_empty_answer(history: History) -> Iterator[Violation]:
    """I1: after the first answer with an address, every answer has one."""
    for (endpoint, kind), probes in by_question(history).items():
        for episode, after in episodes(probes, lambda probe: probe.is_empty):
            yield Violation("I1", endpoint, _words(history, kind, episode, after), episode[0].at_us)


def _words(history: History, kind: str, episode: Sequence[Probe], after: Probe | None) -> str:
    duration = lasting(history, episode[0].at_us, after.at_us if after else None)
    answers = counted(len(episode), "answer")
    return f"{duration}, the resolver had no {kind} address to give: {answers} {episode[0].rcode} without a record"
