"""A real system that a benchmark drives, and what it is asked and read."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fencepost.clock import SystemClock
from lab.bench.asker import Seen, addresses, asker, fence_of, fence_question, question, shows
from lab.bench.many import Many
from lab.bench.programs import BenchFailed
from lab.bench.system import OurOptions, our_system, used
from lab.bench.usage import session_cpu_s, usage

MANY = Many(endpoints=2, members=3, turns=2)


async def test_system_installs_what_the_benchmark_publishes(port_base):
    """The resolver shows the plan, every process can be looked at, and all of it is over afterwards.

    Nobody waits for what is done but once: no script is loaded while the first plan is on its way.
    """
    async with our_system(OurOptions(MANY, enactors=1, port_base=port_base), SystemClock()) as system:
        before = system.usage()
        await system.redis.config_resetstat()

        took_s = await system.install(dict.fromkeys(MANY.names, MANY.content(0)), within_s=30)

        assert "cmdstat_script|load" not in await system.redis.info("commandstats")
        again_s = await system.install({MANY.names[0]: MANY.content(1)}, within_s=30)

        assert took_s > 0
        assert again_s > 0
        assert system.generation == 2
        answer = await system.dns.ask(question(MANY.names[0], "A"))
        assert {MANY.turn_of(address) for address in addresses(answer)} == {1}
        assert set(used(before, system.usage())) == {"server", "resolver", "use1-az1-enactor", "bench"}
        system.check_alive()
        pids = [system.running.supervisor.pid(name) for name in system.running.supervisor.names()]

    for pid in pids:
        with pytest.raises(ProcessLookupError):
            usage(pid)


async def test_system_without_enactor_at_work_names_what_is_not_there(port_base):
    """A system that cannot install anything is told by the endpoints that wait, within its time."""
    async with our_system(OurOptions(MANY, enactors=1, port_base=port_base), SystemClock()) as system:
        stray = await system.publish({MANY.names[1]: MANY.content(0)})

        with pytest.raises(BenchFailed, match=r"1 did not answer what was expected within 0\.5 s: endpoint-0000"):
            await system.until_live({MANY.names[0]: MANY.content(0)}, stray, within_s=0.5)


async def test_asker_without_a_server_has_no_answer(port_base):
    """A question that nobody takes is lost, and no error."""
    async with asker(port_base, SystemClock()) as dns:
        answer = await dns.ask(question("x.test.", "A"))

        assert answer is None
        assert (dns.asked, dns.lost) == (1, 1)


async def test_asker_goes_on_to_others_while_the_first_are_not_seen(name_server):
    """The first ones come last: whoever waited for them would see them first, and have all others still to ask for."""
    names = [f"e-{number}.x.test." for number in range(9)]
    seen = []

    def look_for(name: str) -> Seen:
        def see(_: bytes) -> bool:
            there = name not in names[:2] or set(names[2:]) <= set(seen)
            if there:
                seen.append(name)
            return there

        return see

    async with asker(name_server.port, SystemClock()) as dns:
        await dns.until_all([(name, question(name, "A"), look_for(name)) for name in names], within_s=5.0)

    assert sorted(seen) == names
    assert set(seen[-2:]) == set(names[:2])


def test_fence_is_read_from_an_answer():
    """It is told from a later plan, an earlier one, and another content."""
    answer = fence_question("e-1.test.") + b"\x1f12 0a1b2c3d use1-az1-enactor-1-7"

    assert fence_of(answer) == (12, "0a1b2c3d")
    assert fence_of(fence_question("e-1.test.")) is None
    assert shows(12, "0a1b2c3d")(answer)
    assert shows(11, "0a1b2c3d")(answer)
    assert not shows(13, "0a1b2c3d")(answer)
    assert not shows(12, "ffffffff")(answer)


def test_usage_of_this_process_grows():
    """Processor time is counted, and memory is there."""
    before = usage()
    while usage().cpu_s == before.cpu_s:
        sum(range(100_000))

    after = usage(os.getpid())

    assert after.since(before).cpu_s > 0
    assert 1 < after.resident_mb <= after.highest_mb


def test_session_has_the_processor_time_of_all_its_processes():
    """A server that forks is counted whole: the child works, the leader only waits."""
    work = "import os\nif os.fork():\n  os.wait()\nelse:\n  while True: pass"
    with subprocess.Popen([sys.executable, "-c", work], start_new_session=True) as leader:
        try:
            deadline_s = time.monotonic() + 30
            while session_cpu_s(leader.pid) < usage(leader.pid).cpu_s + 0.1:
                assert time.monotonic() < deadline_s, "the child is not counted"
                time.sleep(0.01)
        finally:
            os.killpg(leader.pid, signal.SIGKILL)
