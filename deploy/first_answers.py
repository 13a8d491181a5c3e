"""Does every endpoint answer? Asked once, over DNS, when a system has been started."""

from collections.abc import Sequence
from typing import Final

import dns.asyncquery
import dns.exception
import dns.message

from fencepost.clock import Clock
from fencepost.region import Region
from fencepost.settings import LOOPBACK

ASK_TIMEOUT_S: Final = 0.5
POLL_S: Final = 0.1


async def silent_endpoints(region: Region, dns_port: int, clock: Clock, wait_s: float) -> tuple[str, ...]:
    """Wait until every endpoint answers with an address for each of its types; return those that do not in time."""
    deadline_s = clock.monotonic() + wait_s
    silent = [(endpoint.name, record_type) for endpoint in region.endpoint for record_type in endpoint.types]
    while (silent := await _unanswered(silent, dns_port)) and clock.monotonic() < deadline_s:
        await clock.sleep(POLL_S)
    return tuple(sorted({name for name, _ in silent}))


async def _unanswered(questions: Sequence[tuple[str, str]], dns_port: int) -> list[tuple[str, str]]:
    return [question for question in questions if not await _has_address(*question, dns_port)]


async def _has_address(name: str, record_type: str, dns_port: int) -> bool:
    query = dns.message.make_query(name, record_type)
    try:
        answer = await dns.asyncquery.udp(query, LOOPBACK, ASK_TIMEOUT_S, dns_port)
    except (OSError, dns.exception.DNSException):
        return False
    return bool(answer.answer)
