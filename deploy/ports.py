"""Are the ports free? Asked before anything is started, so that a clash is one clear error and nothing is half up."""

import errno
import socket
from collections.abc import Iterable

from deploy.topology import Port
from fencepost.errors import StartupError
from fencepost.service import cannot_listen

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def check_free(ports: Iterable[Port]) -> None:
    """Bind each port for a moment. Raises: StartupError naming the first that cannot be had, and its purpose."""
    for port in ports:
        try:
            _bind(port)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:  # not this machine's: its own process says so, with the remedy
                continue
            problem = cannot_listen(port.host, port.number, error)
            raise StartupError(f"{problem}; it is for {port.purpose} ({port.kind.upper()})") from error


def _bind(port: Port) -> None:
    with socket.socket(socket.AF_INET, KINDS[port.kind]) as probe:
        if port.kind == "tcp":  # connections that just ended are no hindrance; UDP would share the port with it
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((port.host, port.number))
