"""How the first endpoint was lost, moment by moment, told from commits and logs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lab.history import Probe, event_us
from lab.invariants.answers import by_question
from lab.invariants.replay import Step
from lab.invariants.violation import counted
from lab.report.judged import Judged

MAX_REASON = 240


class Moment(NamedTuple):
    """One moment of a story. `generation` is where to point in the endpoint's time line; None: nowhere."""

    at_us: int
    generation: int | None
    text: str
    is_bad: bool = False


class Story(NamedTuple):
    """How an endpoint was lost: moments in order of time, and when it had no address any more."""

    endpoint: str
    lost_us: int
    moments: tuple[Moment, ...]


def first_loss(judged: Judged) -> Story | None:
    """Return the story of the endpoint whose root lost its addresses first; None if none did."""
    losses = [
        (step.commit.at_us, endpoint, index)
        for endpoint, steps in judged.steps.items()
        for index, step in enumerate(steps)
        if step.lost and (index == 0 or not steps[index - 1].lost)
    ]
    if not losses:
        return None
    lost_us, endpoint, index = min(losses)
    found = (*_before(judged, endpoint, index), *_after(judged, endpoint, lost_us))
    return Story(endpoint, lost_us, tuple(sorted(found, key=lambda moment: moment.at_us)))


def _before(judged: Judged, endpoint: str, index: int) -> Iterator[Moment]:
    """Tell the last flip before the loss, what led to it, and the loss itself."""
    steps = judged.steps[endpoint]
    flip = next((step for step in reversed(steps[:index]) if step.is_flip), None)
    if flip is not None:
        yield from _slow_one(judged, flip)
        yield from _overtaken(steps, flip)
        yield _flip_moment(flip)
    loss = steps[index]
    yield Moment(loss.commit.at_us, loss.after.generation, _loss_words(loss), is_bad=True)


def _slow_one(judged: Judged, flip: Step) -> Iterator[Moment]:
    """Tell when whoever made the last flip took its plan, and how it waited for the lock."""
    who, generation = flip.commit.actor.name, flip.after.generation
    before = [e for e in judged.history.events if e.get("process") == who and event_us(e) <= flip.commit.at_us]
    started = [e for e in before if e.get("event") == "enactor.pass_started" and e.get("generation") == generation]
    if not started:
        return
    start_us = event_us(started[-1])
    yield Moment(start_us, None, f"{who} takes plan {generation} and makes its one check: nothing newer is live.")
    missed = [
        e
        for e in before
        if e.get("event") == "enactor.lock_missed" and e.get("zone") == flip.commit.zone and event_us(e) >= start_us
    ]
    if missed:
        words = f"{who} has lost this endpoint's lock {counted(len(missed), 'time')} and waits on, its check long past."
        yield Moment(event_us(missed[-1]), None, words)


def _overtaken(steps: Sequence[Step], flip: Step) -> Iterator[Moment]:
    """Tell who had installed the newer plan that the last flip took away."""
    if flip.back_from is None:
        return
    newer = [
        s for s in steps if s.is_flip and s.after.generation == flip.back_from and s.commit.serial < flip.commit.serial
    ]
    for step in newer[-1:]:
        yield Moment(
            step.commit.at_us, flip.back_from, f"{step.commit.actor.name} installs plan {flip.back_from} meanwhile."
        )


def _flip_moment(flip: Step) -> Moment:
    who, generation = flip.commit.actor.name, flip.after.generation
    if flip.is_stale_flip:
        text = f"{who} gets its turn and flips the root back from plan {flip.back_from} to plan {generation}."
        return Moment(flip.commit.at_us, generation, text, is_bad=True)
    return Moment(flip.commit.at_us, generation, f"{who} flips the root to plan {generation}.")


def _loss_words(loss: Step) -> str:
    who, generation = loss.commit.actor.name, loss.after.generation
    if loss.cut:
        return f"{who} cleans up by age and deletes tree {generation}, the live one. The root points at nothing."
    return f"{who} commits serial {loss.commit.serial}, and the root answers no {' and no '.join(loss.lost)} any more."


def _after(judged: Judged, endpoint: str, lost_us: int) -> Iterator[Moment]:
    """Tell what customers were answered, why it did not heal, and how it ended."""
    if empty := _first_empty(judged, endpoint, lost_us):
        yield Moment(
            empty.at_us, None, f"DNS answers {empty.rcode} without an address: an empty answer, no error.", is_bad=True
        )
    refused = [
        event
        for event in judged.history.events
        if event.get("event") == "enactor.flip_refused" and event.get("zone") == endpoint and event_us(event) > lost_us
    ]
    if refused:
        yield Moment(event_us(refused[0]), None, _refusal_words(refused[0]), is_bad=True)
    regained = [p for p in judged.timelines[endpoint].points if p.at_us > lost_us and not p.is_empty]
    if regained:
        yield Moment(regained[0].at_us, regained[0].generation, "The endpoint has addresses again.")
        return
    spent_s = (judged.history.end_us - lost_us) / 1e6
    tries = f", and {counted(len(refused), 'flip')} to newer plans refused" if refused else ""
    yield Moment(
        judged.history.end_us, None, f"End: {spent_s:.1f} s without an address{tries}. It does not heal.", is_bad=True
    )


def _first_empty(judged: Judged, endpoint: str, lost_us: int) -> Probe | None:
    empty = (
        probe
        for (asked, _), probes in by_question(judged.history).items()
        for probe in probes
        if asked == endpoint and probe.is_empty and probe.at_us >= lost_us
    )
    return min(empty, key=lambda probe: probe.at_us, default=None)


def _refusal_words(event: Mapping[str, Any]) -> str:
    who, generation = event.get("process", "an enactor"), event.get("generation")
    return f"{who} tries plan {generation}, and the zone refuses: {shortened(str(event.get('reason', '')))}"


def shortened(reason: str) -> str:
    """Return a reason at a length that can be read."""
    return reason if len(reason) <= MAX_REASON else reason[: MAX_REASON - 1] + "\N{HORIZONTAL ELLIPSIS}"


def refused_stale(judged: Judged, most: int = 3) -> tuple[tuple[int, str, str], ...]:
    """Return the first stale flips that a zone refused: (epoch microseconds, endpoint, in words)."""
    found = [
        event
        for event in judged.history.events
        if event.get("event") == "enactor.flip_refused" and event.get("stale") is True
    ]
    return tuple((event_us(event), str(event.get("zone")), _refusal_words(event)) for event in found[:most])
