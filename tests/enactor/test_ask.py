"""Questions as datagrams: what dnspython reads of them, and what is read of what dnspython answers."""

import asyncio
import socket

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from enactor.ask import Asker, question, values

NAME = "plan-000145.dynamodb.us-east-1.fencepost.test."


@pytest.fixture
def patient(monkeypatch):
    """Have questions given up so late that no busy machine is that slow."""
    monkeypatch.setattr("enactor.ask.ASK_TIMEOUT_S", 10.0)


@pytest.fixture
def server():
    """A socket in the server's place."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(0)
        yield opened


def answered(query, address):
    """Return a reply to a query with one address."""
    reply = dns.message.make_response(dns.message.from_wire(query))
    kind = reply.question[0].rdtype
    reply.answer.append(dns.rrset.from_text(reply.question[0].name, 5, "IN", kind, "::ffff:" * (kind == 28) + address))
    return reply


@pytest.mark.parametrize("kind", ["A", "AAAA", "TXT"])
def test_question_is_what_dnspython_would_ask(kind):
    """Name, type and class, and nothing else is said."""
    asked = dns.message.from_wire(question(4711, NAME, kind))

    assert asked.id == 4711
    assert asked.question == dns.message.make_query(NAME, kind).question
    assert asked.flags == 0


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("A", ("127.1.2.3", "127.1.2.4")),
        ("AAAA", ("::ffff:127.1.2.3",)),
        ("TXT", ('"2/2 0123abcd"',)),
        ("TXT", ('"one" "two"',)),
        ("A", ()),
    ],
)
def test_values_of_a_reply_are_those_that_it_answers(kind, given):
    """As the zone has them; aliases are answered under the name that was asked for, its name compressed or not."""
    reply = dns.message.make_response(dns.message.make_query(NAME, kind))
    if given:
        reply.answer.append(dns.rrset.from_text(NAME, 5, "IN", kind, *given))

    assert set(values(reply.to_wire(), kind) or ()) == set(given)
    assert len(values(reply.to_wire(), kind) or ()) == len(given)


@pytest.mark.parametrize(
    ("rcode", "expected"),
    [(dns.rcode.NXDOMAIN, ()), (dns.rcode.SERVFAIL, None), (dns.rcode.REFUSED, None), (dns.rcode.NOERROR, ())],
)
def test_reply_that_says_nothing_of_the_zone_is_no_answer(rcode, expected):
    """No such name is an answer; a server that cannot or will not answer has said nothing."""
    reply = dns.message.make_response(dns.message.make_query(NAME, "A"))
    reply.set_rcode(rcode)

    assert values(reply.to_wire(), "A") == expected


def test_reply_that_is_cut_short_anywhere_is_refused():
    """Garbage is no answer; it raises one error, which `ask` knows."""
    reply = dns.message.make_response(dns.message.make_query(NAME, "A"))
    reply.answer.append(dns.rrset.from_text(NAME, 5, "IN", "A", "127.1.2.3"))
    whole = reply.to_wire()

    for end in range(len(whole)):
        with pytest.raises((ValueError, OSError)):
            values(whole[:end], "A")


async def test_reply_to_an_earlier_question_is_passed_over(server):
    """One that comes late, after its question was given up, is not taken for the next one's."""
    loop = asyncio.get_running_loop()
    with Asker(server.getsockname()[1]) as asker:
        waiting = asyncio.create_task(asker.ask(NAME, "A"))
        data, addr = await loop.sock_recvfrom(server, 512)
        for number, address in ((1, "127.6.6.6"), (0, "127.1.2.3")):
            reply = dns.message.make_response(dns.message.from_wire(data))
            reply.id = (reply.id - number) & 0xFFFF
            reply.answer.append(dns.rrset.from_text(NAME, 5, "IN", "A", address))
            await loop.sock_sendto(server, reply.to_wire(), addr)

        assert await waiting == ("127.1.2.3",)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("wrong", ["name", "type", "no response", "no question", "two questions", "header", "nothing"])
async def test_reply_that_does_not_repeat_the_question_is_passed_over(server, wrong):
    """A number alone says little: it recurs, while a socket lives for long. The right reply behind it is taken."""
    loop = asyncio.get_running_loop()
    with Asker(server.getsockname()[1]) as asker:
        waiting = asyncio.create_task(asker.ask(NAME, "A"))
        data, addr = await loop.sock_recvfrom(server, 512)
        right, other = answered(data, "127.1.2.3"), answered(data, "127.6.6.6")
        odd = {
            "name": answered(dns.message.make_query("x." + NAME, "A", id=other.id).to_wire(), "127.6.6.6"),
            "type": answered(dns.message.make_query(NAME, "AAAA", id=other.id).to_wire(), "127.6.6.6"),
        }.get(wrong, other)
        if wrong == "no response":
            odd.flags &= ~dns.flags.QR
        elif wrong == "no question":
            odd.question = []
        elif wrong == "two questions":
            odd.question = odd.question * 2
        sent = odd.to_wire()[: {"header": 7, "nothing": 0}.get(wrong)]
        await loop.sock_sendto(server, sent, addr)
        await loop.sock_sendto(server, right.to_wire(), addr)

        assert await waiting == ("127.1.2.3",)


@pytest.mark.usefixtures("patient")
async def test_reply_that_spells_the_name_otherwise_is_taken(server):
    """Case is no part of a name. Source: RFC 4343."""
    loop = asyncio.get_running_loop()
    with Asker(server.getsockname()[1]) as asker:
        waiting = asyncio.create_task(asker.ask(NAME, "A"))
        data, addr = await loop.sock_recvfrom(server, 512)
        reply = answered(data, "127.1.2.3").to_wire()
        await loop.sock_sendto(server, reply.replace(b"dynamodb", b"DynamoDB", 1), addr)

        assert await waiting == ("127.1.2.3",)


@pytest.mark.usefixtures("patient")
async def test_question_that_is_refused_ends_no_other():
    """What the server took before it went away it may answer yet; who asks when it is back is not told of that."""
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as before,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as after,
    ):
        before.bind(("127.0.0.1", 0))
        before.settimeout(0)
        after.settimeout(0)
        address = before.getsockname()
        with Asker(address[1]) as asker:
            early = asyncio.create_task(asker.ask(NAME, "A"))
            query, addr = await loop.sock_recvfrom(before, 512)
            before.close()
            refused = asyncio.create_task(asker.ask(f"x.{NAME}", "A"))
            await asyncio.sleep(0)  # it is sent
            after.bind(address)
            late = asyncio.create_task(asker.ask(NAME, "A"))
            later, _ = await loop.sock_recvfrom(after, 512)

            assert await refused is None
            for asked, found in ((query, "127.1.2.3"), (later, "127.1.2.4")):
                await loop.sock_sendto(after, answered(asked, found).to_wire(), addr)
            assert await asyncio.gather(early, late) == [("127.1.2.3",), ("127.1.2.4",)]


async def test_server_that_is_gone_is_no_answer():
    """Its port refuses at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

    with Asker(port) as asker:
        assert await asker.ask(NAME, "A") is None


async def test_many_questions_at_a_time_each_get_their_own_answer(server):
    """In whatever order they come, and from one socket, which is open until nobody needs it."""
    names = [f"plan-{number:06d}.{NAME}" for number in range(1, 21)]
    loop = asyncio.get_running_loop()
    asker = Asker(server.getsockname()[1])
    with asker, asker:
        waiting = [asyncio.create_task(asker.ask(name, "TXT")) for name in names]
        asked = [await loop.sock_recvfrom(server, 512) for _ in names]
        for data, addr in reversed(asked):
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query)
            name = query.question[0].name
            reply.answer.append(dns.rrset.from_text(name, 5, "IN", "TXT", f'"{name}"'))
            await loop.sock_sendto(server, reply.to_wire(), addr)

        assert await asyncio.gather(*waiting) == [(f'"{name}"',) for name in names]
    assert len({addr for _, addr in asked}) == 1


async def test_question_that_is_not_answered_in_time_is_given_up_alone(server):
    """Who asks at the same time, and is answered, has that answer."""
    loop = asyncio.get_running_loop()
    with Asker(server.getsockname()[1]) as asker:
        lost = asyncio.create_task(asker.ask(NAME, "A"))
        await loop.sock_recvfrom(server, 512)
        answered = asyncio.create_task(asker.ask(NAME, "A"))
        data, addr = await loop.sock_recvfrom(server, 512)
        reply = dns.message.make_response(dns.message.from_wire(data))
        reply.answer.append(dns.rrset.from_text(NAME, 5, "IN", "A", "127.1.2.3"))
        await loop.sock_sendto(server, reply.to_wire(), addr)

        assert await asyncio.gather(lost, answered) == [None, ("127.1.2.3",)]
