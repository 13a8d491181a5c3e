"""No child outlives its supervisor, whatever kills it."""

import subprocess
import sys
import time

import pytest

from deploy import tether

pytestmark = pytest.mark.skipif(not tether.works_here(), reason="this system cannot tie processes")

SUPERVISOR = """
import os, signal, subprocess, sys, time
from deploy.tether import tethered
child = subprocess.Popen(tethered(("/bin/sleep", "1000")), start_new_session=True)
while "sleep" not in os.readlink(f"/proc/{child.pid}/exe"):
    time.sleep(0.01)
if sys.argv[1] == "stopped":
    os.kill(child.pid, signal.SIGSTOP)
print(child.pid, flush=True)
time.sleep(1000)
"""


def is_alive(pid):
    """Say whether a process runs; one that nobody has reaped yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123  -- a path of the kernel's
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_tether_supervisor_killed_ends_the_child(state):
    """A kill -9 of the supervisor takes its children along, the one that is stopped by SIGSTOP too."""
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, state], stdout=subprocess.PIPE, text=True) as supervisor:
        child = int(supervisor.stdout.readline())
        assert is_alive(child)

        supervisor.kill()

    deadline_s = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_tether_parent_already_gone_does_not_start():
    """A parent that died before it could be watched is noticed: the program is never run."""
    command = (sys.executable, "-I", "-S", tether.__file__, "1", "--", "/bin/echo", "I live")

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode != 0
    assert (result.stdout, result.stderr) == ("", "error: the supervisor is gone\n")


def test_tether_becomes_the_program():
    """The program has the pid that was started, its own arguments, and its own exit code."""
    script = "import os, sys; print(os.getpid(), sys.argv[1:]); sys.exit(7)"
    command = tether.tethered((sys.executable, "-c", script, "--", "a b"))

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate()

    assert said == f"{process.pid} ['--', 'a b']\n"
    assert process.returncode == 7


def test_tether_program_missing_cannot_start():
    """What cannot be run is exit code 3, with its name."""
    result = subprocess.run(tether.tethered(("/no/such",)), capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (3, "error: cannot run /no/such: No such file or directory\n")


def test_tether_without_prctl_starts_bare(monkeypatch):
    """Where the kernel has no such thing, the command is left as it is."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert tether.tethered(("/bin/true",)) == ("/bin/true",)
