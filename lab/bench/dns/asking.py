"""Are the answers right? Asked beside the load, over a socket of its own, and read with dnspython."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from lab.bench.asker import LOST_AFTER_S, Asker, asker, question
from lab.bench.dns.endpoints import Right
from lab.bench.fine_clock import FineClock
from lab.bench.programs import BenchFailed

AT_ONCE: Final = 32
ANSWERED_S: Final = 5.0
SHOWN: Final = 3
QR: Final = 0x80

Judge = Callable[[bytes, bytes], str]
"""Takes a query and its answer as they were on the wire; returns what is wrong with the answer, "" if nothing."""


def judge_of(rights: Mapping[str, Right]) -> Judge:
    """Return what judges the answers of a server that serves these names."""

    def judge(query: bytes, answer: bytes) -> str:
        try:
            asked, said = dns.message.from_wire(query), dns.message.from_wire(answer)
        except dns.exception.DNSException as error:
            return f"is no DNS message: {error}"
        return wrong(asked, said, rights[asked.question[0].name.to_text()])

    return judge


def judge_echo(query: bytes, answer: bytes) -> str:
    """Say what is wrong with what an echo sent back: it is the query with the QR bit set."""
    expected = bytearray(query)
    expected[2] |= QR
    return "" if bytes(expected) == answer else "is not the query with the QR bit set"


def wrong(asked: dns.message.Message, said: dns.message.Message, right: Right) -> str:
    """Return what is wrong with an answer, "" if nothing: its flags, question, owner, type, TTL, address.

    Source: RFC 1035 section 4.1; one record of the addresses that the name has is the whole answer.
    """
    if not asked.is_response(said):
        return "is no response to that query"
    if said.rcode() != dns.rcode.NOERROR or not said.flags & dns.flags.AA or said.flags & dns.flags.TC:
        return f"has rcode {dns.rcode.to_text(said.rcode())} and flags {dns.flags.to_text(said.flags)}"
    if len(said.answer) != 1 or len(said.answer[0]) != 1:
        return f"has {sum(map(len, said.answer))} records, and one is right"
    record, name = said.answer[0], asked.question[0].name
    if (record.name, record.rdtype, record.rdclass) != (name, dns.rdatatype.A, dns.rdataclass.IN):
        return f"is of {record.name} {dns.rdatatype.to_text(record.rdtype)}"
    if record.ttl != right.ttl_s:
        return f"has TTL {record.ttl}, and {right.ttl_s} is right"
    found = record[0].to_text()
    return "" if found in right.weights else f"is {found}, which is no address of it"


async def check_all(port: int, names: Sequence[str], judge: Judge, *, edns: bool, when: str) -> None:
    """Ask for every name once. Raises: BenchFailed saying how many answers were wrong or missing, and three of them."""
    problems: list[str] = []
    async with asker(port, FineClock()) as asking:

        async def check(name: str) -> None:
            if problem := await _problem(asking, name, judge, edns=edns):
                problems.append(f"{name} {problem}")

        await _in_parallel(names, check)
    _refuse(problems, len(names), when)


async def sample(
    port: int, names: Sequence[str], judge: Judge, pause: Callable[[], Awaitable[None]], *, edns: bool
) -> int:
    """Ask for one name after the other until cancelled, with pauses; meant to run beside a load.

    Returns: never. Raises: BenchFailed at the first answer that is wrong or missing.
    """
    async with asker(port, FineClock()) as asking:
        while True:
            for name in names:
                await pause()
                if problem := await _problem(asking, name, judge, edns=edns):
                    raise BenchFailed(f"under load: the answer for {name} {problem}")


async def seen(port: int, name: str, count: int) -> Counter[str]:
    """Return which addresses so many queries for one name got, and how often. Raises: BenchFailed if one got none."""
    found: Counter[str] = Counter()
    problems: list[str] = []
    async with asker(port, FineClock()) as asking:

        async def ask(one: str) -> None:
            answer = await asking.ask(question(one, "A"), within_s=ANSWERED_S)
            if answer is None:
                problems.append(f"{name} is missing after {ANSWERED_S:g} s")
            else:
                found.update(record.to_text() for rrset in dns.message.from_wire(answer).answer for record in rrset)

        await _in_parallel([name] * count, ask)
    _refuse(problems, count, "for the weights")
    return found


async def text_of(port: int, name: str) -> str:
    """Return the one TXT value of a name without its quotes, "" if there is none now."""
    async with asker(port, FineClock()) as asking:
        answer = await asking.ask(question(name, "TXT"))
    rrsets = dns.message.from_wire(answer).answer if answer is not None else ()
    return " ".join(record.to_text().strip('"') for rrset in rrsets for record in rrset)


def answering(port: int, names: Sequence[str], judge: Judge) -> Callable[[], Awaitable[bool]]:
    """Return what says whether every name has been answered rightly; a name that was is not asked for again."""
    left = set(names)

    async def check() -> bool:
        async with asker(port, FineClock()) as asking:

            async def ask(name: str) -> None:
                if not await _problem(asking, name, judge, edns=False, answered_s=LOST_AFTER_S):
                    left.discard(name)

            await _in_parallel(sorted(left)[:AT_ONCE], ask)
        return not left

    return check


async def _problem(asking: Asker, name: str, judge: Judge, *, edns: bool, answered_s: float = ANSWERED_S) -> str:
    asked = question(name, "A", edns=edns)
    answer = await asking.ask(asked, within_s=answered_s)
    return f"is missing after {answered_s:g} s" if answer is None else judge(answer[:2] + asked[2:], answer)


async def _in_parallel(names: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Do some work for all names, so many at once that no server's buffer overflows; the work raises nothing."""
    left = iter(names)

    async def one_after_the_other() -> None:
        while batch := tuple(islice(left, 1)):
            await work(batch[0])

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_the_other())


def _refuse(problems: Sequence[str], total: int, when: str) -> None:
    if problems:
        few = "; ".join(problems[:SHOWN])
        raise BenchFailed(f"{when}: {len(problems)} of {total} answers are wrong or missing: the answer for {few}")
