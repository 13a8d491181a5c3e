"""What a name server says in the end: one real answer for each endpoint and type, and the words of `dig`."""

import asyncio
import shutil
from collections.abc import Sequence
from typing import Final

import msgspec

from fencepost.settings import LOOPBACK
from lab.canary import Answered, probe
from lab.clients import Target

DIG_TIMEOUT_S: Final = 5.0
HEADER: Final = (";; ->>HEADER<<-", ";; flags:")
ANSWER: Final = ";; ANSWER SECTION:"
END_OF_SECTION: Final = "\n\n"


class LastAnswer(msgspec.Struct, frozen=True):
    """One answer of the authoritative server: `answers` addresses under `rcode`, or why there was no answer."""

    endpoint: str
    type: str
    rcode: str
    answers: int
    error: str = ""

    @property
    def words(self) -> str:
        """The answer in words."""
        what = self.error or f"{self.rcode}, {self.answers} {'address' if self.answers == 1 else 'addresses'}"
        return f"{self.endpoint} {self.type}: {what}"


async def last_answers(targets: Sequence[Target], dns_port: int) -> tuple[LastAnswer, ...]:
    """Ask the authoritative server for every target."""
    return tuple([_last(target, await probe(target, dns_port)) for target in targets])


def _last(target: Target, answered: Answered) -> LastAnswer:
    return LastAnswer(target.endpoint, target.type, answered.rcode, len(answered.addresses), answered.error)


def dig_command(target: Target, dns_port: int) -> tuple[str, ...]:
    """Return the command line that asks a server as a person would."""
    return ("dig", f"@{LOOPBACK}", "-p", str(dns_port), target.endpoint, target.type)


async def dig(target: Target, dns_port: int) -> tuple[str, ...]:
    """Run the real `dig`; return its command line, header and answer section, nothing if it is not installed."""
    if (program := shutil.which("dig")) is None:
        return ()
    command = dig_command(target, dns_port)
    process = await asyncio.create_subprocess_exec(
        program, *command[1:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(DIG_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return (f"$ {' '.join(command)}", f"no answer within {DIG_TIMEOUT_S:g} s")
    return (f"$ {' '.join(command)}", *essence(output.decode("utf-8", "replace")))


def essence(output: str) -> tuple[str, ...]:
    """Return the header and the answer section of what `dig` printed."""
    header = (line for line in output.splitlines() if line.startswith(HEADER))
    _, title, rest = output.partition(ANSWER)
    return (*header, *(f"{title}{rest.partition(END_OF_SECTION)[0]}".expandtabs().splitlines()))
