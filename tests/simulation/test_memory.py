"""What a process has in mind: equal only where it would do the same."""

import asyncio
from typing import Any, Self

import pytest

from lab.simulation.loop import ProcessLoop, WorldTime
from lab.simulation.memory import Unreadable, memory_of


class Waiting:
    """One task that waits for its future."""

    def __init__(self, main: Any, *args: Any) -> None:
        self.loop = ProcessLoop(WorldTime())
        self.future = asyncio.Future(loop=self.loop)
        self.loop.begin(main(self.future, *args))

    @property
    def mind(self) -> tuple[Any, ...]:
        return memory_of([self.future, self.loop.tasks])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.drop()


def minds(main: Any, one: Any, other: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    with Waiting(main, one) as first, Waiting(main, other) as second:
        return first.mind, second.mind


async def a_local(future: Any, value: Any) -> None:
    kept = [value]
    await future
    kept.clear()


async def an_expression(future: Any, value: Any) -> Any:
    return value * 10 + await future


async def an_iterator(future: Any, value: int) -> None:
    for _ in [1, 2, 3, 4]:
        value -= 1
        if value == 0:
            value = 7
            await future


async def a_closure(future: Any, value: Any) -> None:
    async def inner() -> Any:
        await future
        return value

    await inner()


async def a_branch(future: Any, value: bool) -> None:
    if value:
        one = 1
        await asyncio.sleep(0)
    else:
        other = 1
        await asyncio.sleep(0)
    await future
    del one, other


@pytest.mark.parametrize("main", [a_local, an_expression, an_iterator, a_closure, a_branch])
def test_mind_of_two_tasks_that_would_go_on_alike_is_equal(main: Any) -> None:
    """Two tasks that were told the same cannot be told apart."""
    one, other = minds(main, 1, 1)

    assert one == other


@pytest.mark.parametrize(
    ("main", "values"),
    [
        (a_local, (1, 2)),
        (a_local, (1, 1.0)),
        (a_local, (1, True)),
        (an_expression, (1, 2)),
        (an_iterator, (1, 2)),
        (a_closure, (1, 2)),
        (a_branch, (True, False)),
    ],
)
def test_mind_of_two_tasks_that_would_go_on_otherwise_differs(main: Any, values: tuple[Any, Any]) -> None:
    """A local, a value half-way through an expression, how far an iterator is, a cell: all of it is read."""
    one, other = minds(main, *values)

    assert one != other


def test_memory_of_shared_and_of_equal_lists_differs() -> None:
    """What is written to one of two equal lists does not show in the other, to a shared one it does."""
    shared: list[int] = []

    assert memory_of([shared, shared]) != memory_of([[], []])


def test_memory_of_dicts_in_another_order_differs() -> None:
    """Somebody may go through them in that order."""
    assert memory_of({"a": 1, "b": 2}) != memory_of({"b": 2, "a": 1})


def test_memory_of_an_unknown_kind_is_refused() -> None:
    """Guessing would make a search unsound."""
    with pytest.raises(Unreadable, match="memoryview"):
        memory_of([memoryview(b"text")])
