"""Times that the kernel took: read from what tcpdump wrote, and taken by it for real."""

import asyncio
import os
import socket
import struct
import threading
from unittest.mock import AsyncMock

import pytest

from fencepost.clock import SystemClock
from fencepost.errors import StartupError, UsageError
from fencepost.settings import LOOPBACK
from lab.bench.cores import choose
from lab.bench.dns import options
from lab.bench.dns.capture import TCPDUMP, Capture, datagrams, times
from lab.bench.dns.dnsperf import CLIENTS
from lab.bench.dns.options import DnsOptions
from lab.bench.programs import BenchFailed

PORT = 5300
HEAD = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 64, 1)


def packet(at_us: int, source: int, target: int, number: int, *, options_size: int = 0) -> bytes:
    """Return one packet as tcpdump writes it; its IP header may have options."""
    ip_size = 20 + options_size
    ip = bytes([0x40 + ip_size // 4]) + bytes(ip_size - 1)
    udp = struct.pack("!HHHH", source, target, 20, 0) + number.to_bytes(2) + bytes(10)
    data = bytes(14) + ip + udp
    return struct.pack("<IIII", 7, at_us * 1000, len(data), 300) + data


def asked(client: int, number: int, at_us: int, took_us: int) -> bytes:
    """Return a query and its answer."""
    return packet(at_us, client, PORT, number) + packet(at_us + took_us, PORT, client, number)


def test_times_are_from_a_query_to_its_answer():
    captured = HEAD + b"".join(asked(40_000 + n % CLIENTS, n, 1000 * n, 50 if n % 2 else 150) for n in range(200))

    found = times(captured, PORT)

    assert (found.answers, found.most_ms) == (200, pytest.approx(0.15))
    assert found.p50_ms == pytest.approx(0.1)
    assert found.p99_ms == pytest.approx(0.15)


def test_answers_are_told_apart_by_client_and_number_in_whatever_order_they_come():
    first, second = packet(0, 40_000, PORT, 7), packet(10, 40_001, PORT, 7)
    late = packet(100, PORT, 40_001, 7) + packet(300, PORT, 40_000, 7)
    rest = b"".join(asked(40_000, 100 + n, 1000 + n, 1) for n in range(100))

    found = times(HEAD + first + second + late + rest, PORT)

    assert (found.answers, found.most_ms) == (102, pytest.approx(0.3))


def test_those_who_ask_less_than_the_load_do_not_count():
    """The enactor asks as well, for names that nobody has asked for before."""
    load = b"".join(asked(40_000 + n % CLIENTS, n, 1000 * n, 50) for n in range(200))
    enactor = b"".join(asked(50_000, n, 1000 * n, 5000) for n in range(20))

    assert times(HEAD + load + enactor, PORT).most_ms == pytest.approx(0.05)


def test_headers_with_options_and_packets_cut_off_at_the_end_are_read():
    whole = packet(1, 40_000, PORT, 0x1234, options_size=8)

    (found,) = datagrams(HEAD + whole + whole[:10])

    assert found == (7_000_001_000, 40_000, PORT, 0x1234)


@pytest.mark.parametrize("captured", [b"", HEAD[:10], bytes(24), HEAD[:20] + (113).to_bytes(4, "little")])
def test_a_file_of_another_kind_is_refused(captured):
    with pytest.raises(BenchFailed, match="cannot be read"):
        list(datagrams(captured))


def test_too_few_answers_are_refused():
    with pytest.raises(BenchFailed, match="too few for a 99th percentile"):
        times(HEAD + asked(40_000, 1, 0, 10), PORT)


@pytest.fixture
def _dnsperf(monkeypatch):
    """Let dnsperf be there."""
    monkeypatch.setattr(options, "DNSPERF", options.DNSPERF.__class__("dnsperf", ("true",), ""))


@pytest.mark.usefixtures("_dnsperf")
class TestOptions:
    """What is refused before anything is measured."""

    def test_capture_without_a_replan_is_refused(self):
        with pytest.raises(UsageError, match="--no-replan leaves that out"):
            DnsOptions(capture=True, replan=False).check()

    def test_capture_without_tcpdump_names_the_remedy(self, monkeypatch):
        monkeypatch.setattr(options, "TCPDUMP", TCPDUMP.__class__("tcpdump", ("no-such-program",), TCPDUMP.install))

        with pytest.raises(StartupError, match="apt-get install tcpdump"):
            DnsOptions(capture=True).check()

    def test_capture_by_another_than_root_is_refused(self, monkeypatch):
        monkeypatch.setattr(options, "TCPDUMP", TCPDUMP.__class__("tcpdump", ("true",), TCPDUMP.install))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

        with pytest.raises(UsageError, match="run it as root"):
            DnsOptions(capture=True).check()


@pytest.mark.skipif(bool(TCPDUMP.missing) or os.geteuid() != 0, reason="needs tcpdump, and root")
async def test_real_answers_are_timed_where_they_are_given(tmp_path):
    """A server that takes 20 ms is timed; a client that comes to its answers 200 ms late is not."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, 0))

        def load() -> str:
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.connect(server.getsockname())
                for number in range(100):
                    client.send(number.to_bytes(2) + bytes(10))
                queries = [server.recvfrom(100) for _ in range(100)]
                pause.wait(0.02)
                for message, sender in queries:
                    server.sendto(message, sender)
                pause.wait(0.2)
                return "done"

        pause = threading.Event()
        capture = Capture(tmp_path, choose(), SystemClock())
        said, found = await capture.during(server.getsockname()[1], lambda _: asyncio.to_thread(load))

    assert (said, found.answers) == ("done", 100)
    assert found.p50_ms >= 20
    assert found.most_ms < 200


async def test_a_capture_that_cannot_be_made_ends_before_the_load(tmp_path, monkeypatch):
    """Its own words say why; nothing was asked for."""
    monkeypatch.setattr(
        "lab.bench.dns.capture._command", lambda *_: ("/bin/sh", "-c", "echo no such device >&2; exit 1")
    )

    with pytest.raises(BenchFailed, match="tcpdump ended with 1: no such device"):
        await Capture(tmp_path, choose(), SystemClock()).during(PORT, AsyncMock(side_effect=AssertionError))


@pytest.mark.skipif(bool(TCPDUMP.missing) or os.geteuid() != 0, reason="needs tcpdump, and root")
async def test_a_capture_that_missed_something_has_no_figure(tmp_path, monkeypatch):
    """A query without its answer would be taken for the next one of its number."""
    monkeypatch.setattr("lab.bench.dns.capture.MISSED_NOTHING", "7 packets dropped by kernel")

    with pytest.raises(BenchFailed, match="tcpdump missed packets: 0 packets dropped by kernel"):
        await Capture(tmp_path, choose(), SystemClock()).during(PORT, AsyncMock())
