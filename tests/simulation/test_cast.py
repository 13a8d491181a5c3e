"""Planners and operators in simulated worlds: their shipped code, in many orders, with faults, and what must hold."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple
from unittest.mock import AsyncMock

import pytest

import planner.decide
import planner.publish
from fencepost.plan import content
from lab.simulation.choice import FORGET
from lab.simulation.drive import Verdict, run
from lab.simulation.fleet import fleet_of
from lab.simulation.forgetting import Forgetful
from lab.simulation.promises import PLANS
from lab.simulation.scenario import TTL_S, Scenario, Scene
from lab.simulation.seal import sealed
from lab.simulation.stage import Stage
from lab.simulation.strategies import Chance, Priorities, RandomWalk, Replayed

STEPS = 180


class Ended(NamedTuple):
    """What became of one world."""

    verdict: Verdict
    seen: Counter[str]
    comments: tuple[str, ...]
    plan: dict
    wanted: dict


def worlds(count: int, *, first: int = 1, **given) -> Iterator[Ended]:
    """Drive that many worlds, each of another seed, by turns at random and by random priorities."""
    for seed in range(first, first + count):
        stage, rng = Stage(Scenario(seed=seed, **given)), random.Random(seed)
        faults = Chance(rng, stage.scene.scenario.faults, STEPS)
        if seed % 2:
            driver = walk_of(stage, rng, faults)
        else:
            driver = Priorities(rng, faults, changes=3, steps=STEPS, restless=restless_of(stage))
        with sealed():
            yield drive(stage, Forgetful(driver, rng, stage.scene.scenario.forgets, rate=0.03))


def restless_of(stage) -> frozenset[str]:
    return frozenset(stage.cast) - frozenset(stage.scene.enactor_names)


def walk_of(stage, rng=None, faults=None) -> RandomWalk:
    """Return a walk; without faults, of chance 1, if nothing else is said."""
    rng = rng or random.Random(1)
    endpoints = len(stage.scene.zones)
    return RandomWalk(rng, faults or Chance(rng, 0, STEPS), restless=restless_of(stage), endpoints=endpoints)


def drive(stage, driver) -> Ended:
    world = stage.world()
    try:
        verdict = run(world, driver, steps=STEPS, heal_s=stage.scene.heal_s)
    finally:
        world.close()
    comments = tuple(commit.comment for judge in world.judge.zones.values() for commit in judge.commits)
    return Ended(verdict, world.seen, comments, world.plan, dict(world.wanted))


def kept(ended: Iterator[Ended]) -> tuple[Counter[str], list[Ended]]:
    """Assert that nothing was broken; return what was seen in all worlds."""
    found = list(ended)
    assert [one.verdict.violations for one in found if one.verdict.violations] == []
    return sum((one.seen for one in found), Counter()), found


async def idle(process) -> None:
    """Do nothing: who relies on something, and is silent."""
    await process.clock.sleep(1e9)


def test_fleet_is_the_same_for_a_seed_and_ends_as_it_began():
    """So what the last plan has to be is known, whatever planners went through."""
    turns = [fleet_of(Scene(Scenario(planner=True, generations=20, seed=seed))) for seed in (3, 3, 4)]

    assert turns[0] == turns[1] != turns[2]
    last = {turn.name: turn.reading for turn in turns[0]}
    assert {name: reading.capacity for name, reading in last.items()} == {"lb-1": 100, "lb-2": 100, "lb-3": 100}
    assert [turn.at_s for turn in turns[0]] == sorted(turn.at_s for turn in turns[0])


def test_planner_publishes_from_what_the_fleet_says_and_every_zone_gets_the_last_plan():
    """Its rounds, lanes, limits and memory are the shipped ones; what it comes to is what the fleet asks for."""
    seen, ended = kept(worlds(12, planner=True, generations=6))

    assert seen["planner.plan_published"] > 2 * len(ended)
    assert seen["planner.fleet_observed"] > 6 * len(ended)
    assert seen["planner.removal_limited"] > 0
    assert all(one.plan == one.wanted for one in ended)
    assert all(len(one.wanted) == 3 for one in ended)


def test_planner_that_never_comes_to_what_the_fleet_asks_for_is_pending(monkeypatch):
    """The last plan is compared with the fleet, not with what the planner thinks of it."""
    monkeypatch.setattr(planner.decide, "draft_changes", lambda *_: None)
    stage = Stage(Scenario(planner=True, endpoints=1, enactors=1))

    ended = drive(stage, walk_of(stage))

    assert [v.invariant for v in ended.verdict.violations] == ["I5"]
    assert "not what the fleet asks for" in ended.verdict.violations[0].detail


def test_two_planners_over_one_store_and_faults_break_nothing():
    """Each is refused what the other was first with, and looks again."""
    seen, ended = kept(worlds(12, planner=True, planners=2, endpoints=2, faults=3))

    assert seen["planner.plan_published"] > 2 * len(ended)


def test_operator_planner_and_faults_together_break_nothing():
    """Freezes hold from their return to the thaw, rollbacks stay, and all is let go of at last."""
    seen, _ = kept(worlds(30, planner=True, operator=True, endpoints=2, faults=3))

    for name in (
        "operator.plans_frozen",
        "operator.zone_frozen",
        "operator.zone_thawed",
        "operator.rollback_installed",
        "operator.repair_installed",
        "enactor.zone_frozen",
        "planner.automation_frozen",
    ):
        assert seen[name] > 0, f"{name} never happened: nothing is shown about it"


@pytest.mark.parametrize("planner", [False, True])
def test_operator_who_was_told_that_all_is_frozen_learns_of_every_commit_and_plan(planner):
    """What counts is what the person knows: here a freeze that never reached the stores."""
    stage = Stage(Scenario(operator=True, planner=planner, endpoints=2))
    stage.cast["operator"] = idle
    world = stage.world()
    told = world.named("operator").promises
    told.frozen |= {"a.test.", PLANS}

    walk = walk_of(stage)
    while not {"a.test.", ""} <= {v.endpoint for v in world.judge.violations}:
        assert walk.step(world)
    world.close()

    assert {(v.invariant, v.endpoint) for v in world.judge.violations} == {("I9", "a.test."), ("I9", "")}


def test_endpoint_that_is_held_where_it_was_rolled_back_to_must_not_be_moved():
    """Neither by a plan, nor by a commit to its zone; another endpoint may."""
    stage = Stage(Scenario(operator=True, endpoints=2))
    stage.cast["operator"] = idle
    world = stage.world()
    told = world.named("operator").promises
    wanted = content(TTL_S, list(stage.scene.contents[0].targets[:1]))
    told.planned["a.test."] = told.live["a.test."] = wanted

    walk = walk_of(stage)
    while {"published" in v.detail for v in world.judge.violations} != {True, False}:
        assert walk.step(world)
    world.close()

    assert {(v.invariant, v.endpoint) for v in world.judge.violations} == {("I9", "a.test.")}


def test_trees_in_several_batches_are_built_by_several_and_by_hand():
    """Small batches give a small tree what large ones have: half of it is there for a while."""
    seen, ended = kept(worlds(80, batch_records=1, operator=True, endpoints=1, faults=2))

    comments = [comment for one in ended for comment in one.comments]
    assert any(comment.startswith("tree ") and comment.endswith("batch 3 of 3") for comment in comments)
    assert any(comment.startswith(("repair: tree", "rollback")) and "batch 2 of" in comment for comment in comments)
    assert seen["enactor.tree_refused"] > 0


def test_clocks_that_are_wrong_by_five_minutes_break_locks_and_nothing_else():
    """The lock keeps enactors from doing each other's work twice, and that is all that it does."""
    seen, _ = kept(worlds(16, skew_s=288.0, planner=True, operator=True, endpoints=2, faults=2))

    assert seen["enactor.lock_lost"] > 0
    assert seen["enactor.flip_refused"] > 0


def test_store_that_forgets_its_last_writes_is_survived():
    """The planner raises the floor, and zones come to the last plan from wherever they were put back to."""
    seen, ended = kept(worlds(40, planner=True, endpoints=2, generations=6, faults=1, forgets=2))

    assert seen["planner.floor_raised"] > 0
    assert any(choice.what.startswith(FORGET) for one in ended for choice in one.verdict.trace)


def test_store_that_forgets_is_not_survived_by_a_planner_that_knows_no_floor(monkeypatch):
    """A zone whose fence names a lost plan refuses all that come after, until their number is above it."""
    monkeypatch.setattr(planner.decide, "find_lost", lambda *_: None)
    monkeypatch.setattr(planner.publish, "fences_of", lambda *_: {})
    monkeypatch.setattr(planner.publish, "forgot", AsyncMock(return_value=None))

    ended = worlds(250, planner=True, endpoints=1, enactors=1, faults=3, forgets=2)
    broken = [violation for one in ended for violation in one.verdict.violations]

    assert {violation.invariant for violation in broken} == {"I5"}


def test_schedule_with_a_store_that_forgets_is_replayed_exactly():
    """What is forgotten is a choice like every other one."""
    stage = Stage(Scenario(planner=True, endpoints=2, forgets=2, faults=1, seed=3))
    rng = random.Random(5)
    first = drive(stage, Forgetful(walk_of(stage, rng, Chance(rng, 1, STEPS)), rng, 2, rate=0.05))

    again = drive(stage, Replayed(first.verdict.trace))

    assert sum(choice.what.startswith(FORGET) for choice in first.verdict.trace) == 2
    assert again == first


@pytest.mark.parametrize("given", [{"forgets": 1}, {"forgets": 1, "planner": True, "operator": True}])
def test_scenario_that_could_not_heal_is_refused(given):
    """Who forgets plans needs somebody to raise the floor; who forgets a thaw, somebody to say it again."""
    with pytest.raises(ValueError, match="no `operator`"):
        Scenario(**given)
