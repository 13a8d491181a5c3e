"""Ties a child's life to its parent's: when the supervisor ends, however it ends, no child lives on.

How: every child is started as `python -I -S tether.py <supervisor's pid> -- program arguments...`. That few-line
program asks the kernel for SIGKILL on its parent's death (`prctl(PR_SET_PDEATHSIG, SIGKILL)`), checks that the parent
has not died before it asked, and becomes the program by `execv`, which keeps the request. So it works for any program
(`valkey-server` too), for a child that is stopped by SIGSTOP (SIGKILL needs no co-operation), and for `kill -9` of the
supervisor, when nothing of the supervisor's can run any more.

Limits: the kernel means the *thread* that started the child, so children are started from the main thread only. What a
child starts itself is not covered; ours start nothing that stays (the server's rewrite of its append-only file ends by
itself). Only Linux has it: elsewhere children are started bare, and the supervisor says so once.

Standard library only, since it runs as a script in an interpreter without site-packages (`-S`), for speed.
Source: prctl(2), PR_SET_PDEATHSIG.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_NOT_STARTED = 3


def works_here() -> bool:
    """Say whether this system can tie children."""
    return sys.platform == "linux"


def tethered(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that runs `argv` tied to this process; `argv[0]` is an absolute path."""
    if not works_here():
        return argv
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), "--", *argv)


def main() -> None:
    """Tie this process to its parent, and become the program."""
    import ctypes  # only here: the supervisor imports this module for `tethered` alone

    parent, argv = int(sys.argv[1]), sys.argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"error: cannot tie {argv[0]} to its supervisor: prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died first, and will never be reported
        sys.exit("error: the supervisor is gone")
    try:
        os.execv(argv[0], argv)  # noqa: S606  -- the point is to become it, without a shell
    except OSError as error:
        sys.stderr.write(f"error: cannot run {argv[0]}: {error.strerror}\n")
        sys.exit(EXIT_NOT_STARTED)


if __name__ == "__main__":
    main()
