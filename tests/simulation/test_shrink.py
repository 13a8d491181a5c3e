"""Shrinking: what is left breaks the same, and nothing of it can be left out."""

from pathlib import Path

import msgspec
import pytest

from enactor.buggy import BuggyEnactor
from lab.simulation.choice import Choice, Fault
from lab.simulation.drive import PROCESS_FAILED, run, verdict_of
from lab.simulation.saved import load
from lab.simulation.scenario import Scenario
from lab.simulation.shorter import joined, size
from lab.simulation.shrink import NotReproduced, shrink
from lab.simulation.stage import Stage
from lab.simulation.strategies import Replayed

OUTAGE = load(Path(__file__).parent / "outage.json")
WANTED = frozenset(OUTAGE.wanted)
PLENTY_S = 60.0
"""Of time: what is looked at is what shrinking comes to, not how quick this machine is."""


def by(process, *calls):
    """Return choices of one process."""
    return tuple(Choice(process, what) for what in calls)


def broken(found):
    """Return the numbers of what was broken."""
    return {violation.invariant for violation in found}


IDLE = by("enactor-3", "read_plan plans", "HMGET plans", "read_records a.test.")


def test_shrink_outage_among_other_steps_leaves_at_most_25_choices():
    """Another enactor's steps, a failed read and a plan that nobody needs are left out; I1 and I5 stay broken."""
    first, *rest = OUTAGE.choices
    retried = (Choice("enactor-2", "read_plan plans", Fault.ERROR), Choice("enactor-2", "timer"))
    noisy = (first, *IDLE, *rest[:5], *retried, *rest[5:])
    scenario = msgspec.structs.replace(OUTAGE.scenario, enactors=3, generations=5, faults=1)

    shrunk = shrink(scenario, noisy, WANTED, budget_s=PLENTY_S)

    assert shrunk.finished
    assert len(shrunk.trace) <= 25 < len(noisy)
    assert not any(choice.fault for choice in shrunk.trace)
    assert (shrunk.scenario.enactors, shrunk.scenario.generations) == (2, 3)
    assert broken(shrunk.violations) >= WANTED


def test_shrink_result_replayed_breaks_the_same():
    """What comes out is a schedule in its own right: its replay breaks exactly what was said."""
    shrunk = shrink(OUTAGE.scenario, OUTAGE.choices, WANTED, budget_s=PLENTY_S)

    verdict = verdict_of(Stage(shrunk.scenario), Replayed(shrunk.trace), steps=len(shrunk.trace), seek=WANTED)

    assert verdict.trace == shrunk.trace
    assert verdict.violations == shrunk.violations


def test_shrink_result_has_no_choice_to_spare():
    """Without any single one of the choices that are left the endpoint is not lost."""
    shrunk = shrink(OUTAGE.scenario, OUTAGE.choices, WANTED, budget_s=PLENTY_S)
    stage = Stage(shrunk.scenario)

    for at in range(len(shrunk.trace)):
        fewer = shrunk.trace[:at] + shrunk.trace[at + 1 :]
        world = stage.world()
        verdict = run(world, Replayed(fewer), steps=len(fewer), heal_s=0.0, seek=frozenset({"I1"}))
        world.close()

        assert "I1" not in broken(verdict.violations)


def test_shrink_enactors_in_other_places_are_renamed():
    """A failure of the third enactor is one of a world with two: it gets the free name."""
    names = {"enactor-1": "enactor-3"}
    trace = tuple(msgspec.structs.replace(c, process=names.get(c.process, c.process)) for c in OUTAGE.choices)
    scenario = msgspec.structs.replace(OUTAGE.scenario, enactors=3)

    shrunk = shrink(scenario, trace, WANTED, budget_s=PLENTY_S)

    assert shrunk.scenario.enactors == 2
    assert {choice.process for choice in shrunk.trace} == {"publisher", "enactor-1", "enactor-2"}


def test_shrink_without_time_returns_what_it_was_given():
    """When the time is up the shortest so far is returned, and that it may not be the shortest is said."""
    seconds = iter(range(1000))

    shrunk = shrink(OUTAGE.scenario, OUTAGE.choices, WANTED, budget_s=0.5, clock_s=lambda: next(seconds))

    assert shrunk.trace == OUTAGE.choices
    assert not shrunk.finished
    assert broken(shrunk.violations) >= WANTED


def test_shrink_choices_that_break_nothing_are_refused():
    """A schedule that does not break what it is said to break is a bug of the explorer, and is said."""
    with pytest.raises(NotReproduced, match="2 choices does not break I1"):
        shrink(OUTAGE.scenario, OUTAGE.choices[:2], frozenset({"I1"}))


def test_shrink_error_of_a_process_is_kept_with_the_choice_that_meets_it(monkeypatch):
    """An error that nobody foresaw is found again by its schedule: publish, read the plan, look, and it is there."""

    async def fail(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(BuggyEnactor, "_install", fail)
    scenario = Scenario(mode="buggy", enactors=2, endpoints=1, generations=3)
    noisy = (*OUTAGE.choices[:1], *IDLE, *OUTAGE.choices[1:])
    verdict = verdict_of(Stage(scenario), Replayed(noisy), steps=len(noisy))

    shrunk = shrink(scenario, verdict.trace, frozenset({PROCESS_FAILED}), budget_s=PLENTY_S)

    assert broken(verdict.violations) == {PROCESS_FAILED}
    assert [choice.what for choice in shrunk.trace] == [
        "publish_plan plans",
        "read_plan plans",
        "HMGET plans",
        "read_records a.test.",
    ]
    assert shrunk.scenario.enactors == 1


def test_size_of_a_schedule_counts_faults_before_choices_before_switches():
    """A fault is harder to read than any number of choices, and a choice than a switch."""
    calm = by("enactor-1", "read_plan plans", "change_batch a.test.", "timer", "change_batch a.test.")
    faulty = (Choice("enactor-1", "change_batch a.test.", Fault.LOST),)
    split = (*by("enactor-1", "change_batch a.test."), *by("publisher", "publish_plan plans"), *calm[1:2])

    assert size(split) == (0, 3, 3, 0)
    assert size(calm) == (0, 4, 1, 0)
    assert size(split) < size(calm) < size(faulty)


def test_size_of_a_block_that_ends_with_looks_counts_them():
    """What somebody looked at before another one went on has to be kept in mind."""
    looks = by("enactor-1", "change_batch a.test.", "read_records a.test.", "timer")

    assert size((*looks, *by("publisher", "publish_plan plans"))) == (0, 4, 2, 2)


def test_joined_blocks_of_one_process_come_together_on_either_side():
    """The later block is put after the earlier one, and the earlier one before the later one."""
    first, other, second = by("enactor-1", "a"), by("publisher", "b"), by("enactor-1", "c")

    found = list(joined((*first, *other, *second)))

    assert (*first, *second, *other) in found
    assert (*other, *first, *second) in found
