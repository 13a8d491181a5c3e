"""What is shorter than a schedule, or smaller than a scenario: candidates, none of which may break what it did."""

from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile

import msgspec

from lab.simulation.choice import START, TIMER, Choice, Fault
from lab.simulation.client import WRITING
from lab.simulation.scenario import Scenario, Scene

Trace = tuple[Choice, ...]


def size(trace: Sequence[Choice]) -> tuple[int, int, int, int]:
    """Return how hard a schedule is to read.

    Its faults, its choices, how often another process goes on, and how many looks are left hanging then: what somebody
    saw is told best with what it does about it.
    """
    faults = sum(choice.fault is not Fault.NONE for choice in trace)
    blocks = _blocks(trace)
    return faults, len(trace), len(blocks), sum(map(_hanging, blocks))


def _blocks(trace: Sequence[Choice]) -> list[Trace]:
    """Return what each process does in a row."""
    return [tuple(block) for _, block in groupby(trace, key=lambda choice: choice.process)]


def _hanging(block: Trace) -> int:
    """Return how many choices at the end of a block change nothing."""
    return sum(1 for _ in takewhile(_is_quiet, reversed(block)))


def _is_quiet(choice: Choice) -> bool:
    name = choice.what.partition(" ")[0]
    return not choice.fault and (name in (TIMER, START) or WRITING.get(name, ()) == ())


def joined(trace: Trace) -> Iterator[Trace]:
    """Yield the traces in which one block of a process is moved to its block before, or that one, or its end, to it."""
    blocks = _blocks(trace)
    for late in range(len(blocks)):
        early = next((at for at in range(late - 1, -1, -1) if blocks[at][0].process == blocks[late][0].process), None)
        if early is not None:
            between = blocks[early + 1 : late]
            forward = [*blocks[:early], *between, blocks[early], *blocks[late:]]
            back = [*blocks[: early + 1], blocks[late], *between, *blocks[late + 1 :]]
            looks = (
                [*blocks[:early], blocks[early][:-n], *between, blocks[early][-n:] + blocks[late], *blocks[late + 1 :]]
                for n in range(_hanging(blocks[early]), 0, -1)
            )
            for order in (back, forward, *looks):
                yield tuple(choice for block in order for choice in block)


def smaller(scenario: Scenario, trace: Trace) -> Iterator[tuple[Scenario, Trace]]:
    """Yield smaller scenarios, the smallest first, each with the trace in the names that it has."""
    replace = msgspec.structs.replace
    scene = Scene(scenario)
    acting = [name for name in scene.enactor_names if any(choice.process == name for choice in trace)]
    for count in range(max(1, len(acting)), scenario.enactors):
        names = dict(zip(acting, scene.enactor_names, strict=False))
        renamed = tuple(replace(choice, process=names.get(choice.process, choice.process)) for choice in trace)
        yield replace(scenario, enactors=count), renamed
        yield replace(scenario, enactors=count), trace
    if scenario.endpoints > 1:
        for zone in scene.zones:
            yield replace(scenario, endpoints=1), tuple(_in_one_zone(trace, zone, scene.zones))
        yield replace(scenario, endpoints=scenario.endpoints - 1), trace
    if scenario.generations > 1:
        yield replace(scenario, generations=scenario.generations - 1), trace


def _in_one_zone(trace: Trace, zone: str, zones: Sequence[str]) -> Iterator[Choice]:
    for choice in trace:
        name, _, place = choice.what.partition(" ")
        if place == zone:
            yield msgspec.structs.replace(choice, what=f"{name} {zones[0]}")
        elif place not in zones:
            yield choice
