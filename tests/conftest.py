"""Fixtures for every room: a real server, started once, emptied for each test."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deploy.embedded import server_binary, server_command, server_url


@pytest.fixture(scope="session", autouse=True)
def _no_shared_resolver() -> None:
    """Let aiohttp's sessions without a resolver of their own resolve by threads.

    Otherwise each makes and cancels a shared aiodns resolver for the system's name servers, after which c-ares in the
    same process does not ask the name server that a later resolver names. No process of ours has both.
    """
    aiohttp.connector.DefaultResolver = aiohttp.ThreadedResolver


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of an embedded server that lives as long as the test session, on a unix socket."""
    with tempfile.TemporaryDirectory(prefix="fencepost-") as place:
        command = server_command(server_binary(), Path(place))
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for_server(server_url(Path(place)), server)
            yield server_url(Path(place))
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
async def redis_url(redis_server: str) -> str:
    """URL of the embedded server, empty at the start of the test."""
    client = redis.asyncio.Redis.from_url(redis_server, retry=Retry(NoBackoff(), 0))
    await client.flushall()
    await client.aclose()
    return redis_server


@pytest.fixture
def damage(redis_url: str) -> Callable[..., Awaitable[None]]:
    """Put what is no content, or another text, in place of one that the plan store has, by its digest."""

    async def put(digest_of: str, text: bytes = b"{}") -> None:
        client = redis.asyncio.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
        assert await client.hset("{plans}:contents", digest_of, text) == 0, "it was there"
        await client.aclose()

    return put


def wait_for_server(url: str, server: subprocess.Popen[bytes], timeout_s: float = 10.0) -> None:
    """Wait until a server answers PING; fail if it ends or takes too long."""
    client = redis.Redis.from_url(url)
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            assert server.poll() is None, f"the server ended with {server.returncode}"
            assert time.monotonic() < deadline_s, "the server does not answer"
            time.sleep(0.01)
        else:
            client.close()
            return


@pytest.fixture
def port_base() -> int:
    """A port base below the ephemeral ports whose twenty ports are free, as far as can be known beforehand."""
    for base in range(20_000 + os.getpid() % 500 * 20, 32_000, 20):
        if all(_is_free(base + offset) for offset in range(20)):
            return base
    raise AssertionError("no twenty free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
