"""Inside a simulation the real world raises; outside it goes on, also while a simulation is sealed."""

import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from lab.simulation.loop import NotInSimulation, ProcessLoop, WorldTime
from lab.simulation.seal import sealed

REACHES = {
    "wall clock": lambda: call(time, "time"),
    "nanoseconds": lambda: call(time, "time_ns"),
    "monotonic clock": lambda: call(time, "monotonic"),
    "performance counter": lambda: call(time, "perf_counter"),
    "sleep": lambda: call(time, "sleep", 0),
    "global chance": lambda: call(random, "random"),
    "choice": lambda: call(random, "choice", [1]),
    "unseeded generator": lambda: call(random, "Random"),
    "system's chance": lambda: random.SystemRandom().random(),
    "secrets": lambda: secrets.token_bytes(4),
    "urandom": lambda: call(os, "urandom", 4),
    "uuid4": lambda: call(uuid, "uuid4"),
    "socket": lambda: socket.socket().close(),
    "thread": lambda: threading.Thread(target=len, args=("",)).start(),
    "child process": lambda: subprocess.Popen(["true"]).wait(),
}


def call(owner, name, *args):
    """Call a function that is looked up now: the seal puts others in their place."""
    return getattr(owner, name)(*args)


def inside(reach):
    """Call something in a simulated process."""

    async def main():
        reach()

    loop = ProcessLoop(WorldTime())
    try:
        loop.begin(main())
    finally:
        loop.drop()


@pytest.mark.parametrize("name", REACHES)
def test_real_world_inside_a_simulation_raises(name):
    """Else a schedule would not be all that decides."""
    with sealed(), pytest.raises(NotInSimulation):
        inside(REACHES[name])


@pytest.mark.parametrize("name", REACHES)
def test_real_world_outside_a_simulation_works(name):
    """The explorer itself has clocks, processes and progress to show."""
    with sealed():
        REACHES[name]()

    REACHES[name]()


def test_seeded_chance_inside_a_simulation_works():
    """What is injected comes from a seed."""
    drawn = []

    with sealed():
        inside(lambda: drawn.append(random.Random(7).random()))

    assert drawn == [random.Random(7).random()]


def test_seal_that_is_left_by_an_error_is_gone():
    """Nothing of it stays behind."""
    before = (time.time, random.random, socket.socket.__init__, random.Random.__init__, subprocess.Popen.__init__)

    with pytest.raises(LookupError), sealed():
        raise LookupError

    after = (time.time, random.random, socket.socket.__init__, random.Random.__init__, subprocess.Popen.__init__)
    assert after == before


TRACES = """
import hashlib
from lab.simulation.coverage import Coverage
from lab.simulation.explore import Explorer, Options
from lab.simulation.scenario import Scenario

explorer = Explorer(Options(scenario=Scenario(enactors=2, endpoints=2, generations=3, faults=3), steps=80))
told = hashlib.blake2b()
for number in range(12):
    verdict = explorer._run(explorer.strategy(number), Coverage(), rests=True)
    contents = sorted((key, repr(value)) for key, value in explorer.stage.server.contents().items())
    told.update(repr((verdict, contents)).encode())
    print(number, len(verdict.trace), told.hexdigest())
"""


def test_same_schedules_in_processes_with_other_hashes_are_the_same():
    """Neither the order of a set nor anything else that differs between two processes decides what happens."""
    told = []

    for seed in ("1", "2"):
        command = [sys.executable, "-c", TRACES]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        place = Path(__file__).parent.parent.parent
        ran = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        told.append(ran.stdout)

    assert told[0] == told[1]
    assert len(told[0].splitlines()) == 12
