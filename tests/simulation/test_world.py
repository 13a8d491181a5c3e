"""A world: the same choices give the same world, each fault does what it says, and every commit is judged."""

from random import Random

import pytest

from lab.invariants.replay import ZoneState
from lab.simulation.choice import NETWORK, START, TIMER, Choice, Fault
from lab.simulation.drive import heal, verdict_of
from lab.simulation.scenario import Scenario
from lab.simulation.stage import Stage
from lab.simulation.strategies import Chance, RandomWalk, Replayed
from lab.simulation.world import World

PUBLISH = Choice("publisher", "publish_plan plans")


@pytest.fixture(scope="module")
def stage():
    """Two enactors of the fixed protocol, one endpoint, two plans, and up to two faults."""
    return Stage(Scenario(enactors=2, endpoints=1, generations=2, faults=2))


@pytest.fixture
def world(stage):
    """A world at its beginning."""
    world = stage.world()
    yield world
    world.close()


def walk(stage, seed):
    """Return a walk by chance, with faults."""
    rng = Random(seed)
    scenario = stage.scene.scenario
    return RandomWalk(rng, Chance(rng, scenario.faults, 30), restless={"publisher"}, endpoints=scenario.endpoints)


def generation(stage):
    """Return the latest plan's number in the store, 0 if there is none."""
    head = stage.server.contents().get("{plans}:head", {})
    return int(head.get(b"generation", 0))


def test_world_at_its_beginning_offers_a_call_of_each_process(world):
    """All have started, and wait for their first reply."""
    assert list(world.options()) == [
        PUBLISH,
        Choice("enactor-1", "read_plan plans"),
        Choice("enactor-2", "read_plan plans"),
    ]


def test_call_without_a_fault_is_executed_and_answered(stage, world):
    """The plan is there, and the publisher goes on to the next."""
    assert world.take(PUBLISH)

    assert generation(stage) == world.generation == 1
    assert [call.what for call in world.named("publisher").parked] == [PUBLISH.what]


def test_call_with_an_error_is_not_executed(stage, world):
    """The caller cannot know that: it looks."""
    assert world.take(Choice(PUBLISH.process, PUBLISH.what, Fault.ERROR))

    assert generation(stage) == world.generation == 0
    assert [call.what for call in world.named("publisher").parked] == ["HGET plans"]


def test_call_whose_reply_is_lost_is_executed_all_the_same(stage, world):
    """The caller cannot know that either: it looks, and finds it."""
    assert world.take(Choice(PUBLISH.process, PUBLISH.what, Fault.LOST))

    assert generation(stage) == world.generation == 1
    assert [call.what for call in world.named("publisher").parked] == ["HGET plans"]


def test_call_that_is_given_up_is_executed_at_any_later_time(stage, world):
    """Its caller cannot know that: it looks, finds nothing, and goes on; it hears of nothing when it is executed."""
    assert world.take(Choice(PUBLISH.process, PUBLISH.what, Fault.LATE))

    assert generation(stage) == world.generation == 0
    assert [call.what for call in world.named("publisher").parked] == ["HGET plans"]
    assert Choice(NETWORK, PUBLISH.what) in list(world.options())

    assert world.take(Choice("publisher", "HGET plans", Fault.CRASH))
    assert world.take(Choice(NETWORK, PUBLISH.what))

    assert generation(stage) == world.generation == 1
    assert not any(choice.process == NETWORK for choice in world.options())


def test_call_that_is_given_up_is_executed_while_the_world_heals(stage, world):
    """Faults stop, but what is under way arrives: no world has come to its end before that."""
    world.take(PUBLISH)
    world.take(Choice(PUBLISH.process, PUBLISH.what, Fault.LATE))
    assert world.waits

    assert heal(world, stage.scene.heal_s) == []

    assert Choice(NETWORK, PUBLISH.what) in world.trace
    assert world.generation == 2


def test_caller_that_crashes_is_gone_until_it_is_started(stage, world):
    """Its call is not executed; a start is one of the choices from then on."""
    assert world.take(Choice(PUBLISH.process, PUBLISH.what, Fault.CRASH))

    assert generation(stage) == 0
    assert world.named("publisher").killed
    assert Choice("publisher", START) in list(world.options())

    assert world.take(Choice("publisher", START))

    assert not world.named("publisher").killed
    assert world.named("publisher").parked


@pytest.mark.parametrize(
    "choice",
    [
        Choice("nobody", TIMER),
        Choice("publisher", TIMER),
        Choice("publisher", START),
        Choice("publisher", "read_plan plans"),
    ],
    ids=["no such process", "no timer", "not dead", "no such call"],
)
def test_choice_that_is_not_there_changes_nothing(stage, world, choice):
    """A schedule of another version is not followed blindly."""
    assert not world.take(choice)

    assert world.trace == []
    assert generation(stage) == 0


def test_timer_that_fires_moves_the_time_to_when_it_was_due(world):
    """Time goes on by timers alone."""
    world.take(Choice("enactor-1", "read_plan plans"))
    due_s = world.named("enactor-1").timer_s

    world.take(Choice("enactor-1", TIMER))

    assert world.time.now_s == due_s > 0


def test_same_choices_give_the_same_world(stage):
    """A schedule is all that decides: what is replayed takes the same choices, and ends the same."""
    for seed in range(20):
        first = verdict_of(stage, walk(stage, seed), steps=80)
        contents = stage.server.contents()

        again = verdict_of(stage, Replayed(first.trace), steps=len(first.trace))

        assert again == first
        assert stage.server.contents() == contents


def test_read_that_is_remembered_is_what_the_server_would_say(stage, monkeypatch):
    """Reads of what nobody has written to are not executed again; without that shortcut nothing is different."""
    with_it = [verdict_of(stage, walk(stage, seed), steps=120) for seed in range(20)]

    monkeypatch.setattr(World, "_execute", lambda self, call: call.execute(self.server))
    without_it = [verdict_of(stage, walk(stage, seed), steps=120) for seed in range(20)]

    assert with_it == without_it


def test_view_that_is_reused_is_the_one_that_would_be_made_anew(stage):
    """The judge looks again only at what a commit can have changed; that makes no difference."""
    for seed in range(10):
        world = stage.world()
        strategy = walk(stage, seed)
        while len(world.trace) < 60 and strategy.step(world):
            pass
        (judge,) = world.judge.zones.values()
        world.close()
        anew = ZoneState(judge.zone)
        for commit in judge.commits:
            anew.apply(commit.changes)

        assert judge.last is not None
        assert judge.last.after == anew.view()


def test_world_that_heals_gets_everybody_to_the_latest_plan(stage):
    """When faults stop, the dead start again, and all go on in their turn until nothing is pending."""
    world = stage.world()
    world.take(PUBLISH)
    world.take(Choice("enactor-1", "read_plan plans", Fault.CRASH))
    assert world.pending()

    assert heal(world, stage.scene.heal_s) == []

    assert world.generation == 2
    assert not world.busy
    assert not world.dead
    world.close()


def test_world_with_something_to_do_is_not_at_rest(world):
    """It is at rest only when all have the latest plan, and sleep."""
    assert not world.at_rest

    heal(world, 100.0)
    while world.parked:
        world.run(world.parked[0])

    assert world.at_rest
