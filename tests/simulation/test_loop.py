"""A simulated process: what it does is decided by what it is told, and a kill ends it for good."""

import asyncio

import pytest

from lab.simulation.client import Killed
from lab.simulation.loop import EndlessLoop, NotInSimulation, WorldTime
from lab.simulation.process import Process
from lab.simulation.server import Server

KEY = "{zone}:hash"


@pytest.fixture
def time():
    """The world's time."""
    return WorldTime()


@pytest.fixture
def said():
    """The names of the events that were heard."""
    return []


@pytest.fixture
def make(time, said):
    """Makes a process, not started, on a server of its own; it is gone at the end."""
    made = []

    def making(main):
        hear = lambda _, event: said.append(event.name)  # noqa: E731  -- it says what it is
        made.append(Process("tested", main, server=Server(), time=time, seed=1, listener=hear, finite=True))
        return made[-1]

    yield making
    for process in made:
        process.kill()


async def test_process_with_a_store_call_waits_until_it_is_answered(make):
    """Nothing of a process goes on by itself: its call is parked, and the reply is what it is told."""
    heard = []

    async def main(process):
        heard.append(await process.client.hget(KEY, "field"))

    process = make(main)
    process.start()
    assert [call.what for call in process.parked] == ["HGET zone"]

    process.answer(process.parked[0], b"told")

    assert heard == [b"told"]
    assert not process.parked
    assert not process.busy


async def test_process_with_two_timers_fires_the_earlier_one_first(make, time):
    """Timers go off in the order in which they are due, each when the world says so."""
    heard = []

    async def after(process, seconds):
        await process.clock.sleep(seconds)
        heard.append((seconds, process.clock.monotonic()))

    async def main(process):
        await asyncio.gather(after(process, 5.0), after(process, 2.0))

    process = make(main)
    process.start()
    for now_s in (2.0, 5.0):
        assert process.timer_s == now_s
        time.now_s = now_s
        process.fire()

    assert heard == [(2.0, 2.0), (5.0, 5.0)]
    assert process.timer_s is None


async def test_killed_process_cleans_up_in_vain(make, said):
    """A `finally` of a dead process may run, as Python unwinds it, but nobody hears what it says or calls."""

    async def main(process):
        try:
            await process.client.hget(KEY, "field")
        finally:
            process.emit("service.stopped")
            await process.client.hget(KEY, "last words")

    process = make(main)
    process.start()

    process.kill()

    assert process.parked == []
    assert said == []
    assert process.killed


async def test_process_that_starts_again_has_an_empty_memory_and_another_chance(make):
    """A restart begins `main` anew, and its draws are not those of the life before."""
    draws = []

    async def main(process):
        remembered = []
        remembered.append(process.life)
        draws.append((remembered, process.rng("any").random()))
        await process.client.hget(KEY, "field")

    process = make(main)
    process.start()
    process.kill()
    process.start()

    assert [remembered for remembered, _ in draws] == [[1], [2]]
    assert draws[0][1] != draws[1][1]
    assert len(process.parked) == 1


async def test_process_that_ends_with_an_error_tells_the_world(make):
    """An error that nobody foresaw is a finding, not a line in a log."""

    async def main(process):
        await process.client.hget(KEY, "field")
        raise LookupError("unforeseen")

    process = make(main)
    process.start()

    with pytest.raises(LookupError, match="unforeseen"):
        process.answer(process.parked[0], None)


async def test_task_whose_error_nobody_awaits_is_a_finding_too(make):
    """What asyncio would only log is raised."""

    async def failing():
        raise LookupError("unforeseen")

    async def main(process):
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.call_exception_handler({"message": "m", "exception": LookupError("unforeseen")}))
        await process.client.hget(KEY, "field")

    process = make(main)

    with pytest.raises(LookupError, match="unforeseen"):
        process.start()


async def test_process_that_never_waits_is_ended_with_an_error(make):
    """A round without a store call and without a timer would go on for ever."""

    async def main(_):
        while True:  # noqa: ASYNC110  -- an endless loop is the point
            await asyncio.sleep(0)

    process = make(main)

    with pytest.raises(EndlessLoop):
        process.start()


@pytest.mark.parametrize(
    "reach",
    [
        lambda: asyncio.to_thread(len, ""),
        lambda: asyncio.open_connection("127.0.0.1", 9),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 9),
    ],
    ids=["thread", "connection", "child process", "name"],
)
async def test_process_that_reaches_for_the_real_world_is_refused(make, reach):
    """A loop of a simulation has no way out."""

    async def main(process):
        await reach()

    process = make(main)

    with pytest.raises(NotInSimulation):
        process.start()


async def test_dead_client_takes_no_call(make):
    """What the code of a dead process still holds leads nowhere."""

    async def main(process):
        await process.client.hget(KEY, "field")

    process = make(main)
    process.start()
    client = process.client
    process.kill()

    with pytest.raises(Killed):
        await client.hget(KEY, "field")


async def test_event_of_a_living_process_is_heard(make, said):
    """The silence of the dead in the tests above is not that of a broken listener."""

    async def main(process):
        process.emit("service.started")
        await process.client.hget(KEY, "field")

    make(main).start()

    assert said == ["service.started"]
