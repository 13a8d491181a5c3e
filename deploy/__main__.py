"""`python3 -m deploy COMMAND ...`: from a fresh clone to a running command, with nothing but CPython >= 3.11.

Standard library only: this file runs before anything is installed. It makes `.venv` beside the checkout, installs the
locked dependencies (with hashes) and the project, and becomes `.venv/bin/fencepost COMMAND ...`. `test` runs the test
suite instead. Where the project is installed already (outside a checkout), it just passes the command on.
"""

from __future__ import annotations  # so that a Python that is too old gets as far as being told so

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".set-up"
LOCK = ROOT / "requirements.lock"
EXIT_NOT_STARTED = 3
EXIT_INTERRUPTED = 130
OLDEST = (3, 11)


def main() -> int:
    """Set up what is missing, then become the command."""
    arguments = sys.argv[1:]
    if sys.version_info < OLDEST:
        return fail(f"Python {sys.version.split()[0]} is too old; run this with Python 3.11 or newer")
    if not LOCK.exists():
        from fencepost.cli import run

        return run(arguments)
    try:
        with one_at_a_time():
            if not is_set_up():
                set_up()
    except (OSError, subprocess.CalledProcessError) as error:
        return fail(
            f"set-up failed: {error}\nIs the package index reachable, and is the module venv complete "
            "(Debian: apt install python3-venv)? Then run the same command again."
        )
    except KeyboardInterrupt:
        say("set-up interrupted; the next start does it again")
        return EXIT_INTERRUPTED
    return become(command_line(arguments))


def become(command: list[str]) -> NoReturn:
    """Replace this process by the command: signals and exit code are its own."""
    os.execv(command[0], command)  # noqa: S606  -- the point is to become it, without a shell


def command_line(arguments: list[str]) -> list[str]:
    """Return the program, inside `.venv`, that a command stands for, with its arguments."""
    if arguments[:1] == ["test"]:
        os.chdir(ROOT)
        return [str(VENV / "bin" / "python"), "-m", "pytest", *arguments[1:]]
    return [str(VENV / "bin" / "fencepost"), *arguments]


def fail(message: str) -> int:
    """Say why nothing could start."""
    sys.stderr.write(f"error: {message}\n")
    return EXIT_NOT_STARTED


def fingerprint() -> str:
    """Return what `.venv` was made from: interpreter, place, locked dependencies, project file."""
    parts = (sys.version.encode(), str(VENV).encode(), LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_set_up() -> bool:
    """Say whether `.venv` was finished, from exactly these files, and still has its interpreter."""
    return STAMP.exists() and STAMP.read_text() == fingerprint() and (VENV / "bin" / "python").exists()


def set_up() -> None:
    """Make `.venv` anew; the stamp comes last, so that an interrupted set-up is done again."""
    say("setting up .venv with the locked dependencies (once; about half a minute) ...")
    shutil.rmtree(VENV, ignore_errors=True)
    # The interpreter behind any virtual environment that we run in: it may be the very one that is made anew.
    python = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([python, "-m", "venv", str(VENV)], check=True)  # noqa: S603  -- our own interpreter
    pip("install", "--require-hashes", "--only-binary", ":all:", "--requirement", str(LOCK))
    pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(fingerprint())
    say("set up.")


def pip(*arguments: str) -> None:
    """Run pip inside `.venv`; it shows errors only."""
    options = ("-qq", "--disable-pip-version-check", "--no-input")
    command = [str(VENV / "bin" / "python"), "-m", "pip", arguments[0], *options, *arguments[1:]]
    subprocess.run(command, check=True)  # noqa: S603  -- fixed arguments


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one set-up run at a time: a second command waits for the first."""
    with (ROOT / ".set-up.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Tell the person who waits; standard output belongs to the command."""
    sys.stderr.write(f"fencepost: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
