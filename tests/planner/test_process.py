"""The planner's and the fleet's processes: kill -9, restart, and what keeps them from starting."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from fencepost.region import load_region
from fencepost.service import EXIT_FINE, EXIT_NOT_STARTED

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start(redis_url, port_base) -> AsyncIterator[Start]:
    """Starts `python -m ROOM` with these settings; whatever still lives is ended with the test."""
    started: list[asyncio.subprocess.Process] = []

    async def run(room: str, **settings: object) -> asyncio.subprocess.Process:
        shown = {"name": room, "redis_url": redis_url, "port_base": port_base, **settings}
        environment = {f"FENCEPOST_{key.upper()}": str(value) for key, value in shown.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", room),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def when_ready(admin_port: int) -> None:
    """Wait until a process says that it is ready."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{admin_port}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)


async def test_planner_killed_with_9_keeps_every_drain_it_has_answered_for(start, port_base):
    """Over the default region: after the restart the drain is in force, and nothing is published again."""
    api, admin_port = f"http://127.0.0.1:{port_base + 2}/v1", port_base + 5
    fleet = await start("lab.fleet")
    planner = await start("planner", admin_port=admin_port)
    await when_ready(admin_port)
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with session.post(f"{api}/load-balancers/use1-az1-lb-001/drain") as response:
            answer = await response.json()
        planner.kill()
        await planner.wait()
        again = await start("planner", admin_port=admin_port)
        await when_ready(admin_port)
        async with session.delete(f"{api}/availability-zones/use1-az1/drain") as response:
            after = await response.json()
        async with session.get(f"{api}/load-balancers") as response:
            drained = [view["name"] for view in (await response.json())["load_balancers"] if view["drained"]]

    assert (answer["generation"], after["generation"]) == (2, 2)
    assert drained == ["use1-az1-lb-001"]
    for process in (again, fleet):
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert (process.returncode, errors) == (EXIT_FINE, b"")


async def test_planner_without_a_server_cannot_start(start):
    """One line, exit code 3."""
    process = await start("planner", redis_url="redis://127.0.0.1:1/0")
    _, errors = await process.communicate()

    assert process.returncode == EXIT_NOT_STARTED
    assert errors.startswith(b"error: no Redis server answers at redis://127.0.0.1:1/0")
    assert errors.count(b"\n") == 1


async def test_planner_with_its_port_in_use_or_bad_settings_cannot_start(start, port_base):
    """Exit code 3 each, and what is wrong."""
    with socket.create_server(("127.0.0.1", port_base + 2)):
        in_use, bad = await start("planner"), await start("planner", observe_interval_s="-1")
        (_, first), (_, second) = await in_use.communicate(), await bad.communicate()

    assert (in_use.returncode, bad.returncode) == (EXIT_NOT_STARTED, EXIT_NOT_STARTED)
    assert f"cannot listen on 127.0.0.1 port {port_base + 2}".encode() in first
    assert b"FENCEPOST_OBSERVE_INTERVAL_S" in second


async def test_fleet_with_a_load_balancers_port_in_use_cannot_start(start, port_base):
    """The error names the address."""
    address = load_region().load_balancer[4].address
    with socket.create_server((address, port_base + 3)):
        process = await start("lab.fleet")
        _, errors = await process.communicate()

    assert process.returncode == EXIT_NOT_STARTED
    assert f"cannot listen on {address} port {port_base + 3}".encode() in errors
