"""A store that goes away for ten seconds, under a whole system."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import dns.asyncquery
import dns.message

from deploy.launch import running_system
from deploy.topology import SystemOptions

ENDPOINT = "dynamodb.us-east-1.fencepost.test."
PORT_BASE = 15_860
AWAY_S = 10.0
BACK_S = 20.0


async def addresses(port):
    """Ask for the endpoint's addresses."""
    answer = await dns.asyncquery.udp(dns.message.make_query(ENDPOINT, "A"), "127.0.0.1", timeout=3, port=port)
    return [str(item) for found in answer.answer for item in found]


async def test_dns_answers_while_the_store_is_away_and_changes_go_on_afterwards(tmp_path: Path):
    """The server hangs for 10 s: DNS serves its last good state, the API says 503 and why, nobody dies, all goes on."""
    async with (
        running_system(SystemOptions(run_dir=tmp_path / "run", profile="none", port_base=PORT_BASE)) as system,
        aiohttp.ClientSession(f"http://127.0.0.1:{PORT_BASE + 2}") as api,
    ):
        names = system.supervisor.names()
        pids = [system.supervisor.pid(name) for name in names]
        os.kill(system.supervisor.pid("server"), signal.SIGSTOP)
        until_s = asyncio.get_running_loop().time() + AWAY_S
        async with api.post("/v1/load-balancers/use1-az1-lb-001/drain") as refused:
            assert (refused.status, "error" in await refused.json()) == (503, True)
        while asyncio.get_running_loop().time() < until_s:
            assert await addresses(PORT_BASE)
            await asyncio.sleep(0.1)
        os.kill(system.supervisor.pid("server"), signal.SIGCONT)

        async with asyncio.timeout(BACK_S):
            status, body = 503, {}
            while status == 503:
                async with api.post("/v1/load-balancers/use1-az1-lb-002/drain") as answer:
                    status, body = answer.status, await answer.json()
            assert status == 200, body
            while f'"{body["generation"]} ' not in await fence(PORT_BASE):
                pass
        assert [system.supervisor.pid(name) for name in names] == pids


async def fence(port):
    """Ask which plan is live."""
    question = dns.message.make_query(f"_generation.{ENDPOINT}", "TXT")
    answer = await dns.asyncquery.udp(question, "127.0.0.1", timeout=3, port=port)
    return "".join(str(item) for found in answer.answer for item in found)
