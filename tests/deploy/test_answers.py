"""What an operator is told about both resolvers after a change by hand."""

import asyncio
from dataclasses import replace

import dns.message
import dns.rrset
import msgspec
import pytest

from deploy.answers import Watch
from fencepost.client import settings_with, stores
from fencepost.clock import SystemClock
from fencepost.settings import LOOPBACK

ZONE = "dynamodb.us-east-1.fencepost.test."
ADDRESS = "127.1.1.1"


class OneAddress(asyncio.DatagramProtocol):
    """A name server that answers everything with one address."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.answer.append(dns.rrset.from_text(answer.question[0].name, 5, "IN", "A", ADDRESS))
        self.transport.sendto(answer.to_wire(), peer)


@pytest.fixture
async def opened(redis_url, port_base):
    """A system of which only both name servers are there."""
    loop = asyncio.get_running_loop()
    settings = settings_with(redis_url=redis_url, port_base=port_base)
    transports = [
        (await loop.create_datagram_endpoint(OneAddress, local_addr=(LOOPBACK, port)))[0]
        for port in (settings.dns_port, settings.cache_port)
    ]
    async with stores(settings) as found:
        yield found
    for transport in transports:
        transport.close()


def watch(opened, wait_s, ttl_s):
    """Return a watch over a region of this TTL."""
    region = msgspec.structs.replace(opened.region, ttl_s=ttl_s)
    return Watch(replace(opened, region=region), ZONE, SystemClock(), wait_s)


async def test_cache_that_answers_with_a_wanted_address_is_not_believed_before_one_ttl(opened, capsys):
    """It may be an earlier answer with the same address; the authoritative server has none that is kept."""
    await watch(opened, 10.0, 1).after(frozenset([ADDRESS]))

    said = capsys.readouterr().out
    assert "the authoritative server answers with an address of that plan: after 0." in said
    assert "the caching resolver answers with an address of that plan: after 1." in said


async def test_cache_that_is_looked_at_for_less_than_one_ttl_is_said_to_be_unknown(opened, capsys):
    """Nothing is claimed either way, and the remedy is named."""
    await watch(opened, 0.2, 60).after(frozenset([ADDRESS]))

    said = capsys.readouterr().out
    assert "the caching resolver answers with an address of that plan: not known, it may keep earlier answers" in said


async def test_cache_that_had_no_answer_at_all_is_believed_at_once(opened, capsys):
    """After a repair any address is another answer than before."""
    await watch(opened, 10.0, 60).after()

    assert "the caching resolver answers with an address: after 0." in capsys.readouterr().out
