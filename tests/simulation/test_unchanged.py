"""No write where nothing changed: every order of small worlds whose contents repeat, change back, or are left alone."""

from collections.abc import Iterator

import pytest

from fencepost.events import Event
from fencepost.fence import Fence, fence_key
from fencepost.plan import Plan, digest, short
from fencepost.records import RecordKey, RecordSet
from lab.simulation.actors import Node
from lab.simulation.exhaustive import Search, coarse
from lab.simulation.scenario import Scenario
from lab.simulation.space import Space, State
from lab.simulation.stage import Stage

ZONE = "a.test."


class Taken(Exception):
    """A zone was taken back behind a plan that an enactor had found, or put, there."""


def searched(wants: str) -> Search:
    """Search a world of two enactors and one endpoint, in which plans want these contents. Raises: Taken."""
    stage = Stage(coarse(Scenario(enactors=2, endpoints=1, generations=len(wants), wants=wants, installed=1)))
    space = Space(stage)
    wanted = stage.scene.contents["AB".index(wants.replace(".", "")[-1])]
    search = Search(
        space, healing_s=stage.scene.heal_s, at_end=lambda state: refuse_taken(state, len(wants), short(digest(wanted)))
    )
    try:
        search.run(lambda: True)
    finally:
        space.close()
    return search


def refuse_taken(state: State, latest: int, wanted: str) -> None:
    """Raise unless a zone of which some enactor's round said that it has the latest plan has that plan's content."""
    if any(says_installed(node, latest) for node in state.nodes):
        fence = Fence.parse(ZONE, records_of(state)[fence_key(ZONE)])
        if fence.digest != wanted:
            raise Taken(f"plan {latest} was there, and now the fence is {fence}")


def says_installed(node: Node, generation: int) -> bool:
    """Say whether a process has ended a round with a plan, and nothing in that round has come between."""
    said = [event.name for event in events(node) if event.generation in (None, generation)]
    if "enactor.pass_completed" not in said:
        return False
    begun = said[: said.index("enactor.pass_completed")][::-1]
    return not {"enactor.lock_missed", "enactor.step_refused"} & set(begun[: begun.index("enactor.pass_started")])


def events(node: Node | None) -> Iterator[Event]:
    """Yield what a process has said on the way to a node."""
    if node is not None:
        yield from events(node.parent)
        yield from node.said


def records_of(state: State) -> dict[RecordKey, RecordSet]:
    found: dict[RecordKey, RecordSet] = {}
    for commit in state.slots[1].commits:
        for change in commit.changes:
            if change.action == "DELETE":
                del found[change.record_set.key]
            else:
                found[change.record_set.key] = change.record_set
    return found


@pytest.mark.parametrize("wants", ["ABA", "A.B"])
def test_search_of_contents_that_repeat_is_complete_and_finds_nothing(wants: str) -> None:
    """Every invariant holds, and who says that a zone has the latest plan is right for good, whoever is still late."""
    search = searched(wants)

    assert search.complete
    assert not search.found
    assert search.extent.ends > 0


def by_content_alone(self: Fence, plan: Plan, zone: str) -> bool:
    return self.generation <= plan.generation and self.digest == short(plan.digests[zone])


def test_fence_that_counts_by_its_content_alone_is_found_out_by_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A, B, A: who is late with B finds the fence of the first A, and puts B live after the second was told of."""
    monkeypatch.setattr(Fence, "has", by_content_alone)

    with pytest.raises(Taken, match="plan 3 was there, and now the fence is"):
        searched("ABA")
