"""No write where nothing changed: every order of small worlds whose contents repeat, change back, or are left alone."""

from typing import Any

import pytest

from fencepost.fence import Fence
from fencepost.plan import Plan, short
from lab.simulation.exhaustive import Search, coarse
from lab.simulation.scenario import Scenario
from lab.simulation.space import Space
from lab.simulation.stage import Stage


def searched(wants: str, **given: Any) -> Search:
    """Return the whole search of a world with two enactors and one endpoint, in which plans want these contents."""
    stage = Stage(coarse(Scenario(enactors=2, endpoints=1, generations=len(wants), wants=wants, **given)))
    space = Space(stage)
    search = Search(space, healing_s=stage.scene.heal_s)
    search.run(lambda: True)
    space.close()
    return search


@pytest.mark.parametrize("wants", ["ABA", "AAB", "A.B", "AB."])
def test_search_of_contents_that_repeat_is_complete_and_finds_nothing(wants: str) -> None:
    """Who has the latest plan by its fence's content and age keeps every invariant, and gets each plan (I5)."""
    search = searched(wants)

    assert search.complete
    assert not search.found
    assert search.extent.ends > 0


def test_fence_that_counts_by_its_content_alone_breaks_where_that_changes_and_changes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A, B, A: who is late with B finds the fence of the first A, and puts B live again after the second."""

    def has(self: Fence, plan: Plan, zone: str) -> bool:
        return self.generation <= plan.generation and self.digest == short(plan.digests[zone])

    monkeypatch.setattr(Fence, "has", has)

    search = searched("ABA")

    assert search.found
