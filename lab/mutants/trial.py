"""One trial: tests or the explorer, in a process of their own, with a fault in the code or as it ships."""

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from deploy.tether import tethered
from fencepost.clock import Clock
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from lab.mutants.catalogue import ROOT
from lab.mutants.plant import MARK, MUTANT

TEST_HANGS_AFTER_S: Final = 30
"""A test that a fault keeps from ending has failed."""
STOP_S: Final = 5.0
FAILED_TEST: Final = re.compile(r"^FAILED (\S+::\w+(?:\[.*\])?)(?: - .*)?$", re.MULTILINE)
FRAME: Final = " \u2500\u2502\u256d\u256e\u2570\u256f"
NOT_PLANTED: Final = "the code with the fault in it was never in use"


class Way(StrEnum):
    """By what a fault is to be caught."""

    TESTS = "tests"
    EXPLORER = "explorer"


class Verdict(StrEnum):
    """What a trial came to; `FAILED` is one that shows nothing."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    FAILED = "failed"


class Trial(msgspec.Struct, frozen=True):
    """What is tried.

    Attributes:
        mutant: its id, "" for the code as it ships.
        arguments: node ids, or what `fencepost explore` is given.
    """

    mutant: str
    way: Way
    arguments: tuple[str, ...]

    def command(self, place: Path) -> tuple[str, ...]:
        """Return what is run; an exploration's result goes into `place`."""
        program = (sys.executable, "-P", "-m", "lab.mutants.plant")
        if self.way is Way.EXPLORER:
            return (*program, "fencepost", "explore", *self.arguments, "--json", str(place / "explored.json"))
        options = ("-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", f"--timeout={TEST_HANGS_AFTER_S}")
        return (*program, "pytest", *options, *self.arguments)


class Tried(msgspec.Struct, frozen=True):
    """What a trial came to: `by` says what caught the fault, `problem` why a trial shows nothing."""

    mutant: str
    way: Way
    verdict: Verdict
    took_s: float
    by: str = ""
    problem: str = ""


async def make(trial: Trial, clock: Clock, limit_s: float) -> Tried:
    """Make a trial and say what it came to, whatever that is; one that has not ended in `limit_s` shows nothing.

    Cancelled, it ends what it has started first.
    """
    began_s = clock.monotonic()
    with TemporaryDirectory(prefix="fp-") as name:
        place = Path(name)
        code = await _run(trial, place, limit_s)
        verdict, words = _judge(trial, code, place, limit_s)
    took_s = round(clock.monotonic() - began_s, 2)
    by, problem = ("", words) if verdict is Verdict.FAILED else (words, "")
    return Tried(trial.mutant, trial.way, verdict, took_s, by, problem)


async def _run(trial: Trial, place: Path, limit_s: float) -> int | None:
    """Run a trial's command and return its exit code, None if it did not end in time. Its files are in `place`."""
    environment = os.environ | {
        MUTANT: trial.mutant,
        MARK: str(place / "mark"),
        "TMPDIR": str(place),
        # What fails because of a fault must not be tried first when there is none.
        "HYPOTHESIS_STORAGE_DIRECTORY": str(place / "hypothesis"),
    }
    with (place / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *tethered(trial.command(place)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(limit_s):
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a trial: as by Ctrl-C first, so that it stops its own servers; then whatever is left of its session."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _judge(trial: Trial, code: int | None, place: Path, limit_s: float) -> tuple[Verdict, str]:
    """Return what a trial came to; in words by what the fault was caught, or why the trial shows nothing."""
    said = (place / "log").read_text("utf-8", "replace")
    if code is None:
        return Verdict.FAILED, f"no end within {limit_s:g} s"
    if trial.mutant and not (place / "mark").exists():
        return Verdict.FAILED, f"{NOT_PLANTED}; {_last_line(said)}"
    if code == EXIT_FINE:
        return Verdict.SURVIVED, ""
    caught = caught_by_tests(said) if trial.way is Way.TESTS else _caught_by_explorer(place / "explored.json")
    if code == EXIT_CHECK_FAILED and caught:
        return Verdict.CAUGHT, caught
    return Verdict.FAILED, f"exit code {code}: {_last_line(said)}"


def _last_line(said: str) -> str:
    """Return the last words of an output, without the frame in which a command line tells its errors."""
    lines = (line.strip(FRAME) for line in reversed(said.splitlines()))
    return next(filter(None, lines), "it ended without a word")


def caught_by_tests(said: str) -> str:
    """Return the first test that failed by pytest's summary; "" if none did: an error in a fixture is no catch."""
    match = FAILED_TEST.search(said)
    return match[1] if match else ""


def _caught_by_explorer(path: Path) -> str:
    try:
        return caught_by_explorer(msgspec.json.decode(path.read_bytes()))
    except (OSError, msgspec.DecodeError):
        return ""


def caught_by_explorer(explored: Any) -> str:
    """Return which invariants an exploration found broken and after how many schedules; "" if it found none."""
    violations = explored.get("violations") if isinstance(explored, dict) else None
    if not violations:
        return ""
    found = sorted({str(v.get("invariant", "?") if isinstance(v, dict) else v) for v in violations})
    return f"{', '.join(found)} after {explored.get('schedules', '?')} schedules"
