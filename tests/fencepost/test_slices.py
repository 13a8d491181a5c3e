"""Long work in slices: others have their turn after so much of it, and not before."""

import asyncio

from fencepost.slices import Slices


async def test_slices_give_others_their_turn_after_so_much_work():
    """Ten units in slices of four: somebody else on the loop is seen after the fourth and the eighth."""
    turns: list[int] = []
    done = 0

    async def other() -> None:
        while True:
            turns.append(done)
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await asyncio.sleep(0)
    slices = Slices(4)
    for _ in range(10):
        done += 1
        await slices.spend(1)
    beside.cancel()

    assert turns == [0, 4, 8]


async def test_slices_of_a_large_piece_pause_once():
    """A piece that is larger than a slice is one all the same, and nothing is owed for it."""
    slices = Slices(4)
    paused = asyncio.create_task(slices.spend(100))
    await asyncio.sleep(0)
    assert not paused.done()
    await paused

    small = asyncio.create_task(slices.spend(3))
    await asyncio.sleep(0)

    assert small.done()
