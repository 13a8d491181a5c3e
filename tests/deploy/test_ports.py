"""Ports are looked at before anything starts."""

import socket

import pytest

from deploy.ports import check_free
from deploy.topology import Port
from fencepost.errors import StartupError

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_port_in_use_is_named_with_its_purpose(kind):
    """The error says which port, and what it was for."""
    with socket.socket(socket.AF_INET, KINDS[kind]) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "tcp":
            taken.listen()
        number = taken.getsockname()[1]

        with pytest.raises(StartupError, match=rf"port {number} .*it is for the DNS server \({kind.upper()}\)"):
            check_free([Port(kind, "127.0.0.1", number, "the DNS server")])


def test_port_just_left_is_free():
    """A connection that ended a moment ago (TIME_WAIT) does not hold up the next start."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)):
            accepted, _ = server.accept()
            accepted.close()

    check_free([Port("tcp", "127.0.0.1", number, "the next start")])


def test_port_of_a_foreign_address_is_left_to_its_process():
    """An address that this machine does not have is no clash of ports."""
    check_free([Port("tcp", "192.0.2.1", 5300, "a load balancer")])
