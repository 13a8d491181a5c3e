"""What drives a world: by chance, by priorities, or systematically, each as it says of itself."""

from random import Random

import pytest

from lab.simulation.bounded import Bounded
from lab.simulation.choice import Fault
from lab.simulation.drive import verdict_of
from lab.simulation.scenario import Scenario
from lab.simulation.stage import Stage
from lab.simulation.strategies import Chance, Priorities, RandomWalk

RESTLESS = frozenset({"publisher"})


@pytest.fixture(scope="module")
def stage():
    """Two enactors of the fixed protocol, one endpoint, two plans."""
    return Stage(Scenario(enactors=2, endpoints=1, generations=2, rounds=1))


def random_walk(seed, faults=0, restless=RESTLESS):
    """Return a walk by chance."""
    rng = Random(seed)
    return RandomWalk(rng, Chance(rng, faults, 20), restless=restless, endpoints=1)


def priorities(seed, *, changes=2, faults=0):
    """Return PCT's."""
    rng = Random(seed)
    return Priorities(rng, Chance(rng, faults, 20), changes=changes, steps=40, restless=RESTLESS)


def faults_in(trace):
    """Return how many faults a schedule has."""
    return sum(choice.fault is not Fault.NONE for choice in trace)


@pytest.mark.parametrize("kind", [random_walk, priorities])
def test_strategy_with_the_same_seed_chooses_the_same(stage, kind):
    """A seed and a number are enough to have a schedule again; another number is another schedule."""
    first, again, other = (verdict_of(stage, kind(seed), steps=100).trace for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_walk_chooses_the_same_however_those_who_publish_are_listed(stage):
    """A set of names is in another order in each Python process; a schedule must not depend on that."""
    for seed in range(5):
        one, other = (
            verdict_of(stage, random_walk(seed, restless=names), steps=100).trace
            for names in (("operator", "publisher"), ("publisher", "operator"))
        )

        assert one == other


@pytest.mark.parametrize("kind", [random_walk, priorities])
def test_strategy_with_a_budget_of_faults_keeps_to_it_and_uses_it(stage, kind):
    """From none to as many as there may be."""
    counts = {faults_in(verdict_of(stage, kind(seed, faults=3), steps=100).trace) for seed in range(60)}

    assert counts == {0, 1, 2, 3}


def test_strategy_without_a_budget_has_no_fault(stage):
    """Nothing fails by itself."""
    assert all(faults_in(verdict_of(stage, random_walk(seed), steps=100).trace) == 0 for seed in range(10))


def test_priorities_without_a_change_let_a_process_go_on_until_it_cannot(stage):
    """PCT preempts only where a priority changes: else a switch means that the one before had nothing to do."""
    for seed in range(20):
        world, strategy = stage.world(), priorities(seed, changes=0)
        before = None
        for _ in range(60):
            waiting = {process.name for process in world.processes if process.parked}
            if not strategy.step(world):
                break
            last = world.trace[-1]
            if before in waiting and before not in RESTLESS and last.what != "timer":
                assert last.process in {before, *RESTLESS}
            before = last.process if last.what != "timer" else None
        world.close()


def all_bounded(stage, *, preemptions, faults=0):
    """Return every schedule within bounds, and the search."""
    search = Bounded(preemptions=preemptions, faults=faults, rounds=1, restless=RESTLESS)
    traces = []
    while (guided := search.following()) is not None:
        traces.append(verdict_of(stage, guided, steps=10_000).trace)
        search.ran(guided)
    return traces, search


def test_bounded_search_runs_each_schedule_once(stage):
    """No two are the same, and it knows when none is left."""
    traces, search = all_bounded(stage, preemptions=1)

    assert search.complete
    assert len(set(traces)) == len(traces) > 50


def test_bounded_search_with_a_wider_bound_has_all_schedules_of_the_narrower_one_first(stage):
    """Iterative context bounding: what needs fewer preemptions is run before what needs more."""
    none, _ = all_bounded(stage, preemptions=0)
    one, _ = all_bounded(stage, preemptions=1)

    assert one[: len(none)] == none
    assert len(none) < len(one)


def test_bounded_search_without_preemptions_takes_no_turn_away(stage):
    """Whoever has something to do goes on; who publishes may pause after each plan."""
    traces, _ = all_bounded(stage, preemptions=0)

    for trace in traces:
        world, before = stage.world(), None
        for choice in trace:
            waiting = {process.name for process in world.processes if process.parked}
            if before in waiting and before not in RESTLESS:
                assert choice.process == before
            assert world.take(choice)
            before = choice.process
        world.close()


def test_bounded_search_with_a_fault_tries_each_fault_at_each_call():
    """With one fault and no preemption, every call of the first schedule meets every fault that it can."""
    stage = Stage(Scenario(enactors=1, endpoints=1, generations=1, rounds=1))

    traces, search = all_bounded(stage, preemptions=0, faults=1)

    first = traces[0]
    met = {
        (at, trace[at].fault)
        for trace in traces
        for at in range(min(len(first), len(trace)))
        if trace[at].fault is not Fault.NONE and trace[:at] == first[:at]
    }
    calls = [at for at, choice in enumerate(first) if choice.what not in {"timer", "start"}]
    assert search.complete
    assert {(at, fault) for at in calls for fault in (Fault.ERROR, Fault.CRASH)} <= met
    assert max(faults_in(trace) for trace in traces) == 1
