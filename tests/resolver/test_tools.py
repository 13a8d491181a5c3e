"""The same server as seen by programs that others wrote: dig, kdig and unbound."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fencepost.records import RecordSet

ZONE = "dynamodb.us-east-1.fencepost.test."
ADDRESSES = {f"127.1.0.{n}" for n in range(1, 6)}


async def run(*command: str) -> str:
    """Run a program and return its output; fail if it takes too long or ends in an error."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not on PATH")
    process = await asyncio.create_subprocess_exec(program, *command[1:], stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(15):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def ask_with(program: str, port: int, name: str, record_type: str, *options: str) -> tuple[str, ...]:
    return (program, "@127.0.0.1", "-p", str(port), name, record_type, *options)


@pytest.fixture(params=["dig", "kdig"])
def program(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
async def test_program_gets_the_roots_address(serve, program: str, transport: str) -> None:
    """The root answers one address of the tree, authoritatively."""
    server = await serve()

    short = await run(*ask_with(program, server.port, ZONE, "A", transport, "+short"))
    whole = await run(*ask_with(program, server.port, ZONE, "A", transport))

    assert short.strip() in ADDRESSES
    assert "status: NOERROR" in whole
    assert "aa" in whole.lower().split("flags:")[1].split(";")[0].split()


async def test_program_gets_an_empty_answer_from_a_dangling_root(serve, image, program: str) -> None:
    """The outage as `dig` shows it: NOERROR, ANSWER: 0, SOA in authority."""
    server = await serve(image(without=[f"plan-000145.{ZONE}"]))

    output = await run(*ask_with(program, server.port, ZONE, "A"))

    assert "status: NOERROR" in output
    assert "ANSWER: 0" in output
    assert f"hostmaster.{ZONE}" in output


async def test_program_reads_the_fence(serve, program: str) -> None:
    """`dig TXT _generation.<zone>` shows what is live."""
    server = await serve()

    output = await run(*ask_with(program, server.port, f"_generation.{ZONE}", "TXT", "+short"))

    assert output.strip() == '"145 0123abcd use1-az1-enactor/1/1"'


async def test_program_comes_back_over_tcp_after_a_truncated_answer(serve, image, program: str) -> None:
    """A large record set arrives whole, by UDP first."""
    large = RecordSet(f"large.{ZONE}", "TXT", 5, tuple(f'"{n:03d}{"x" * 197}"' for n in range(30)))
    server = await serve(image(large))

    output = await run(*ask_with(program, server.port, f"large.{ZONE}", "TXT", "+short"))

    assert len([line for line in output.splitlines() if line.startswith('"')]) == 30


@pytest.mark.parametrize(
    ("name", "record_type", "status"),
    [
        (f"nothing.{ZONE}", "A", "NXDOMAIN"),
        ("example.com.", "A", "REFUSED"),
        (ZONE, "AXFR", "REFUSED"),
        (ZONE, "MX", "NOERROR"),
    ],
)
async def test_dig_shows_the_code(serve, name: str, record_type: str, status: str) -> None:
    """Codes as a person on call reads them."""
    server = await serve()

    output = await run(*ask_with("dig", server.port, name, record_type))

    assert (f"status: {status}" in output) or (record_type == "AXFR" and "Transfer failed" in output)


async def test_dig_with_edns_version_1_is_told_badvers(serve) -> None:
    """RFC 6891 section 6.1.3, as dig's own negotiation would meet it."""
    server = await serve()

    output = await run(*ask_with("dig", server.port, ZONE, "A", "+edns=1", "+noednsnegotiation"))

    assert "status: BADVERS" in output


UNBOUND = """
server:
  interface: 127.0.0.1
  port: {port}
  do-ip6: no
  chroot: ""
  username: ""
  directory: "{place}"
  pidfile: "{place}/unbound.pid"
  use-syslog: no
  logfile: "{place}/unbound.log"
  num-threads: 1
  do-not-query-localhost: no
  use-caps-for-id: yes
  domain-insecure: "test."
  local-zone: "test." nodefault
  module-config: "iterator"
  access-control: 127.0.0.0/8 allow
remote-control:
  control-enable: no
{kind}-zone:
  name: "fencepost.test."
  {kind}-addr: 127.0.0.1@{upstream}
"""


@pytest.fixture
async def unbound(tmp_path: Path, eventually, free_ports) -> AsyncIterator[Callable]:
    """Start an unbound in front of a port, by `forward` or `stub` zone; return its own port. It asks with 0x20."""
    program = shutil.which("unbound")
    if program is None:
        pytest.skip("unbound is not on PATH")
    started = []

    async def start(kind: str, upstream: int) -> int:
        port = free_ports(1)
        config = tmp_path / "unbound.conf"
        config.write_text(UNBOUND.format(port=port, place=tmp_path, upstream=upstream, kind=kind), "utf-8")
        process = await asyncio.create_subprocess_exec(program, "-d", "-c", str(config))
        started.append(process)

        def listens() -> bool:
            assert process.returncode is None, (tmp_path / "unbound.log").read_text("utf-8")
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        await eventually(listens)
        return port

    yield start
    for process in started:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("kind", ["forward", "stub"])
async def test_unbound_in_front_answers_and_keeps_negative_answers(serve, image, unbound, kind: str) -> None:
    """A resolver that others wrote takes our answers, empty ones too, and gives the negative TTL that we state."""
    missing = f"plan-000144.{ZONE}"
    server = await serve(image(RecordSet(f"www.{ZONE}", "CNAME", 60, (ZONE,)), serial=12345))
    port = await unbound(kind, server.port)

    address = await run(*ask_with("dig", port, ZONE, "A", "+short"))
    chain = await run(*ask_with("dig", port, f"www.{ZONE}", "A", "+short"))
    fence = await run(*ask_with("dig", port, f"_generation.{ZONE}", "TXT", "+short"))
    empty = await run(*ask_with("dig", port, ZONE, "AAAA"))
    absent = await run(*ask_with("dig", port, missing, "A"))

    assert address.strip() in ADDRESSES
    assert chain.splitlines()[0] == ZONE
    assert chain.splitlines()[1] in ADDRESSES
    assert fence.startswith('"145 ')
    assert "status: NOERROR" in empty
    assert "ANSWER: 0" in empty
    assert "status: NXDOMAIN" in absent
    for output in (empty, absent):
        (soa,) = [line.split() for line in output.splitlines() if "hostmaster" in line]
        assert 1 <= int(soa[1]) <= 9, "the negative TTL is min(SOA TTL 9, minimum 864)"
        assert "12345" in soa


async def test_unbound_in_front_of_a_dangling_root_sees_the_outage(serve, image, unbound) -> None:
    """The customer's resolver passes the empty answer on as what it is: NOERROR without addresses."""
    server = await serve(image(without=[f"plan-000145.{ZONE}"]))
    port = await unbound("forward", server.port)

    output = await run(*ask_with("dig", port, ZONE, "A"))

    assert "status: NOERROR" in output
    assert "ANSWER: 0" in output
