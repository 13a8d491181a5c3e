"""The listeners on real sockets: UDP, TCP, and what strangers may send them."""

import asyncio
import contextlib
import random
import socket
import time

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from fencepost.errors import StartupError
from fencepost.records import RecordSet
from resolver.message import Transport
from resolver.server import DnsServer

ZONE = "dynamodb.us-east-1.fencepost.test."
LOOPBACK = "127.0.0.1"
QUERY = dns.message.make_query(ZONE, "A")


async def still_answers(server: DnsServer) -> None:
    """Fail unless the server answers over both transports."""
    for over in (dns.asyncquery.udp, dns.asyncquery.tcp):
        answer = await over(dns.message.make_query(ZONE, "A"), LOOPBACK, timeout=5, port=server.port)
        assert answer.answer


def framed(message: dns.message.Message) -> bytes:
    wire = message.to_wire()
    return len(wire).to_bytes(2) + wire


async def read_answer(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(5):
        return dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2))))


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Say whether the other side ends the connection within a few seconds without sending any more."""
    async with asyncio.timeout(5):
        try:
            return await reader.read(1) == b""
        except ConnectionResetError:
            return True


async def test_server_answers_over_udp_and_tcp(serve) -> None:
    """Both transports are open on the one port."""
    server = await serve()

    assert server.is_listening
    await still_answers(server)


async def test_server_truncated_udp_answer_comes_whole_over_tcp(serve, image) -> None:
    """RFC 7766 section 5: who gets TC comes back over TCP."""
    large = RecordSet(f"large.{ZONE}", "TXT", 5, tuple(f'"{n:03d}{"x" * 197}"' for n in range(50)))
    server = await serve(image(large))
    query = dns.message.make_query(f"large.{ZONE}", "TXT")

    answer, over_tcp = await dns.asyncquery.udp_with_fallback(query, LOOPBACK, timeout=5, port=server.port)

    assert over_tcp
    assert len(answer.answer[0]) == 50


async def test_server_pipelined_queries_are_all_answered(serve) -> None:
    """RFC 7766 section 6.2.1.1: queries may follow each other without waiting; a message may come byte by byte."""
    server = await serve()
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    queries = [dns.message.make_query(ZONE, "A") for _ in range(100)]

    writer.write(b"".join(map(framed, queries)))
    last = dns.message.make_query(ZONE, "SOA")
    for byte in framed(last):
        writer.write(bytes([byte]))
        await writer.drain()
    answers = [await read_answer(reader) for _ in range(101)]

    assert {answer.id for answer in answers} == {query.id for query in (*queries, last)}
    writer.close()


async def test_server_slow_answers_do_not_hold_up_others(serve) -> None:
    """Answers that must be waited for may overtake each other (RFC 7766 section 6.2.1.1)."""
    gate = asyncio.Event()

    async def slow(message: bytes) -> bytes:
        await gate.wait()
        return message

    def answerer(message: bytes, transport: Transport) -> object:
        return slow(message) if message.endswith(b"slow") else message

    server = await serve(answerer=answerer)
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    writer.write(b"\x00\x04slow\x00\x05quick")
    assert await reader.readexactly(7) == b"\x00\x05quick"
    writer.write_eof()

    gate.set()
    assert await reader.readexactly(6) == b"\x00\x04slow"  # although the asker has said its last word
    assert await is_closed(reader)
    writer.close()


async def test_server_idle_connection_is_closed(serve) -> None:
    """A connection that says nothing, or stops within a message, does not stay for ever (RFC 7766 section 6.2.3)."""
    server = await serve(idle_timeout_s=0.05)

    for beginning in (b"", b"\x00", b"\x00\x20half a message"):
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        writer.write(beginning)
        assert await is_closed(reader)
        writer.close()
    await still_answers(server)


async def test_server_reader_that_never_reads_is_closed(serve, eventually) -> None:
    """An asker that takes no answers cannot fill the memory: its connection is closed when it idles too long."""
    sent = 0

    def answerer(message: bytes, transport: Transport) -> bytes:
        nonlocal sent
        sent += 1
        return bytes(60_000)

    server = await serve(answerer=answerer, idle_timeout_s=0.2)
    _, writer = await asyncio.open_connection(LOOPBACK, server.port)
    for _ in range(5000):
        writer.write(framed(QUERY))

    await eventually(lambda: not server._connections)
    assert sent < 1000
    writer.transport.abort()


async def test_server_connections_beyond_the_bound_are_closed_at_once(serve, eventually) -> None:
    """The bound holds, and a place that becomes free is given again."""
    server = await serve(max_connections=2)
    kept = [await asyncio.open_connection(LOOPBACK, server.port) for _ in range(2)]
    for reader, writer in kept:
        writer.write(framed(QUERY))
        await read_answer(reader)

    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    assert await is_closed(reader)
    writer.close()
    for _, writer in kept:
        writer.close()
    await eventually(lambda: not server._connections)

    await still_answers(server)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
async def test_server_port_in_use_is_a_startup_error_with_the_remedy(kind) -> None:
    """Whether TCP or UDP has it, the error names the port and what to do."""
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((LOOPBACK, 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        server = DnsServer(lambda _message, _transport: None, port)

        with pytest.raises(StartupError, match=rf"port {port} .*in use.*--port-base"):
            await server.start()
        await server.stop()
    assert not server.is_listening


async def test_server_stop_frees_the_port(serve) -> None:
    """After `stop` another server can have the port, though connections were open."""
    first = await serve()
    _, writer = await asyncio.open_connection(LOOPBACK, first.port)
    await first.stop()

    second = DnsServer(first._answerer, first.port)
    await second.start()

    await still_answers(second)
    await second.stop()
    writer.close()


def garbage(rng: random.Random) -> bytes:
    """Return a datagram: random bytes, or a query cut short, with bits flipped, or with something behind it."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(0, 100))
    query = bytearray(rng.choice(QUERIES))
    if kind == 1:
        return bytes(query[: rng.randrange(len(query))])
    if kind == 2:
        return bytes(query) + rng.randbytes(rng.randrange(1, 30))
    for _ in range(rng.randrange(1, 8)):
        query[rng.randrange(len(query))] ^= 1 << rng.randrange(8)
    return bytes(query)


QUERIES = [
    dns.message.make_query(name, kind, **options).to_wire()
    for name in (ZONE, f"plan-000145.{ZONE}", "example.com.")
    for kind in ("A", "TXT", "ANY")
    for options in ({}, {"use_edns": 0, "payload": 4096}, {"use_edns": 0, "want_dnssec": True, "payload": 512})
]


@pytest.mark.timeout(60)
async def test_server_lives_through_100000_garbage_datagrams(serve, image) -> None:
    """Every one is received, none ends the server or raises, and it answers afterwards. Seed: 20251020."""
    rng, received, failures = random.Random(20251020), 0, []
    zone = await serve(image())
    authoritative = zone._answerer

    def counting(message: bytes, transport: Transport) -> object:
        nonlocal received
        received += 1
        return authoritative(message, transport)

    server = await serve(answerer=counting)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    began_s = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((LOOPBACK, server.port))
        for sent in range(100, 100_001, 100):  # what the receive buffer can hold, so that none is lost on the way
            for _ in range(100):
                sender.send(garbage(rng))
            while received < sent:
                assert time.monotonic() < began_s + 50, f"received {received} of {sent}"
                await asyncio.sleep(0)
            drain(sender)

    assert received == 100_000
    assert not failures
    await still_answers(server)


def drain(sender: socket.socket) -> None:
    """Take the answers that have come, so that they do not pile up."""
    with contextlib.suppress(BlockingIOError):
        while sender.recv(65_535, socket.MSG_DONTWAIT):
            pass


async def test_server_lives_through_garbage_connections(serve) -> None:
    """Bytes that are no DNS, over TCP: each connection comes to its end, the listener lives. Seed: 20251020."""
    rng = random.Random(20251020)
    server = await serve(idle_timeout_s=0.2)

    for _ in range(300):
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        for _ in range(rng.randrange(4)):
            message = garbage(rng)
            writer.write(len(message).to_bytes(2) + message if rng.random() < 0.7 else message)
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()

    await still_answers(server)
