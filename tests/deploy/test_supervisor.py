"""The supervisor over tiny real processes: order, readiness, restarts, the end."""

import asyncio
import json
import os
import random
import signal

import pytest
import uvloop

from deploy.restarts import ChildAbandoned, RestartPolicy
from deploy.supervisor import Supervisor
from deploy.topology import ProcessSpec, Stage
from fencepost.clock import SystemClock
from fencepost.errors import StartupError
from fencepost.events import EventBus


async def test_start_processes_are_ready_returns(supervise, child_spec, recorder, leftovers):
    """When start returns, every process answers on its admin port, and lives."""
    supervisor = supervise(child_spec("fleet"), child_spec("planner"))

    await supervisor.start()

    assert supervisor.names() == ("fleet", "planner")
    assert leftovers() == {supervisor.pid("fleet"), supervisor.pid("planner")}
    assert recorder.names()[-1] == "supervisor.system_ready"


async def test_start_stages_wait_for_each_other(supervise, child_spec, recorder):
    """No process of a stage is started before the stage before is ready and what comes after it is done."""
    order = []

    async def after(stage):
        order.append((stage, len(recorder.events)))

    specs = child_spec("fleet", stage=Stage.DATA_PLANE), child_spec("planner", stage=Stage.PLANNER)
    await supervise(*specs, after_stage=after).start()

    story = [(event.name, event.fields.get("child")) for event in recorder.events]
    assert story[:4] == [
        ("supervisor.child_started", "fleet"),
        ("supervisor.child_ready", "fleet"),
        ("supervisor.child_started", "planner"),
        ("supervisor.child_ready", "planner"),
    ]
    assert order == [(Stage.DATA_PLANE, 2), (Stage.PLANNER, 4)]


async def test_start_process_cannot_start_tells_its_last_words(supervise, child_spec, leftovers):
    """A start that fails says what the process said last, and leaves nothing running."""
    supervisor = supervise(child_spec("fleet", stage=Stage.DATA_PLANE), child_spec("planner", "cannot-start"))

    with pytest.raises(StartupError, match="planner ended while it was starting: error: the reason why"):
        await supervisor.start()

    assert leftovers() == set()


async def test_start_never_ready_tells_why_after_the_bound(supervise, child_spec, leftovers):
    """A process that stays unready fails the start with its own reason."""
    supervisor = supervise(child_spec("planner", "never-ready"), ready_timeout_s=0.5)

    with pytest.raises(StartupError, match=r"planner is not ready after 0\.5 s: waiting for Godot"):
        await supervisor.start()

    assert leftovers() == set()


async def test_start_program_missing_is_told(supervise, child_spec):
    """A program that is not there is named."""
    supervisor = supervise(ProcessSpec("planner", ("/no/such/program",), {}, 1))

    with pytest.raises(StartupError, match="cannot run /no/such/program"):
        await supervisor.start()


async def test_start_cancelled_leaves_nothing(supervise, child_spec, leftovers, until):
    """Ctrl-C during the start stops what was started."""
    starting = asyncio.create_task(supervise(child_spec("planner", "never-ready")).start())
    await until(leftovers)

    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting
    assert leftovers() == set()


async def test_keep_killed_process_is_started_again(supervise, child_spec, recorder, until):
    """A process that is killed returns, with another pid, and is ready again."""
    supervisor = supervise(child_spec("planner"))
    await supervisor.start()
    first = supervisor.pid("planner")

    os.kill(first, signal.SIGKILL)
    await until(lambda: recorder.names().count("supervisor.child_ready") == 2)

    assert supervisor.pid("planner") != first
    assert supervisor.restarts("planner") == 1
    exited = next(event for event in recorder.events if event.name == "supervisor.child_exited")
    assert exited.fields == {"child": "planner", "status": -9}


async def test_run_process_keeps_dying_is_abandoned(supervise, child_spec, recorder):
    """A process that dies again and again ends the run with one error that has its last words."""
    supervisor = supervise(child_spec("planner", "dies"))
    await supervisor.start()

    with pytest.raises(ChildAbandoned, match=r"planner died 6 times within 60 s.*error: tired of life"):
        await supervisor.run()

    assert recorder.names().count("supervisor.child_restarted") == 5
    assert recorder.names()[-1] == "supervisor.child_abandoned"


async def test_run_stop_requested_returns(supervise, child_spec):
    """`request_stop` ends `run`, not the processes."""
    supervisor = supervise(child_spec("planner"))
    await supervisor.start()

    running = asyncio.create_task(supervisor.run())
    supervisor.request_stop()
    await running

    assert supervisor.pid("planner")


async def test_replace_runs_another_process_under_the_name(supervise, child_spec, recorder, leftovers):
    """The one is stopped in order before the other is started; all others are the same processes as before."""
    supervisor = supervise(child_spec("fleet"), child_spec("planner"))
    await supervisor.start()
    fleet, planner = supervisor.pid("fleet"), supervisor.pid("planner")

    await supervisor.replace(child_spec("planner"))

    assert supervisor.pid("fleet") == fleet
    assert supervisor.pid("planner") != planner
    assert leftovers() == {fleet, supervisor.pid("planner")}
    assert recorder.names()[-2:] == ["supervisor.child_replaced", "supervisor.child_ready"]
    assert "supervisor.child_exited" not in recorder.names()


async def test_replace_successor_that_dies_is_started_again_and_abandoned(supervise, child_spec, recorder, until):
    """Whoever waits in `run` meanwhile goes on, and learns of the successor's end as of any other's."""
    supervisor = supervise(child_spec("fleet"), child_spec("planner"))
    await supervisor.start()
    running = asyncio.create_task(supervisor.run())
    await asyncio.sleep(0)

    await supervisor.replace(child_spec("planner", "dies"))

    with pytest.raises(ChildAbandoned, match="planner died 6 times"):
        await running
    assert supervisor.restarts("planner") == 5


async def test_replace_successor_that_cannot_start_is_told(supervise, child_spec, leftovers):
    """The error has its last words; it is not left running, and the others are."""
    supervisor = supervise(child_spec("fleet"), child_spec("planner"))
    await supervisor.start()

    with pytest.raises(StartupError, match="planner ended while it was starting: error: the reason why"):
        await supervisor.replace(child_spec("planner", "cannot-start"))

    assert leftovers() == {supervisor.pid("fleet")}


async def test_stop_ends_stages_in_reverse_order(supervise, child_spec, tmp_path, leftovers):
    """The later stage is gone before the earlier one is asked to end."""
    specs = child_spec("server-like", stage=Stage.SERVER), child_spec("planner")
    supervisor = supervise(*specs)
    await supervisor.start()
    ended = asyncio.Queue()
    watches = [asyncio.create_task(note_end(child, ended)) for child in supervisor._children]

    await supervisor.stop()
    await asyncio.gather(*watches)

    assert [ended.get_nowait(), ended.get_nowait()] == [("planner", 0), ("server-like", 0)]
    assert leftovers() == set()


async def note_end(child, ended):
    """Put a process's name and status into a queue when it has ended."""
    status = await child.wait()
    ended.put_nowait((child.spec.name, status))


async def test_stop_deaf_and_paused_processes_end_within_5_s(supervise, child_spec, leftovers):
    """A process that ignores SIGTERM is killed, one that SIGSTOP holds is woken up, all within the bound."""
    supervisor = supervise(
        child_spec("deaf-first", "ignores-sigterm", stage=Stage.SERVER),
        child_spec("paused", stage=Stage.PLANNER),
        child_spec("deaf", "ignores-sigterm", stage=Stage.ENACTORS),
    )
    await supervisor.start()
    os.kill(supervisor.pid("paused"), signal.SIGSTOP)
    paused = supervisor._by_name["paused"]

    began_s = asyncio.get_running_loop().time()
    await supervisor.stop()

    assert asyncio.get_running_loop().time() - began_s < 5
    assert leftovers() == set()
    assert await paused.wait() == 0


async def test_stop_cancelled_kills_at_once(supervise, child_spec, leftovers, until):
    """Who will not wait for an orderly end gets one that is not."""
    supervisor = supervise(child_spec("deaf", "ignores-sigterm"))
    await supervisor.start()
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)

    began_s = asyncio.get_running_loop().time()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping

    assert asyncio.get_running_loop().time() - began_s < 0.5
    assert leftovers() == set()


async def test_stop_during_a_spawn_forgets_nobody(supervise, child_spec, leftovers):
    """A process that is just being started when the stop comes is stopped too."""
    supervisor = supervise(child_spec("planner"))
    before = len(asyncio.all_tasks())
    starting = asyncio.create_task(supervisor.start())
    while len(asyncio.all_tasks()) < before + 2:  # noqa: ASYNC110  -- until the start has a task that spawns
        await asyncio.sleep(0)

    assert supervisor._children[0]._process is None
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not supervisor._children[0].alive
    assert supervisor._children[0]._process is not None
    assert leftovers() == set()


async def test_stop_twice_does_nothing_more(supervise, child_spec, recorder):
    """A second stop is no event."""
    supervisor = supervise(child_spec("planner"))
    await supervisor.start()

    await supervisor.stop()
    await supervisor.stop()

    assert recorder.names().count("supervisor.system_stopping") == 1


async def test_pid_process_ended_is_told(supervise, child_spec):
    """There is no process id of a process that does not run, so that nobody signals a stranger."""
    supervisor = supervise(child_spec("planner"))

    with pytest.raises(ProcessLookupError, match="planner does not run"):
        supervisor.pid("planner")


async def test_logs_are_files_and_one_merged_view(supervise, child_spec, tmp_path):
    """Standard output is kept as it is written, and shown readably, whatever is no JSON too."""
    shown = []
    supervisor = supervise(child_spec("planner"), echo=shown.append)

    await supervisor.start()
    await supervisor.stop()

    kept = (tmp_path / "logs" / "planner.jsonl").read_text().splitlines()
    assert json.loads(kept[0])["event"] == "probe.line_written"
    assert "06:48:00.123  planner  probe.line_written  a.test.  plan 7" in shown
    assert any(text.endswith("planner  no JSON at all") for text in shown)
    assert any("service.process_ended" in text for text in shown), "the last words are shown too"


def test_supervisor_runs_on_uvloop(tmp_path, child_spec, leftovers, until):
    """The lab's processes run on uvloop, which starts children in a way of its own."""

    async def run():
        supervisor = Supervisor(
            [child_spec("planner")],
            run_dir=tmp_path,
            events=EventBus(),
            echo=None,
            clock=SystemClock(),
            rng=random.Random(1),
            policy=RestartPolicy(first_wait_s=0.01),
        )
        await supervisor.start()
        os.kill(supervisor.pid("planner"), signal.SIGKILL)
        await until(lambda: supervisor.restarts("planner") == 1)
        await supervisor.stop()

    uvloop.run(run())

    assert leftovers() == set()
