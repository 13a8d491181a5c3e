"""The exhaustive search: sound, complete where it says so, and at one with schedules that are really run."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from fencepost.records import RecordSet
from lab.simulation.actors import ANSWERED, FAILED, FIRED, UNTOLD, Actor, Node, Told, label, tell_again
from lab.simulation.choice import TIMER, Choice, Fault
from lab.simulation.drive import run
from lab.simulation.exhaustive import Search, coarse
from lab.simulation.loop import NotInSimulation
from lab.simulation.scenario import Scenario
from lab.simulation.space import Move, Moves, Space, State
from lab.simulation.stage import Stage
from lab.simulation.strategies import Replayed
from lab.simulation.world import World


def searched(*, reduce: bool = True, at_end: Any = None, **given: Any) -> tuple[Search, Space]:
    scenario = coarse(Scenario(**{"enactors": 2, "endpoints": 1, "generations": 2} | given))
    stage = Stage(scenario)
    space = Space(stage)
    search = Search(space, healing_s=stage.scene.heal_s, reduce=reduce, at_end=at_end)
    search.run(lambda: True)
    space.close()
    return search, space


@pytest.mark.parametrize("given", [{"generations": 2}, {"generations": 1, "faults": 1}], ids=str)
def test_search_with_sleeping_moves_visits_every_state_that_one_without_does(given: dict[str, Any]) -> None:
    """The reduction leaves out moves between states, never a state."""
    reduced, _ = searched(**given)
    whole, _ = searched(reduce=False, **given)

    assert reduced.complete
    assert whole.complete
    assert set(reduced.visited) == set(whole.visited)
    assert reduced.extent.moves < whole.extent.moves


def test_search_of_the_fixed_protocol_is_complete_and_finds_nothing() -> None:
    """Two enactors, three plans, every order of their calls."""
    search, _ = searched(generations=3)

    assert search.complete
    assert not search.found
    assert search.extent.ends > 0


@pytest.mark.parametrize(
    ("given", "invariants"),
    [
        ({"mode": "buggy", "generations": 3}, {"I2", "I3", "I4"}),
        ({"without": "fence,cleaner-check", "generations": 3}, {"I2", "I3", "I4"}),
    ],
    ids=["buggy", "without-fence-and-cleaner-check"],
)
def test_search_finds_what_a_broken_protocol_breaks_and_the_schedule_does_so_again(
    given: dict[str, Any], invariants: set[str]
) -> None:
    """The choices of what was found, taken one by one in a world, break the same."""
    search, space = searched(**given)

    assert not search.complete
    (found,) = search.found
    again = replayed(space, found.trace)
    assert [v.invariant for v in again] == [v.invariant for v in found.violations]
    assert {v.invariant for v in again} <= invariants


def replayed(space: Space, trace: tuple[Choice, ...]) -> tuple[Any, ...]:
    stage = space.stage
    world = stage.world()
    strategy = Replayed(trace)
    verdict = run(world, strategy, steps=len(trace), heal_s=stage.scene.heal_s)
    world.close()
    assert strategy.left_out == 0
    return verdict.violations


def test_search_that_is_stopped_is_not_complete() -> None:
    """`complete` is said only of a space that was really searched."""
    stage = Stage(coarse(Scenario(enactors=2, endpoints=1, generations=3)))
    space = Space(stage)
    search = Search(space, healing_s=stage.scene.heal_s)

    search.run(lambda: False)
    space.close()

    assert not search.complete
    assert search.extent.states > 0


def test_search_reaches_just_the_ends_that_schedules_run_one_by_one_do() -> None:
    """One enactor against a publisher: every schedule is also run in a world of its own, by brute force."""
    given: dict[str, Any] = {"enactors": 1, "generations": 2}
    ends: list[State] = []
    search, space = searched(at_end=ends.append, **given)

    by_search = set(map(records_of, ends))
    by_force = set(brute_force(space.stage))

    assert search.complete
    assert by_search == by_force
    assert len(by_force) > 1


def records_of(state: State) -> tuple[RecordSet, ...]:
    records: dict[Any, RecordSet] = {}
    for commit in state.slots[1].commits:
        for change in commit.changes:
            records.pop(change.record_set.key, None)
            if change.action != "DELETE":
                records[change.record_set.key] = change.record_set
    return tuple(record for _, record in sorted(records.items()))


def brute_force(stage: Stage) -> Iterator[tuple[RecordSet, ...]]:
    """Run every schedule from the beginning; yield what the zone holds in the end."""
    waiting: list[tuple[Choice, ...]] = [()]
    while waiting:
        trace = waiting.pop()
        world = stage.world()
        assert all(map(world.take, trace))
        options = [choice for choice in world.options() if choice.what != TIMER or may_fire(world, choice)]
        if not options:
            yield world.judge.zones[stage.scene.zones[0]].records
        waiting += [(*trace, choice) for choice in options]
        world.close()


def may_fire(world: World, choice: Choice) -> bool:
    return world.named(choice.process).rounds < 1


def test_nodes_that_are_one_go_on_alike_whichever_way_they_were_reached() -> None:
    """Processes that were told different things, and are taken for one, answer all that follows with the same calls."""
    _, space = searched(generations=1, faults=1)
    rng = random.Random(1)
    compared = 0

    for actor in space.actors:
        edges = list(merged(actor))
        for first, told, reached in rng.sample(edges, min(60, len(edges))):
            node = reached
            one, other = actor.bring_back(node), actor.bring_back(first)
            tell_again(other, told)
            for _ in range(12):
                assert calls_of(one) == calls_of(other)
                following = next_told(rng, node)
                if following is None:
                    break
                told_next, node = following
                tell_again(one, told_next)
                tell_again(other, told_next)
            compared += 1
            one[0].kill()
            other[0].kill()

    assert compared > 100


def merged(actor: Actor) -> Iterator[tuple[Node, Told, Node]]:
    """Yield edges to nodes that were first reached another way."""
    waiting, seen = [actor.root], {actor.root}
    while waiting:
        node = waiting.pop()
        for told, child in node.children.items():
            if child.parent is not node or child.told != told:
                yield node, told, child
            if child not in seen:
                seen.add(child)
                waiting.append(child)


def calls_of(running: Any) -> Any:
    process = running[0]
    return [(call.name, call.keys, call.args) for call in process.parked], process.timer_s


def next_told(rng: random.Random, node: Node) -> tuple[Told, Node] | None:
    """Return something that the node was told before, and where that led."""
    known = [(told, child) for told, child in node.children.items() if told.how in {ANSWERED, FAILED, FIRED}]
    return rng.choice(known) if known else None


def test_serial_in_a_reply_cannot_be_looked_at() -> None:
    """States that differ by serials alone are one, so nobody may go by them."""
    for look in (
        lambda: UNTOLD == 1,
        lambda: UNTOLD < 1,
        lambda: int(UNTOLD),
        lambda: f"{UNTOLD}",
        lambda: hash(UNTOLD),
    ):
        with pytest.raises(NotInSimulation, match="serial"):
            look()


def test_moves_commute_only_where_neither_can_notice_the_other() -> None:
    """Same process, same slot with a write, time, two faults: their order counts."""
    read = Move(0, 0, Fault.NONE, 1, writes=False)
    write_elsewhere = Move(1, 0, Fault.NONE, 2, writes=True)
    write_here = Move(1, 0, Fault.NONE, 1, writes=True)
    read_here = Move(1, 0, Fault.NONE, 1, writes=False)
    timer = Move(1, 0, Fault.NONE, -1, writes=False, is_timer=True)

    assert read.commutes(write_elsewhere)
    assert read.commutes(read_here)
    assert not read.commutes(write_here)
    assert not read.commutes(timer)
    assert not read.commutes(read)
    assert not Move(0, 0, Fault.ERROR, 1, writes=False).commutes(Move(1, 0, Fault.CRASH, 2, writes=False))
    moves = Moves()
    bits = [moves.bit(move) for move in (read, write_elsewhere, write_here)]
    assert moves.commuting(read) == bits[1]
    assert moves.listed(bits[0] | bits[2]) == [read, write_here]


def test_label_of_a_reply_hides_the_serial_and_nothing_else() -> None:
    """What a process is told is the reply but for the serial, which a refusal does not have."""
    stage = Stage(coarse(Scenario(enactors=1, endpoints=1, generations=1)))
    space = Space(stage)
    space.close()
    (call,) = (
        call
        for name, node in zip(space.names, space.beginning.nodes, strict=True)
        for call in node.calls
        if name == "enactor-1"
    )
    call.name = "read_records"

    assert label(call, []) == ()
    assert label(call, [7, b"text"]) == label(call, [8, b"text"])
    assert label(call, [7, b"text"]) != label(call, [7, b"other"])
